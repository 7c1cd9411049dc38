//! A call's audio on a leg that has no RTP: samples in and out over two bounded queues. It must never wait for the leg:
//! what a stuck leg does not take is dropped and counted, and only what the call must know of waits for it.

use std::collections::VecDeque;
use std::time::Instant;

use media::socket::{SocketStream, Spoken};
use media::{FRAME_SAMPLES, StreamEvent};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::call::Stepped;

/// Pieces that may wait for the media thread, which takes all of them every 20 ms. A connection that stalled delivers
/// seconds at once, so it is far longer than one step's worth; memory is only taken by what waits.
const HEARD_QUEUE: usize = 256;
/// Frames and marks that may wait for the leg: a second and a quarter.
const SAID_QUEUE: usize = 64;

/// Marks and the like kept for a leg that takes nothing; more than a playout holds, and beyond it the oldest is lost.
const MOST_WAITING: usize = 512;

/// A piece of the far end's audio: 8 kHz mono, any length, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub samples: Vec<i16>,
}

/// What goes out, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are frames, and no media thread allocates for one")]
pub enum Said {
    /// 20 ms of 8 kHz audio, to be sent now; only while something sounds.
    Frame([i16; FRAME_SAMPLES]),
    /// Nothing sounds any more: what was collected for a longer message has to go now.
    SpurtEnd,
    /// All audio before the mark has gone out. `at_sample`: samples of queued audio since the start.
    Mark { id: u64, at_sample: u64 },
    /// Barge-in: whatever the dialler has not played yet shall not be played.
    Cut { at_sample: u64 },
    /// The audio before this mark was dropped by the cut.
    Cleared { id: u64, at_sample: u64 },
}

/// The leg's end of a call's audio, stepped every 20 ms by a media thread.
#[derive(Debug)]
pub struct SocketLine {
    /// What the far end says: `try_send`; what a full queue does not take is lost and for the leg to count.
    pub heard: mpsc::Sender<Heard>,
    pub said: mpsc::Receiver<Said>,
    /// Where the leg tells the call which marks were played: when the dialler says so, or at once.
    pub events: mpsc::Sender<StreamEvent>,
}

/// The media thread's end.
#[derive(Debug)]
pub(super) struct Line {
    heard: mpsc::Receiver<Heard>,
    said: mpsc::Sender<Said>,
    /// Marks, cuts and ends of spurts that found no room: they keep their order and go before anything else.
    waiting: VecDeque<Said>,
    stream: Option<SocketStream>,
}

pub(super) fn pair(events: mpsc::Sender<StreamEvent>) -> (Line, SocketLine) {
    let (heard, heard_in) = mpsc::channel(HEARD_QUEUE);
    let (said, said_in) = mpsc::channel(SAID_QUEUE);
    let line = Line { heard: heard_in, said, waiting: VecDeque::new(), stream: None };
    (line, SocketLine { heard, said: said_in, events })
}

impl Line {
    /// Opens the stream, if it is not open; true when it was.
    pub(super) fn open(&mut self, now: Instant, record: bool) -> bool {
        let was_open = self.stream.is_some();
        let stream = self.stream.get_or_insert_with(|| {
            // What was said before the call began belongs to nobody.
            while self.heard.try_recv().is_ok() {}
            SocketStream::new(now)
        });
        if record {
            stream.desk.start_recording();
        }
        was_open
    }

    pub(super) fn stream(&mut self) -> Option<&mut SocketStream> {
        self.stream.as_mut()
    }

    pub(super) fn pause(&mut self, paused: bool) {
        if let Some(stream) = &mut self.stream {
            stream.pause(paused);
        }
    }

    /// Drops what is queued and tells the leg, also when nothing was: the dialler may still have some of it.
    pub(super) fn clear(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        stream.clear();
        let at_sample = stream.desk.played_samples();
        self.tell(Said::Cut { at_sample });
    }

    /// One step: hears what has come, says what is due.
    pub(super) fn step(&mut self, now: Instant, far: &mut [i16; FRAME_SAMPLES]) -> Option<Stepped> {
        let stream = self.stream.as_mut()?;
        while let Ok(piece) = self.heard.try_recv() {
            stream.hear(now, &piece.samples);
        }
        let tick = stream.tick(now, far);
        let near = *stream.desk.near_frame();
        match tick.spoken {
            Spoken::Sound => self.say(near),
            Spoken::Ended => self.tell(Said::SpurtEnd),
            Spoken::Nothing => self.hurry(),
        }
        Some(Stepped { kind: tick.far, position: tick.position, near })
    }

    /// What a stream's event is to the leg; gives back what is the call's to know.
    pub(super) fn translate(&mut self, event: StreamEvent) -> Option<StreamEvent> {
        match event {
            StreamEvent::MarkPlayed { id, at_sample } => self.tell(Said::Mark { id, at_sample }),
            StreamEvent::MarkCleared { id, at_sample } => self.tell(Said::Cleared { id, at_sample }),
            other => return Some(other),
        }
        None
    }

    fn say(&mut self, frame: [i16; FRAME_SAMPLES]) {
        self.hurry();
        if !self.waiting.is_empty() {
            metrics::counter!("ringfleet_said_frames_dropped_total").increment(1);
        } else if let Err(TrySendError::Full(_)) = self.said.try_send(Said::Frame(frame)) {
            metrics::counter!("ringfleet_said_frames_dropped_total").increment(1);
        }
    }

    fn tell(&mut self, said: Said) {
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
            metrics::counter!("ringfleet_said_marks_dropped_total").increment(1);
        }
        self.waiting.push_back(said);
        self.hurry();
    }

    /// Sends what waits, as far as there is room.
    fn hurry(&mut self) {
        while let Some(said) = self.waiting.pop_front() {
            match self.said.try_send(said) {
                Ok(()) => {}
                Err(TrySendError::Full(said)) => {
                    self.waiting.push_front(said);
                    return;
                }
                // The leg is gone: nobody is left to tell.
                Err(TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }
}
