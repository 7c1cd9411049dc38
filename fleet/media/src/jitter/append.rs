//! The buffer for audio that has an order and no timestamps, as it comes over a socket. TCP loses nothing: what comes
//! late was still said, so it is played late and the delay shortened afterwards, where a packet would be dropped.
//! It must never drop a sample for its lateness, and never let one gap's delay last.

use super::{BASE, CAPACITY, INITIAL_DELAY, JitterBuffer, Quiet};
use crate::FRAME_SAMPLES;
use crate::conceal::FADE_END;
use std::time::Instant;

/// After a gap longer than this nothing is being said any more: what comes then begins with the usual delay again,
/// instead of with none.
const GAP: u64 = FADE_END as u64;
/// The delay that audio after a gap begins with: 20 ms to 80 ms, by how long the recent pieces had to wait.
const RESUMED: (i64, i64) = (FRAME_SAMPLES as i64, 2 * INITIAL_DELAY);

impl JitterBuffer {
    /// Takes the samples that follow those appended before, or, where playing has caught up with them, what is heard
    /// from now on. Returns how many found room; the rest may be appended after the next pull.
    ///
    /// For buffers that never see [`JitterBuffer::insert`].
    pub fn append(&mut self, now: Instant, samples: &[i16]) -> usize {
        if samples.is_empty() {
            return 0;
        }
        let (play, start) = match self.play {
            Some(play) => (play, self.follow_on(now, play)),
            None => {
                self.restart(now, 0);
                (self.play.unwrap_or(BASE), self.newest)
            }
        };
        let room = (play + CAPACITY as u64).saturating_sub(start) as usize;
        let samples = &samples[..samples.len().min(room)];
        if samples.is_empty() {
            return 0;
        }
        let slack = start as i64 - play as i64 + self.until_pull(now);
        self.even = samples.len().is_multiple_of(FRAME_SAMPLES);
        self.delay.observe_long(slack, (samples.len() / FRAME_SAMPLES).max(1) as u32);
        self.store(start, samples);
        self.newest = start;
        self.appended = start + samples.len() as u64;
        samples.len()
    }

    /// Where the next piece goes.
    fn follow_on(&mut self, now: Instant, play: u64) -> u64 {
        let dry = play.saturating_sub(self.appended);
        if dry <= GAP {
            return self.appended.max(play);
        }
        let usual = self.delay.highest().unwrap_or(INITIAL_DELAY).clamp(RESUMED.0, RESUMED.1);
        let start = play + (usual - self.until_pull(now)).max(0).unsigned_abs();
        self.quiet = Some(Quiet { from: play, until: start });
        start
    }
}
