//! OpenAI-compatible chat completions, streamed: OpenAI, vLLM, llama.cpp's server, Ollama, Groq and others.
//! It must never build its own HTTP client: the guarded one that it is given decides what may be reached.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::sse::EventStream;
use super::wire::{Assembly, Chunk};
use super::{EVENT_CAPACITY, FinishReason, Llm, LlmEvent, LlmRequest, LlmStream, Message, Role};
use crate::provider::config::LlmConfig;
use crate::provider::error::{DETAIL_LIMIT, Deadline, Detail, ProviderError};
use crate::provider::timing::{self, Kind};

/// Vendor word.
pub const VENDOR: &str = "openai";

/// Longest wait for the body of an error answer.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(1);

/// One service and model.
#[derive(Debug, Clone)]
pub struct OpenAi {
    client: Client,
    config: LlmConfig,
}

impl OpenAi {
    /// Talks to the service of `config` through `client`.
    pub fn new(client: Client, config: LlmConfig) -> Self {
        Self { client, config }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.config.base_url.as_str().trim_end_matches('/'))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.config.api_key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }
}

impl Llm for OpenAi {
    fn start(&self, request: LlmRequest) -> LlmStream {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let service = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = service.answer(&request, &sender).await {
                timing::count_failure(Kind::Llm, VENDOR, cause(&error));
                tracing::warn!(%error, "the language model failed");
                // The turn may have been given up meanwhile.
                let _ = sender.send(LlmEvent::Failed(error)).await;
            }
        });
        LlmStream::new(events, task)
    }

    fn warm(&self) {
        let request = self.authorised(self.client.get(self.url("models"))).timeout(self.config.deadlines.connect);
        // Only the connection matters; what it answers, or that it can't, is the first turn's business.
        tokio::spawn(async move {
            if let Ok(response) = request.send().await {
                let _ = response.bytes().await;
            }
        });
    }

    fn vendor(&self) -> &'static str {
        VENDOR
    }
}

impl OpenAi {
    async fn answer(&self, request: &LlmRequest, events: &mpsc::Sender<LlmEvent>) -> Result<(), ProviderError> {
        let begun = Instant::now();
        let deadlines = self.config.deadlines;
        let call = self
            .authorised(self.client.post(self.url("chat/completions")))
            .header(header::ACCEPT, "text/event-stream")
            .json(&body(&self.config.model, request));
        let response = timeout_at(begun + deadlines.connect, call.send());
        let response = response.await.map_err(|_| missed(Deadline::Connect))?.map_err(|e| connection(&e))?;
        timing::record(Kind::Llm, VENDOR, "connect", begun.elapsed());
        let response = accepted(response).await?;
        self.relay(begun, response, events).await?;
        timing::record(Kind::Llm, VENDOR, "answer", begun.elapsed());
        Ok(())
    }

    /// Hands on what the answer's body says until it says that it is done.
    async fn relay(
        &self,
        begun: Instant,
        mut response: Response,
        events: &mpsc::Sender<LlmEvent>,
    ) -> Result<(), ProviderError> {
        let deadlines = self.config.deadlines;
        let mut stream = EventStream::default();
        let mut assembly = Assembly::default();
        let mut first = true;
        let mut due = begun + deadlines.first_token;
        loop {
            let late = if first { Deadline::FirstResult } else { Deadline::BetweenResults };
            let bytes =
                timeout_at(due, response.chunk()).await.map_err(|_| missed(late))?.map_err(|e| connection(&e))?;
            let Some(bytes) = bytes else {
                // Some servers end the body without `[DONE]`; a finish reason says that it was whole.
                return finish(assembly, events).await;
            };
            let mut chunks = Vec::new();
            stream.push(&bytes, |data| chunks.push(Chunk::parse(data))).map_err(|_| protocol("an endless event"))?;
            for chunk in chunks {
                if matches!(chunk, Ok(Chunk::Done)) {
                    return finish(assembly, events).await;
                }
                let before = assembly.progress();
                let tokens = assembly.take(chunk?)?;
                if assembly.progress() == before {
                    // Empty deltas and comments don't count as a sign of life.
                    continue;
                }
                if std::mem::replace(&mut first, false) {
                    timing::record(Kind::Llm, VENDOR, "first_token", begun.elapsed());
                }
                for token in tokens {
                    if events.send(LlmEvent::Token(token)).await.is_err() {
                        return Ok(());
                    }
                }
                due = Instant::now() + deadlines.between_tokens;
            }
        }
    }
}

/// Sends the tool calls and the end; what broke off is a failure.
async fn finish(assembly: Assembly, events: &mpsc::Sender<LlmEvent>) -> Result<(), ProviderError> {
    let (calls, usage, reason) = assembly.finish()?;
    let reason = if calls.is_empty() || reason == FinishReason::Length { reason } else { FinishReason::ToolCalls };
    let all = calls.into_iter().map(LlmEvent::ToolCall).chain([LlmEvent::Done { usage, reason }]);
    for event in all {
        if events.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The answer, if it is one: otherwise its status and the first of its words.
async fn accepted(mut response: Response) -> Result<Response, ProviderError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let mut body = Vec::new();
    let deadline = Instant::now() + ERROR_BODY_PATIENCE;
    while body.len() < DETAIL_LIMIT {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes[..bytes.len().min(DETAIL_LIMIT)]),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    let detail = Detail::new(&String::from_utf8_lossy(&body));
    Err(ProviderError::Refused { vendor: VENDOR, status: status.as_u16(), detail })
}

fn missed(deadline: Deadline) -> ProviderError {
    ProviderError::Deadline { vendor: VENDOR, deadline }
}

fn connection(error: &reqwest::Error) -> ProviderError {
    // Without the address: it may hold what a user typed.
    tracing::debug!(error = ?error.to_string().split(" for url").next(), "the connection to the language model failed");
    ProviderError::Connection { vendor: VENDOR }
}

fn protocol(what: &'static str) -> ProviderError {
    ProviderError::Protocol { vendor: VENDOR, what }
}

fn cause(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Deadline { .. } => "deadline",
        ProviderError::Connection { .. } => "connection",
        ProviderError::Refused { .. } => "refused",
        ProviderError::Protocol { .. } => "protocol",
        ProviderError::Unavailable { .. }
        | ProviderError::Unsupported { .. }
        | ProviderError::Settings { .. }
        | ProviderError::Overloaded { .. }
        | ProviderError::Engine { .. } => "other",
    }
}

fn body(model: &str, request: &LlmRequest) -> Value {
    let mut body = json!({
        "model": model,
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": request.messages.iter().map(message).collect::<Vec<_>>(),
    });
    if !request.tools.is_empty() {
        let tool = |t: &super::ToolSpec| {
            json!({
                "type": "function",
                "function": { "name": t.name, "description": t.description, "parameters": t.parameters },
            })
        };
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    if let Some(temperature) = request.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(max_tokens) = request.max_tokens {
        body["max_tokens"] = json!(max_tokens);
    }
    body
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut value = json!({ "role": role, "content": message.content });
    if !message.tool_calls.is_empty() {
        let call = |c: &super::ToolCall| {
            json!({
                "id": c.id,
                "type": "function",
                "function": { "name": c.name, "arguments": c.arguments_json },
            })
        };
        value["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    if let Some(id) = &message.tool_call_id {
        value["tool_call_id"] = json!(id);
    }
    value
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
