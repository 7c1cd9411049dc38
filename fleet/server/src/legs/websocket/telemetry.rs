//! What operators see of a WebSocket leg. It must never hold a number, a field or a name that the dialler gave.

use std::time::Duration;

use metrics::{Histogram, counter, histogram};

/// The measures of one socket; each is looked up once.
#[derive(Clone)]
pub(super) struct Telemetry {
    lateness: Histogram,
}

impl Telemetry {
    pub(super) fn new() -> Self {
        Self { lateness: histogram!("ringfleet_ws_frame_lateness_seconds") }
    }

    /// Audio left so long after its moment.
    pub(super) fn left(&self, late: Duration) {
        self.lateness.record(late.as_secs_f64());
    }

    pub(super) fn dropped(&self, reason: &'static str, frames: u64) {
        if frames > 0 {
            counter!("ringfleet_ws_frames_dropped_total", "reason" => reason).increment(frames);
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// A socket became a call of this dialect.
pub(super) fn opened(dialect: dialect::Name) {
    counter!("ringfleet_ws_calls_total", "dialect" => dialect.as_str()).increment(1);
}

/// A socket ended, for this reason.
pub(super) fn ended(reason: &'static str) {
    counter!("ringfleet_ws_ended_total", "reason" => reason).increment(1);
}
