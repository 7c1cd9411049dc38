//! Lambda function `analyze`: takes messages of the queue `call-ended`.
//! It must never hold logic: `functions::analyze` does.

#[path = "wiring/sealed.rs"]
mod sealed;
mod wiring;

use std::sync::Arc;

use functions::platform::{AnalysisLimits, LanguageModel, ReapLimits, SweepLimits};
use functions::result::Archive;
use functions::{analyze, lambda, salvage, spend};
use infra::adapters::Adapters;
use infra::clock::SystemClock;
use infra::config::functions::{Analyze, settings};
use sealed::Fresh;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config: Analyze = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "analyze", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names)?;
    let secrets = adapters.secrets(&config.secrets_id);
    let (seal, around) = Fresh::load(telemetry, &adapters, &secrets, &config.kms_key_id).await?;
    let clock = Arc::new(SystemClock);
    let objects = adapters.objects();
    let model = config.llm.base_url.zip(config.llm.model);
    let desk = analyze::Desk {
        clock: clock.clone(),
        bots: adapters.bots(),
        calls: adapters.calls(),
        servers: adapters.servers(),
        queues: adapters.queues(),
        outbound: adapters.outbound(config.egress),
        seal,
        secrets,
        archive: Archive::new(objects.clone(), &config.public_url),
        salvage: salvage::Desk { objects, bots: adapters.bots() },
        spend: spend::Desk { spend: adapters.spend(), clock, prices: config.prices.into() },
        analysis_model: model.map(|(base_url, model)| LanguageModel { base_url, api_key: None, model }),
        analysis: AnalysisLimits::default(),
        reap: ReapLimits { stale: config.periods.reap_stale.0, ..ReapLimits::default() },
        sweep: SweepLimits::default(),
    };
    let desk = &desk;
    lambda::queue(|job| async move { analyze::handle(desk, &job).await }, &around).await
}
