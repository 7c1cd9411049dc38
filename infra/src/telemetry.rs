//! Where events go: text for people, JSON for machines, always on standard error (standard output is a program's answer).
//! It must never be called by a library; each main calls it once. And it must never let through what it can't answer for:
//! libraries under us print requests with their headers and bodies at DEBUG and TRACE, and a panic prints the value that it
//! tripped over. Those hold keys, numbers and what people said.

pub mod emf;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;

use thiserror::Error;
use tracing::field::display;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
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

/// Crates whose events are written with care for what they hold.
const OURS: &[&str] =
    &["domain", "sip", "media", "call", "server", "functions", "infra", "local", "ringfleet", "ringfleet_fleet"];

/// Whether an event may be written at all, whatever level is asked for: other crates' above DEBUG only.
fn may_speak(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || OURS.contains(&metadata.target().split("::").next().unwrap_or_default())
}

/// Tells where something panicked. Its text only if the program has it as it stands: one that was put together, like that
/// of an index or of `unwrap`, may quote what was being handled.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
        let thread = std::thread::current();
        // Names of functions and lines, where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| display(backtrace));
        tracing::error!(place, text, thread = thread.name().unwrap_or_default(), backtrace, "panicked");
    }));
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
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_speak));
    if json {
        registry.with(events.json().flatten_event(true).with_current_span(true).with_span_list(false)).try_init()?;
    } else {
        registry.with(events.with_ansi(terminal).with_target(false)).try_init()?;
    }
    tell_panics();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_heard_above_debug_only() {
        let heard = Shared::default();
        let writer = heard.clone();
        let events = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let registry = tracing_subscriber::registry().with(filter_fn(may_speak)).with(events);
        tracing::subscriber::with_default(registry, || {
            tracing::trace!(target: "hyper::proto", "x-api-key: one");
            tracing::debug!(target: "aws_smithy_runtime::client", "body: two");
            tracing::debug!(target: "serverless", "begins as ours does: three");
            tracing::info!(target: "hyper::proto", "four");
            tracing::trace!(target: "server::talk", "five");
            tracing::debug!(target: "infra", "six");
        });
        let text = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
        for (word, expect) in
            [("one", false), ("two", false), ("three", false), ("four", true), ("five", true), ("six", true)]
        {
            assert_eq!(text.contains(word), expect, "{word}: {text}");
        }
    }

    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bad_level_is_named() {
        let config = TelemetryConfig { level: "info,=x=".into(), ..TelemetryConfig::default() };
        // RUST_LOG of whoever runs the tests would go first.
        if std::env::var_os("RUST_LOG").is_none() {
            assert!(init(&config).unwrap_err().to_string().contains("info,=x="));
        }
    }
}
