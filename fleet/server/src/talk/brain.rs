//! The language model's side of a call: one running answer at a time, its tokens passed on as they come.
//! It must never let an event of a cancelled turn through.

use std::sync::Arc;

use call::io::{BrainEvent, Message, Role};
use call::{END_CALL, end_call_parameters};
use serde_json::{Map, Value};

use crate::provider::{Llm, LlmEvent, LlmRequest, LlmStream, Message as Wire, Role as WireRole, ToolSpec};

/// Longest answer in tokens: a spoken turn, not an essay.
const MAX_TOKENS: u32 = 400;

pub(super) struct Brain {
    llm: Option<Arc<dyn Llm>>,
    running: Option<(u32, LlmStream)>,
}

impl std::fmt::Debug for Brain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brain").field("running", &self.running.as_ref().map(|(turn, _)| *turn)).finish_non_exhaustive()
    }
}

impl Brain {
    pub(super) fn new(llm: Option<Arc<dyn Llm>>) -> Self {
        if let Some(llm) = &llm {
            llm.warm();
        }
        Self { llm, running: None }
    }

    /// Starts an answer; whatever ran before is dropped. Without a model the turn fails at once.
    pub(super) fn think(&mut self, turn: u32, messages: Vec<Message>) -> Option<BrainEvent> {
        self.running = None;
        let Some(llm) = &self.llm else { return Some(BrainEvent::Failed { turn }) };
        let request = LlmRequest {
            messages: messages.into_iter().map(|message| Wire::text(role(message.role), message.text)).collect(),
            tools: vec![end_call()],
            temperature: None,
            max_tokens: Some(MAX_TOKENS),
        };
        self.running = Some((turn, llm.start(request)));
        None
    }

    pub(super) fn cancel(&mut self, turn: u32) {
        if self.running.as_ref().is_some_and(|(running, _)| *running == turn) {
            self.running = None;
        }
    }

    /// The next event of the running answer; never, while none runs.
    pub(super) async fn next(&mut self) -> BrainEvent {
        let Some((turn, stream)) = &mut self.running else { return std::future::pending().await };
        let turn = *turn;
        let event = match stream.next().await {
            Some(LlmEvent::Token(text)) => return BrainEvent::Token { turn, text },
            Some(LlmEvent::ToolCall(tool)) => {
                let arguments = arguments(&tool.arguments_json);
                return BrainEvent::ToolCall { turn, name: tool.name, arguments };
            }
            Some(LlmEvent::Done { .. }) => BrainEvent::Done { turn },
            Some(LlmEvent::Failed(error)) => {
                tracing::warn!(%error, "the language model failed");
                BrainEvent::Failed { turn }
            }
            None => BrainEvent::Failed { turn },
        };
        self.running = None;
        event
    }
}

fn role(role: Role) -> WireRole {
    match role {
        Role::System => WireRole::System,
        Role::User => WireRole::User,
        Role::Assistant => WireRole::Assistant,
    }
}

/// A model's arguments; what is no JSON object counts as none.
fn arguments(json: &str) -> Map<String, Value> {
    match serde_json::from_str(json) {
        Ok(Value::Object(arguments)) => arguments,
        _ => Map::new(),
    }
}

fn end_call() -> ToolSpec {
    ToolSpec {
        name: END_CALL.to_owned(),
        description: "Ends the call after an optional last sentence. Use it when the conversation is over.".to_owned(),
        parameters: end_call_parameters(),
    }
}
