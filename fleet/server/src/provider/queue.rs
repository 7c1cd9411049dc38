//! The bounded work queue between calls and the model threads.
//!
//! Two classes share it: urgent work goes first, in order of when it is due; optional work has its
//! own small bound and only runs when no urgent work waits. Nothing may wait to get in: a full
//! class refuses.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How badly a piece of work is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Urgent,
    Optional,
}

/// A bounded priority queue that threads block on.
#[derive(Debug)]
pub(super) struct WorkQueue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    urgent_capacity: usize,
    optional_capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    heap: BinaryHeap<Entry<T>>,
    waiting: [usize; 2],
    sequence: u64,
    closed: bool,
}

impl<T> WorkQueue<T> {
    pub(super) fn new(urgent_capacity: usize, optional_capacity: usize) -> Self {
        let state = State { heap: BinaryHeap::new(), waiting: [0; 2], sequence: 0, closed: false };
        Self { state: Mutex::new(state), ready: Condvar::new(), urgent_capacity, optional_capacity }
    }

    /// Adds `work`, to be done before `due` of its class; gives it back if the class is full or the queue closed.
    pub(super) fn push(&self, class: Class, due: Instant, work: T) -> Result<(), T> {
        let mut state = self.lock();
        let capacity = match class {
            Class::Urgent => self.urgent_capacity,
            Class::Optional => self.optional_capacity,
        };
        if state.closed || state.waiting[class as usize] >= capacity {
            return Err(work);
        }
        state.waiting[class as usize] += 1;
        state.sequence += 1;
        let sequence = state.sequence;
        state.heap.push(Entry { class, due, sequence, work });
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for the next piece of work; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(entry) = state.heap.pop() {
                state.waiting[entry.class as usize] -= 1;
                return Some(entry.work);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether urgent work waits.
    pub(super) fn has_urgent(&self) -> bool {
        self.lock().waiting[Class::Urgent as usize] > 0
    }

    /// Lets every waiting thread end; what still waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.heap.clear();
        drop(state);
        self.ready.notify_all();
    }

    /// A thread that panicked while it held the lock left the heap whole: pushes and pops are its only changes.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Entry<T> {
    class: Class,
    due: Instant,
    sequence: u64,
    work: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Class, Instant, u64) {
        (self.class, self.due, self.sequence)
    }
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap gives its greatest, we want the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(pushes: &[(Class, u64, char)], expect: &str) {
        let queue = WorkQueue::new(3, 2);
        let start = Instant::now();
        for &(class, due, work) in pushes {
            // What is refused is not part of the outcome.
            let _ = queue.push(class, start + Duration::from_secs(due), work);
        }
        let waiting = queue.lock().heap.len();
        let got: String = (0..waiting).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn order() {
        use Class::{Optional, Urgent};
        check(&[(Urgent, 1, 'a'), (Urgent, 1, 'b'), (Urgent, 1, 'c')], "abc");
        check(&[(Urgent, 9, 'a'), (Urgent, 1, 'b')], "ba");
        check(&[(Optional, 1, 'a'), (Urgent, 9, 'b')], "ba");
    }

    #[test]
    fn each_class_has_its_own_bound() {
        use Class::{Optional, Urgent};
        check(&[(Optional, 1, 'x'), (Optional, 1, 'y'), (Optional, 1, 'z'), (Urgent, 1, 'a')], "axy");
        check(&[(Urgent, 1, 'a'), (Urgent, 1, 'b'), (Urgent, 1, 'c'), (Urgent, 1, 'd'), (Optional, 0, 'x')], "abcx");
    }

    #[test]
    fn closing_ends_waiting_threads_and_refuses() {
        let queue = WorkQueue::new(1, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pop());
            queue.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(queue.push(Class::Urgent, Instant::now(), 'a'), Err('a'));
    }
}
