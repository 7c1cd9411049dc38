//! Latency histograms of the providers, one name with labels for kind, vendor and stage.
//! It must never take a label from user input: vendors and stages are fixed words.

use std::time::Duration;

/// Histogram of how long a stage took, in seconds.
pub const STAGE_SECONDS: &str = "ringfleet_provider_stage_seconds";

/// Counter of failures by provider and of work refused or dropped.
pub const FAILURES: &str = "ringfleet_provider_failures_total";

/// What kind of provider is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Stt,
    Tts,
    Llm,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Llm => "llm",
        }
    }
}

/// Records that `stage` took `duration`.
pub fn record(kind: Kind, vendor: &'static str, stage: &'static str, duration: Duration) {
    metrics::histogram!(STAGE_SECONDS, "kind" => kind.word(), "vendor" => vendor, "stage" => stage)
        .record(duration.as_secs_f64());
}

/// Counts one failure, refusal or drop.
pub fn count_failure(kind: Kind, vendor: &'static str, cause: &'static str) {
    metrics::counter!(FAILURES, "kind" => kind.word(), "vendor" => vendor, "cause" => cause).increment(1);
}
