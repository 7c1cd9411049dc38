//! What a bot's CRM would be sent for a past call, or for an invented one: body, headers, and the names in the key mapper
//! that are probably not what was meant.
//! It must never send anything, and never open a secret.

mod sample;

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use domain::bot::{Bot, Push};
use domain::delivery::{Channel, webhook_id};
use domain::field_error::FieldError;
use domain::ids::{BotId, CallId};
use domain::lint::{self, Finding, Names};
use domain::secret::MASK;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::calls::call_row;
use crate::problem::Refusal;
use crate::result::Ended;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/admin/bots/{id}/push/preview", post(preview))
}

/// What to render; all of it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PreviewRequest)]
pub(crate) struct Asked {
    /// An ended call of the bot; without one an invented call stands in.
    #[serde(default)]
    call_id: Option<String>,
    /// A key mapper that is not stored yet, instead of the bot's own.
    #[serde(default)]
    key_mapper: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PreviewAgainst)]
pub(crate) enum Against {
    Call,
    Sample,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
pub(crate) struct Preview {
    against: Against,
    call_id: CallId,
    method: &'static str,
    /// Null while the bot has no push.
    url: Option<String>,
    /// Lower-case names; what is secret is masked.
    headers: BTreeMap<&'static str, String>,
    body: Value,
    /// `namespace.field` of what had no value.
    missing: Vec<String>,
    lint: Vec<Finding>,
}

async fn preview(
    State(desk): State<Desk>,
    _: Admin,
    Path(id): Path<String>,
    body: CappedBody,
) -> Result<Json<Preview>, Refusal> {
    let asked: Asked = if body.0.is_empty() { Asked::default() } else { typed(body.object()?)? };
    let id = BotId::parse(id).map_err(|_| Refusal::NotFound("bot"))?;
    let bot = desk.bots.get(&id).await?.ok_or(Refusal::NotFound("bot"))?;
    let mapper = mapper(&bot, asked.key_mapper)?;
    let now = desk.clock.now();
    let names = Names::of_bot(&bot);
    match &asked.call_id {
        Some(call) => {
            let ended = past_call(&desk, &bot, call).await?;
            let names = names.seen_in(&ended.result, &ended.record);
            let context = domain::push::context(&bot, &ended.result, &ended.record, now);
            let lint = lint::key_mapper(&mapper, &names, Some(&context));
            render(Against::Call, &bot, &mapper, &ended, lint, now)
        }
        None => {
            let lint = lint::key_mapper(&mapper, &names, None);
            let ended = sample::call(&desk.archive.public_url, &bot, &mapper, &lint, now);
            render(Against::Sample, &bot, &mapper, &ended, lint, now)
        }
    }
}

fn mapper(bot: &Bot, given: Option<Value>) -> Result<Value, Refusal> {
    let Some(mapper) = given else {
        let own = bot.push.as_ref().map(|push| push.key_mapper.clone());
        return own.ok_or_else(|| wrong("key_mapper", "missing", "the bot has no push: send a key_mapper to preview"));
    };
    let mut faults = domain::push::validate(&mapper);
    for fault in &mut faults {
        fault.loc = vec!["body".to_owned(), "key_mapper".to_owned()];
    }
    if faults.is_empty() { Ok(mapper) } else { Err(Refusal::Invalid(faults)) }
}

async fn past_call(desk: &Desk, bot: &Bot, call: &str) -> Result<Ended, Refusal> {
    let row = call_row(&*desk.calls, call).await?.filter(|row| row.bot_id == bot.bot_id);
    let row = row.ok_or_else(|| wrong("call_id", "unknown_call", "no call of this bot has that id"))?;
    let ended = Ended::read(&desk.archive, &row).await?;
    ended.ok_or_else(|| wrong("call_id", "call_not_ended", "the call has not ended yet: its result is not known"))
}

fn render(
    against: Against,
    bot: &Bot,
    mapper: &Value,
    ended: &Ended,
    lint: Vec<Finding>,
    now: Timestamp,
) -> Result<Json<Preview>, Refusal> {
    let context = domain::push::context(bot, &ended.result, &ended.record, now);
    let rendered = domain::push::render(mapper, &context);
    let call_id = ended.result.session_id;
    Ok(Json(Preview {
        against,
        call_id,
        method: bot.push.as_ref().map_or("POST", |push| push.method.as_str()),
        url: bot.push.as_ref().map(|push| push.url.clone()),
        headers: headers(bot.push.as_ref(), call_id, now),
        body: serde_json::from_slice(&rendered.bytes).map_err(|_| Refusal::Internal)?,
        missing: rendered.missing,
        lint,
    }))
}

/// The headers of a delivery, by the names that `push::deliver` gives them; a test holds the two together.
fn headers(push: Option<&Push>, call: CallId, now: Timestamp) -> BTreeMap<&'static str, String> {
    let mut headers = BTreeMap::from([
        ("content-type", "application/json".to_owned()),
        ("user-agent", concat!("ringfleet/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("webhook-id", webhook_id(call, Channel::Push)),
        ("webhook-timestamp", now.as_second().to_string()),
    ]);
    if push.is_some_and(|push| push.secret.is_some()) {
        headers.insert("webhook-signature", MASK.to_owned());
    }
    if push.is_some_and(|push| push.token.is_some()) {
        headers.insert("authorization", MASK.to_owned());
    }
    headers
}

fn wrong(field: &str, kind: &str, msg: &str) -> Refusal {
    Refusal::Invalid(vec![FieldError::body(field, kind, msg)])
}

#[cfg(test)]
mod tests;
