//! Where events go: text for people, JSON for machines, always on standard error (standard output is a program's answer).
//! It must never be called by a library; each main calls it once.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, TelemetryConfig};

#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("the log level `{level}` is not one: {cause}; write e.g. info or info,sip=debug")]
    Level { level: String, cause: String },
    #[error("telemetry is on already")]
    Twice(#[from] TryInitError),
}

/// Directs events of this process; `RUST_LOG` goes before the configured level.
///
/// # Errors
/// The level cannot be read, or telemetry was started before.
pub fn init(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let level =
        std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty()).unwrap_or_else(|| config.level.clone());
    let filter = EnvFilter::try_new(&level).map_err(|e| TelemetryError::Level { level, cause: e.to_string() })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let events = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(events.json().flatten_event(true).with_current_span(true).with_span_list(false)).try_init()?;
    } else {
        registry.with(events.with_ansi(terminal).with_target(false)).try_init()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_level_is_named() {
        let config = TelemetryConfig { level: "info,=x=".into(), ..TelemetryConfig::default() };
        // RUST_LOG of whoever runs the tests would go first.
        if std::env::var_os("RUST_LOG").is_none() {
            assert!(init(&config).unwrap_err().to_string().contains("info,=x="));
        }
    }
}
