//! What the call hears: frames to the recogniser, tones and echo to the core. It must never decide whose turn it is.

use std::time::Duration;

use call::io::{EarEvent, Tone};
use media::echo::EchoComparator;
use media::tone::{Cadence, CadenceDetector, ToneDetector, ToneEvent};
use media::{FRAME_SAMPLES, FarFrame, SAMPLE_RATE};

use crate::audio::Far;
use crate::provider::{SttEvent, SttSession};

/// Frames between two reports of echo likeness: 100 ms.
const ECHO_EVERY: u32 = 5;
/// Below this, what is played or heard counts as silence for the echo comparison: about -50 dBFS.
const AUDIBLE: i32 = 100;
/// Dropped frames are made up for with silence up to this long, so that the recogniser's clock stays the call's.
const LONGEST_GAP: u64 = 5 * SAMPLE_RATE as u64;

/// The hearing of one call.
pub(super) struct Ear {
    session: Option<SttSession>,
    /// Set once the core listens: where in the far end's audio the recogniser's time began.
    listening_since: Option<u64>,
    next_position: u64,
    tones: ToneDetector,
    cadence: CadenceDetector,
    echo: EchoComparator,
    frames: u32,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("listening_since", &self.listening_since).finish_non_exhaustive()
    }
}

impl Ear {
    pub(super) fn new(session: Option<SttSession>) -> Self {
        Self {
            session,
            listening_since: None,
            next_position: 0,
            tones: ToneDetector::default(),
            cadence: CadenceDetector::default(),
            echo: EchoComparator::default(),
            frames: 0,
        }
    }

    /// The call was answered: positions count from here.
    pub(super) fn answered(&mut self) {
        self.next_position = 0;
        self.tones = ToneDetector::default();
        self.cadence = CadenceDetector::default();
    }

    /// From now on the recogniser hears the far end.
    pub(super) fn listen(&mut self) {
        self.listening_since.get_or_insert(self.next_position);
    }

    /// What was said so far counts as said whole.
    pub(super) fn flush(&mut self) {
        if let Some(session) = &mut self.session {
            session.endpoint();
        }
    }

    pub(super) fn on_frame(&mut self, far: &Far, heard: &mut Vec<EarEvent>) {
        let at = position(far.position);
        if let Some(since) = self.listening_since {
            self.recognise(far, since);
        }
        if let Some(ToneEvent::Beep(_)) = self.tones.push(&far.samples) {
            heard.push(EarEvent::Tone { kind: Tone::Beep, at });
        }
        match self.cadence.push(&far.samples) {
            Some(Cadence::RingBack) => heard.push(EarEvent::Tone { kind: Tone::RingBack, at }),
            Some(Cadence::Busy | Cadence::Congestion) => heard.push(EarEvent::Tone { kind: Tone::BusyTone, at }),
            None => {}
        }
        self.echo.push(&far.near, &far.samples);
        self.frames += 1;
        if self.frames.is_multiple_of(ECHO_EVERY) && audible(&far.near) && audible(&far.samples) {
            heard.push(EarEvent::Echo { likeness: self.echo.score() });
        }
    }

    fn recognise(&mut self, far: &Far, since: u64) {
        // Without any recogniser the call goes on by keys and silence; only one that is lost in mid-call is a failure.
        let Some(session) = &mut self.session else { return };
        let gap = far.position.saturating_sub(self.next_position.max(since)).min(LONGEST_GAP);
        for _ in 0..gap / FRAME_SAMPLES as u64 {
            session.push(&[0; FRAME_SAMPLES]);
        }
        session.push(if far.kind == FarFrame::Nothing { &[0; FRAME_SAMPLES] } else { &far.samples });
        self.next_position = far.position + FRAME_SAMPLES as u64;
    }

    /// The recogniser's next event; never, without one.
    pub(super) async fn next(&mut self) -> Option<SttEvent> {
        match &mut self.session {
            Some(session) => session.events.recv().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn on_recogniser(&mut self, event: Option<SttEvent>, heard: &mut Vec<EarEvent>) {
        let since = position(self.listening_since.unwrap_or(0));
        let at = |ms: u64| since + Duration::from_millis(ms);
        match event {
            Some(SttEvent::SpeechStarted { at_ms }) => heard.push(EarEvent::SpeechStarted { at: at(at_ms) }),
            Some(SttEvent::SpeechEnded { at_ms }) => heard.push(EarEvent::SpeechEnded { at: at(at_ms) }),
            Some(SttEvent::Partial { text, at_ms }) => heard.push(EarEvent::Partial { text, at: at(at_ms) }),
            Some(SttEvent::Final { text, from_ms, to_ms, confidence }) => {
                heard.push(EarEvent::Final { text, from: at(from_ms), to: at(to_ms), confidence });
            }
            // The segment is lost, the session goes on: for the core it is speech without words.
            Some(SttEvent::Failed { error, at_ms }) => {
                tracing::warn!(%error, "a piece of speech was not recognised");
                heard.push(EarEvent::Final { text: String::new(), from: at(at_ms), to: at(at_ms), confidence: 0.0 });
            }
            None => {
                self.session = None;
                heard.push(EarEvent::Failed);
            }
        }
    }
}

fn position(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / u64::from(SAMPLE_RATE))
}

fn audible(frame: &[i16; FRAME_SAMPLES]) -> bool {
    frame.iter().any(|sample| i32::from(*sample).abs() > AUDIBLE)
}
