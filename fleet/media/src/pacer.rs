//! When the calls of a media thread tick: every 20 ms, spread over sub-slots so that the thread
//! works evenly. After a stall at most [`MAX_BURST`] frames are made up for; never more, so that no
//! far side gets a flood. Never sleeps: it says until when.

use crate::FRAME;
use std::time::{Duration, Instant};

/// Most ticks that a slot runs at once after a stall.
pub const MAX_BURST: u32 = 3;

/// A sub-slot of the 20 ms, to which calls are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(usize);

impl Slot {
    /// Number of the slot, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Ticks that a slot has to run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The slot.
    pub slot: Slot,
    /// How many, `1..=MAX_BURST`.
    pub ticks: u32,
    /// How many beyond that are given up.
    pub skipped: u64,
    /// How late the first of them is run.
    pub late: Duration,
}

/// The deadlines of one media thread.
#[derive(Debug, Clone)]
pub struct Pacer {
    start: Instant,
    slots: Vec<SlotState>,
}

#[derive(Debug, Clone, Copy, Default)]
struct SlotState {
    calls: usize,
    ticks: u64,
}

impl Pacer {
    /// Starts now, with so many sub-slots: at least one.
    pub fn new(now: Instant, slots: usize) -> Self {
        Self { start: now, slots: vec![SlotState::default(); slots.max(1)] }
    }

    /// The slot for a new call: the one with the fewest.
    pub fn assign(&mut self) -> Slot {
        let emptiest = self.slots.iter().enumerate().min_by_key(|(_, s)| s.calls).map_or(0, |(n, _)| n);
        self.slots[emptiest].calls += 1;
        Slot(emptiest)
    }

    /// A call of the slot has ended.
    pub fn release(&mut self, slot: Slot) {
        if let Some(state) = self.slots.get_mut(slot.0) {
            state.calls = state.calls.saturating_sub(1);
        }
    }

    /// The next moment at which [`Pacer::poll`] has something.
    pub fn next_deadline(&self) -> Instant {
        let (_, at) = self.earliest();
        at
    }

    /// The slot that has waited longest, if its time has come.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        let (slot, at) = self.earliest();
        let late = now.checked_duration_since(at)?;
        let behind = (late.as_micros() / FRAME.as_micros()) as u64 + 1;
        self.slots[slot].ticks += behind;
        let ticks = behind.min(u64::from(MAX_BURST));
        Some(Due { slot: Slot(slot), ticks: ticks as u32, skipped: behind - ticks, late })
    }

    fn earliest(&self) -> (usize, Instant) {
        // Among slots with equally many ticks the first is earliest.
        let (slot, ticks) =
            self.slots.iter().enumerate().map(|(n, s)| (n, s.ticks)).min_by_key(|(_, ticks)| *ticks).unwrap_or((0, 0));
        let frames = FRAME.as_nanos() as u64 * ticks;
        let within = FRAME.as_nanos() as u64 * slot as u64 / self.slots.len() as u64;
        (slot, self.start + Duration::from_nanos(frames + within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::epoch;

    const MS: Duration = Duration::from_millis(1);

    fn drain(pacer: &mut Pacer, now: Instant) -> Vec<(usize, u32, u64)> {
        std::iter::from_fn(|| pacer.poll(now)).map(|d| (d.slot.index(), d.ticks, d.skipped)).collect()
    }

    #[test]
    fn slots_come_one_after_another() {
        let start = epoch();
        let mut pacer = Pacer::new(start, 4);
        let mut seen = Vec::new();
        for ms in 0..60 {
            for (slot, ticks, skipped) in drain(&mut pacer, start + ms * MS) {
                assert_eq!((ticks, skipped), (1, 0));
                seen.push((ms, slot));
            }
        }
        let expect: Vec<(u32, usize)> = (0..12).map(|n| (n * 5, n as usize % 4)).collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn the_deadline_is_when_poll_has_something() {
        let start = epoch();
        let mut pacer = Pacer::new(start, 3);
        for _ in 0..100 {
            let at = pacer.next_deadline();
            assert_eq!(pacer.poll(at - Duration::from_nanos(1)), None);
            assert!(pacer.poll(at).is_some());
        }
    }

    #[test]
    fn after_a_stall_a_burst_is_bounded() {
        for (stall, ticks, skipped) in [(20, 1, 0), (45, 2, 0), (79, 3, 0), (80, 3, 1), (1000, 3, 47)] {
            let start = epoch();
            let mut pacer = Pacer::new(start, 1);
            assert_eq!(drain(&mut pacer, start), [(0, 1, 0)]);
            let now = start + stall * MS;
            assert_eq!(drain(&mut pacer, now), [(0, ticks, skipped)], "{stall} ms");
            // The grid stays where it was.
            assert_eq!(pacer.next_deadline(), start + (stall / 20 + 1) * 20 * MS);
        }
    }

    #[test]
    fn calls_are_spread() {
        let mut pacer = Pacer::new(epoch(), 3);
        let slots: Vec<usize> = (0..6).map(|_| pacer.assign().index()).collect();
        assert_eq!(slots, [0, 1, 2, 0, 1, 2]);
        pacer.release(Slot(1));
        assert_eq!(pacer.assign().index(), 1);
    }
}
