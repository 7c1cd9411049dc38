//! Lambda function `auth`: the REQUEST authorizer of the API.
//! It must never hold logic: `functions::auth` does.

mod wiring;

use std::sync::Arc;

use functions::{auth, lambda};
use infra::adapters::Adapters;
use infra::clock::SystemClock;
use infra::config::functions::{Auth, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Auth = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "auth", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let desk = auth::Desk {
        api_keys: adapters.api_keys(),
        clock: Arc::new(SystemClock),
        trusted_proxies: [].into(),
        doorman: Arc::default(),
        turns: Arc::default(),
    };
    lambda::authorizer(&desk, &telemetry).await
}
