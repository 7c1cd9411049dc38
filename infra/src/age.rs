//! How long ago something was, also where the process stood still meanwhile: a frozen Lambda's monotonic clock may stand
//! with it, and the wall clock does not.
//! It must never say less than one of the two clocks says.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    monotonic: Instant,
    wall: Timestamp,
}

impl Mark {
    pub(crate) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: Timestamp::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let wall = Duration::try_from(Timestamp::now().duration_since(self.wall)).unwrap_or_default();
        self.monotonic.elapsed().max(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_that_went_on_counts() {
        let mark = Mark::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(mark.elapsed() >= Duration::from_secs(5));
        let frozen = Mark { wall: Timestamp::now() - Duration::from_secs(60), ..Mark::now() };
        assert!(frozen.elapsed() >= Duration::from_secs(60));
        let set_back = Mark { wall: Timestamp::now() + Duration::from_secs(60), ..mark };
        assert!(set_back.elapsed() >= Duration::from_secs(5));
    }
}
