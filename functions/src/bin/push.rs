//! Lambda function `push`: takes messages of the queue `deliveries`.
//! It must never hold logic: `functions::push` does.

#[path = "wiring/sealed.rs"]
mod sealed;
mod wiring;

use std::sync::Arc;

use functions::platform::{AnalysisLimits, DeliveryLimits, ReapLimits, SweepLimits};
use functions::push::Holding;
use functions::result::Archive;
use functions::{lambda, push, salvage};
use infra::adapters::Adapters;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::Periods;
use infra::config::functions::{Push, settings};
use sealed::Fresh;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Push = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "push", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let secrets = adapters.secrets(&config.secrets_id);
    let (seal, around) = Fresh::load(telemetry, &adapters, &secrets, &config.kms_key_id).await?;
    let (entropy, objects) = (Arc::new(OsEntropy), adapters.objects());
    let periods: Periods = config.periods.into();
    let desk = push::Desk {
        clock: Arc::new(SystemClock),
        entropy: entropy.clone(),
        bots: adapters.bots(),
        calls: adapters.calls(),
        deliveries: adapters.deliveries(),
        endpoints: adapters.endpoints(),
        queues: adapters.queues(),
        outbound: adapters.outbound(config.egress),
        seal,
        archive: Archive::new(objects.clone(), &config.public_url),
        salvage: salvage::Desk { objects, bots: adapters.bots() },
        holding: Holding {
            deliveries: adapters.deliveries(),
            entropy,
            schedule: periods.schedule(),
            breaker: periods.breaker(),
        },
        delivery: DeliveryLimits::default(),
        analysis: AnalysisLimits::default(),
        reap: ReapLimits::default(),
        sweep: SweepLimits::default(),
    };
    let desk = &desk;
    lambda::queue(|job| async move { push::handle(desk, &job).await }, &around).await
}
