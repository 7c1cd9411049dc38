//! Whether the machine stood still while a test ran: what the test saw of real time proves nothing then, and it is held again.
//! It must never excuse a failure on a machine that went on, nor be asked by a test of what no pause may break: that a call is
//! neither lost nor doubled.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tools::note;

/// Between two looks at the processor and the disk.
const LOOK: Duration = Duration::from_millis(250);
/// Calls go on through less.
const STILL: Duration = Duration::from_secs(1);
/// How often a test is held again.
const AGAIN: u32 = 2;

/// Holds a test, and again if it fails on a machine that stood still meanwhile.
///
/// # Errors
/// The test's own.
pub async fn held(name: &str, test: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut left = AGAIN;
    loop {
        let watch = Watch::start()?;
        let outcome = test().await;
        let longest = watch.longest();
        if !is_excused(outcome.is_err(), left, longest) {
            return outcome;
        }
        left -= 1;
        note(&format!("{name} is held again, since the machine stood still for {longest:?}: {outcome:?}"));
    }
}

fn is_excused(failed: bool, left: u32, longest: Duration) -> bool {
    failed && left > 0 && longest >= STILL
}

/// Looks on until it is dropped.
struct Watch {
    longest_ms: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Result<Self> {
        let watch = Self { longest_ms: Arc::default(), over: Arc::default() };
        let (longest, over) = (watch.longest_ms.clone(), watch.over.clone());
        let mut file = tempfile::tempfile()?;
        std::thread::Builder::new().name("still".to_owned()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let lost = look(&mut file);
                longest.fetch_max(u64::try_from(lost.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        })?;
        Ok(watch)
    }

    /// The longest that processor and disk took more than they should.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.longest_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// How much longer than a look a look took. A disk that is full or gone is not slow.
fn look(file: &mut File) -> Duration {
    let begun = Instant::now();
    std::thread::sleep(LOOK);
    let _ = file.write_all(b".").and_then(|()| file.sync_all());
    begun.elapsed().saturating_sub(LOOK)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_a_failure_on_a_machine_that_stood_still_is_excused_and_not_for_ever() {
        let none = Duration::ZERO;
        for (failed, left, longest, expect) in [
            (true, AGAIN, STILL, true),
            (true, 1, STILL * 5, true),
            (true, 0, STILL * 5, false),
            (true, AGAIN, none, false),
            (true, AGAIN, STILL / 2, false),
            (false, AGAIN, STILL * 5, false),
        ] {
            assert_eq!(is_excused(failed, left, longest), expect, "{failed} {left} {longest:?}");
        }
    }

    #[tokio::test]
    async fn a_test_that_passes_is_held_once() {
        let times = Cell::new(0);
        let test = async || {
            times.set(times.get() + 1);
            anyhow::Ok(())
        };
        held("a test", test).await.unwrap();
        assert_eq!(times.get(), 1);
    }
}
