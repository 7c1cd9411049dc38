//! Lambda function `retain`: deletes what bots don't keep any longer, every hour.
//! It must never hold logic: `functions::retain` does.

mod wiring;

use std::sync::Arc;

use functions::platform::RetainLimits;
use functions::{forget, lambda, retain};
use infra::adapters::Adapters;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::functions::{Retain, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Retain = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "retain", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let clock = Arc::new(SystemClock);
    let desk = retain::Desk {
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
        bots: adapters.bots(),
        calls: adapters.calls(),
        housekeeping: adapters.housekeeping(),
        forget: forget::Desk {
            clock,
            deliveries: adapters.deliveries(),
            housekeeping: adapters.housekeeping(),
            objects: adapters.objects(),
        },
        retain: RetainLimits::default(),
    };
    lambda::schedule(|| retain::pass(&desk), &telemetry).await
}
