//! `POST /api/v1/dialout`: checks in the order of `api.md` §1, then one server takes the call or the client hears why not.
//! It must never queue a call, write a call row, or answer 200 before a server holds the permit.

mod once;
mod placing;
mod trunks;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use domain::api_key::Caller;
use domain::bot::Bot;
use domain::call::MAX_WARNINGS;
use domain::dialout::{DialoutRequest, PlacedNumbers, parse};
use domain::fleet::{DialCommand, ServerRow};
use domain::idempotency::BodyHash;
use domain::ids::CallId;
use domain::ports::mint_call_id;
use domain::secret::Personal;
use domain::trunk::Trunk;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::auth::Authenticated;
use crate::body::CappedBody;
use crate::fleet_health::believable;
use crate::platform::Platform;
use crate::problem::{Refusal, dress};
use crate::turns::Arrived;
use trunks::Wanted;

pub(crate) fn routes() -> Router<Platform> {
    Router::new().route("/api/v1/dialout", post(dialout))
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    status: &'static str,
    call_id: CallId,
}

/// A 200 that was given before is given again under this header.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    call_id: CallId,
    /// Whether another request with the same `Idempotency-Key` placed it.
    replayed: bool,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Json(Accepted { status: "ok", call_id: self.call_id }).into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

async fn dialout(
    State(platform): State<Platform>,
    Arrived(arrived): Arrived,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Answer, Refusal> {
    let answer = answer(platform, caller, &headers, &body, arrived).await;
    let outcome = match &answer {
        Ok(Answer { replayed: false, .. }) => "accepted",
        Ok(Answer { replayed: true, .. }) => "replayed",
        Err(refusal) => refusal.code(),
    };
    metrics::counter!("ringfleet_dialout_total", "outcome" => outcome).increment(1);
    answer
}

async fn answer(
    platform: Platform,
    caller: Caller,
    headers: &HeaderMap,
    body: &CappedBody,
    started: Instant,
) -> Result<Answer, Refusal> {
    let request = parse(&body.0).map_err(Refusal::Invalid)?;
    if is_strict(headers) && !request.unknown.is_empty() {
        return Err(Refusal::Invalid(request.unknown_as_errors()));
    }
    let key = once::key(&caller, headers)?;
    let dialout = Dialout { platform, caller, request, started };
    match key {
        None => dialout.place_new().await,
        Some(key) => {
            let body = BodyHash::of(&body.0);
            // A client that hangs up does not cut this short: its next request finds the answer at once.
            let placed = tokio::spawn(async move { once::place(dialout, key, body).await }).await;
            placed.unwrap_or_else(|cause| {
                tracing::error!(error = %cause, "a dialout broke off");
                Err(Refusal::Internal)
            })
        }
    }
}

/// A request that is in order, and has yet to be judged by its bot, trunk and the fleet.
struct Dialout {
    platform: Platform,
    caller: Caller,
    request: DialoutRequest,
    /// When it arrived.
    started: Instant,
}

impl Dialout {
    async fn place_new(self) -> Result<Answer, Refusal> {
        let call_id = mint_call_id(&*self.platform.outside.clock, &*self.platform.outside.entropy);
        self.place_as(call_id).await?;
        Ok(Answer { call_id, replayed: false })
    }

    /// Checks what is left to be checked, and finds a server; `Ok` when one holds the call.
    async fn place_as(self, call_id: CallId) -> Result<(), Refusal> {
        let Self { platform, caller, request, started } = self;
        let _turn = platform.turns.dialout(started + platform.settings.placing.turn()).await.ok_or(Refusal::Busy)?;
        let give_up = started + platform.settings.placing.total;
        let Ok(bot) = timeout_at(give_up, open_bot(&platform, &caller, &request)).await else {
            return Err(placing::silent().into());
        };
        let bot = bot?;
        let wanted = Wanted { call_id, bot: &bot, request: &request, caller: &caller, started, give_up };
        trunks::carry(&platform, &wanted).await
    }
}

/// The bot, if it may be called through now.
async fn open_bot(platform: &Platform, caller: &Caller, request: &DialoutRequest) -> Result<Bot, Refusal> {
    let now = platform.outside.clock.now();
    let bot = callable_bot(platform, caller, request).await?;
    if bot.hours.is_open(now) {
        Ok(bot)
    } else {
        Err(Refusal::OutsideActiveHours { now, next_open_at: bot.hours.next_open(now) })
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

fn command(wanted: &Wanted<'_>, trunk: &Trunk, numbers: PlacedNumbers) -> placing::Draft {
    let unknown = wanted.request.unknown.iter().take(MAX_WARNINGS);
    let variables = wanted.request.variables.clone();
    placing::Draft {
        call_id: wanted.call_id,
        bot_id: wanted.bot.bot_id.clone(),
        bot_version: wanted.bot.version,
        trunk_id: trunk.trunk_id.clone(),
        to: Personal(numbers.to.as_str().to_owned()),
        from: Personal(numbers.from.as_str().to_owned()),
        warnings: unknown.map(|name| format!("unknown field in the dialout: {name}")).collect(),
        variables: variables.map(domain::variables::Variables::into_raw),
        key_id: wanted.caller.key_id.clone(),
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
