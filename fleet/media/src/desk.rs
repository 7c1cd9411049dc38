//! What a call's audio has whatever carries it: what the bot says next, the keys it sends, the recording, media time and
//! the events. A stream adds how audio comes in and goes out. It must never know of packets or sockets.

use crate::dtmf::EventSender;
use crate::pacer::MAX_BURST;
use crate::playout::{Clip, DueMark, Playout};
use crate::recorder::{Block, Recorder};
use crate::stream::{StreamEvent, StreamStats};
use crate::{FRAME, FRAME_SAMPLES};
use std::collections::VecDeque;
use std::time::Instant;

/// Events that wait to be polled; beyond, the oldest is dropped and counted.
pub const MAX_EVENTS: usize = 320;

/// The part of a stream that a call steers.
#[derive(Debug)]
pub struct Desk {
    pub(crate) clock: MediaClock,
    pub(crate) playout: Playout,
    pub(crate) dtmf: EventSender,
    pub(crate) events: Events,
    /// What the last tick sent.
    pub(crate) near: [i16; FRAME_SAMPLES],
    pub(crate) recorder: Option<Recorder>,
}

impl Desk {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            clock: MediaClock::new(now),
            playout: Playout::default(),
            dtmf: EventSender::default(),
            events: Events::default(),
            near: [0; FRAME_SAMPLES],
            recorder: None,
        }
    }

    /// Queues bot audio; returns how many samples found room (60 s fit).
    pub fn play(&mut self, samples: &[i16]) -> usize {
        self.playout.play(samples)
    }

    /// Queues shared audio whole, or, without room, not at all; returns how many samples.
    pub fn play_clip(&mut self, clip: &Clip) -> usize {
        self.playout.play_clip(clip)
    }

    /// Loops a clip whenever nothing is queued (hold music, a bench tone). It doesn't count as
    /// played. `None` ends it.
    pub fn set_background(&mut self, clip: Option<Clip>) {
        self.playout.set_background(clip);
    }

    /// Asks for [`StreamEvent::MarkPlayed`] once all audio queued so far was sent. False when too
    /// many marks wait.
    pub fn mark(&mut self, id: u64) -> bool {
        self.playout.mark(id)
    }

    /// Samples of queued audio sent since the start.
    pub fn played_samples(&self) -> u64 {
        self.playout.played()
    }

    /// Samples of audio waiting to be sent.
    pub fn queued_samples(&self) -> usize {
        self.playout.queued()
    }

    /// What the last tick sent as audio, for the recording's and the echo comparison's sake.
    pub fn near_frame(&self) -> &[i16; FRAME_SAMPLES] {
        &self.near
    }

    /// Queues keys, as RFC 4733 events or, where none were negotiated, as tones. Audio waits
    /// meanwhile. Returns how many found room.
    pub fn send_dtmf(&mut self, digits: &str) -> usize {
        self.dtmf.send(digits)
    }

    /// Starts the recording now, if it isn't running.
    pub fn start_recording(&mut self) {
        let origin = self.clock.position();
        self.recorder.get_or_insert_with(|| Recorder::new(origin));
    }

    /// The next finished second of the recording, or, after [`Desk::finish`], its rest.
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

    /// The end of a tick: reports the marks that its frame reached, and lets media time go on.
    pub(crate) fn ticked(&mut self) {
        while let Some(mark) = self.playout.poll_mark() {
            self.events.push(StreamEvent::MarkPlayed { id: mark.id, at_sample: mark.at_sample });
        }
        self.clock.ticks += 1;
    }

    pub(crate) fn cleared(events: &mut Events, mark: DueMark) {
        events.push(StreamEvent::MarkCleared { id: mark.id, at_sample: mark.at_sample });
    }

    /// Adds this part's counters.
    pub(crate) fn count(&self, stats: &mut StreamStats) {
        stats.skipped_frames = self.clock.skipped;
        stats.dropped_events = self.events.dropped;
        if let Some(recorder) = &self.recorder {
            let recording = recorder.stats();
            stats.recorded_frames = recorder.frames();
            stats.recording_misplaced = recording.misplaced;
            stats.recording_dropped_blocks = recording.dropped_blocks;
        }
    }
}

/// Our own media time: 160 samples a tick, held to the caller's clock over stalls.
#[derive(Debug)]
pub(crate) struct MediaClock {
    origin: Instant,
    ticks: u64,
    skipped: u64,
}

impl MediaClock {
    fn new(origin: Instant) -> Self {
        Self { origin, ticks: 0, skipped: 0 }
    }

    /// Media time of the coming frame, in samples.
    pub(crate) fn position(&self) -> u64 {
        self.ticks * FRAME_SAMPLES as u64
    }

    /// Media time of an instant, in samples.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.origin).as_micros();
        u64::try_from(micros * 8 / 1000).unwrap_or(u64::MAX)
    }

    /// Jumps over frames that can't be made up for; returns how many.
    pub(crate) fn follow(&mut self, now: Instant) -> u64 {
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
pub(crate) struct Events {
    queue: VecDeque<StreamEvent>,
    dropped: u64,
}

impl Events {
    pub(crate) fn push(&mut self, event: StreamEvent) {
        if self.queue.len() == MAX_EVENTS {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(event);
    }
}
