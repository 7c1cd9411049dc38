//! Requests to fleet servers' private ports, signed with the fleet's secret.
//! It must never call a server unreachable once a byte may have reached it: the caller would try another, and the
//! customer's phone would ring twice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, ServerRow};
use domain::ids::CallId;
use domain::ports::{Clock, Fleet, FleetError, Secrets};
use domain::signing::{SIGNATURE_HEADER, sign};
use http::{Method, StatusCode, header};
use tokio::time::Instant;

/// Servers are near; who takes longer is gone.
const CONNECT: Duration = Duration::from_secs(1);
/// Time is left for a question, however long the secret to sign it with took.
const LEAST: Duration = Duration::from_millis(1);
/// Answers are a few words.
const ANSWER_MAX: usize = 64 * 1024;

/// Speaks with fleet servers over plain HTTP/1.1 inside the private network.
#[derive(Clone)]
pub struct FleetClient {
    client: reqwest::Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for FleetClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetClient").finish_non_exhaustive()
    }
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl FleetClient {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            // It speaks no TLS: reading the machine's roots would only cost the start.
            .tls_certs_only([])
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { client, secrets, clock })
    }

    async fn exchange(
        &self,
        server: &ServerRow,
        method: Method,
        path: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer, FleetError> {
        let began = Instant::now();
        let secrets = tokio::time::timeout(timeout, self.secrets.fleet()).await;
        let secrets = secrets.map_err(|_| FleetError::Unreachable("no secret to sign with in time".to_owned()))?;
        let secrets = secrets.map_err(|e| FleetError::Unreachable(e.to_string()))?;
        let signature = sign(&secrets, method.as_str(), path, self.clock.now(), &body);
        let request = self
            .client
            .request(method, format!("http://{}{path}", server.address))
            .header(SIGNATURE_HEADER, signature)
            .header(header::CONTENT_TYPE, "application/json")
            .timeout(timeout.saturating_sub(began.elapsed()).max(LEAST))
            .body(body);
        let mut response = request.send().await.map_err(failure)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| FleetError::NoAnswer(cause(&e)))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MAX {
                return Err(FleetError::NoAnswer("an answer without end".to_owned()));
            }
        }
        Ok(Answer { status: response.status(), body })
    }
}

/// Only a connection that never was is sure to have carried nothing.
fn failure(error: reqwest::Error) -> FleetError {
    let nothing_sent = error.is_connect() || error.is_builder();
    let cause = cause(&error);
    if nothing_sent { FleetError::Unreachable(cause) } else { FleetError::NoAnswer(cause) }
}

/// The innermost cause: the outer ones only repeat what was attempted.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[async_trait]
impl Fleet for FleetClient {
    async fn dial(
        &self,
        server: &ServerRow,
        command: &DialCommand,
        timeout: Duration,
    ) -> Result<DialAnswer, FleetError> {
        let body = serde_json::to_vec(command).map_err(|e| FleetError::Unreachable(e.to_string()))?;
        let answer = self.exchange(server, Method::POST, "/calls", body, timeout).await?;
        let said: Option<DialAnswer> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, said) {
            (StatusCode::OK, Some(DialAnswer::Accepted)) => Ok(DialAnswer::Accepted),
            (StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE, Some(refused @ DialAnswer::Refused(_))) => {
                Ok(refused)
            }
            (StatusCode::OK, _) => Err(FleetError::NoAnswer("an answer that is none".to_owned())),
            (other, _) => Err(FleetError::Unexpected(other.as_u16())),
        }
    }

    async fn hang_up(&self, server: &ServerRow, call: CallId, timeout: Duration) -> Result<bool, FleetError> {
        let answer = self.exchange(server, Method::POST, &format!("/calls/{call}/hangup"), Vec::new(), timeout).await?;
        match answer.status {
            StatusCode::OK | StatusCode::ACCEPTED => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            other => Err(FleetError::Unexpected(other.as_u16())),
        }
    }

    async fn alive(&self, server: &ServerRow, timeout: Duration) -> Result<Alive, FleetError> {
        let answer = self.exchange(server, Method::GET, "/health", Vec::new(), timeout).await?;
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map_err(|_| FleetError::NoAnswer("an answer that is none".to_owned())),
            other => Err(FleetError::Unexpected(other.as_u16())),
        }
    }

    async fn drain(&self, server: &ServerRow, drain: bool, timeout: Duration) -> Result<DrainAnswer, FleetError> {
        let body = serde_json::to_vec(&server.owner()).map_err(|e| FleetError::Unreachable(e.to_string()))?;
        let path = if drain { "/drain" } else { "/undrain" };
        let answer = self.exchange(server, Method::POST, path, body, timeout).await?;
        let said: Option<DrainAnswer> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, said) {
            (StatusCode::OK, Some(done @ DrainAnswer::Done(_))) => Ok(done),
            (StatusCode::CONFLICT, Some(refused @ (DrainAnswer::Ending | DrainAnswer::WrongServer))) => Ok(refused),
            (StatusCode::OK, _) => Err(FleetError::NoAnswer("an answer that is none".to_owned())),
            (other, _) => Err(FleetError::Unexpected(other.as_u16())),
        }
    }
}

#[cfg(test)]
mod tests;
