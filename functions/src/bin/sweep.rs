//! Lambda function `sweep`: sends again what fell due, every minute.
//! It must never hold logic: `functions::sweep` does.

mod wiring;

use std::sync::Arc;

use functions::platform::SweepLimits;
use functions::push::Holding;
use functions::{lambda, spend, sweep};
use infra::adapters::Adapters;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::Periods;
use infra::config::functions::{Sweep, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Sweep = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "sweep", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let clock = Arc::new(SystemClock);
    let periods: Periods = config.periods.into();
    let desk = sweep::Desk {
        clock: clock.clone(),
        calls: adapters.calls(),
        deliveries: adapters.deliveries(),
        endpoints: adapters.endpoints(),
        queues: adapters.queues(),
        holding: Holding {
            deliveries: adapters.deliveries(),
            entropy: Arc::new(OsEntropy),
            schedule: periods.schedule(),
            breaker: periods.breaker(),
        },
        spend: spend::Desk { spend: adapters.spend(), clock, prices: config.prices.into() },
        sweep: SweepLimits::default(),
    };
    lambda::schedule(|| sweep::pass(&desk), &telemetry).await
}
