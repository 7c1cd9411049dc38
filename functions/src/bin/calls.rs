//! Lambda function `calls`: shows calls, hangs them up, redirects to recordings.
//! It must never hold logic: `functions::calls` does.

mod wiring;

use std::sync::Arc;

use functions::calls::list;
use functions::result::Archive;
use functions::{auth, calls, lambda};
use infra::adapters::Adapters;
use infra::clock::SystemClock;
use infra::config::functions::{Calls, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let config: Calls = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "calls", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let clock = Arc::new(SystemClock);
    let archive = Archive::new(adapters.objects(), &config.public_url);
    let desk = calls::Desk {
        auth: auth::Desk {
            api_keys: adapters.api_keys(),
            clock: clock.clone(),
            trusted_proxies: config.trusted_proxies.into(),
            doorman: Arc::new(auth::Doorman::of_a_function()),
            turns: Arc::default(),
        },
        calls: adapters.calls(),
        servers: adapters.servers(),
        fleet: adapters.fleet(&adapters.secrets(&config.secrets_id))?,
        list: list::Desk {
            clock,
            bots: adapters.bots(),
            calls: adapters.calls(),
            public_url: archive.public_url.clone(),
        },
        archive,
    };
    lambda::http(calls::router(desk), telemetry).await
}
