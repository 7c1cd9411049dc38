//! The endpoints of a bot as operators see them: what their breakers do, and whether one has said that it is gone.
//! It must never show a URL: its path or query may hold a token.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use domain::delivery::Channel;
use domain::endpoint::{Breaker, EndpointId, EndpointRow};
use domain::ids::{BotId, CallId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::problem::Refusal;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/admin/bots/{id}/endpoints", get(list))
}

/// One endpoint; those of which nothing is known are not listed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BotEndpoint)]
pub(crate) struct Shown {
    channel: Channel,
    /// Scheme, host and port.
    origin: String,
    endpoint: EndpointId,
    breaker: Breaker,
    /// Since when nothing is sent there because it answered 410 Gone.
    disabled_since: Option<Timestamp>,
    /// The last calls in a row that got 410.
    gone_calls: Vec<CallId>,
    changed_at: Timestamp,
}

impl Shown {
    fn of(row: EndpointRow, version: u64) -> Self {
        Self {
            disabled_since: row.disabled_since(Some(version)),
            channel: row.channel,
            origin: row.origin,
            endpoint: row.endpoint,
            breaker: row.breaker,
            gone_calls: row.gone.calls,
            changed_at: row.changed_at,
        }
    }
}

async fn list(State(desk): State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let missing = || Refusal::NotFound("bot");
    let id = BotId::parse(id).map_err(|_| missing())?;
    let bot = desk.bots.get(&id).await?.ok_or_else(missing)?;
    let rows = desk.endpoints.of_bot(&id).await?;
    let items: Vec<Shown> = rows.into_iter().map(|row| Shown::of(row, bot.version)).collect();
    Ok(Json(json!({ "items": items })))
}
