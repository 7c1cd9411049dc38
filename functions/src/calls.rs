//! Calls as clients see them: result or live state, hang-up, and the redirect behind the stable recording URL.
//! It must never tell a call out of the key's scope from one that does not exist.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::api_key::Caller;
use domain::call::{CallRow, CallState, Direction, RecordingStatus};
use domain::ids::{BotId, CallId};
use domain::objects::CallObjects;
use domain::ports::{CallEntry, StoreError};
use domain::result::CallResult;
use domain::secret::Personal;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::auth::Authenticated;
use crate::platform::Platform;
use crate::problem::{Refusal, dress};
use crate::result::Ended;

/// How long a presigned recording URL works.
const PRESIGNED_FOR: Duration = Duration::from_secs(300);
const HANG_UP_WITHIN: Duration = Duration::from_secs(3);

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/api/v1/calls/{call_id}", get(read))
        .route("/api/v1/calls/{call_id}/hangup", post(hang_up))
        .route("/api/v1/recordings/{file}", get(recording))
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

/// A call as `GET /api/v1/calls/{id}` shows it; `state` tells the two apart.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    Ended {
        state: CallState,
        #[serde(flatten)]
        result: Box<CallResult>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    Live(Box<Live>),
}

#[derive(Debug, Serialize)]
struct Live {
    state: CallState,
    session_id: CallId,
    bot_id: BotId,
    direction: Direction,
    caller_id: Personal<String>,
    to_number: Personal<String>,
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
    State(platform): State<Platform>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Refusal> {
    let row = visible(&platform, &caller, &id).await?;
    let Some(ended) = Ended::read(&platform, &row).await? else {
        return Ok(Json(Shown::Live(Box::new(Live::of(row)))));
    };
    Ok(Json(Shown::Ended { state: CallState::Ended, result: Box::new(ended.result), warnings: row.warnings }))
}

#[derive(Debug, Serialize)]
struct Taken {
    status: &'static str,
}

/// 202 in each case in which the call ends or has ended: asking twice is as good as asking once.
async fn hang_up(
    State(platform): State<Platform>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let row = visible(&platform, &caller, &id).await?;
    if row.state != CallState::Ended {
        tell_server(&platform, &row).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(Taken { status: "ok" })).into_response())
}

async fn tell_server(platform: &Platform, row: &CallRow) -> Result<(), Refusal> {
    let server = platform.tables.servers.get(&row.owner.server_id).await?;
    // Another incarnation does not have the call: `reap` ends it.
    let Some(server) = server.filter(|server| server.epoch == row.owner.epoch) else {
        return Err(Refusal::ServerSilent);
    };
    let known = platform.outside.fleet.hang_up(&server, row.call_id, HANG_UP_WITHIN).await.map_err(|cause| {
        tracing::warn!(call.id = %row.call_id, server.id = %server.server_id, error = %cause, "hang-up did not reach the server");
        Refusal::ServerSilent
    })?;
    tracing::info!(call.id = %row.call_id, known, "hang-up asked for");
    Ok(())
}

/// The call's row, if the caller may see it.
async fn visible(platform: &Platform, caller: &Caller, id: &str) -> Result<CallRow, Refusal> {
    let row = call_row(platform, id).await?;
    row.filter(|row| caller.may_use(&row.bot_id)).ok_or(Refusal::NotFound("call"))
}

/// The row under an id as it came in a path; a fenced id is no call.
pub(crate) async fn call_row(platform: &Platform, id: &str) -> Result<Option<CallRow>, StoreError> {
    let Ok(id) = CallId::parse(id) else { return Ok(None) };
    Ok(match platform.tables.calls.get(id).await? {
        Some(CallEntry::Call(row)) => Some(*row),
        Some(CallEntry::Fenced(_)) | None => None,
    })
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
}

/// `{call_id}.wav?token=…`: whoever has the URL may listen; the token is its only key.
async fn recording(
    State(platform): State<Platform>,
    Path(file): Path<String>,
    Query(query): Query<Token>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::NotFound("recording");
    let id = file.strip_suffix(".wav").ok_or_else(missing)?;
    let row = call_row(&platform, id)
        .await?
        .filter(|row| is_token(&query.token, &row.recording_token))
        .ok_or_else(missing)?;
    match row.recording_status {
        _ if row.state != CallState::Ended => Err(Refusal::RecordingPending),
        RecordingStatus::Pending => Err(Refusal::RecordingPending),
        RecordingStatus::None | RecordingStatus::Lost => Err(missing()),
        RecordingStatus::Complete | RecordingStatus::Partial => {
            let url = platform.outside.objects.presign(&CallObjects::of(&row).recording(), PRESIGNED_FOR).await?;
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
