//! Speech recognition: the port, and the engine-independent parts of the recogniser that runs here.
//! It must never decide whose turn it is; that is `call`'s, from these events.

mod decodes;
pub mod moonshine;
mod pool;
pub mod segmenter;
mod session;
mod tokenizer;
mod voice;
mod voicing;

use std::fmt;

use tokio::sync::mpsc;

use super::error::ProviderError;

pub use pool::{Recogniser, RecogniserPool, Transcript};
pub use session::LocalStt;

/// Events a session may have waiting before partials, then everything, are dropped and counted.
pub const EVENT_CAPACITY: usize = 64;

/// Opens recognition sessions; one value is shared by all calls.
pub trait Stt: Send + Sync {
    /// Begins to listen to one leg at `rate` samples a second (8,000 or 16,000), in `language` (BCP 47).
    ///
    /// # Errors
    /// If the rate or language can't be recognised here, or nothing is installed that recognises.
    fn open(&self, rate: u32, language: &str) -> Result<SttSession, ProviderError>;

    /// Vendor word for metrics and status.
    fn vendor(&self) -> &'static str;
}

/// What was heard. All times are milliseconds of audio since the session began.
#[derive(Clone, PartialEq)]
pub enum SttEvent {
    /// Voice began at `at_ms`; reported some 60 ms later.
    SpeechStarted { at_ms: u64 },
    /// What the running segment says so far; replaces the partial before it.
    Partial { text: String, at_ms: u64 },
    /// What a segment said, for good. Empty text: voice without words. `confidence` is 0–1.
    Final { text: String, from_ms: u64, to_ms: u64, confidence: f32 },
    /// Voice ended at `at_ms`; the segment's `Final` follows.
    SpeechEnded { at_ms: u64 },
    /// A segment is lost; the session goes on.
    Failed { error: ProviderError, at_ms: u64 },
}

/// Times and lengths only: what was said is personal.
impl fmt::Debug for SttEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpeechStarted { at_ms } => write!(f, "SpeechStarted@{at_ms}"),
            Self::Partial { text, at_ms } => write!(f, "Partial({} chars)@{at_ms}", text.chars().count()),
            Self::Final { text, from_ms, to_ms, confidence } => {
                write!(f, "Final({} chars, {confidence:.2})@{from_ms}..{to_ms}", text.chars().count())
            }
            Self::SpeechEnded { at_ms } => write!(f, "SpeechEnded@{at_ms}"),
            Self::Failed { error, at_ms } => write!(f, "Failed({error})@{at_ms}"),
        }
    }
}

/// The way in for audio. Never blocks, never fails: what can't be worked on is dropped and counted.
pub trait SttInput: Send {
    /// Takes the next samples of the leg, in order.
    fn push(&mut self, samples: &[i16]);

    /// Ends the running segment now: the call's own endpointing decided so.
    fn endpoint(&mut self);
}

/// One leg's recognition.
pub struct SttSession {
    pub input: Box<dyn SttInput>,
    pub events: mpsc::Receiver<SttEvent>,
}

impl fmt::Debug for SttSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SttSession").finish_non_exhaustive()
    }
}

impl SttSession {
    /// Takes the next samples of the leg, in order; never blocks.
    pub fn push(&mut self, samples: &[i16]) {
        self.input.push(samples);
    }

    /// Ends the running segment now, without waiting for its silence.
    pub fn endpoint(&mut self) {
        self.input.endpoint();
    }
}

/// Recognition that is not there: every session is refused, so a call goes on by silence and DTMF.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStt;

impl Stt for NoStt {
    fn open(&self, _rate: u32, _language: &str) -> Result<SttSession, ProviderError> {
        Err(ProviderError::Unavailable { what: "speech recognition" })
    }

    fn vendor(&self) -> &'static str {
        "none"
    }
}
