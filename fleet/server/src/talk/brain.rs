//! The language model's side of a call: one running answer at a time, its tokens passed on as they come.
//! It must never let an event of a cancelled turn through.

use std::sync::Arc;

use call::io::{BrainEvent, Message, Role};
use call::{END_CALL, TRANSFER_CALL, end_call_parameters, transfer_call_parameters};
use domain::bot::Bot;
use serde_json::{Map, Value};

use crate::provider::{Llm, LlmEvent, LlmRequest, LlmStream, Message as Wire, Role as WireRole, ToolSpec};

/// Longest answer in tokens: a spoken turn, not an essay.
const MAX_TOKENS: u32 = 400;

pub(super) struct Brain {
    llm: Option<Arc<dyn Llm>>,
    tools: Vec<ToolSpec>,
    running: Option<(u32, LlmStream)>,
}

impl std::fmt::Debug for Brain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brain").field("running", &self.running.as_ref().map(|(turn, _)| *turn)).finish_non_exhaustive()
    }
}

impl Brain {
    pub(super) fn new(llm: Option<Arc<dyn Llm>>, bot: &Bot) -> Self {
        if let Some(llm) = &llm {
            llm.warm();
        }
        Self { llm, tools: tools(bot), running: None }
    }

    /// Starts an answer; whatever ran before is dropped. Without a model the turn fails at once.
    pub(super) fn think(&mut self, turn: u32, messages: Vec<Message>) -> Option<BrainEvent> {
        self.running = None;
        let Some(llm) = &self.llm else { return Some(BrainEvent::Failed { turn }) };
        let request = LlmRequest {
            messages: messages.into_iter().map(|message| Wire::text(role(message.role), message.text)).collect(),
            tools: self.tools.clone(),
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

/// What the model may do besides talking; giving the call away only where the bot names somebody to give it to.
fn tools(bot: &Bot) -> Vec<ToolSpec> {
    let end_call = ToolSpec {
        name: END_CALL.to_owned(),
        description: "Ends the call after an optional last sentence. Use it when the conversation is over.".to_owned(),
        parameters: end_call_parameters(),
    };
    let transfer_call = (!bot.transfer_targets.is_empty()).then(|| ToolSpec {
        name: TRANSFER_CALL.to_owned(),
        description:
            "Gives the customer to somebody else on the same call, after an optional last sentence; your part is \
                      over then. Use it when your instructions say so, or when the customer asks for it."
                .to_owned(),
        parameters: transfer_call_parameters(bot.transfer_targets.keys().map(String::as_str)),
    });
    std::iter::once(end_call).chain(transfer_call).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transfer_is_offered_only_where_somebody_could_take_it() {
        let check = |targets: Value, expect: &[(&str, Value)]| {
            let bot = json!({ "bot_id": "b", "name": "B", "timezone": "UTC", "transfer_targets": targets });
            let tools = tools(&serde_json::from_value(bot).unwrap());
            let offered: Vec<(&str, Value)> = tools
                .iter()
                .map(|tool| (tool.name.as_str(), tool.parameters["properties"]["target"]["enum"].clone()))
                .collect();
            assert_eq!(offered, expect);
        };
        check(json!({}), &[("end_call", Value::Null)]);
        check(
            json!({ "sales": "+911140000001", "desk": "+911140000002" }),
            &[("end_call", Value::Null), ("transfer_call", json!(["desk", "sales"]))],
        );
    }
}
