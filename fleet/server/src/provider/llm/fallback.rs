//! Several services in a bot's order: one that fails before its first word gives its turn to the next.
//! It must never mix two answers: once something was said, a failure is a failure.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::mpsc;

use super::openai::OpenAi;
use super::{EVENT_CAPACITY, Llm, LlmEvent, LlmRequest, LlmStream};
use crate::provider::config::LlmConfig;
use crate::provider::error::ProviderError;

/// A bot's language models in the order in which they are tried.
pub struct FallbackLlm {
    services: Vec<Arc<dyn Llm>>,
}

impl std::fmt::Debug for FallbackLlm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.services.iter().map(|service| service.vendor())).finish()
    }
}

impl FallbackLlm {
    /// Tries `services` in order.
    pub fn new(services: Vec<Arc<dyn Llm>>) -> Self {
        Self { services }
    }

    /// OpenAI-compatible services in order, all through `client`.
    pub fn openai(client: Client, configs: Vec<LlmConfig>) -> Self {
        let service = |config| Arc::new(OpenAi::new(client.clone(), config)) as Arc<dyn Llm>;
        Self::new(configs.into_iter().map(service).collect())
    }
}

impl Llm for FallbackLlm {
    fn start(&self, request: LlmRequest) -> LlmStream {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let services = self.services.clone();
        let task = tokio::spawn(async move {
            let mut failure = ProviderError::Unavailable { what: "a language model" };
            for service in services {
                match relay(service.start(request.clone()), &sender).await {
                    Ok(()) => return,
                    Err(error) => failure = error,
                }
            }
            // The turn may have been given up meanwhile.
            let _ = sender.send(LlmEvent::Failed(failure)).await;
        });
        LlmStream::new(events, task)
    }

    fn warm(&self) {
        if let Some(first) = self.services.first() {
            first.warm();
        }
    }

    fn vendor(&self) -> &'static str {
        self.services.first().map_or("none", |service| service.vendor())
    }
}

/// Hands on an answer to its end; gives back a failure that came before anything else and is worth another try.
async fn relay(mut stream: LlmStream, events: &mpsc::Sender<LlmEvent>) -> Result<(), ProviderError> {
    let mut silent = true;
    while let Some(event) = stream.next().await {
        match event {
            LlmEvent::Failed(error) if silent && error.is_worth_another_provider() => return Err(error),
            event => {
                silent = false;
                if events.send(event).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::llm::{FinishReason, Usage};

    /// Says its events at once.
    struct Scripted(Vec<LlmEvent>);

    impl Llm for Scripted {
        fn start(&self, _: LlmRequest) -> LlmStream {
            let (sender, events) = mpsc::channel(EVENT_CAPACITY);
            for event in &self.0 {
                sender.try_send(event.clone()).unwrap();
            }
            LlmStream::new(events, tokio::spawn(async {}))
        }

        fn vendor(&self) -> &'static str {
            "scripted"
        }
    }

    async fn check(services: &[&str], expect: &str) {
        let event = |c: char| match c {
            '!' => LlmEvent::Failed(ProviderError::Connection { vendor: "scripted" }),
            '.' => LlmEvent::Done { usage: Usage::default(), reason: FinishReason::Stop },
            '#' => LlmEvent::Failed(ProviderError::Settings { field: "model" }),
            token => LlmEvent::Token(token.to_string()),
        };
        let services = services.iter().map(|s| Arc::new(Scripted(s.chars().map(event).collect())) as Arc<dyn Llm>);
        let mut stream = FallbackLlm::new(services.collect()).start(LlmRequest::default());
        let mut got = String::new();
        while let Some(event) = stream.next().await {
            got.push_str(&match event {
                LlmEvent::Token(token) => token,
                LlmEvent::Done { .. } => ".".to_owned(),
                LlmEvent::Failed(ProviderError::Unavailable { .. }) => "none".to_owned(),
                LlmEvent::Failed(_) => "!".to_owned(),
                LlmEvent::ToolCall(_) => unreachable!(),
            });
        }
        assert_eq!(got, expect, "{services:?}", services = expect);
    }

    #[tokio::test]
    async fn order() {
        check(&["ab.", "cd."], "ab.").await;
        check(&["!", "cd."], "cd.").await;
        check(&["!", "!", "e."], "e.").await;
        check(&["!", "!"], "!").await;
        check(&["a!", "cd."], "a!").await;
        check(&["#", "cd."], "!").await;
        check(&[], "none").await;
    }
}
