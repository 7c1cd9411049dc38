//! Speech synthesis: the port, and the engine-independent parts of the synthesiser that runs here.
//! It must never play or pace audio; that is the media threads'.

mod cache;
mod clauses;
mod espeak;
pub mod flite;
mod phonemes;
pub mod piper;
mod pool;
mod session;
mod shape;

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::config::VoiceSpec;
use super::error::ProviderError;

pub use cache::PromptCache;
pub use clauses::{Clause, Clauses, Pause};
pub use pool::{Synthesiser, SynthesiserPool, SynthesiserSet};
pub use session::LocalTts;

/// Events a session may have waiting before it is given up as unread.
pub const EVENT_CAPACITY: usize = 256;

/// Opens synthesis sessions; one value is shared by all calls.
pub trait Tts: Send + Sync {
    /// Begins a session that speaks with `voice`.
    ///
    /// # Errors
    /// If no engine is installed that has this voice.
    fn open(&self, voice: &VoiceSpec) -> Result<TtsSession, ProviderError>;
}

/// One thing the bot says, told apart within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UtteranceId(pub u64);

/// What was synthesised.
#[derive(Clone, PartialEq)]
pub enum TtsEvent {
    /// The next samples of the utterance, at [`super::OUTPUT_RATE`], with exactly the text they speak.
    Audio { utterance: UtteranceId, samples: Arc<[i16]>, text: String },
    /// All of the utterance is out.
    Done { utterance: UtteranceId },
    /// The utterance ends here; what came before it stands.
    Failed { utterance: UtteranceId, error: ProviderError },
}

/// Ids and lengths only: what is said is personal.
impl fmt::Debug for TtsEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audio { utterance, samples, text } => {
                write!(f, "Audio(#{}, {} samples, {} chars)", utterance.0, samples.len(), text.chars().count())
            }
            Self::Done { utterance } => write!(f, "Done(#{})", utterance.0),
            Self::Failed { utterance, error } => write!(f, "Failed(#{}, {error})", utterance.0),
        }
    }
}

/// The way in for text. Never blocks.
pub trait TtsInput: Send + Sync {
    /// Adds `text` to `utterance`; `last` says that nothing follows, and brings `Done`.
    ///
    /// Pieces may be cut anywhere (tokens of a language model). Utterances are spoken in the order
    /// of their first piece.
    ///
    /// # Errors
    /// If more text waits than a call may have waiting.
    fn say(&self, utterance: UtteranceId, text: &str, last: bool) -> Result<(), ProviderError>;

    /// Forgets what is left of `utterance`: no event of it is sent after this returns, though one
    /// already in the channel may still be read.
    fn cancel(&self, utterance: UtteranceId);
}

/// One bot voice in one call. Dropping it cancels everything.
pub struct TtsSession {
    pub input: Arc<dyn TtsInput>,
    pub events: mpsc::Receiver<TtsEvent>,
}

impl fmt::Debug for TtsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TtsSession").finish_non_exhaustive()
    }
}

impl TtsSession {
    /// Adds text to an utterance; see [`TtsInput::say`].
    ///
    /// # Errors
    /// If more text waits than a call may have waiting.
    pub fn say(&self, utterance: UtteranceId, text: &str, last: bool) -> Result<(), ProviderError> {
        self.input.say(utterance, text, last)
    }

    /// Forgets what is left of an utterance; see [`TtsInput::cancel`].
    pub fn cancel(&self, utterance: UtteranceId) {
        self.input.cancel(utterance);
    }
}

/// Synthesis that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTts;

impl Tts for NoTts {
    fn open(&self, _voice: &VoiceSpec) -> Result<TtsSession, ProviderError> {
        Err(ProviderError::Unavailable { what: "speech synthesis" })
    }
}
