//! One call as operators see it: its row, its deliveries, and every attempt of each.
//! It must never show a recording's token or a body: those are in the result and the bucket.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use domain::call::CallRow;
use domain::delivery::Channel;
use domain::ports::StoreError;
use serde_json::{Value, json};

use crate::auth::Admin;
use crate::calls::call_row;
use crate::platform::Platform;
use crate::problem::Refusal;

pub(super) fn routes() -> Router<Platform> {
    Router::new().route("/api/v1/admin/calls/{id}", get(read))
}

async fn read(State(platform): State<Platform>, _: Admin, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let row = call_row(&platform, &id).await?.ok_or(Refusal::NotFound("call"))?;
    let mut shown = serde_json::to_value(&row).map_err(|_| Refusal::Internal)?;
    if let Value::Object(members) = &mut shown {
        members.remove("recording_token");
    }
    Ok(Json(json!({ "call": shown, "deliveries": deliveries(&platform, &row).await? })))
}

async fn deliveries(platform: &Platform, row: &CallRow) -> Result<Vec<Value>, StoreError> {
    let mut all = Vec::new();
    for channel in Channel::ALL {
        if let Some(delivery) = platform.tables.deliveries.get(row.call_id, *channel).await? {
            let attempts = platform.tables.deliveries.attempts(row.call_id, *channel).await?;
            all.push(json!({ "delivery": delivery, "attempts": attempts }));
        }
    }
    Ok(all)
}
