//! Why a request for a socket is refused once its client is known, as RFC 9457 problems like all of the API's.
//! It must never repeat what a client sent but for the value that is wrong.

use std::time::Duration;

use axum::http::header::{HeaderName, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ports::StoreError;
use jiff::Timestamp;
use thiserror::Error;

use super::query::QueryError;
use crate::door::problem;

/// Without a slot, a dialler may ask again this soon.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Where nobody knows when a bot opens.
const CLOSED_WAIT: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("this is a WebSocket endpoint: {0}")]
    NotWebSocket(String),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the bot is outside its active hours{}", .next.map(|at| format!("; it opens at {at}")).unwrap_or_default())]
    OutsideActiveHours { now: Timestamp, next: Option<Timestamp> },
    #[error("this address has {0} WebSockets open, and may have no more")]
    TooMany(u32),
    #[error("no server can take the call now")]
    NoCapacity,
    #[error("this can't be answered at the moment")]
    Store(#[from] StoreError),
}

impl Refusal {
    fn facts(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NotWebSocket(_) => (S::UPGRADE_REQUIRED, "upgrade_required", "Upgrade required"),
            Self::Query(_) => (S::BAD_REQUEST, "invalid", "Invalid request"),
            Self::OutsideActiveHours { .. } => (S::SERVICE_UNAVAILABLE, "outside_active_hours", "Outside active hours"),
            Self::TooMany(_) => (S::TOO_MANY_REQUESTS, "too_many_connections", "Too many connections"),
            Self::NoCapacity => (S::SERVICE_UNAVAILABLE, "no_capacity", "No capacity"),
            Self::Store(_) => (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotWebSocket(_) | Self::Query(_) => None,
            Self::OutsideActiveHours { now, next } => {
                Some(next.and_then(|at| Duration::try_from(at.duration_since(*now)).ok()).unwrap_or(CLOSED_WAIT))
            }
            Self::TooMany(_) | Self::NoCapacity => Some(FULL_WAIT),
            Self::Store(_) => Some(Duration::from_secs(2)),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, title) = self.facts();
        metrics::counter!("ringfleet_ws_refused_total", "reason" => code).increment(1);
        if let Self::Store(cause) = &self {
            tracing::error!(error = %cause, "a store failed a dialler's request");
        }
        let mut response = problem(status, code, title, &self.to_string(), self.retry_after());
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers: [(HeaderName, &'static str); 2] = [(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
            for (name, value) in headers {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}
