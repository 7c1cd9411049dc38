//! `POST /api/v1/admin/secrets/reseal`: stored secrets go over to the newest data key, a bounded piece with each request.
//! It must never answer with a secret, sealed or not.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use domain::field_error::FieldError;
use domain::ports::{NoCursor, SealedCursor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::problem::Refusal;
use crate::reseal::{Tally, pass};

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/admin/secrets/reseal", post(reseal))
}

/// Body of the request.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Resealing)]
pub(crate) struct Order {
    /// Counts, and leaves everything as it is.
    #[serde(default)]
    dry_run: bool,
    /// From the answer before, to go on.
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResealingAnswer)]
pub(crate) struct Answer {
    /// `false`: ask again with `cursor`.
    done: bool,
    cursor: Option<String>,
    dry_run: bool,
    /// Ids of the data keys that this process knows; the first one seals.
    keys: Vec<String>,
    #[serde(flatten)]
    tally: Tally,
}

async fn reseal(State(desk): State<Desk>, Admin(caller): Admin, body: CappedBody) -> Result<Json<Answer>, Refusal> {
    let order: Order = typed(body.object()?)?;
    let from = order.cursor.as_deref().map_or(Ok(SealedCursor::default()), str::parse).map_err(|NoCursor| {
        let msg = "send the cursor of the answer before, unchanged";
        Refusal::Invalid(vec![FieldError::body("cursor", "cursor", msg)])
    })?;
    let (tally, next) = pass(&desk.reseal, order.dry_run, from).await?;
    tracing::info!(
        key.id = %caller.key_id, dry_run = order.dry_run, resealed = tally.resealed, changed = tally.changed,
        unopenable = tally.unopenable, done = next.is_none(), "secrets sealed anew"
    );
    Ok(Json(Answer {
        done: next.is_none(),
        cursor: next.map(|next| next.to_string()),
        dry_run: order.dry_run,
        keys: desk.seal.keys(),
        tally,
    }))
}
