//! Lambda function `dialout`: takes `POST /api/v1/dialout`.
//! It must never hold logic: `functions::dialout` does.

mod wiring;

use std::sync::Arc;

use functions::platform::PlacingBudget;
use functions::turns::Turns;
use functions::{auth, dialout, lambda, spend};
use infra::adapters::Adapters;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::functions::{Dialout, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let config: Dialout = settings()?;
    // Beside the first answers of the tables, which a request waits for before it looks at its number.
    std::thread::spawn(domain::phone::prepare);
    let telemetry = wiring::telemetry(&config.telemetry, "dialout", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let clock = Arc::new(SystemClock);
    let turns: Arc<Turns> = Arc::default();
    let desk = dialout::Desk {
        auth: auth::Desk {
            api_keys: adapters.api_keys(),
            clock: clock.clone(),
            trusted_proxies: config.trusted_proxies.into(),
            doorman: Arc::new(auth::Doorman::of_a_function()),
            turns: turns.clone(),
        },
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
        bots: adapters.bots(),
        trunks: adapters.trunks(),
        calls: adapters.calls(),
        idempotency: adapters.idempotency(),
        servers: adapters.servers(),
        fleet: adapters.fleet(&adapters.secrets(&config.secrets_id))?,
        spend: spend::Desk { spend: adapters.spend(), clock, prices: config.prices.into() },
        turns,
        memory: Arc::default(),
        placing: PlacingBudget::default(),
    };
    lambda::http(dialout::router(desk), telemetry).await
}
