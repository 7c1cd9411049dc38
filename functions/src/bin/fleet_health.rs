//! Lambda function `fleet_health`: takes `GET /health` and `GET /health/fleet`.
//! It must never hold logic: `functions::fleet_health` does.

mod wiring;

use std::sync::Arc;

use functions::{auth, fleet_health, lambda};
use infra::adapters::Adapters;
use infra::clock::SystemClock;
use infra::config::functions::{FleetHealth, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let config: FleetHealth = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "fleet_health", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let clock = Arc::new(SystemClock);
    let desk = fleet_health::Desk {
        auth: auth::Desk {
            api_keys: adapters.api_keys(),
            clock: clock.clone(),
            trusted_proxies: config.trusted_proxies.into(),
            doorman: Arc::new(auth::Doorman::of_a_function()),
            turns: Arc::default(),
        },
        clock,
        servers: adapters.servers(),
        memory: Arc::default(),
    };
    lambda::http(fleet_health::router(desk), telemetry).await
}
