//! The demo's CRM: takes a push, checks who sent it by the Standard Webhooks library, and keeps it.
//! It must never accept what is not signed: a CRM should not either.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pushes that may wait to be looked at; more are refused, and come again.
const QUEUE: usize = 16;

/// One push as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Pushed {
    /// What it was answered.
    pub(super) status: u16,
    pub(super) headers: Map<String, Value>,
    /// As JSON; as text where it is none.
    pub(super) body: Value,
    /// Why it was not accepted.
    pub(super) fault: Option<String>,
}

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    pub(super) pushes: mpsc::Receiver<Pushed>,
    _stop: DropGuard,
}

struct Crm {
    token: String,
    webhook: Webhook,
    pushes: mpsc::Sender<Pushed>,
}

impl Sink {
    /// Starts a sink that wants `token` as `Authorization` and signatures made with `secret`.
    pub(super) async fn start(token: &str, secret: &str) -> Result<Self> {
        let webhook = Webhook::new(secret).context("the demo's webhook secret is none")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the demo's CRM has no port")?;
        let address = listener.local_addr()?;
        let (sender, pushes) = mpsc::channel(QUEUE);
        let crm = Arc::new(Crm { token: token.to_owned(), webhook, pushes: sender });
        let router = Router::new().route("/crm", post(take)).with_state(crm);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the demo's CRM is gone");
            }
        });
        Ok(Self { address, pushes, _stop: stop.drop_guard() })
    }

    /// Where pushes go.
    pub(super) fn url(&self) -> String {
        format!("http://{}/crm", self.address)
    }
}

async fn take(State(crm): State<Arc<Crm>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let fault = crm.fault(&headers, &body);
    let status = if fault.is_none() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    let text = |value: &http::HeaderValue| Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let pushed = Pushed {
        status: status.as_u16(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
        fault,
    };
    match crm.pushes.try_send(pushed) {
        Ok(()) => status,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Crm {
    fn fault(&self, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        if headers.get(header::AUTHORIZATION).is_none_or(|value| value != self.token.as_str()) {
            return Some("the Authorization header is not the bot's token".to_owned());
        }
        self.webhook.verify(body, headers).err().map(|error| format!("the signature does not verify: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    async fn check(token: &str, secret: &str, tampered: bool, expect: (u16, Option<&str>)) {
        let mut sink = Sink::start("Bearer right", SECRET).await.unwrap();
        let body = r#"{"a":"b"}"#;
        let now = jiff::Timestamp::now().as_second();
        let signature = Webhook::new(secret).unwrap().sign("id-1", now, body.as_bytes()).unwrap();
        let sent = if tampered { r#"{"a":"c"}"# } else { body };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .post(sink.url())
            .header("authorization", token)
            .header("webhook-id", "id-1")
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(sent);
        let status = request.send().await.unwrap().status().as_u16();
        let pushed = sink.pushes.recv().await.unwrap();
        assert_eq!((status, pushed.status), (expect.0, expect.0));
        match (pushed.fault, expect.1) {
            (None, None) => assert_eq!(pushed.body["a"], "b"),
            (Some(fault), Some(part)) => assert!(fault.contains(part), "{fault}"),
            (fault, part) => panic!("{fault:?}, not {part:?}"),
        }
        assert_eq!(pushed.headers["webhook-id"], "id-1");
    }

    #[tokio::test]
    async fn only_signed_pushes_with_the_token_are_taken() {
        check("Bearer right", SECRET, false, (200, None)).await;
        check("Bearer wrong", SECRET, false, (401, Some("token"))).await;
        check("Bearer right", "whsec_b3RoZXIgc2VjcmV0IG9mIHNvbWVib2R5", false, (401, Some("signature"))).await;
        check("Bearer right", SECRET, true, (401, Some("signature"))).await;
    }
}
