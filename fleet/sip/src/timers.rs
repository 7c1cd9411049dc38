//! One ordered queue for all timers of an endpoint: arming, disarming and the next deadline cost O(log n), and nothing
//! is scanned when one fires.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Timers of keys `K`; a key has at most one deadline.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    /// The number parts equal deadlines, first armed first.
    queue: BTreeMap<(Instant, u64), K>,
    armed: HashMap<K, (Instant, u64)>,
    next: u64,
}

impl<K: Copy + Eq + Hash> Timers<K> {
    pub(crate) fn new() -> Self {
        Timers { queue: BTreeMap::new(), armed: HashMap::new(), next: 0 }
    }

    /// Sets the key's deadline in place of an earlier one.
    pub(crate) fn arm(&mut self, key: K, at: Instant) {
        self.disarm(key);
        self.next += 1;
        self.queue.insert((at, self.next), key);
        self.armed.insert(key, (at, self.next));
    }

    pub(crate) fn disarm(&mut self, key: K) {
        if let Some(slot) = self.armed.remove(&key) {
            self.queue.remove(&slot);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.armed.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        debug_assert_eq!(self.queue.len(), self.armed.len());
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a point in time to count from")]
    fn order_rearming_and_disarming() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.arm('a', at(30));
        timers.arm('b', at(10));
        timers.arm('c', at(10));
        timers.arm('d', at(5));
        timers.arm('a', at(20));
        timers.disarm('d');
        timers.disarm('z');
        assert_eq!((timers.next_deadline(), timers.len()), (Some(at(10)), 3));
        assert_eq!(timers.pop(at(9)), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop(at(25))).collect();
        assert_eq!(fired, ['b', 'c', 'a']);
        assert_eq!((timers.next_deadline(), timers.len()), (None, 0));
    }
}
