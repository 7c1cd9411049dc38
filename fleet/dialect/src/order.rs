//! Puts numbered messages in order within a bounded window. It must never hold one back for longer than a caller would hear.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::event::Loss;

/// Messages that wait for an earlier one; one more, and the earlier one is given up.
const WINDOW: usize = 10;
/// How long they wait.
const PATIENCE: Duration = Duration::from_millis(120);
/// Numbers that were given up and may still come.
const MAX_GIVEN_UP: usize = 64;
/// After so many messages in a row with numbers long gone, the dialler has begun to count anew.
const STALE: u32 = 25;

/// What becomes of a numbered message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is this one's turn.
    Now,
    /// Keep it with [`Order::keep`].
    Later,
    Never(Loss),
}

/// Numbers in order, and the messages that came before their turn.
#[derive(Debug)]
pub(crate) struct Order<T> {
    next: Option<u64>,
    waiting: BTreeMap<u64, (Duration, T)>,
    given_up: VecDeque<u64>,
    stale: u32,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: None, waiting: BTreeMap::new(), given_up: VecDeque::new(), stale: 0 }
    }
}

impl<T> Order<T> {
    /// Whose turn is it? Before the first `begin` nobody's.
    pub(crate) fn turn(&mut self, number: u64) -> Turn {
        let Some(next) = self.next else { return self.keep_or_refuse(number) };
        if number == next {
            self.next = Some(next.saturating_add(1));
            self.stale = 0;
            return Turn::Now;
        }
        if number > next {
            return self.keep_or_refuse(number);
        }
        if let Some(at) = self.given_up.iter().position(|gone| *gone == number) {
            self.given_up.remove(at);
            return Turn::Never(Loss::Late);
        }
        self.stale += 1;
        if self.stale < STALE {
            return Turn::Never(Loss::Duplicate);
        }
        self.stale = 0;
        self.given_up.clear();
        self.waiting.clear();
        self.next = Some(number.saturating_add(1));
        Turn::Now
    }

    /// The number of the first message: what follows it is next.
    pub(crate) fn begin(&mut self, number: u64) {
        self.next = Some(number.saturating_add(1));
    }

    /// Begins with the lowest number so far, if it has not begun.
    pub(crate) fn begin_with(&mut self, number: u64) {
        if self.next.is_none() {
            let first = self.waiting.first_key_value().map_or(number, |(first, _)| number.min(*first));
            self.next = Some(first);
        }
    }

    pub(crate) fn keep(&mut self, at: Duration, number: u64, message: T) {
        self.waiting.insert(number, (at, message));
    }

    /// The next waiting message whose turn has come by `at`.
    pub(crate) fn pop(&mut self, at: Duration) -> Option<T> {
        let next = self.next?;
        let (&first, (since, _)) = self.waiting.first_key_value()?;
        if first > next && self.waiting.len() < WINDOW && at < *since + PATIENCE {
            return None;
        }
        for gone in next..first.min(next.saturating_add(MAX_GIVEN_UP as u64)) {
            if self.given_up.len() == MAX_GIVEN_UP {
                self.given_up.pop_front();
            }
            self.given_up.push_back(gone);
        }
        self.next = Some(next.max(first.saturating_add(1)));
        self.waiting.pop_first().map(|(_, (_, message))| message)
    }

    /// When [`Self::pop`] gives up on a gap.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.next?;
        self.waiting.values().map(|(since, _)| *since + PATIENCE).min()
    }

    fn keep_or_refuse(&self, number: u64) -> Turn {
        // A window that is full before anybody began has no order to wait for.
        let is_full = self.next.is_none() && self.waiting.len() >= WINDOW;
        match self.waiting.contains_key(&number) {
            true => Turn::Never(Loss::Duplicate),
            false if is_full => Turn::Never(Loss::Early),
            false => Turn::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds numbers 20 ms apart, and tells what came out: numbers, or why not.
    fn fed(order: &mut Order<u64>, numbers: &[u64], at: &mut Duration) -> String {
        let mut all = Vec::new();
        for number in numbers {
            *at += Duration::from_millis(20);
            match order.turn(*number) {
                Turn::Now => all.push(number.to_string()),
                Turn::Later => order.keep(*at, *number, *number),
                Turn::Never(why) => all.push(format!("{why:?}")),
            }
            while let Some(ready) = order.pop(*at) {
                all.push(ready.to_string());
            }
        }
        all.join(" ")
    }

    #[track_caller]
    fn check(numbers: &[u64], expect: &str) {
        let (mut order, mut at) = (Order::default(), Duration::ZERO);
        order.begin(1);
        assert_eq!(fed(&mut order, numbers, &mut at), expect, "{numbers:?}");
    }

    #[test]
    fn numbers_come_out_in_order() {
        check(&[2, 3, 4], "2 3 4");
        check(&[3, 2, 4], "2 3 4");
        check(&[5, 4, 3, 2, 6], "2 3 4 5 6");
        check(&[2, 2, 3], "2 Duplicate 3");
        check(&[3, 3, 2], "Duplicate 2 3");
        check(&[1, 2], "Duplicate 2");
    }

    #[test]
    fn a_gap_is_given_up_after_a_while_and_what_filled_it_is_late() {
        check(&[2, 4, 5, 6, 7, 8, 9, 10, 3, 11], "2 4 5 6 7 8 9 10 Late 11");
        check(&[1_000_000, 1_000_001, 2], "2");
    }

    #[test]
    fn a_gap_times_out_without_another_message() {
        let (mut order, mut at) = (Order::default(), Duration::ZERO);
        order.begin(1);
        assert_eq!(fed(&mut order, &[3], &mut at), "");
        assert_eq!(order.poll_timeout(), Some(Duration::from_millis(140)));
        assert_eq!(order.pop(Duration::from_millis(139)), None);
        assert_eq!(order.pop(Duration::from_millis(140)), Some(3));
        assert_eq!(order.poll_timeout(), None);
    }

    #[test]
    fn nothing_leaves_before_the_beginning() {
        let (mut order, mut at) = (Order::default(), Duration::ZERO);
        assert_eq!(fed(&mut order, &[3, 2, 2], &mut at), "Duplicate");
        assert_eq!(fed(&mut order, &(10..19).collect::<Vec<_>>(), &mut at), "Early");
        assert_eq!(order.poll_timeout(), None);
        order.begin(1);
        assert_eq!(fed(&mut order, &[4], &mut at), "2 3 4 10 11 12 13 14 15 16 17");
    }

    #[test]
    fn a_dialler_that_counts_anew_is_heard_again() {
        let (mut order, mut at) = (Order::default(), Duration::ZERO);
        order.begin(1_000);
        let said = fed(&mut order, &(1..40).collect::<Vec<_>>(), &mut at);
        assert!(said.starts_with("Duplicate Duplicate"), "{said}");
        assert!(said.ends_with("25 26 27 28 29 30 31 32 33 34 35 36 37 38 39"), "{said}");
    }
}
