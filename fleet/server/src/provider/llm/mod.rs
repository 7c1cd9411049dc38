//! Language models: the port and its vocabulary.
//! It must never hold a conversation; the call's brain sends all of it with each request.

mod fallback;
pub mod openai;
mod sse;
mod wire;

use std::fmt;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::ProviderError;

pub use fallback::FallbackLlm;

/// Events a stream may have waiting before it stops reading from the service.
pub const EVENT_CAPACITY: usize = 64;

/// Answers requests with a stream of tokens; one value is shared by all turns of a call.
pub trait Llm: Send + Sync {
    /// Starts to answer. Must be called within a tokio runtime; dropping the stream cancels.
    fn start(&self, request: LlmRequest) -> LlmStream;

    /// Opens a spare connection while the phone rings, so that the first turn does not pay for it.
    fn warm(&self) {}

    /// Vendor word for metrics and status.
    fn vendor(&self) -> &'static str;
}

/// One turn's question.
#[derive(Clone, Default)]
pub struct LlmRequest {
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub temperature: Option<f32>,
    pub max_tokens: Option<u32>,
}

impl fmt::Debug for LlmRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LlmRequest({} messages, {} tools)", self.messages.len(), self.tools.len())
    }
}

/// Who said a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One message of the conversation.
#[derive(Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// Tools that an assistant's message called.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} chars)", self.role, self.content.chars().count())
    }
}

/// A tool the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: serde_json::Value,
}

/// A tool the model called, complete.
#[derive(Clone, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments as the model wrote them; may not be valid JSON.
    pub arguments_json: String,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({})", self.name)
    }
}

/// Tokens a turn cost, where the service says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    /// It ran into `max_tokens`.
    Length,
    ToolCalls,
    /// The service's filter stopped it.
    ContentFilter,
    /// A word this server does not know, or none.
    Other,
}

/// What came of a turn; `Done` or `Failed` is the last.
#[derive(Clone, PartialEq)]
pub enum LlmEvent {
    Token(String),
    ToolCall(ToolCall),
    Done { usage: Usage, reason: FinishReason },
    Failed(ProviderError),
}

impl fmt::Debug for LlmEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(text) => write!(f, "Token({} chars)", text.chars().count()),
            Self::ToolCall(call) => write!(f, "{call:?}"),
            Self::Done { usage, reason } => write!(f, "Done({reason:?}, {usage:?})"),
            Self::Failed(error) => write!(f, "Failed({error})"),
        }
    }
}

/// A turn being answered; dropping it closes the connection at once.
#[derive(Debug)]
pub struct LlmStream {
    events: mpsc::Receiver<LlmEvent>,
    task: JoinHandle<()>,
}

impl LlmStream {
    /// Wraps the task that fills `events`.
    pub fn new(events: mpsc::Receiver<LlmEvent>, task: JoinHandle<()>) -> Self {
        Self { events, task }
    }

    /// The next event; `None` after `Done` or `Failed`. Cancel safe.
    pub async fn next(&mut self) -> Option<LlmEvent> {
        self.events.recv().await
    }
}

impl Drop for LlmStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
