//! How much one process works on at once: a crowd waits a moment, instead of making every store too slow for everybody.
//! It must never make anybody wait longer than there is time to answer, nor for a second turn while one is held.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Keys that are looked up at once.
const LOOKUPS: usize = 16;
/// Dialouts that are placed at once.
const DIALOUTS: usize = 16;
/// A look-up is short; who waits longer for one than this would find a store that does not answer.
const LOOKUP_WITHIN: Duration = Duration::from_secs(3);

/// When a request was first looked at: what it waits for from here on counts. As a handler's first argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived(pub(crate) Instant);

impl<S: Sync> FromRequestParts<S> for Arrived {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Instant::now()))
    }
}

/// The turns of one process.
#[derive(Debug)]
pub struct Turns {
    lookups: Semaphore,
    dialouts: Semaphore,
    /// Who reads ahead of its turn: one, as in a function that has one request at a time. A crowd with one key would
    /// read for nothing.
    ahead: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { lookups: Semaphore::new(LOOKUPS), dialouts: Semaphore::new(DIALOUTS), ahead: Semaphore::new(1) }
    }
}

impl Turns {
    pub(crate) async fn lookup(&self) -> Option<SemaphorePermit<'_>> {
        take(&self.lookups, LOOKUP_WITHIN).await
    }

    /// Whether one may read what it will need before its turn, if nobody else does.
    pub(crate) fn ahead(&self) -> Option<SemaphorePermit<'_>> {
        self.ahead.try_acquire().ok()
    }

    /// A turn to place a call; `None` when it has not come by then.
    pub(crate) async fn dialout(&self, until: Instant) -> Option<SemaphorePermit<'_>> {
        take(&self.dialouts, until.saturating_duration_since(Instant::now())).await
    }
}

async fn take(turns: &Semaphore, within: Duration) -> Option<SemaphorePermit<'_>> {
    tokio::time::timeout(within, turns.acquire()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_time_or_not_at_all() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..DIALOUTS {
            held.push(turns.dialout(Instant::now()).await.unwrap());
        }
        assert!(turns.dialout(Instant::now() + Duration::from_secs(2)).await.is_none());
        assert!(turns.lookup().await.is_some(), "another kind's turns are its own");
        held.pop();
        assert!(turns.dialout(Instant::now() + Duration::from_secs(2)).await.is_some());
    }
}
