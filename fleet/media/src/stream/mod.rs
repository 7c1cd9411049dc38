//! One call's audio path: datagrams in, a frame of the far end and a packet out every 20 ms.
//!
//! The order of a media thread's turn: [`Stream::handle_rtp`] for what has come,
//! [`Stream::tick`] at the deadline, then drain [`Stream::poll_event`] and
//! [`Stream::poll_recording`]. Never blocks, never fails on input (it counts), and allocates
//! nothing per packet once a call's recording blocks come back by [`Stream::recycle_recording`].

mod config;
mod inbound;
mod outbound;

pub use config::{Direction, Remote, StreamConfig, StreamEvent, StreamStats, Tick};

use crate::pacer::MAX_BURST;
use crate::playout::Clip;
use crate::recorder::{Block, Recorder};
use crate::{FRAME, FRAME_SAMPLES, MAX_PACKET};
use inbound::Inbound;
use outbound::Outbound;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// Events that wait to be polled; beyond, the oldest is dropped and counted.
pub const MAX_EVENTS: usize = 320;

/// The audio of one call.
#[derive(Debug)]
pub struct Stream {
    clock: MediaClock,
    inbound: Inbound,
    outbound: Outbound,
    recorder: Option<Recorder>,
    events: Events,
}

impl Stream {
    /// Starts a call's audio; the first tick is expected within 20 ms.
    pub fn new(now: Instant, config: StreamConfig) -> Self {
        Self {
            clock: MediaClock::new(now),
            recorder: config.record.then(|| Recorder::new(0)),
            outbound: Outbound::new(&config),
            inbound: Inbound::new(now, config.remote, config.media_cidrs),
            events: Events::default(),
        }
    }

    /// Takes a datagram from the call's RTP port. What is no valid packet of the call is counted.
    pub fn handle_rtp(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let arrival = self.clock.at(now);
        self.inbound.handle(now, arrival, source, bytes, self.recorder.as_mut(), &mut self.events);
    }

    /// One 20 ms step: fills `far` with the next frame of the far end and `packet` with the next
    /// packet to send. After a stall longer than the pacer makes up for, media time jumps.
    pub fn tick(&mut self, now: Instant, far: &mut [i16; FRAME_SAMPLES], packet: &mut [u8; MAX_PACKET]) -> Tick {
        let skipped = self.clock.follow(now);
        if skipped > 0 {
            self.outbound.interrupted();
        }
        let position = self.clock.position();
        let frame = self.inbound.pull(now, far, &mut self.events);
        let length = self.outbound.step(position, packet);
        if let Some(recorder) = &mut self.recorder {
            recorder.bot(position, self.outbound.frame());
        }
        while let Some(mark) = self.outbound.playout.poll_mark() {
            self.events.push(StreamEvent::MarkPlayed { id: mark.id, at_sample: mark.at_sample });
        }
        self.clock.ticks += 1;
        Tick { send: length.map(|length| (length, self.inbound.destination())), far: frame, position, skipped }
    }

    /// Queues bot audio; returns how many samples found room (60 s fit).
    pub fn play(&mut self, samples: &[i16]) -> usize {
        self.outbound.playout.play(samples)
    }

    /// Queues shared audio whole, or, without room, not at all; returns how many samples.
    pub fn play_clip(&mut self, clip: &Clip) -> usize {
        self.outbound.playout.play_clip(clip)
    }

    /// Loops a clip whenever nothing is queued (hold music, a bench tone). It doesn't count as
    /// played. `None` ends it.
    pub fn set_background(&mut self, clip: Option<Clip>) {
        self.outbound.playout.set_background(clip);
    }

    /// Asks for [`StreamEvent::MarkPlayed`] once all audio queued so far was sent. False when too
    /// many marks wait.
    pub fn mark(&mut self, id: u64) -> bool {
        self.outbound.playout.mark(id)
    }

    /// Barge-in: drops the queued audio with a fade of 5 ms, reports waiting marks as
    /// [`StreamEvent::MarkCleared`], and returns how many samples were dropped.
    pub fn clear(&mut self) -> usize {
        let events = &mut self.events;
        self.outbound.playout.clear(|mark| {
            events.push(StreamEvent::MarkCleared { id: mark.id, at_sample: mark.at_sample });
        })
    }

    /// Samples of queued audio sent since the start.
    pub fn played_samples(&self) -> u64 {
        self.outbound.playout.played()
    }

    /// Samples of audio waiting to be sent.
    pub fn queued_samples(&self) -> usize {
        self.outbound.playout.queued()
    }

    /// What the last tick sent as audio, for the recording's and the echo comparison's sake.
    pub fn near_frame(&self) -> &[i16; FRAME_SAMPLES] {
        self.outbound.frame()
    }

    /// Queues keys, as RFC 4733 events or, without a negotiated payload type, as tones. Audio waits
    /// meanwhile. Returns how many found room.
    pub fn send_dtmf(&mut self, digits: &str) -> usize {
        self.outbound.dtmf.send(digits)
    }

    /// Applies a new SDP of the far side (re-INVITE, early media to answer).
    pub fn update_remote(&mut self, now: Instant, remote: Remote) {
        self.outbound.update(&remote);
        self.inbound.update(now, remote);
    }

    /// Where media is sent to now.
    pub fn destination(&self) -> SocketAddr {
        self.inbound.destination()
    }

    /// Starts the recording now, if it isn't running.
    pub fn start_recording(&mut self) {
        let origin = self.clock.position();
        self.recorder.get_or_insert_with(|| Recorder::new(origin));
    }

    /// The next finished second of the recording, or, after [`Stream::finish`], its rest.
    pub fn poll_recording(&mut self) -> Option<Block> {
        self.recorder.as_mut()?.poll_block()
    }

    /// Gives the memory of a written block back.
    pub fn recycle_recording(&mut self, block: Block) {
        if let Some(recorder) = &mut self.recorder {
            recorder.recycle(block);
        }
    }

    /// Ends the call's audio: all that was recorded becomes ready to be polled.
    pub fn finish(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.finish();
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.queue.pop_front()
    }

    /// Counters since the start.
    pub fn stats(&self) -> StreamStats {
        let mut stats = self.inbound.stats();
        stats.sent = self.outbound.sent();
        stats.skipped_frames = self.clock.skipped;
        stats.dropped_events = self.events.dropped;
        if let Some(recorder) = &self.recorder {
            let recording = recorder.stats();
            stats.recorded_frames = recorder.frames();
            stats.recording_misplaced = recording.misplaced;
            stats.recording_dropped_blocks = recording.dropped_blocks;
        }
        stats
    }
}

/// Our own media time: 160 samples a tick, held to the caller's clock over stalls.
#[derive(Debug)]
struct MediaClock {
    origin: Instant,
    ticks: u64,
    skipped: u64,
}

impl MediaClock {
    fn new(origin: Instant) -> Self {
        Self { origin, ticks: 0, skipped: 0 }
    }

    /// Media time of the coming frame, in samples.
    fn position(&self) -> u64 {
        self.ticks * FRAME_SAMPLES as u64
    }

    /// Media time of an instant, in samples.
    fn at(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.origin).as_micros();
        u64::try_from(micros * 8 / 1000).unwrap_or(u64::MAX)
    }

    /// Jumps over frames that can't be made up for; returns how many.
    fn follow(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_micros() / FRAME.as_micros();
        let due = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let behind = due.saturating_sub(self.ticks);
        let skip = behind.saturating_sub(u64::from(MAX_BURST));
        self.ticks += skip;
        self.skipped += skip;
        skip
    }
}

/// The bounded queue of events.
#[derive(Debug, Default)]
struct Events {
    queue: VecDeque<StreamEvent>,
    dropped: u64,
}

impl Events {
    fn push(&mut self, event: StreamEvent) {
        if self.queue.len() == MAX_EVENTS {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(event);
    }
}

#[cfg(test)]
mod tests;
