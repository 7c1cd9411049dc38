//! The stereo recording: customer left, bot right, 8 kHz, 16 bit, interleaved little-endian.
//!
//! The bot's samples lie where our own RTP timestamps put them. The customer's lie by their RTP
//! timestamps, through an offset that follows the fastest packets of the last seconds: it absorbs
//! the drift between the two clocks a sample at a time, and is blind to jitter, loss and to what
//! the jitter buffer does. So a packet that came too late to be heard still lands in its place,
//! what never came is silence, and the two channels never part. A customer without timestamps (on a
//! socket) is recorded where it was heard. Never does I/O: finished blocks are polled and written
//! elsewhere.

use std::collections::VecDeque;

/// Stereo frames of one block: 1 s.
pub const BLOCK_FRAMES: usize = 8000;
/// Bytes of one stereo frame.
const FRAME_BYTES: usize = 4;
/// How long a block stays open for late packets after its end, in frames: 1 s.
const WINDOW: u64 = 8000;
/// Blocks open at once: the one being played, its forerunner in the window, and what lies ahead.
const OPEN_BLOCKS: usize = 3;
/// Finished blocks that wait for the writer; beyond, the oldest is dropped and counted.
pub const MAX_FINISHED: usize = 10;
/// Blocks kept to be filled again.
const MAX_SPARE: usize = 2;

/// A finished piece of the recording.
#[derive(Debug)]
pub struct Block {
    /// Stereo frames of the recording before this block. A jump means that blocks were dropped.
    pub first_frame: u64,
    /// Stereo frames in it: [`BLOCK_FRAMES`], fewer in the last one.
    pub frames: usize,
    buffer: Box<[u8]>,
}

impl Block {
    /// Interleaved samples, ready for a WAV file.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.frames * FRAME_BYTES]
    }
}

/// Counters of a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Packets of the customer whose place was finished already, or lies beyond the open blocks.
    pub misplaced: u64,
    /// Blocks dropped because the writer didn't take them.
    pub dropped_blocks: u64,
}

/// Records one call.
#[derive(Debug)]
pub struct Recorder {
    /// Media time at which the recording starts.
    origin: u64,
    /// Recording frame at which the first open block starts.
    first: u64,
    open: VecDeque<Box<[u8]>>,
    end: u64,
    finished: VecDeque<Block>,
    spare: Vec<Box<[u8]>>,
    clock: FarClock,
    stats: RecorderStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Customer,
    Bot,
}

impl Recorder {
    /// Starts at a media time, in samples of our own clock.
    pub fn new(origin: u64) -> Self {
        Self {
            origin,
            first: 0,
            open: (0..OPEN_BLOCKS).map(|_| blank()).collect(),
            end: 0,
            finished: VecDeque::with_capacity(MAX_FINISHED),
            spare: Vec::with_capacity(MAX_SPARE),
            clock: FarClock::default(),
            stats: RecorderStats::default(),
        }
    }

    /// Writes what we sent at a media time, and lets the recording reach its end.
    pub fn bot(&mut self, at: u64, samples: &[i16]) {
        let at = at.saturating_sub(self.origin);
        self.reach(at + samples.len() as u64);
        self.write(Channel::Bot, at as i64, samples);
    }

    /// Writes a packet of the customer that came at a media time.
    pub fn customer(&mut self, arrival: u64, timestamp: u32, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        let placed = self.clock.place(arrival, timestamp, samples.len());
        let at = placed.at - self.origin as i64;
        // A correction of the offset leaves a few samples open: hold the first one.
        for n in 1..=placed.gap as i64 {
            self.write(Channel::Customer, at - n, &samples[..1]);
        }
        if !self.write(Channel::Customer, at, samples) {
            self.stats.misplaced += 1;
        }
    }

    /// Writes what was heard of a customer without timestamps, at our media time: call it after
    /// [`Recorder::bot`] of the same frame.
    pub fn customer_at(&mut self, at: u64, samples: &[i16]) {
        let at = at.saturating_sub(self.origin);
        self.write(Channel::Customer, at as i64, samples);
    }

    /// The customer's timestamps have begun anew.
    pub fn restart_customer(&mut self) {
        self.clock = FarClock::default();
    }

    /// The next finished block.
    pub fn poll_block(&mut self) -> Option<Block> {
        self.finished.pop_front()
    }

    /// Takes a written block's memory back.
    pub fn recycle(&mut self, block: Block) {
        if self.spare.len() < MAX_SPARE && block.buffer.len() == BLOCK_FRAMES * FRAME_BYTES {
            self.spare.push(block.buffer);
        }
    }

    /// Finishes all blocks up to the last frame reached. More may be recorded afterwards only from
    /// there on.
    pub fn finish(&mut self) {
        while self.first < self.end {
            let frames = (self.end - self.first).min(BLOCK_FRAMES as u64) as usize;
            self.finish_first(frames);
        }
    }

    /// Stereo frames recorded so far.
    pub fn frames(&self) -> u64 {
        self.end
    }

    /// Counters since the start.
    pub fn stats(&self) -> RecorderStats {
        self.stats
    }

    fn reach(&mut self, end: u64) {
        self.end = self.end.max(end);
        while self.first + BLOCK_FRAMES as u64 + WINDOW <= self.end {
            self.finish_first(BLOCK_FRAMES);
        }
    }

    fn finish_first(&mut self, frames: usize) {
        let Some(buffer) = self.open.pop_front() else {
            return;
        };
        if self.finished.len() == MAX_FINISHED {
            self.stats.dropped_blocks += 1;
            if let Some(oldest) = self.finished.pop_front() {
                self.recycle(oldest);
            }
        }
        self.finished.push_back(Block { first_frame: self.first, frames, buffer });
        self.first += frames as u64;
        let fresh = match self.spare.pop() {
            Some(mut spare) => {
                spare.fill(0);
                spare
            }
            None => blank(),
        };
        self.open.push_back(fresh);
    }

    /// False when none of it lies in an open block.
    fn write(&mut self, channel: Channel, at: i64, samples: &[i16]) -> bool {
        let mut at = at - self.first as i64;
        let mut samples = samples;
        if at < 0 {
            let skip = at.unsigned_abs().min(samples.len() as u64) as usize;
            samples = &samples[skip..];
            at = 0;
        }
        let mut at = at as usize;
        let mut wrote = false;
        while !samples.is_empty() {
            let Some(block) = self.open.get_mut(at / BLOCK_FRAMES) else {
                return wrote;
            };
            let from = at % BLOCK_FRAMES;
            let count = samples.len().min(BLOCK_FRAMES - from);
            let (frames, _) = block[from * FRAME_BYTES..(from + count) * FRAME_BYTES].as_chunks_mut::<FRAME_BYTES>();
            match channel {
                Channel::Customer => {
                    for (frame, sample) in frames.iter_mut().zip(samples) {
                        [frame[0], frame[1]] = sample.to_le_bytes();
                    }
                }
                Channel::Bot => {
                    for (frame, sample) in frames.iter_mut().zip(samples) {
                        [frame[2], frame[3]] = sample.to_le_bytes();
                    }
                }
            }
            samples = &samples[count..];
            at += count;
            wrote = true;
        }
        wrote
    }
}

fn blank() -> Box<[u8]> {
    vec![0; BLOCK_FRAMES * FRAME_BYTES].into_boxed_slice()
}

/// Maps the customer's timestamps to our media time.
#[derive(Debug, Default)]
struct FarClock {
    state: Option<FarState>,
}

#[derive(Debug)]
struct FarState {
    /// Newest extended timestamp.
    newest: i64,
    /// Media time minus extended timestamp.
    offset: i64,
    /// Least difference seen in this period and in the one before.
    least: i64,
    least_before: i64,
    period_ends: u64,
    /// Until then the fastest packet is still being looked for.
    settles_at: u64,
    /// Where the packet of the newest timestamp ended, in both clocks.
    end: (i64, i64),
}

struct Placed {
    at: i64,
    /// Samples between the end of the forerunner and this packet that belong to neither.
    gap: u32,
}

/// Over this span the fastest packet counts: 5 s to 10 s.
const PERIOD: u64 = 40_000;
/// At the start the offset jumps instead of gliding: 1 s.
const SETTLING: u64 = 8000;
/// A difference from here on is no drift but another path: 80 ms.
const STEP: i64 = 640;

impl FarClock {
    fn place(&mut self, arrival: u64, timestamp: u32, length: usize) -> Placed {
        let length = length as i64;
        let Some(state) = &mut self.state else {
            let start = i64::from(timestamp);
            let least = arrival as i64 - start - length;
            self.state = Some(FarState {
                newest: start,
                offset: least,
                least,
                least_before: least,
                period_ends: arrival + PERIOD,
                settles_at: arrival + SETTLING,
                end: (start + length, start + length + least),
            });
            return Placed { at: start + least, gap: 0 };
        };
        let ahead = timestamp.wrapping_sub(state.newest as u32) as i32;
        let start = state.newest + i64::from(ahead);
        state.follow(arrival, arrival as i64 - start - length);
        let at = start + state.offset;
        let gap = if start == state.end.0 { (at - state.end.1).clamp(0, STEP / 16) as u32 } else { 0 };
        if ahead >= 0 {
            state.newest = start;
            state.end = (start + length, at + length);
        }
        Placed { at, gap }
    }
}

impl FarState {
    /// The fastest packet shows the true offset; every other one was merely delayed.
    fn follow(&mut self, arrival: u64, difference: i64) {
        if arrival >= self.period_ends {
            self.least_before = self.least;
            self.least = difference;
            self.period_ends = arrival + PERIOD;
        }
        self.least = self.least.min(difference);
        let error = self.least.min(self.least_before) - self.offset;
        self.offset += match error.abs() {
            0 => 0,
            _ if arrival < self.settles_at => error,
            STEP.. => error,
            small => error.signum() * (1 + small / 32),
        };
    }
}

#[cfg(test)]
mod tests;
