//! The adaptive jitter buffer: packets of any ptime in, frames of 160 samples out.
//!
//! Samples lie in a ring by their RTP timestamp, with one validity bit each, so reordering,
//! odd packet lengths and overlaps need no special case and nothing can be played twice. The delay
//! is steered by how early packets come (`delay`); it changes by whole pitch periods
//! (`stretch`), which also absorbs the drift between the far clock and ours. Audio without timestamps
//! is placed one piece behind the other (`append`).
//!
//! Never allocates after construction and never holds more than [`CAPACITY`] samples, whatever
//! timestamps come.

mod append;
mod delay;
mod stretch;

use crate::conceal::Concealer;
use crate::{FRAME, FRAME_SAMPLES};
use delay::{Advice, DelayControl};
use std::time::{Duration, Instant};

/// Samples that the ring holds: 1.024 s.
pub const CAPACITY: usize = 8192;
/// Delay before the first packet is played: 40 ms.
const INITIAL_DELAY: i64 = 320;
/// Packets later than this are taken for another timeline, not for late ones.
const STRAY_LATE: i64 = 1600;
/// Late by less than this, a packet still says something true about the past: 1 s.
const STILL_PLACEABLE: i64 = 8000;
/// Packets of one foreign timeline that move us there.
const STRAYS: u32 = 3;
/// ... over at least this long, so that the burst after a network stall doesn't count as one.
const STRAY_TIME: Duration = Duration::from_millis(30);
/// Extended timestamps start here, so that none is negative.
const BASE: u64 = 1 << 40;

/// What a frame of the far end holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FarFrame {
    /// Received audio.
    Speech,
    /// Received audio was missing, in whole or in part, and was concealed.
    Concealed,
    /// Silence that is meant (comfort noise, a telephone event, the initial delay) or that follows
    /// a loss too long to conceal.
    Silence,
    /// Nothing was received yet, or nothing since the stream began anew.
    Nothing,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Will be played, at least in part.
    Buffered,
    /// Came after its place was played.
    Late,
    /// Its samples were there already.
    Duplicate,
    /// Far from the current timeline: dropped, unless more of its kind follow.
    Stray,
    /// The timeline has moved to this packet's.
    Resynchronised,
}

/// Counters of a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Packets that came after their place was played.
    pub late: u64,
    /// Packets of another timeline.
    pub stray: u64,
    /// Frames with at least one concealed sample.
    pub concealed_frames: u64,
    /// Samples inserted to lengthen the delay.
    pub inserted_samples: u64,
    /// Samples removed to shorten it.
    pub removed_samples: u64,
}

/// The jitter buffer of one call.
#[derive(Debug)]
pub struct JitterBuffer {
    ring: Box<[i16]>,
    valid: Box<[u64]>,
    /// Extended timestamp of the next sample to play; `None` before the first packet.
    play: Option<u64>,
    /// Extended timestamp of the newest packet, to which 32-bit ones are related.
    newest: u64,
    next_pull: Option<Instant>,
    /// End of what was appended without a timestamp, as an extended timestamp.
    appended: u64,
    /// Packets hold whole frames.
    even: bool,
    /// Where missing samples are meant.
    quiet: Option<Quiet>,
    stray: Option<Stray>,
    delay: DelayControl,
    concealer: Concealer,
    stats: JitterStats,
}

/// Silence that the far end means, by extended timestamps: until audio comes again.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    from: u64,
    until: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stray {
    timestamp: u32,
    count: u32,
    since: Instant,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self {
            ring: vec![0; CAPACITY].into_boxed_slice(),
            valid: vec![0; CAPACITY / 64].into_boxed_slice(),
            play: None,
            newest: BASE,
            next_pull: None,
            appended: BASE,
            even: true,
            quiet: None,
            stray: None,
            delay: DelayControl::default(),
            concealer: Concealer::default(),
            stats: JitterStats::default(),
        }
    }
}

impl JitterBuffer {
    /// Takes one packet's decoded samples, at most 960. Duplicates by sequence number must have been
    /// dropped before: after its place was played, a repeat looks like a late packet.
    pub fn insert(&mut self, now: Instant, timestamp: u32, samples: &[i16]) -> Inserted {
        let Some(play) = self.play else {
            self.restart(now, timestamp);
            self.store(self.newest, samples);
            return Inserted::Resynchronised;
        };
        let start = self.extend(timestamp);
        let end = start + samples.len() as u64;
        let slack = start as i64 - play as i64 + self.until_pull(now);
        if slack < -STRAY_LATE || end > play + CAPACITY as u64 {
            return self.stray(now, timestamp, slack, samples);
        }
        self.stray = None;
        self.newest = self.newest.max(start);
        if let Some(quiet) = self.quiet.as_mut().filter(|q| start >= q.from) {
            quiet.until = quiet.until.min(start);
        }
        self.even = samples.len().is_multiple_of(FRAME_SAMPLES);
        if end <= play {
            self.delay.observe(slack);
            self.stats.late += 1;
            return Inserted::Late;
        }
        if !self.store(start, samples) {
            return Inserted::Duplicate;
        }
        self.delay.observe(slack);
        Inserted::Buffered
    }

    /// Notes that the far end means silence from this timestamp on (comfort noise, an event).
    pub fn quiet(&mut self, now: Instant, timestamp: u32) {
        let Some(play) = self.play else {
            return;
        };
        let from = self.extend(timestamp);
        let slack = from as i64 - play as i64 + self.until_pull(now);
        // Reordered behind newer audio it says nothing any more.
        if from >= self.newest && slack > -STRAY_LATE && from <= play + CAPACITY as u64 {
            self.newest = from;
            self.quiet = Some(Quiet { from, until: u64::MAX });
        }
    }

    /// Takes the next 20 ms out.
    pub fn pull(&mut self, now: Instant, out: &mut [i16; FRAME_SAMPLES]) -> FarFrame {
        self.next_pull = Some(now + FRAME);
        let Some(play) = self.play else {
            out.fill(0);
            return FarFrame::Nothing;
        };
        match self.delay.advice(self.phase(play)) {
            Advice::Keep => self.plain(play, out),
            Advice::Shrink => self.shrink(play, out),
            Advice::Lengthen { urgent } => self.lengthen(play, out, urgent),
        }
    }

    /// Forgets the timeline: the next packet starts a new one. Counters stay.
    pub fn reset(&mut self) {
        self.play = None;
        self.stray = None;
        self.quiet = None;
        self.delay = DelayControl::default();
    }

    /// How long the fastest recent packet waits before it is played, in samples.
    pub fn delay_samples(&self) -> u32 {
        self.delay.highest().unwrap_or(0).max(0) as u32
    }

    /// Counters since construction.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    fn restart(&mut self, now: Instant, timestamp: u32) {
        self.valid.fill(0);
        self.newest = BASE + u64::from(timestamp);
        let play = self.newest as i64 - (INITIAL_DELAY - self.until_pull(now));
        self.play = Some(play as u64);
        self.quiet = Some(Quiet { from: play as u64, until: self.newest });
        self.stray = None;
        self.delay = DelayControl::default();
    }

    /// Whether all of a run, as far as it is missing, is meant to be.
    fn is_quiet(&self, start: u64, length: usize) -> bool {
        self.quiet.is_some_and(|q| q.from <= start && start + length as u64 <= q.until)
    }

    fn stray(&mut self, now: Instant, timestamp: u32, slack: i64, samples: &[i16]) -> Inserted {
        self.stats.stray += 1;
        let stray = match self.stray {
            Some(s) if (timestamp.wrapping_sub(s.timestamp) as i32).unsigned_abs() < CAPACITY as u32 => {
                Stray { timestamp, count: s.count + 1, ..s }
            }
            _ => Stray { timestamp, count: 1, since: now },
        };
        if stray.count >= STRAYS && now.saturating_duration_since(stray.since) >= STRAY_TIME {
            self.restart(now, timestamp);
            self.store(self.newest, samples);
            return Inserted::Resynchronised;
        }
        self.stray = Some(stray);
        if (-STILL_PLACEABLE..0).contains(&slack) { Inserted::Late } else { Inserted::Stray }
    }

    fn plain(&mut self, play: u64, out: &mut [i16; FRAME_SAMPLES]) -> FarFrame {
        self.play = Some(play + FRAME_SAMPLES as u64);
        if self.copy_out(play, out) {
            self.concealer.received(out);
            return FarFrame::Speech;
        }
        let mut concealed = false;
        let mut received = false;
        let mut at = 0;
        while at < FRAME_SAMPLES {
            let here = self.is_valid(play + at as u64);
            let quiet = self.is_quiet(play + at as u64, 1);
            let run = (at..FRAME_SAMPLES)
                .map(|n| play + n as u64)
                .take_while(|n| self.is_valid(*n) == here && self.is_quiet(*n, 1) == quiet)
                .count();
            let part = &mut out[at..at + run];
            if here {
                self.concealer.received(part);
                received = true;
            } else if quiet {
                self.concealer.silence(part);
            } else {
                concealed |= self.concealer.conceal(part);
            }
            at += run;
        }
        self.clear(play, FRAME_SAMPLES);
        match (concealed, received) {
            (true, _) => {
                self.stats.concealed_frames += 1;
                FarFrame::Concealed
            }
            (false, true) => FarFrame::Speech,
            (false, false) => FarFrame::Silence,
        }
    }

    fn shrink(&mut self, play: u64, out: &mut [i16; FRAME_SAMPLES]) -> FarFrame {
        let mut input = [0; stretch::SHRINK_INPUT];
        if !self.copy_out(play, &mut input) {
            // Meant silence has nothing to blend: simply skip some of it.
            if self.is_quiet(play, input.len()) {
                self.moved_by(stretch::LAG_MAX as i64);
                return self.plain(play + stretch::LAG_MAX as u64, out);
            }
            return self.plain(play, out);
        }
        let removed = stretch::shrink(&input, out);
        self.clear(play, FRAME_SAMPLES + removed);
        // What lies behind the part that was used goes back to valid.
        self.mark(play + (FRAME_SAMPLES + removed) as u64, input.len() - FRAME_SAMPLES - removed);
        self.play = Some(play + (FRAME_SAMPLES + removed) as u64);
        self.moved_by(removed as i64);
        self.concealer.received(out);
        FarFrame::Speech
    }

    fn lengthen(&mut self, play: u64, out: &mut [i16; FRAME_SAMPLES], urgent: bool) -> FarFrame {
        let mut input = [0; FRAME_SAMPLES];
        if self.copy_out(play, &mut input) {
            let inserted = stretch::lengthen(self.concealer.recent(), &input, out);
            self.mark(play, FRAME_SAMPLES);
            self.clear(play, FRAME_SAMPLES - inserted);
            self.play = Some(play + (FRAME_SAMPLES - inserted) as u64);
            self.moved_by(-(inserted as i64));
            self.concealer.received(out);
            return FarFrame::Speech;
        }
        let nothing_yet = !(0..FRAME_SAMPLES as u64).any(|n| self.is_valid(play + n));
        if urgent && nothing_yet && !self.is_quiet(play, FRAME_SAMPLES) {
            // The frame is late, not lost: fill the time and wait for it.
            self.moved_by(-(FRAME_SAMPLES as i64));
            if self.concealer.conceal(out) {
                self.stats.concealed_frames += 1;
                return FarFrame::Concealed;
            }
            return FarFrame::Silence;
        }
        self.plain(play, out)
    }

    /// The play position moved by this much more than time did.
    fn moved_by(&mut self, samples: i64) {
        self.delay.moved(samples);
        if samples > 0 {
            self.stats.removed_samples += samples.unsigned_abs();
        } else {
            self.stats.inserted_samples += samples.unsigned_abs();
        }
    }

    /// Samples until the next pull: a packet that comes just after one has that much more time.
    fn until_pull(&self, now: Instant) -> i64 {
        let left = self.next_pull.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        (left.min(FRAME).as_micros() as i64 * 8) / 1000
    }

    /// How far into a frame packets start. Those of an uneven length start anywhere.
    fn phase(&self, play: u64) -> i64 {
        if self.even {
            (self.newest as i64 - play as i64).rem_euclid(FRAME_SAMPLES as i64)
        } else {
            FRAME_SAMPLES as i64 - 1
        }
    }

    fn extend(&self, timestamp: u32) -> u64 {
        let ahead = timestamp.wrapping_sub(self.newest as u32) as i32;
        self.newest.saturating_add_signed(i64::from(ahead))
    }

    /// Stores what lies at or after the play position. False when all of it was there already.
    fn store(&mut self, start: u64, samples: &[i16]) -> bool {
        let play = self.play.unwrap_or(start);
        let skip = play.saturating_sub(start).min(samples.len() as u64) as usize;
        let start = start + skip as u64;
        let samples = &samples[skip..];
        if samples.is_empty() || self.all_valid(start, samples.len()) {
            return false;
        }
        let at = slot(start);
        let first = samples.len().min(CAPACITY - at);
        self.ring[at..at + first].copy_from_slice(&samples[..first]);
        self.ring[..samples.len() - first].copy_from_slice(&samples[first..]);
        self.mark(start, samples.len());
        true
    }

    /// Copies and clears a run if all of it is there.
    fn copy_out(&mut self, start: u64, out: &mut [i16]) -> bool {
        if !self.all_valid(start, out.len()) {
            let at = slot(start);
            for (n, sample) in out.iter_mut().enumerate() {
                *sample = self.ring[(at + n) % CAPACITY];
            }
            return false;
        }
        let at = slot(start);
        let first = out.len().min(CAPACITY - at);
        let (head, tail) = out.split_at_mut(first);
        head.copy_from_slice(&self.ring[at..at + first]);
        tail.copy_from_slice(&self.ring[..tail.len()]);
        self.clear(start, out.len());
        true
    }

    fn is_valid(&self, at: u64) -> bool {
        let at = slot(at);
        self.valid[at / 64] & (1 << (at % 64)) != 0
    }

    fn all_valid(&self, start: u64, length: usize) -> bool {
        words(start, length).all(|(word, mask)| self.valid[word] & mask == mask)
    }

    fn mark(&mut self, start: u64, length: usize) {
        for (word, mask) in words(start, length) {
            self.valid[word] |= mask;
        }
    }

    fn clear(&mut self, start: u64, length: usize) {
        for (word, mask) in words(start, length) {
            self.valid[word] &= !mask;
        }
    }
}

fn slot(at: u64) -> usize {
    (at % CAPACITY as u64) as usize
}

/// The words of the validity map that a run of samples touches, each with its bits.
fn words(start: u64, length: usize) -> impl Iterator<Item = (usize, u64)> {
    let mut at = slot(start);
    let mut left = length;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let bit = at % 64;
        let count = left.min(64 - bit);
        let mask = (u64::MAX >> (64 - count)) << bit;
        let word = at / 64;
        at = (at + count) % CAPACITY;
        left -= count;
        Some((word, mask))
    })
}

#[cfg(test)]
mod tests;
