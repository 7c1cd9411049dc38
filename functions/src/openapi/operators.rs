//! The admin API's operations on calls, the fleet and customers' data.
//! It must never hold a type that a handler has: the handler's own is described.

#![expect(dead_code, reason = "these functions carry descriptions; the handlers are elsewhere")]

use domain::call::{CallRow, CallState};
use domain::delivery::{AttemptRow, DeliveryRow};
use domain::fleet::Alive;
use domain::ids::CallId;
use domain::outcome::EndReason;
use utoipa::{OpenApi, ToSchema};

use crate::admin::calls::{Again, Line};
use crate::admin::erase::{Answer as ErasureAnswer, Order as Erasure};
use crate::admin::fleet::Fleet;
use crate::admin::reseal::{Answer as ResealingAnswer, Order as Resealing};
use crate::calls::list::Listed;
use crate::problem::Body as Problem;

#[derive(OpenApi)]
#[openapi(paths(list_all_calls, read_any_call, push_again, read_fleet, drain, undrain, erase, reseal))]
pub(super) struct Paths;

/// A call's row, its deliveries, and every attempt of each.
#[derive(ToSchema)]
struct AdminCall {
    call: CallRow,
    deliveries: Vec<AdminDelivery>,
}

#[derive(ToSchema)]
struct AdminDelivery {
    delivery: DeliveryRow,
    attempts: Vec<AttemptRow>,
}

/// What is on its way again, and what is not.
#[derive(ToSchema)]
struct PushedAgain {
    call_id: CallId,
    deliveries: Vec<DeliveryRow>,
    refused: Vec<NotPushed>,
}

#[derive(ToSchema)]
struct NotPushed {
    code: String,
    detail: String,
}

/// List calls of every bot
///
/// Newest first. A page may be short, or empty, and yet have a `next_cursor`: a request looks at so many days only.
#[utoipa::path(
    get, path = "/api/v1/admin/calls", tag = "admin", security(("key" = [])),
    params(
        ("bot_id" = Option<String>, Query),
        ("state" = Option<CallState>, Query),
        ("from" = Option<String>, Query, description = "Start at or after: RFC 3339 time or date"),
        ("to" = Option<String>, Query, description = "Start before: RFC 3339 time or date"),
        ("disposition" = Option<String>, Query),
        ("end_reason" = Option<EndReason>, Query),
        ("trunk_id" = Option<String>, Query),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "One page", body = Listed<Line>))
)]
fn list_all_calls() {}

/// Read a call with its deliveries
#[utoipa::path(
    get, path = "/api/v1/admin/calls/{id}", tag = "admin", security(("key" = [])), params(("id" = CallId, Path)),
    responses((status = 200, description = "All that is known but its recording's token", body = AdminCall))
)]
fn read_any_call() {}

/// Send a result again
///
/// The same id and the same bytes, on a fresh schedule.
#[utoipa::path(
    post, path = "/api/v1/admin/calls/{id}/push", tag = "admin", security(("key" = [])),
    params(("id" = CallId, Path)), request_body = Again,
    responses(
        (status = 202, description = "On its way", body = PushedAgain),
        (status = 404, description = "`not_found`, `no_delivery`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`call_live`, `not_rendered`, `body_gone`, `try_running`, `endpoint_disabled`", body = Problem, content_type = "application/problem+json"),
    )
)]
fn push_again() {}

/// The fleet
#[utoipa::path(
    get, path = "/api/v1/admin/fleet", tag = "admin", security(("key" = [])),
    responses((status = 200, description = "Every server that is listed, and the sums of the healthy ones", body = Fleet))
)]
fn read_fleet() {}

/// Drain a server
///
/// It takes no further call, and holds those it has to their end; the process stays.
#[utoipa::path(
    post, path = "/api/v1/admin/fleet/{server_id}/drain", tag = "admin", security(("key" = [])),
    params(("server_id" = String, Path)),
    responses(
        (status = 200, description = "How the server stands", body = Alive),
        (status = 503, description = "`server_silent`: the server did not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
fn drain() {}

/// Let a drained server take calls again
#[utoipa::path(
    post, path = "/api/v1/admin/fleet/{server_id}/undrain", tag = "admin", security(("key" = [])),
    params(("server_id" = String, Path)),
    responses(
        (status = 200, description = "How the server stands", body = Alive),
        (status = 409, description = "`server_ending`: its process ends when its calls have", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`server_silent`: the server did not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
fn undrain() {}

/// Erase a customer
///
/// Takes a number out of every call of the deployment. Ask again with `cursor` until `done`.
#[utoipa::path(
    post, path = "/api/v1/admin/erase", tag = "admin", security(("key" = [])), request_body = Erasure,
    responses((status = 200, description = "What was found and done", body = ErasureAnswer))
)]
fn erase() {}

/// Seal stored secrets under the newest data key
///
/// After a data key was added; `ringfleet secrets rotate` does it all. Ask again with `cursor` until `done`.
#[utoipa::path(
    post, path = "/api/v1/admin/secrets/reseal", tag = "admin", security(("key" = [])), request_body = Resealing,
    responses((status = 200, description = "What was found and done", body = ResealingAnswer))
)]
fn reseal() {}
