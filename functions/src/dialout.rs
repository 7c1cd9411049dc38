//! `POST /api/v1/dialout`: checks in the order of `api.md` §1, then one server takes the call or the client hears why not.
//! It must never queue a call, write a call row, or answer 200 before a server holds the permit.

mod placing;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use domain::api_key::Caller;
use domain::bot::Bot;
use domain::call::MAX_WARNINGS;
use domain::dialout::{DialoutRequest, PlacedNumbers, dialled, parse, place};
use domain::field_error::FieldError;
use domain::fleet::{DialCommand, ServerRow};
use domain::ids::{CallId, TrunkId};
use domain::ports::{StoreError, mint_call_id};
use domain::secret::Personal;
use domain::trunk::Trunk;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::auth::Authenticated;
use crate::body::CappedBody;
use crate::fleet_health::believable;
use crate::platform::Platform;
use crate::problem::{Refusal, dress};
use placing::{Offer, Placed};

pub(crate) fn routes() -> Router<Platform> {
    Router::new().route("/api/v1/dialout", post(dialout))
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

#[derive(Debug, Serialize)]
struct Accepted {
    status: &'static str,
    call_id: CallId,
}

async fn dialout(
    State(platform): State<Platform>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Json<Accepted>, Refusal> {
    let answer = answer(&platform, &caller, &headers, &body).await;
    let outcome = answer.as_ref().map_or_else(Refusal::code, |_| "accepted");
    metrics::counter!("ringfleet_dialout_total", "outcome" => outcome).increment(1);
    answer
}

async fn answer(
    platform: &Platform,
    caller: &Caller,
    headers: &HeaderMap,
    body: &CappedBody,
) -> Result<Json<Accepted>, Refusal> {
    let started = Instant::now();
    let now = platform.outside.clock.now();
    let request = parse(&body.0).map_err(Refusal::Invalid)?;
    if is_strict(headers) && !request.unknown.is_empty() {
        return Err(Refusal::Invalid(request.unknown_as_errors()));
    }
    let bot = callable_bot(platform, caller, &request).await?;
    if !bot.hours.is_open(now) {
        return Err(Refusal::OutsideActiveHours { now, next_open_at: bot.hours.next_open(now) });
    }
    let (trunk, numbers) = carrying_trunk(platform, &bot, &request, now).await?;
    let call_id = mint_call_id(&*platform.outside.clock, &*platform.outside.entropy);
    let offer =
        Offer { command: command(call_id, &bot, &trunk, numbers, request, caller), group: trunk.server_group.clone() };
    let placed = placing::place(platform, &offer, started).await?;
    tracing::info!(call.id = %call_id, bot.id = %bot.bot_id, trunk.id = %trunk.trunk_id, outcome = placed.word(), "dialout");
    match placed {
        Placed::Accepted => Ok(Json(Accepted { status: "ok", call_id })),
        Placed::NoCapacity => Err(Refusal::NoCapacity),
        Placed::TrunkLimit => Err(Refusal::TrunkLimit),
    }
}

/// `Prefer: handling=strict` (RFC 7240).
fn is_strict(headers: &HeaderMap) -> bool {
    let preferences = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split([',', ';']));
    preferences
        .map(|text| text.replace([' ', '"'], ""))
        .any(|preference| preference.eq_ignore_ascii_case("handling=strict"))
}

/// The bot, if there is one, it is enabled, and the caller may use it: all else is the same 404.
async fn callable_bot(platform: &Platform, caller: &Caller, request: &DialoutRequest) -> Result<Bot, Refusal> {
    let missing = Refusal::NotFound("bot");
    if !caller.may_use(&request.bot_id) {
        return Err(missing);
    }
    platform.tables.bots.get(&request.bot_id).await?.filter(|bot| bot.enabled).ok_or(missing)
}

/// The first of the bot's trunks that may carry the call. The numbers are judged by the first that exists:
/// a fault there is the client's to mend; a full trunk passes the call on to the next.
async fn carrying_trunk(
    platform: &Platform,
    bot: &Bot,
    request: &DialoutRequest,
    now: Timestamp,
) -> Result<(Trunk, PlacedNumbers), Refusal> {
    let mut refusal = Refusal::NoTrunk;
    let mut servers: Option<Vec<ServerRow>> = None;
    for id in &bot.trunk_ids {
        let Some(trunk) = platform.tables.trunks.get(id).await? else { continue };
        let numbers = match judged_numbers(platform, bot, &trunk, request).await? {
            Ok(numbers) => numbers,
            Err(faults) if matches!(refusal, Refusal::NoTrunk) => return Err(Refusal::Invalid(faults)),
            Err(_) => continue,
        };
        let Some(limit) = trunk.max_calls else { return Ok((trunk, numbers)) };
        if servers.is_none() {
            servers = Some(platform.tables.servers.all().await?);
        }
        if calls_on(id, servers.as_deref().unwrap_or_default(), now) < limit {
            return Ok((trunk, numbers));
        }
        refusal = Refusal::TrunkLimit;
    }
    Err(refusal)
}

async fn judged_numbers(
    platform: &Platform,
    bot: &Bot,
    trunk: &Trunk,
    request: &DialoutRequest,
) -> Result<Result<PlacedNumbers, Vec<FieldError>>, StoreError> {
    let own = match dialled(request, trunk) {
        Ok(number) => platform.tables.bots.by_number(number.e164.as_str()).await?.is_some(),
        Err(_) => false,
    };
    Ok(place(request, bot, trunk, |_| own))
}

/// Calls on a trunk over the whole fleet. A server silent for longer than `reap` waits holds none any more.
fn calls_on(trunk: &TrunkId, servers: &[ServerRow], now: Timestamp) -> u32 {
    let alive = servers.iter().filter(|server| server.age_seconds(now) <= domain::fleet::STALE_FOR_REAP_SECONDS);
    alive.filter_map(|server| server.trunk_calls.get(trunk)).fold(0, |sum, calls| sum.saturating_add(*calls))
}

fn command(
    call_id: CallId,
    bot: &Bot,
    trunk: &Trunk,
    numbers: PlacedNumbers,
    request: DialoutRequest,
    caller: &Caller,
) -> placing::Draft {
    let unknown = request.unknown.iter().take(MAX_WARNINGS).map(|name| format!("unknown field in the dialout: {name}"));
    placing::Draft {
        call_id,
        bot_id: bot.bot_id.clone(),
        bot_version: bot.version,
        trunk_id: trunk.trunk_id.clone(),
        to: Personal(numbers.to.as_str().to_owned()),
        from: Personal(numbers.from.as_str().to_owned()),
        warnings: unknown.collect(),
        variables: request.variables.map(domain::variables::Variables::into_raw),
        key_id: caller.key_id.clone(),
    }
}

impl placing::Draft {
    fn for_server(&self, server: &ServerRow, deadline: Timestamp) -> DialCommand {
        DialCommand {
            call_id: self.call_id,
            server_id: server.server_id.clone(),
            epoch: server.epoch,
            bot_id: self.bot_id.clone(),
            bot_version: self.bot_version,
            trunk_id: self.trunk_id.clone(),
            to: self.to.clone(),
            from: self.from.clone(),
            variables: self.variables.clone(),
            key_id: self.key_id.clone(),
            deadline,
            warnings: self.warnings.clone(),
        }
    }
}

/// Servers that dialout may rank: those whose heartbeat is believable.
fn candidates(servers: Vec<ServerRow>, now: Timestamp) -> Vec<ServerRow> {
    believable(servers, now)
}

#[cfg(test)]
mod tests;
