//! The one place where refusals become HTTP: RFC 9457 `application/problem+json`, with a machine word in `code`.
//! It must never put an inner error's text, a number, or any other personal data into an answer; those are logged here.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use domain::field_error::FieldError;
use domain::ids::BotId;
use domain::ports::StoreError;
use domain::spend::Account;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;

use crate::push::resend::NotResent;

pub mod gateway;

/// Everything a handler may refuse with.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("the X-API-Key header is missing, malformed, unknown, revoked or expired")]
    Unauthorized { retry_after: Option<Duration> },
    #[error("this needs a key of role admin")]
    Forbidden,
    /// What there is none of (for this caller).
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("{} field(s) are not valid", .0.len())]
    Invalid(Vec<FieldError>),
    #[error("the bot is outside its active hours")]
    OutsideActiveHours { now: Timestamp, next_open_at: Option<Timestamp> },
    #[error("no trunk of the bot can carry the call")]
    NoTrunk,
    #[error("the trunk carries as many calls as it may")]
    TrunkLimit,
    #[error("the {} spends no more than its max_spend_per_day allows; that day ends at {}", .over.spender.as_str(), .over.resets_at)]
    SpendCeiling { now: Timestamp, over: Account },
    #[error("no server can take the call now")]
    NoCapacity,
    #[error("this Idempotency-Key was used with another body")]
    IdempotencyMismatch,
    #[error("another request with this Idempotency-Key has no answer yet")]
    IdempotencyInFlight { retry_after: Duration },
    #[error("more calls are being placed at this moment than this process places at once; try again")]
    Busy,
    #[error("the recording is not stored yet")]
    RecordingPending,
    #[error("the recording was deleted: the bot keeps it no longer")]
    RecordingExpired,
    #[error("the recording was lost with its server: there is none, and there will be none")]
    RecordingLost,
    #[error(transparent)]
    NotResent(#[from] NotResent),
    #[error("a body has at most {0} bytes")]
    BodyTooLarge(usize),
    #[error("content encodings are not accepted")]
    ContentEncoding,
    #[error("the body broke off")]
    BodyBroken,
    #[error("this entity exists already")]
    Exists,
    #[error("number {number} belongs to bot {by}")]
    NumberTaken { number: String, by: BotId },
    #[error("If-Match is needed: send the ETag that you read")]
    PreconditionRequired,
    #[error("the entity has changed since you read it")]
    PreconditionFailed,
    #[error("the server did not answer, or has just restarted: ask again")]
    ServerSilent,
    #[error("the server's process is ending: it lets no call in again, its successor does")]
    ServerEnding,
    #[error("this is the key that you ask with: let another admin's key change it so")]
    OwnKey,
    #[error("this is the last usable admin key, and nobody could come in without it: make another one first")]
    LastAdminKey,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("something failed inside")]
    Internal,
    #[error("more requests come in than this deployment takes; try again")]
    Throttled,
    #[error("no function answered; what became of the request is not known here")]
    Unanswered,
    #[error("the request is not readable: send HTTP with a well-formed path, query and headers")]
    Unreadable,
}

/// The whole table: status, machine word, title.
fn facts(refusal: &Refusal) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match refusal {
        Refusal::Unauthorized { .. } => (S::UNAUTHORIZED, "unauthorized", "No valid API key"),
        Refusal::Forbidden => (S::FORBIDDEN, "forbidden", "Not allowed"),
        Refusal::NotFound(_) => (S::NOT_FOUND, "not_found", "Not found"),
        Refusal::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
        Refusal::OutsideActiveHours { .. } => (S::SERVICE_UNAVAILABLE, "outside_active_hours", "Outside active hours"),
        Refusal::NoTrunk => (S::SERVICE_UNAVAILABLE, "no_trunk", "No trunk"),
        Refusal::TrunkLimit => (S::SERVICE_UNAVAILABLE, "trunk_limit", "Trunk limit reached"),
        Refusal::SpendCeiling { .. } => (S::SERVICE_UNAVAILABLE, "spend_ceiling", "Spend ceiling reached"),
        Refusal::NoCapacity => (S::SERVICE_UNAVAILABLE, "no_capacity", "No capacity"),
        Refusal::IdempotencyMismatch => (S::UNPROCESSABLE_ENTITY, "idempotency_mismatch", "Idempotency-Key reused"),
        Refusal::IdempotencyInFlight { .. } => (S::CONFLICT, "idempotency_in_flight", "Request in flight"),
        Refusal::Busy => (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        Refusal::RecordingPending => (S::NOT_FOUND, "recording_pending", "Recording pending"),
        Refusal::RecordingExpired => (S::NOT_FOUND, "recording_expired", "Recording expired"),
        Refusal::RecordingLost => (S::NOT_FOUND, "recording_lost", "Recording lost"),
        Refusal::NotResent(why @ NotResent::NoDelivery { .. }) => (S::NOT_FOUND, why.code(), "Nothing to send again"),
        Refusal::NotResent(why) => (S::CONFLICT, why.code(), "Not sent again"),
        Refusal::BodyTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large"),
        Refusal::ContentEncoding => (S::UNSUPPORTED_MEDIA_TYPE, "content_encoding", "Content encoding not accepted"),
        Refusal::BodyBroken => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
        Refusal::Exists => (S::CONFLICT, "exists", "Exists already"),
        Refusal::NumberTaken { .. } => (S::CONFLICT, "number_taken", "Number taken"),
        Refusal::PreconditionRequired => (S::PRECONDITION_REQUIRED, "precondition_required", "Precondition required"),
        Refusal::PreconditionFailed => (S::PRECONDITION_FAILED, "precondition_failed", "Precondition failed"),
        Refusal::ServerSilent => (S::SERVICE_UNAVAILABLE, "server_silent", "Server silent"),
        Refusal::ServerEnding => (S::CONFLICT, "server_ending", "Server ending"),
        Refusal::OwnKey => (S::CONFLICT, "own_key", "Own key"),
        Refusal::LastAdminKey => (S::CONFLICT, "last_admin_key", "Last admin key"),
        Refusal::Store(StoreError::Unavailable { .. }) => {
            (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable")
        }
        Refusal::Throttled | Refusal::Unanswered => (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        Refusal::Unreadable => (S::BAD_REQUEST, "bad_request", "Bad request"),
        Refusal::Store(_) | Refusal::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
    }
}

impl Refusal {
    /// The machine word, also for metrics.
    pub fn code(&self) -> &'static str {
        facts(self).1
    }
}

/// The wait that an answer suggests.
fn retry_after(refusal: &Refusal) -> Option<Duration> {
    const HOUR: Duration = Duration::from_secs(3600);
    Some(match refusal {
        Refusal::Unauthorized { retry_after } => return *retry_after,
        Refusal::SpendCeiling { now, over } => {
            Duration::try_from(over.resets_at.duration_since(*now)).unwrap_or_default().max(Duration::from_secs(1))
        }
        Refusal::OutsideActiveHours { now, next_open_at } => {
            let wait = next_open_at.and_then(|open| Duration::try_from(open.duration_since(*now)).ok());
            wait.unwrap_or(24 * HOUR).max(Duration::from_secs(1))
        }
        Refusal::IdempotencyInFlight { retry_after } => (*retry_after).max(Duration::from_secs(1)),
        Refusal::TrunkLimit | Refusal::NoCapacity | Refusal::RecordingPending => Duration::from_secs(5),
        Refusal::NotResent(NotResent::TryRunning { wait, .. }) => (*wait).max(Duration::from_secs(1)),
        Refusal::NotResent(NotResent::NotRendered { .. } | NotResent::CallLive) => Duration::from_secs(30),
        Refusal::Busy
        | Refusal::ServerSilent
        | Refusal::Throttled
        | Refusal::Unanswered
        | Refusal::Store(StoreError::Unavailable { .. }) => Duration::from_secs(2),
        _ => return None,
    })
}

/// Every refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_open_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<Timestamp>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, title) = facts(&self);
        let wait = retry_after(&self);
        let detail = match &self {
            // The cause names tables and hosts: it is for the log, not for the client.
            Self::Store(cause) => {
                tracing::error!(error = %cause, code, "a store failed a request");
                "a store did not do what was asked; nothing else is known here".to_owned()
            }
            other => other.to_string(),
        };
        let next_open_at = match &self {
            Self::OutsideActiveHours { next_open_at, .. } => *next_open_at,
            _ => None,
        };
        let resets_at = match &self {
            Self::SpendCeiling { over, .. } => Some(over.resets_at),
            _ => None,
        };
        let errors = match self {
            Self::Invalid(errors) => Some(errors),
            Self::BodyBroken => Some(vec![FieldError::body("", "body_broken", "the body broke off")]),
            Self::IdempotencyMismatch => {
                let msg = "send a new key with a new body, or the same body with this key";
                Some(vec![FieldError::header("idempotency-key", code, msg)])
            }
            _ => None,
        };
        let body = Body {
            r#type: problem_type(code),
            title,
            status: status.as_u16(),
            detail,
            code,
            errors,
            next_open_at,
            resets_at,
        };
        let mut response = problem_response(status, &body);
        let headers = response.headers_mut();
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey realm=\"ringfleet\", header=\"X-API-Key\""));
        }
        response
    }
}

/// A name, not an address: nothing is served under it.
fn problem_type(code: &str) -> String {
    format!("urn:ringfleet:problem:{code}")
}

fn problem_response(status: StatusCode, body: &Body<'_>) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Gives a router what all of ours have: 404 and 405 in the same shape, panics answered, every refusal a problem.
pub fn dress(router: Router) -> Router {
    router.fallback(nothing_here).layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn(shape))
}

async fn nothing_here() -> Refusal {
    Refusal::NotFound("path")
}

fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    // A text that was put together may quote a request; the hook has said where it happened.
    let said = cause.downcast_ref::<&str>().copied().unwrap_or("(not shown)");
    tracing::error!(panic = said, "a handler panicked");
    Refusal::Internal.into_response()
}

/// Turns the framework's own refusals (405, undecodable paths) into problems; keeps their `Allow`.
async fn shape(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = match response.status() {
        // A path that is no text: nothing can lie under it.
        StatusCode::BAD_REQUEST => StatusCode::NOT_FOUND,
        status => status,
    };
    let is_ours = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, title, detail) = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method_not_allowed", "Method not allowed", "this path has other methods; see Allow")
        }
        StatusCode::NOT_FOUND => ("not_found", "Not found", "no such path"),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "Body too large", "the body is too large"),
        _ => ("refused", status.canonical_reason().unwrap_or("Refused"), "the request was refused"),
    };
    let allow = response.headers().get(ALLOW).cloned();
    let body = Body {
        r#type: problem_type(code),
        title,
        status: status.as_u16(),
        detail: detail.to_owned(),
        code,
        errors: None,
        next_open_at: None,
        resets_at: None,
    };
    let mut shaped = problem_response(status, &body);
    if let Some(allow) = allow {
        shaped.headers_mut().insert(ALLOW, allow);
    }
    shaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::extract::Path;
    use axum::routing::get;

    use super::*;
    use crate::body::CappedBody;
    use crate::testing::request;

    async fn panics() {
        panic!("a secret detail");
    }
    async fn echo(Path(text): Path<String>) -> String {
        text
    }
    async fn length(body: CappedBody) -> String {
        body.0.len().to_string()
    }

    fn app() -> Router {
        dress(
            Router::new()
                .route("/panics", get(panics))
                .route("/echo/{text}", get(echo))
                .route("/length", get(echo).post(length)),
        )
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_problem() {
        let check =
            async |method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>, status: u16, code: &str| {
                let answer = request(&app(), method, path, None, headers, body).await;
                assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
                let told = answer.json();
                assert_eq!(told["type"], format!("urn:ringfleet:problem:{code}"), "{path}");
                assert_eq!(told["status"], status, "{path}");
                assert!(told["title"].is_string() && told["detail"].is_string(), "{path}");
                assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
                assert!(!told.to_string().contains("secret detail"));
            };
        check("GET", "/nowhere", &[], vec![], 404, "not_found").await;
        check("GET", "/panics", &[], vec![], 500, "internal").await;
        check("GET", "/echo/%FF", &[], vec![], 404, "not_found").await;
        check("DELETE", "/echo/x", &[], vec![], 405, "method_not_allowed").await;
        check("POST", "/length", &[], vec![b' '; 256 * 1024 + 1], 413, "body_too_large").await;
        check("POST", "/length", &[("content-length", "262145")], vec![], 413, "body_too_large").await;
        check("POST", "/length", &[("content-encoding", "br")], vec![], 415, "content_encoding").await;
    }

    #[tokio::test]
    async fn a_body_of_the_cap_is_read() {
        let answer =
            request(&app(), "POST", "/length", None, &[("content-encoding", "identity")], vec![b' '; 256 * 1024]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"262144".as_slice()));
    }

    #[test]
    fn waits_are_whole_seconds_and_never_none_at_all() {
        let now = Timestamp::from_second(1000).expect("in range");
        let closed = |open: Option<Timestamp>| retry_after(&Refusal::OutsideActiveHours { now, next_open_at: open });
        assert_eq!(closed(Some(now + Duration::from_millis(500))), Some(Duration::from_secs(1)));
        assert_eq!(closed(Some(now)), Some(Duration::from_secs(1)));
        assert_eq!(closed(None), Some(Duration::from_secs(86_400)));
        assert_eq!(retry_after(&Refusal::NoTrunk), None);
        let response =
            Refusal::OutsideActiveHours { now, next_open_at: Some(now + Duration::from_millis(1500)) }.into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
