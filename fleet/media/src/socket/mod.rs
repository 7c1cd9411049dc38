//! One call's audio for a leg without RTP: samples in as they come, a frame of the far end and a frame to send every
//! 20 ms.
//!
//! The order of a media thread's turn: [`SocketStream::hear`] for what has come, [`SocketStream::tick`] at the deadline,
//! then drain [`Desk::poll_event`] and [`Desk::poll_recording`]. What comes over a connection comes in bursts, by another
//! clock, and not at all while the dialler's caller is silent: the delay follows the bursts, the difference of the clocks
//! is taken up by whole pitch periods, and after a gap new audio is placed where it came. The far end is recorded where it
//! was heard, so that the channels can't part. Never blocks, never loses what came late, and allocates nothing per tick.

use crate::FRAME_SAMPLES;
use crate::desk::Desk;
use crate::dtmf::Outgoing;
use crate::jitter::{FarFrame, JitterBuffer};
use crate::playout::Source;
use crate::stream::{StreamEvent, StreamStats};
use std::collections::VecDeque;
use std::time::Instant;

/// Samples kept beyond what the jitter buffer holds, for a connection that stalled and delivers all at once: 3 s.
pub const MAX_BACKLOG: usize = 24_000;

/// What a tick has for the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// [`Desk::near_frame`] is to be sent.
    Sound,
    /// Nothing is to be sent, for the first time since something was.
    Ended,
    /// Nothing is to be sent.
    Nothing,
}

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketTick {
    /// What the far frame holds.
    pub far: FarFrame,
    /// What is to be sent.
    pub spoken: Spoken,
    /// Media time of this frame: samples since the stream's start, skipped ones included.
    pub position: u64,
    /// Frames that media time jumped over before this one, after a stall.
    pub skipped: u64,
}

/// The audio of one call on a socket.
#[derive(Debug)]
pub struct SocketStream {
    /// What the call steers: what is said, keys, recording, events.
    pub desk: Desk,
    jitter: JitterBuffer,
    /// What found no room in the jitter buffer; empty but for the time after a stall.
    backlog: VecDeque<i16>,
    sounding: bool,
    paused: bool,
    counted: StreamStats,
}

impl SocketStream {
    /// Starts a call's audio; the first tick is expected within 20 ms.
    pub fn new(now: Instant) -> Self {
        Self {
            desk: Desk::new(now),
            jitter: JitterBuffer::default(),
            backlog: VecDeque::new(),
            sounding: false,
            paused: false,
            counted: StreamStats::default(),
        }
    }

    /// Takes a piece of the far end's audio, 8 kHz, of any length. What finds no room is counted.
    pub fn hear(&mut self, now: Instant, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        if self.counted.received == 0 {
            self.desk.events.push(StreamEvent::FirstPacket);
        }
        self.counted.received += 1;
        let taken = if self.backlog.is_empty() { self.jitter.append(now, samples) } else { 0 };
        let rest = &samples[taken..];
        let kept = rest.len().min(MAX_BACKLOG - self.backlog.len());
        self.backlog.extend(&rest[..kept]);
        self.counted.overrun += (rest.len() - kept) as u64;
    }

    /// One 20 ms step: fills `far` with the next frame of the far end and says what is to be sent. After a stall longer
    /// than the pacer makes up for, media time jumps.
    pub fn tick(&mut self, now: Instant, far: &mut [i16; FRAME_SAMPLES]) -> SocketTick {
        let skipped = self.desk.clock.follow(now);
        let position = self.desk.clock.position();
        self.catch_up(now);
        let heard = self.jitter.pull(now, far);
        let spoken = self.speak();
        let desk = &mut self.desk;
        if let Some(recorder) = &mut desk.recorder {
            recorder.bot(position, &desk.near);
            recorder.customer_at(position, far);
        }
        desk.ticked();
        SocketTick { far: heard, spoken, position, skipped }
    }

    /// Barge-in: drops the queued audio at once, since the far side has to drop what it holds as well, reports waiting
    /// marks as [`StreamEvent::MarkCleared`], and returns how many samples were dropped. A spurt ends without
    /// [`Spoken::Ended`].
    pub fn clear(&mut self) -> usize {
        self.sounding = false;
        let Desk { playout, events, .. } = &mut self.desk;
        playout.cut(|mark| Desk::cleared(events, mark))
    }

    /// While the far side wants nothing (hold, a full queue), what is queued waits.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Counters since the start.
    pub fn stats(&self) -> StreamStats {
        let jitter = self.jitter.stats();
        let mut stats = StreamStats {
            concealed_frames: jitter.concealed_frames,
            delay_ms: self.jitter.delay_samples() * 1000 / crate::SAMPLE_RATE,
            ..self.counted
        };
        self.desk.count(&mut stats);
        stats
    }

    fn catch_up(&mut self, now: Instant) {
        if !self.backlog.is_empty() {
            let (front, _) = self.backlog.as_slices();
            let taken = self.jitter.append(now, front);
            self.backlog.drain(..taken);
        }
    }

    fn speak(&mut self) -> Spoken {
        let Desk { dtmf, playout, near, .. } = &mut self.desk;
        if self.paused {
            near.fill(0);
            return Spoken::Nothing;
        }
        let sounds = match dtmf.next_frame(false, near) {
            None => playout.next_samples(near) != Source::Nothing,
            Some(Outgoing::Tone) => true,
            // The far side plays what it gets without a gap: a pause has to be sent.
            Some(Outgoing::Pause | Outgoing::Event { .. }) => {
                near.fill(0);
                true
            }
        };
        let sounded = std::mem::replace(&mut self.sounding, sounds);
        self.counted.sent += u64::from(sounds);
        match (sounds, sounded) {
            (true, _) => Spoken::Sound,
            (false, true) => Spoken::Ended,
            (false, false) => Spoken::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
