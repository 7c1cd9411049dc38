//! When each frame of the bot's should leave, told from those before it: 20 ms apart, as early as any of its spurt was.
//! It must never be the reason that one waits: media threads pace, this only measures.

use std::time::Duration;

use media::FRAME;
use tokio::time::Instant;

/// A frame that comes so much later than its turn begins a spurt of its own.
const NEW_SPURT: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Cadence {
    next: Option<Instant>,
    last: Option<Instant>,
}

impl Cadence {
    /// A frame is there at `now`; answers when it should have been.
    pub(super) fn frame(&mut self, now: Instant) -> Instant {
        let due = match self.next {
            Some(next) if now < next + NEW_SPURT => next.min(now),
            _ => now,
        };
        (self.next, self.last) = (Some(due + FRAME), Some(now));
        due
    }

    /// Nothing sounds any more.
    pub(super) fn spurt_ended(&mut self) {
        self.next = None;
    }

    /// Until when what was sent sounds, if it is played at once.
    pub(super) fn sounds_until(&self) -> Option<Instant> {
        self.last.map(|last| last + FRAME)
    }

    /// When the last frame was there.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_late_against_the_earliest_of_its_spurt() {
        // (when frames come, how late each is), in milliseconds
        let check = |come: &[u64], late: &[u64]| {
            let start = Instant::now();
            let mut cadence = Cadence::default();
            let got: Vec<u128> = come
                .iter()
                .map(|at| {
                    let now = start + Duration::from_millis(*at);
                    now.duration_since(cadence.frame(now)).as_millis()
                })
                .collect();
            assert_eq!(got, late.iter().map(|late| u128::from(*late)).collect::<Vec<_>>(), "{come:?}");
        };
        check(&[0, 20, 40, 60], &[0, 0, 0, 0]);
        check(&[0, 25, 40, 75, 80], &[0, 5, 0, 15, 0]);
        // The first one was late: the second shows it.
        check(&[10, 20, 40, 63], &[0, 0, 0, 3]);
        // A spurt of its own.
        check(&[0, 20, 700, 720], &[0, 0, 0, 0]);
    }
}
