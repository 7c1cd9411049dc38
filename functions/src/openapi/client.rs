//! The client API's operations. It must never hold a type that a handler has: the handler's own is described.

#![expect(dead_code, reason = "these functions carry descriptions; the handlers are elsewhere")]

use domain::call::CallState;
use domain::ids::{BotId, CallId};
use serde_json::{Map, Value};
use utoipa::{OpenApi, ToSchema};

use crate::calls::list::{Listed, Summary};
use crate::calls::{Shown, Taken};
use crate::dialout::Accepted;
use crate::fleet_health::{FleetHealth, Health};
use crate::problem::Body as Problem;

#[derive(OpenApi)]
#[openapi(paths(dialout, list_calls, read_call, hang_up, recording, health, fleet_health))]
pub(super) struct Paths;

/// The body of a dialout. Unknown fields are ignored and noted on the call, unless `Prefer: handling=strict` is sent.
#[derive(ToSchema)]
#[schema(example = json!({
    "bot_id": "reminders", "to_number": "+919876543210",
    "variables": {"customer_name": "Rahul Sharma", "amount_due": "15000"}
}))]
struct Dialout {
    bot_id: BotId,
    /// The customer's number; E.164 is recommended, else it is read in the trunk's country.
    #[schema(min_length = 1, example = "+919876543210")]
    to_number: String,
    /// Caller id; the trunk's default if left out.
    #[schema(nullable)]
    from_number: Option<String>,
    /// `{{crm.*}}` of prompts, scripts and pushes: at most 256 members, 64 KiB.
    #[schema(value_type = Option<Object>)]
    variables: Option<Map<String, Value>>,
}

/// Place a call
///
/// The call is accepted, or refused at once: nothing is ever queued.
#[utoipa::path(
    post, path = "/api/v1/dialout", tag = "calls", security(("key" = [])), request_body = Dialout,
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 255,
         description = "The same key and body answer the first 200 again for 24 hours, and place no second call"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: unknown fields are refused"),
    ),
    responses(
        (status = 200, description = "The call is on its way", body = Accepted),
        (status = 404, description = "`not_found`: no such bot, or it is out of the key's scope", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`idempotency_in_flight`: the first request with this key is not answered yet", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`outside_active_hours`, `no_trunk`, `trunk_limit`, `spend_ceiling`, `no_capacity`: the call was not placed", body = Problem, content_type = "application/problem+json",
         headers(("Retry-After" = u64, description = "Seconds; not with `no_trunk`"))),
    )
)]
fn dialout() {}

/// List calls
///
/// Newest first. A page may be short, or empty, and yet have a `next_cursor`: a request looks at so many days only.
#[utoipa::path(
    get, path = "/api/v1/calls", tag = "calls", security(("key" = [])),
    params(
        ("bot_id" = Option<String>, Query, description = "One bot's; without it, all of the key's bots"),
        ("state" = Option<CallState>, Query),
        ("from" = Option<String>, Query, description = "Start at or after: RFC 3339 time or date"),
        ("to" = Option<String>, Query, description = "Start before: RFC 3339 time or date"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "One page", body = Listed<Summary>),
        (status = 404, description = "`not_found`: no such bot, or it is out of the key's scope", body = Problem, content_type = "application/problem+json"),
    )
)]
fn list_calls() {}

/// Read a call
///
/// Its result once it has ended, its live state before.
#[utoipa::path(
    get, path = "/api/v1/calls/{call_id}", tag = "calls", security(("key" = [])),
    params(("call_id" = CallId, Path)),
    responses((status = 200, description = "The call", body = Shown))
)]
fn read_call() {}

/// Hang up
///
/// Asking twice is as good as asking once; an ended call stays as it ended.
#[utoipa::path(
    post, path = "/api/v1/calls/{call_id}/hangup", tag = "calls", security(("key" = [])),
    params(("call_id" = CallId, Path)),
    responses(
        (status = 202, description = "The call ends, or has ended", body = Taken),
        (status = 503, description = "`server_silent`: the call's server did not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
fn hang_up() {}

/// Listen
///
/// The stable `recording_url` of a result; its token is its only key.
#[utoipa::path(
    get, path = "/api/v1/recordings/{file}", tag = "calls",
    params(
        ("file" = String, Path, description = "`{call_id}.wav`"),
        ("token" = Option<String>, Query),
    ),
    responses(
        (status = 302, description = "To a URL that works for five minutes", headers(("Location" = String))),
        (status = 404, description = "`recording_pending` while it is on its way (`Retry-After`), `recording_expired`, `recording_lost`, else `not_found`", body = Problem, content_type = "application/problem+json"),
    )
)]
fn recording() {}

/// Is it there
#[utoipa::path(get, path = "/health", tag = "fleet", responses((status = 200, description = "It serves", body = Health)))]
fn health() {}

/// How many calls fit
///
/// `workers` is there only with a valid key.
#[utoipa::path(
    get, path = "/health/fleet", tag = "fleet", security((), ("key" = [])),
    responses((status = 200, description = "Capacity right now", body = FleetHealth))
)]
fn fleet_health() {}
