//! Lambda function `reap`: ends the calls of lost servers, every minute and within it.
//! It must never hold logic: `functions::reap` does.

mod wiring;

use std::sync::Arc;

use functions::platform::ReapLimits;
use functions::{lambda, reap, salvage};
use infra::adapters::Adapters;
use infra::clock::SystemClock;
use infra::config::functions::{Reap, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Reap = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "reap", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let desk = reap::Desk {
        clock: Arc::new(SystemClock),
        calls: adapters.calls(),
        servers: adapters.servers(),
        fleet: adapters.fleet(&adapters.secrets(&config.secrets_id))?,
        queues: adapters.queues(),
        salvage: salvage::Desk { objects: adapters.objects(), bots: adapters.bots() },
        reap: ReapLimits { every: config.periods.reap.0, stale: config.periods.reap_stale.0, ..ReapLimits::default() },
    };
    lambda::schedule(|| reap::for_a_minute(&desk), &telemetry).await
}
