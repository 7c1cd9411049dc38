//! What every function's main does around its handler: settings and telemetry first, metrics after each invocation.
//! It must never be used outside of a main, and never decide anything about a request.

use anyhow::Result;
use functions::lambda::Around;
use infra::clock::SystemClock;
use infra::config::TelemetryConfig;
use infra::telemetry::emf::Emf;

/// Tells the metrics of each invocation.
#[derive(Debug)]
pub(crate) struct Telemetry(&'static Emf);

/// Begins to log and to count.
pub(crate) fn telemetry(config: &TelemetryConfig, function: &'static str, names_prefix: &str) -> Result<Telemetry> {
    infra::telemetry::init(config)?;
    Ok(Telemetry(Emf::install(function, names_prefix)?))
}

impl Around for Telemetry {
    fn after(&self) {
        self.0.flush(&SystemClock);
    }
}
