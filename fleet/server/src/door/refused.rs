//! Refusals before the upgrade, in the shape of the API's (RFC 9457). They must never repeat what the client showed, and
//! always say which setting of the bot is in the way.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thiserror::Error;

/// Why the door stays shut.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error(
        "this bot's websocket.access is `key`: show an API key that may use it, or a connect token of it, as the header \
         X-API-Key, as `Authorization: Bearer …`, as the password of HTTP Basic, or in the URL as ?key=… or ?token=… (a token also as \
         /ws/BOT/TOKEN)"
    )]
    NoKey { retry_after: Option<Duration> },
    #[error("this bot's websocket.access is `allowlist`, and the address {0} lies in none of its websocket.cidrs")]
    Address(IpAddr),
    /// There is none, or not for this key.
    #[error("no such bot")]
    NoSuchBot,
    #[error("keys can't be looked up at this moment")]
    Unavailable,
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoKey { .. } => StatusCode::UNAUTHORIZED,
            Self::Address(_) => StatusCode::FORBIDDEN,
            Self::NoSuchBot => StatusCode::NOT_FOUND,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The machine word, also for metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "unauthorized",
            Self::Address(_) => "address_not_allowed",
            Self::NoSuchBot => "not_found",
            Self::Unavailable => "unavailable",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "No valid API key or connect token",
            Self::Address(_) => "Address not allowed",
            Self::NoSuchBot => "Not found",
            Self::Unavailable => "Temporarily unavailable",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoKey { retry_after } => *retry_after,
            Self::Unavailable => Some(Duration::from_secs(2)),
            Self::Address(_) | Self::NoSuchBot => None,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (code, title, wait) = (self.code(), self.title(), self.retry_after());
        let mut response = problem(self.status(), code, title, &self.to_string(), wait);
        if matches!(self, Self::NoKey { .. }) {
            for way in [
                "ApiKey realm=\"ringfleet\", header=\"X-API-Key\"",
                "Bearer realm=\"ringfleet\"",
                "Basic realm=\"ringfleet\", charset=\"UTF-8\"",
            ] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
            }
        }
        response
    }
}

/// An answer before the upgrade that is no upgrade: `code` is the machine word, `detail` says what would be right.
pub(crate) fn problem(
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: &str,
    retry_after: Option<Duration>,
) -> Response {
    let body = json!({"type": format!("urn:ringfleet:problem:{code}"), "title": title, "status": status.as_u16(),
        "detail": detail, "code": code});
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
    }
    response
}
