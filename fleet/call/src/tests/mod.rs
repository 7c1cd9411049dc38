//! Whole calls on simulated time.

mod endings;
mod inbound;
mod machines;
mod model_calls;
mod random;
mod script_calls;
mod steps;
mod transfers;
mod turn_taking;
mod world;

use std::sync::LazyLock;
use std::time::Instant;

/// The moment at which every simulated timeline begins. Only differences from it are ever looked at.
#[expect(clippy::disallowed_methods, reason = "an Instant can't be made otherwise; its value is never looked at")]
pub(crate) fn epoch() -> Instant {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    *EPOCH
}
