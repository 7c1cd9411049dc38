//! What a process remembers from one request to the next: bots, trunks and heartbeats as they were read a moment ago.
//! It must never be what a promise rests on: a server judges its slots and shares by itself, a call's row is put on
//! condition, and whatever is older than [`Staleness`] is read again.
//!
//! What is older still is of use as a guess: a dialout reads what it most likely needs at once, and not one after the other.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::bot::Bot;
use domain::fleet::view::FleetView;
use domain::fleet::{FleetSummary, ServerRow};
use domain::ids::{BotId, TrunkId};
use domain::ports::Clock;
use domain::trunk::Trunk;
use jiff::Timestamp;
use tokio::time::Instant;

/// How old what is remembered may be and still be gone by; zero: everything is read each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// Of bots and trunks in a dialout. In the process that changes one, the change counts at once.
    pub entities: Duration,
    /// Of heartbeats, and of what they come to.
    pub servers: Duration,
}

impl Default for Staleness {
    fn default() -> Self {
        Self { entities: Duration::from_secs(2), servers: Duration::from_secs(1) }
    }
}

impl Staleness {
    /// Nothing is gone by that was not read for the request itself.
    pub const NONE: Self = Self { entities: Duration::ZERO, servers: Duration::ZERO };
}

/// So many of a kind; then all are forgotten, which costs no more than reading them again.
const MOST: usize = 2048;

/// A moment by both clocks: the monotonic one may stand while a function is frozen, and the wall clock may be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: Timestamp,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: Instant::now(), wall: clock.now() }
    }

    /// How long ago `earlier` was, by the clock that says more.
    fn since(self, earlier: Self) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

/// Values of one kind, each with the moment of its reading.
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Mutex<HashMap<K, (Moment, Arc<V>)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Kept<K, V> {
    /// What was read not longer before `now` than that.
    pub(crate) fn fresh(&self, key: &K, now: Moment, within: Duration) -> Option<Arc<V>> {
        let kept = self.lock();
        kept.get(key).filter(|(read, _)| now.since(*read) < within).map(|(_, value)| value.clone())
    }

    /// What was read last, however long ago.
    pub(crate) fn last(&self, key: &K) -> Option<Arc<V>> {
        self.lock().get(key).map(|(_, value)| value.clone())
    }

    /// Keeps what was asked for at `read`.
    pub(crate) fn keep(&self, key: K, read: Moment, value: Arc<V>) {
        let mut kept = self.lock();
        if kept.len() >= MOST && !kept.contains_key(&key) {
            kept.clear();
        }
        kept.insert(key, (read, value));
    }

    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Moment, Arc<V>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    pub(crate) staleness: Staleness,
    pub(crate) bots: Kept<BotId, Bot>,
    pub(crate) trunks: Kept<TrunkId, Trunk>,
    pub(crate) shards: Kept<u16, Vec<ServerRow>>,
    /// Under the one key that there is.
    pub(crate) view: Kept<(), FleetView>,
    pub(crate) summary: Kept<(), FleetSummary>,
}

impl Memory {
    pub fn new(staleness: Staleness) -> Self {
        Self { staleness, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Moment {
        Moment { monotonic: Instant::now(), wall: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_fresh_for_a_while_and_a_guess_for_ever() {
        let kept = Kept::<u8, u8>::default();
        let within = Duration::from_secs(2);
        assert_eq!((kept.fresh(&1, now(), within), kept.last(&1)), (None, None));
        kept.keep(1, now(), Arc::new(7));
        let check = |expect: Option<u8>, now: Moment, within: Duration| {
            assert_eq!(kept.fresh(&1, now, within).as_deref().copied(), expect);
        };
        check(Some(7), now(), within);
        check(None, now(), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(1999)).await;
        check(Some(7), now(), within);
        // Its process stood still for an hour, and the monotonic clock with it.
        let after = |seconds: i64| Moment { wall: Timestamp::from_second(seconds).unwrap(), ..now() };
        check(None, after(3600), within);
        check(Some(7), after(-3600), within);
        tokio::time::advance(Duration::from_millis(1)).await;
        check(None, now(), within);
        check(None, after(-3600), within);
        assert_eq!(kept.last(&1).as_deref(), Some(&7));
        kept.forget(&1);
        assert_eq!(kept.last(&1), None);
    }

    #[tokio::test]
    async fn it_does_not_grow_without_bound() {
        let kept = Kept::<usize, ()>::default();
        for key in 0..MOST * 3 {
            kept.keep(key, now(), Arc::new(()));
        }
        assert!(kept.lock().len() <= MOST);
    }
}
