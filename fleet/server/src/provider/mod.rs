//! Speech and language providers behind three ports: [`Stt`], [`Tts`] and [`Llm`].
//!
//! A call opens one session of each, feeds it and reads its bounded event channel; who does the
//! work (a model in this process, a child process, a service) stays behind the port. Nothing here
//! may run a model on a tokio worker, block a caller, queue without a bound, or write what was
//! said into a log.

pub mod config;
pub mod error;
pub mod llm;
pub mod models;
mod onnx;
mod queue;
pub mod speech;
pub mod stt;
pub mod timing;
pub mod tts;

#[cfg(test)]
mod test_support;

pub use config::{Engine, LlmConfig, ProviderConfig, ProviderSettings, VoiceSpec};
pub use error::{Deadline, ProviderError};
pub use llm::{FinishReason, Llm, LlmEvent, LlmRequest, LlmStream, Message, Role, ToolCall, ToolSpec, Usage};
pub use models::{MissingModel, ModelSet};
pub use speech::{Speech, SpeechConfig, SpeechStatus};
pub use stt::{Stt, SttEvent, SttInput, SttSession};
pub use tts::{Tts, TtsEvent, TtsInput, TtsSession, UtteranceId};

/// Sample rate of all synthesised audio, in samples a second.
pub const OUTPUT_RATE: u32 = 8_000;
