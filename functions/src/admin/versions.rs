//! Past versions of a bot: what a call ran on, also after the bot was replaced or deleted.
//! It must never change one, nor show a secret of one.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use domain::bot::Bot;
use domain::field_error::FieldError;
use domain::ids::BotId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Desk;
use super::secrets::shown;
use crate::auth::Admin;
use crate::problem::Refusal;

/// Versions a page, if nothing is said, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v1/admin/bots/{id}/versions", get(list))
        .route("/api/v1/admin/bots/{id}/versions/{version}", get(read))
}

#[derive(Debug, Deserialize)]
struct Page {
    /// Only versions below this one: the `next_before` of the page before.
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BotVersion)]
pub(crate) struct Line {
    version: u64,
    /// Whether it is the bot's version now; none is after a deletion.
    current: bool,
    name: String,
    enabled: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BotVersions)]
pub(crate) struct Lines {
    items: Vec<Line>,
    /// Where the next page begins; null when this is the last.
    next_before: Option<u64>,
}

async fn list(
    State(desk): State<Desk>,
    _: Admin,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Lines>, Refusal> {
    let id = BotId::parse(id).map_err(|_| Refusal::NotFound("bot"))?;
    let before = page.before.as_deref().map(|text| number("before", text, u64::MAX)).transpose()?;
    let limit = page.limit.as_deref().map(|text| number("limit", text, u64::from(PAGE_MAX))).transpose()?;
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(PAGE);
    let bots = &desk.bots;
    let (current, mut found) = tokio::try_join!(bots.get(&id), bots.versions(&id, before, limit + 1))?;
    if found.is_empty() && before.is_none() {
        return Err(Refusal::NotFound("bot"));
    }
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_before = found.last().filter(|_| more).map(|bot| bot.version);
    let current = current.map(|bot| bot.version);
    let items = found.into_iter().map(|bot| Line {
        current: current == Some(bot.version),
        version: bot.version,
        name: bot.name,
        enabled: bot.enabled,
    });
    Ok(Json(Lines { items: items.collect(), next_before }))
}

async fn read(
    State(desk): State<Desk>,
    _: Admin,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let missing = || Refusal::NotFound("version");
    let id = BotId::parse(id).map_err(|_| Refusal::NotFound("bot"))?;
    let version: u64 = version.parse().map_err(|_| missing())?;
    let bot: Bot = desk.bots.version(&id, version).await?.ok_or_else(missing)?;
    Ok(Json(shown(&bot, &[])))
}

fn number(name: &str, text: &str, most: u64) -> Result<u64, Refusal> {
    text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        let loc = vec!["query".to_owned(), name.to_owned()];
        let msg = format!("a whole number from 1 to {most}");
        Refusal::Invalid(vec![FieldError { loc, msg, kind: "int_parsing".to_owned() }])
    })
}
