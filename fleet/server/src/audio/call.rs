//! One call on its media thread, whatever carries it: a step every 20 ms, and what comes of it handed on.
//! It must never wait for whoever listens.

use std::time::Instant;

use media::desk::Desk;
use media::{FRAME_SAMPLES, FarFrame, StreamEvent, StreamStats};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::handle::{Opening, Reserved};
use super::rtp::{self, Scratch};
use super::{Far, socket};
use crate::recording::{RecordingId, Recordings};

/// What carries a call's audio.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a call lies in one place for all its life, and most are by RTP")]
pub(super) enum Line {
    Rtp(rtp::Line),
    Socket(socket::Line),
}

/// What a step did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stepped {
    pub kind: FarFrame,
    pub position: u64,
    pub near: [i16; FRAME_SAMPLES],
}

pub(super) struct Call {
    pub id: u64,
    pub line: Line,
    far: mpsc::Sender<Far>,
    events: mpsc::Sender<StreamEvent>,
    recording: Option<RecordingId>,
    /// Media time of the next step, and of the step at which the call was answered.
    next_position: u64,
    opened_at: u64,
}

impl Line {
    /// What both kinds of stream have; nothing before the stream is open.
    fn desk(&mut self) -> Option<&mut Desk> {
        match self {
            Self::Rtp(line) => line.stream().map(|stream| &mut stream.desk),
            Self::Socket(line) => line.stream().map(|stream| &mut stream.desk),
        }
    }
}

impl Call {
    pub(super) fn new(id: u64, reserved: Reserved) -> Self {
        Self {
            id,
            line: reserved.line,
            far: reserved.far,
            events: reserved.events,
            recording: None,
            next_position: 0,
            opened_at: 0,
        }
    }

    pub(super) fn open(&mut self, opening: &Opening) {
        let Line::Rtp(line) = &mut self.line else { return };
        let was_open = line.open(Instant::now(), opening);
        self.opened(was_open, opening.recording);
    }

    pub(super) fn open_socket(&mut self, recording: Option<RecordingId>) {
        let Line::Socket(line) = &mut self.line else { return };
        let was_open = line.open(Instant::now(), recording.is_some());
        self.opened(was_open, recording);
    }

    /// What came before a second opening was not the call yet: its positions count from here.
    fn opened(&mut self, was_open: bool, recording: Option<RecordingId>) {
        self.recording = recording;
        if was_open {
            self.opened_at = self.next_position;
        }
    }

    pub(super) fn on_desk(&mut self, act: impl FnOnce(&mut Desk)) {
        if let Some(desk) = self.line.desk() {
            act(desk);
        }
    }

    pub(super) fn clear(&mut self) {
        match &mut self.line {
            Line::Rtp(line) => {
                if let Some(stream) = line.stream() {
                    stream.clear();
                }
            }
            Line::Socket(line) => line.clear(),
        }
    }

    pub(super) fn step(&mut self, scratch: &mut Scratch, recordings: &Recordings) {
        let now = Instant::now();
        let mut samples = [0; FRAME_SAMPLES];
        let stepped = match &mut self.line {
            Line::Rtp(line) => line.step(now, scratch, &mut samples),
            Line::Socket(line) => line.step(now, &mut samples),
        };
        let Some(Stepped { kind, position, near }) = stepped else { return };
        self.next_position = position + FRAME_SAMPLES as u64;
        let far = Far { samples, near, kind, position: position.saturating_sub(self.opened_at) };
        // Closed means that nobody wants to hear: no loss. Full: this frame is lost, the gap shows in `position`.
        if let Err(TrySendError::Full(_)) = self.far.try_send(far) {
            metrics::counter!("ringfleet_far_frames_dropped_total").increment(1);
        }
        self.pass_on(recordings);
    }

    /// Ends the stream and hands on the rest of it.
    pub(super) fn finish(mut self, recordings: &Recordings) -> Option<StreamStats> {
        self.line.desk()?.finish();
        let stats = match &mut self.line {
            Line::Rtp(line) => line.stream().map(|stream| stream.stats()),
            Line::Socket(line) => line.stream().map(|stream| stream.stats()),
        };
        self.pass_on(recordings);
        stats
    }

    /// Hands on what the stream has ready: events to the call or its leg, blocks to the writer.
    fn pass_on(&mut self, recordings: &Recordings) {
        while let Some(event) = self.line.desk().and_then(Desk::poll_event) {
            let event = match &mut self.line {
                Line::Rtp(_) => Some(event),
                Line::Socket(line) => line.translate(event),
            };
            if let Some(event) = event
                && let Err(TrySendError::Full(_)) = self.events.try_send(event)
            {
                metrics::counter!("ringfleet_media_events_dropped_total").increment(1);
            }
        }
        let Some(desk) = self.line.desk() else { return };
        while let Some(block) = desk.poll_recording() {
            let Some(id) = self.recording else { continue };
            if let Err(block) = recordings.write(id, block) {
                metrics::counter!("ringfleet_recording_blocks_dropped_total").increment(1);
                desk.recycle_recording(block);
            }
        }
    }
}
