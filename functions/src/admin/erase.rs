//! `POST /api/v1/admin/erase`: a person's data, by number, a bounded piece of the way with each request.
//! It must never repeat the number, neither in an answer nor in the log.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use domain::field_error::FieldError;
use domain::ids::CallId;
use domain::phone::{E164, parse_dialled};
use domain::secret::Personal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::erase::{Tally, pass};
use crate::problem::Refusal;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/admin/erase", post(erase))
}

/// Body of the request.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Erasure)]
pub(crate) struct Order {
    /// E.164, or as people write it if `country` says where.
    #[schema(value_type = String)]
    number: Personal<String>,
    /// ISO 3166-1 alpha-2, for numbers without a country code.
    #[serde(default)]
    country: Option<String>,
    /// Counts, and leaves everything as it is.
    #[serde(default)]
    dry_run: bool,
    /// From the answer before, to go on.
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasureAnswer)]
pub(crate) struct Answer {
    /// `false`: ask again with `cursor`.
    done: bool,
    cursor: Option<CallId>,
    dry_run: bool,
    #[serde(flatten)]
    tally: Tally,
}

async fn erase(State(desk): State<Desk>, Admin(caller): Admin, body: CappedBody) -> Result<Json<Answer>, Refusal> {
    let order: Order = typed(body.object()?)?;
    let number = number(&order)?;
    let after = order.cursor.as_deref().map(cursor).transpose()?;
    let (tally, cursor) = pass(&desk.erase, &number, order.dry_run, after).await?;
    tracing::info!(
        key.id = %caller.key_id, dry_run = order.dry_run, calls = tally.calls, unfinished = tally.unfinished,
        objects = tally.objects, deliveries_stopped = tally.deliveries_stopped, done = cursor.is_none(),
        "erasure by number"
    );
    Ok(Json(Answer { done: cursor.is_none(), cursor, dry_run: order.dry_run, tally }))
}

fn number(order: &Order) -> Result<E164, Refusal> {
    let fault = |path: &str, kind: &str, msg: &str| Refusal::Invalid(vec![FieldError::body(path, kind, msg)]);
    let typed = order.number.0.trim();
    let country = match &order.country {
        Some(country) if domain::phone::is_country(country) => country,
        Some(_) => return Err(fault("country", "unknown_country", "a country is two letters of ISO 3166-1, e.g. IN")),
        // The country of a number with a country code does not matter.
        None if typed.starts_with('+') => "IN",
        None => {
            return Err(fault(
                "number",
                "country_missing",
                "write the number with + and its country code, or name its country",
            ));
        }
    };
    let read = parse_dialled(typed, country).map_err(|cause| fault("number", cause.word(), &cause.to_string()))?;
    Ok(read.e164)
}

fn cursor(text: &str) -> Result<CallId, Refusal> {
    let msg = "send the cursor of the answer before, unchanged";
    CallId::parse(text).map_err(|_| Refusal::Invalid(vec![FieldError::body("cursor", "cursor", msg)]))
}
