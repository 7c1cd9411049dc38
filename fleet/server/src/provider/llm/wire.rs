//! What the chunks of a chat completion mean, and tool calls put together from their pieces.
//! It must never trust an index or a length: both come from outside.

use serde::Deserialize;

use super::openai::VENDOR;
use super::{FinishReason, ToolCall, Usage};
use crate::provider::error::{Detail, ProviderError};

/// Tools a single answer may call.
const MOST_CALLS: usize = 16;
/// Longest arguments of a tool, in bytes.
const LONGEST_ARGUMENTS: usize = 64 * 1024;

/// One event of the stream.
#[derive(Debug)]
pub(super) enum Chunk {
    /// `[DONE]`.
    Done,
    Delta(Box<Completion>),
}

#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<RawUsage>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Debug, Deserialize)]
struct CallPiece {
    /// Some servers leave it out when there is only one.
    #[serde(default)]
    index: usize,
    id: Option<String>,
    function: Option<FunctionPiece>,
}

#[derive(Debug, Deserialize)]
struct FunctionPiece {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct RawUsage {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

impl Chunk {
    /// Reads the data of one event.
    pub(super) fn parse(data: &str) -> Result<Self, ProviderError> {
        if data.trim() == "[DONE]" {
            return Ok(Self::Done);
        }
        let delta = serde_json::from_str(data);
        delta
            .map(Self::Delta)
            .map_err(|_| ProviderError::Protocol { vendor: VENDOR, what: "an event that is no completion" })
    }
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    calls: Vec<ToolCall>,
    usage: Usage,
    reason: Option<FinishReason>,
    progress: usize,
}

impl Assembly {
    /// Grows whenever the answer did.
    pub(super) fn progress(&self) -> usize {
        self.progress
    }

    /// Adds a chunk; gives the text that it brought.
    pub(super) fn take(&mut self, chunk: Chunk) -> Result<Vec<String>, ProviderError> {
        let Chunk::Delta(completion) = chunk else { return Ok(Vec::new()) };
        if let Some(error) = completion.error {
            // Servers that fail in mid-stream have no status left to say it with.
            let detail = Detail::new(&error.to_string());
            return Err(ProviderError::Refused { vendor: VENDOR, status: 200, detail });
        }
        if let Some(usage) = completion.usage {
            self.usage = Usage { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens };
        }
        let mut tokens = Vec::new();
        // We ask for one choice; a second would be another answer.
        for choice in completion.choices.into_iter().take(1) {
            tokens.extend(choice.delta.content.filter(|content| !content.is_empty()));
            for piece in choice.delta.tool_calls.into_iter().flatten() {
                self.add(piece)?;
                self.progress += 1;
            }
            if let Some(reason) = choice.finish_reason {
                self.reason = Some(finish_reason(&reason));
                self.progress += 1;
            }
        }
        self.progress += tokens.len();
        Ok(tokens)
    }

    fn add(&mut self, piece: CallPiece) -> Result<(), ProviderError> {
        if piece.index >= MOST_CALLS {
            return Err(ProviderError::Protocol { vendor: VENDOR, what: "too many tool calls" });
        }
        while self.calls.len() <= piece.index {
            self.calls.push(ToolCall { id: String::new(), name: String::new(), arguments_json: String::new() });
        }
        let call = &mut self.calls[piece.index];
        if let Some(id) = piece.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(function) = piece.function {
            call.name.push_str(function.name.as_deref().unwrap_or(""));
            call.arguments_json.push_str(function.arguments.as_deref().unwrap_or(""));
        }
        if call.arguments_json.len() + call.name.len() > LONGEST_ARGUMENTS {
            return Err(ProviderError::Protocol { vendor: VENDOR, what: "endless tool arguments" });
        }
        Ok(())
    }

    /// The tool calls and the end, if there was one.
    pub(super) fn finish(self) -> Result<(Vec<ToolCall>, Usage, FinishReason), ProviderError> {
        let reason =
            self.reason.ok_or(ProviderError::Protocol { vendor: VENDOR, what: "an answer that breaks off" })?;
        let calls = self.calls.into_iter().filter(|call| !call.name.is_empty()).collect();
        Ok((calls, self.usage, reason))
    }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
