//! Calls as operators see them: a list over all bots; one call with its row, its deliveries, and every attempt of each;
//! and its result sent again. It must never show a recording's token or a body: those are in the result and the bucket.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::api_key::{BotScope, Caller};
use domain::call::{CallRow, NextStep};
use domain::call_list::ADMIN_PARAMETERS;
use domain::delivery::Channel;
use domain::ids::{KeyId, Owner, TrunkId};
use domain::ports::StoreError;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::calls::call_row;
use crate::calls::list::{self, Listed, Summary};
use crate::problem::Refusal;
use crate::push::resend::resend;

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v1/admin/calls", get(listed))
        .route("/api/v1/admin/calls/{id}", get(read))
        .route("/api/v1/admin/calls/{id}/push", post(push_again))
}

/// A call in an operator's list: what its client sees, and who has it in hand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminCallSummary)]
pub(crate) struct Line {
    #[serde(flatten)]
    summary: Summary,
    bot_version: u64,
    trunk_id: Option<TrunkId>,
    key_id: Option<KeyId>,
    owner: Owner,
    deadline: Timestamp,
    next_step: Option<NextStep>,
    due_at: Option<Timestamp>,
    step_tries: u32,
    checkpoints: u32,
    warnings: Vec<String>,
}

async fn listed(
    State(desk): State<Desk>,
    Admin(caller): Admin,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Listed<Line>>, Refusal> {
    let everything = Caller { bots: BotScope::All, ..caller };
    let show = |row: &CallRow| Line {
        summary: Summary::of(&desk.archive.public_url, row),
        bot_version: row.bot_version,
        trunk_id: row.trunk_id.clone(),
        key_id: row.key_id.clone(),
        owner: row.owner.clone(),
        deadline: row.deadline,
        next_step: row.next_step,
        due_at: row.due_at,
        step_tries: row.step_tries,
        checkpoints: row.checkpoints,
        warnings: row.warnings.clone(),
    };
    list::answer(&desk.list, &everything, &pairs, ADMIN_PARAMETERS, show).await
}

async fn read(State(desk): State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let row = call_row(&*desk.calls, &id).await?.ok_or(Refusal::NotFound("call"))?;
    let mut shown = serde_json::to_value(&row).map_err(|_| Refusal::Internal)?;
    if let Value::Object(members) = &mut shown {
        members.remove("recording_token");
        // What the call was begun with is its result's to show, wherever it lies.
        members.remove("brought");
    }
    Ok(Json(json!({ "call": shown, "deliveries": deliveries(&desk, &row).await? })))
}

async fn deliveries(desk: &Desk, row: &CallRow) -> Result<Vec<Value>, StoreError> {
    let mut all = Vec::new();
    for channel in Channel::ALL {
        if let Some(delivery) = desk.deliveries.get(row.call_id, *channel).await? {
            let attempts = desk.deliveries.attempts(row.call_id, *channel).await?;
            all.push(json!({ "delivery": delivery, "attempts": attempts }));
        }
    }
    Ok(all)
}

/// What is to be sent again; an empty body means every channel.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushAgain)]
pub(crate) struct Again {
    #[serde(default)]
    channel: Option<Channel>,
}

/// 202 with what is on its way again (same id, same bytes) and what is not, and why; a refusal if nothing is.
async fn push_again(
    State(desk): State<Desk>,
    _: Admin,
    Path(id): Path<String>,
    body: CappedBody,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let again: Again = if body.0.is_empty() { Again::default() } else { typed(body.object()?)? };
    let row = call_row(&*desk.calls, &id).await?.ok_or(Refusal::NotFound("call"))?;
    let mut report = resend(&desk.resend, &row, again.channel).await?;
    if report.resent.is_empty()
        && let Some(why) = report.refused.pop()
    {
        return Err(Refusal::NotResent(why));
    }
    let refused: Vec<Value> =
        report.refused.iter().map(|why| json!({ "code": why.code(), "detail": why.to_string() })).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({ "call_id": row.call_id, "deliveries": report.resent, "refused": refused }))))
}
