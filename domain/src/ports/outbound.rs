//! Requests to URLs that users gave. It must never print one, nor an answer: both may hold personal data.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// A request through the guarded client. Its address, headers and body may hold personal data, and don't print themselves.
#[derive(derive_more::Debug, Clone)]
pub struct OutboundRequest {
    pub method: http::Method,
    #[debug("(personal)")]
    pub url: String,
    #[debug("(personal)")]
    pub headers: http::HeaderMap,
    #[debug("({} bytes, personal)", body.len())]
    pub body: Bytes,
    pub connect_timeout: Duration,
    pub total_timeout: Duration,
    /// Bytes of the answer that are read; the rest is dropped.
    pub answer_limit: usize,
}

#[derive(derive_more::Debug, Clone)]
pub struct OutboundAnswer {
    pub status: u16,
    #[debug("(personal)")]
    pub headers: http::HeaderMap,
    #[debug("({} bytes, personal)", body.len())]
    pub body: Bytes,
}

/// Why the guarded client has no answer.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum OutboundError {
    /// The URL or an address behind it is not allowed.
    #[error("not allowed: {0}")]
    Blocked(String),
    #[error("the name does not resolve: {0}")]
    Dns(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

impl OutboundError {
    /// One word for attempt rows and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
        }
    }
}

/// Every URL that a user gave goes through this.
#[async_trait]
pub trait Outbound: Send + Sync {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError>;
}

/// What [`Outbound`] would refuse, without sending: for whoever takes URLs in.
pub trait Egress: Send + Sync {
    /// # Errors
    /// [`OutboundError::Blocked`]; what a host's name leads to is judged when it is sent to.
    fn check(&self, url: &str) -> Result<(), OutboundError>;
}
