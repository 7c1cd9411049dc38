//! Calls as clients see them: result or live state, hang-up, and the redirect behind the stable recording URL.
//! It must never tell a call out of the key's scope from one that does not exist.

pub mod list;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::api_key::Caller;
use domain::call::{CallRow, CallState, Direction, RecordingStatus};
use domain::ids::{BotId, CallId};
use domain::objects::CallObjects;
use domain::ports::{CallEntry, Calls, Fleet, Servers, StoreError};
use domain::result::CallResult;
use domain::retention::Kind;
use domain::secret::Personal;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::auth::{self, Authenticated};
use crate::problem::{Refusal, dress};
use crate::result::{Archive, Ended};

/// How long a presigned recording URL works.
const PRESIGNED_FOR: Duration = Duration::from_secs(300);
const HANG_UP_WITHIN: Duration = Duration::from_secs(3);

/// What it takes to show calls and to hang them up.
#[derive(Clone, derive_more::Debug)]
#[debug("calls::Desk")]
pub struct Desk {
    pub auth: auth::Desk,
    pub calls: Arc<dyn Calls>,
    pub servers: Arc<dyn Servers>,
    pub fleet: Arc<dyn Fleet>,
    pub archive: Archive,
    pub list: list::Desk,
}

impl FromRef<Desk> for auth::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.auth.clone()
    }
}

impl FromRef<Desk> for list::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.list.clone()
    }
}

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v1/calls", get(list::list))
        .route("/api/v1/calls/{call_id}", get(read))
        .route("/api/v1/calls/{call_id}/hangup", post(hang_up))
        .route("/api/v1/recordings/{file}", get(recording))
}

/// This function's routes alone.
pub fn router(desk: Desk) -> Router {
    dress(routes().with_state(desk))
}

/// A call as `GET /api/v1/calls/{id}` shows it; `state` tells the two apart.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    Ended(Box<EndedCall>),
    Live(Box<Live>),
}

// By hand, as `anyOf`: a result has all that a live call has, so it is never only one of the two.
impl PartialSchema for Shown {
    fn schema() -> RefOr<Schema> {
        let either = [EndedCall::name(), Live::name()].map(Ref::from_schema_name);
        either.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
    }
}

impl ToSchema for Shown {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Call")
    }

    fn schemas(all: &mut Vec<(String, RefOr<Schema>)>) {
        all.push((EndedCall::name().into_owned(), EndedCall::schema()));
        all.push((Live::name().into_owned(), Live::schema()));
        EndedCall::schemas(all);
        Live::schemas(all);
    }
}

/// A call that is over: its result, and what was noted on the way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedCall {
    state: CallState,
    #[serde(flatten)]
    result: CallResult,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What is missing because its days are over: `recording`, `transcript`, `variables`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    expired: BTreeSet<Kind>,
    /// When the customer was erased from the call: then its numbers are `erased`, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveCall)]
pub(crate) struct Live {
    state: CallState,
    session_id: CallId,
    bot_id: BotId,
    direction: Direction,
    #[schema(value_type = String)]
    caller_id: Personal<String>,
    #[schema(value_type = String)]
    to_number: Personal<String>,
    #[schema(value_type = String)]
    from_number: Personal<String>,
    started_at: Timestamp,
    ringing_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Live {
    fn of(row: CallRow) -> Self {
        Self {
            state: row.state,
            session_id: row.call_id,
            caller_id: Personal(row.customer_number().to_owned()),
            bot_id: row.bot_id,
            direction: row.direction,
            to_number: row.to_number,
            from_number: row.from_number,
            started_at: row.started_at,
            ringing_at: row.ringing_at,
            answered_at: row.answered_at,
            warnings: row.warnings,
        }
    }
}

async fn read(
    State(desk): State<Desk>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Refusal> {
    let row = visible(&desk, &caller, &id).await?;
    let Some(ended) = Ended::read(&desk.archive, &row).await? else {
        return Ok(Json(Shown::Live(Box::new(Live::of(row)))));
    };
    Ok(Json(Shown::Ended(Box::new(EndedCall {
        state: CallState::Ended,
        result: ended.result,
        warnings: row.warnings,
        expired: row.expired,
        erased_at: row.erased_at,
    }))))
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Taken {
    status: &'static str,
}

/// 202 in each case in which the call ends or has ended: asking twice is as good as asking once.
async fn hang_up(
    State(desk): State<Desk>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let row = visible(&desk, &caller, &id).await?;
    if row.state != CallState::Ended {
        tell_server(&desk, &row).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(Taken { status: "ok" })).into_response())
}

async fn tell_server(desk: &Desk, row: &CallRow) -> Result<(), Refusal> {
    let server = desk.servers.get(&row.owner.server_id).await?;
    // Another incarnation does not have the call: `reap` ends it.
    let Some(server) = server.filter(|server| server.epoch == row.owner.epoch) else {
        return Err(Refusal::ServerSilent);
    };
    let known = desk.fleet.hang_up(&server, row.call_id, HANG_UP_WITHIN).await.map_err(|cause| {
        tracing::warn!(call.id = %row.call_id, server.id = %server.server_id, error = %cause, "hang-up did not reach the server");
        Refusal::ServerSilent
    })?;
    tracing::info!(call.id = %row.call_id, known, "hang-up asked for");
    Ok(())
}

/// The call's row, if the caller may see it.
async fn visible(desk: &Desk, caller: &Caller, id: &str) -> Result<CallRow, Refusal> {
    let row = call_row(&*desk.calls, id).await?;
    row.filter(|row| caller.may_use(&row.bot_id)).ok_or(Refusal::NotFound("call"))
}

/// The row under an id as it came in a path; a fenced id is no call.
pub(crate) async fn call_row(calls: &dyn Calls, id: &str) -> Result<Option<CallRow>, StoreError> {
    let Ok(id) = CallId::parse(id) else { return Ok(None) };
    Ok(match calls.get(id).await? {
        Some(CallEntry::Call(row)) => Some(*row),
        Some(CallEntry::Fenced(_)) | None => None,
    })
}

/// `{call_id}.wav?token=…`: whoever has the URL may listen; the token is its only key.
async fn recording(
    State(desk): State<Desk>,
    Path(file): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::NotFound("recording");
    let id = file.strip_suffix(".wav").ok_or_else(missing)?;
    let token = query.iter().find(|(name, _)| name == "token").map_or("", |(_, token)| token);
    let row =
        call_row(&*desk.calls, id).await?.filter(|row| is_token(token, &row.recording_token)).ok_or_else(missing)?;
    match row.recording_status {
        _ if row.state != CallState::Ended => Err(Refusal::RecordingPending),
        RecordingStatus::Pending => Err(Refusal::RecordingPending),
        RecordingStatus::Complete | RecordingStatus::Partial if row.expired.contains(&Kind::Recording) => {
            Err(Refusal::RecordingExpired)
        }
        RecordingStatus::Lost => Err(Refusal::RecordingLost),
        RecordingStatus::None => Err(missing()),
        RecordingStatus::Complete | RecordingStatus::Partial => {
            let url = desk.archive.objects.presign(&CallObjects::of(&row).recording(), PRESIGNED_FOR).await?;
            redirect(&url)
        }
    }
}

fn redirect(url: &str) -> Result<Response, Refusal> {
    let location = HeaderValue::from_str(url).map_err(|_| Refusal::Internal)?;
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Compares digests, so that the time taken says nothing about the token; an empty stored one never matches.
fn is_token(given: &str, stored: &str) -> bool {
    !stored.is_empty() && Sha256::digest(given.as_bytes()) == Sha256::digest(stored.as_bytes())
}

#[cfg(test)]
mod tests;
