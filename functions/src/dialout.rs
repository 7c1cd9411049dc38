//! `POST /api/v1/dialout`: checks in the order of `api.md` §1, then one server takes the call or the client hears why not.
//! It must never queue a call, write a call row, or answer 200 before a server holds the permit.

mod once;
mod placing;
mod reads;
mod trunks;

use std::sync::Arc;

use axum::extract::{FromRef, State};
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
use domain::ports::{Bots, Calls, Clock, Entropy, Fleet, Idempotency, Servers, Trunks, mint_call_id};
use domain::secret::Personal;
use domain::trunk::Trunk;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::auth::{self, Authenticated};
use crate::body::CappedBody;
use crate::fleet_health::believable;
use crate::memory::Memory;
use crate::platform::PlacingBudget;
use crate::problem::{Refusal, dress};
use crate::spend;
use crate::turns::{Arrived, Turns};
use reads::Reads;
use trunks::Wanted;

/// What it takes to place a call.
#[derive(Clone, derive_more::Debug)]
#[debug("dialout::Desk")]
pub struct Desk {
    pub auth: auth::Desk,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub bots: Arc<dyn Bots>,
    pub trunks: Arc<dyn Trunks>,
    pub calls: Arc<dyn Calls>,
    pub idempotency: Arc<dyn Idempotency>,
    pub servers: Arc<dyn Servers>,
    pub fleet: Arc<dyn Fleet>,
    pub spend: spend::Desk,
    pub turns: Arc<Turns>,
    /// Of what was read a moment ago; lost, it is read again.
    pub memory: Arc<Memory>,
    pub placing: PlacingBudget,
}

impl FromRef<Desk> for auth::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.auth.clone()
    }
}

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/dialout", post(dialout))
}

/// This function's routes alone.
pub fn router(desk: Desk) -> Router {
    dress(routes().with_state(desk))
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
    State(desk): State<Desk>,
    Arrived(arrived): Arrived,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Answer, Refusal> {
    let answer = answer(desk, caller, &headers, &body, arrived).await;
    let outcome = match &answer {
        Ok(Answer { replayed: false, .. }) => "accepted",
        Ok(Answer { replayed: true, .. }) => "replayed",
        Err(refusal) => refusal.code(),
    };
    metrics::counter!("ringfleet_dialout_total", "outcome" => outcome).increment(1);
    answer
}

async fn answer(
    desk: Desk,
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
    let dialout = Dialout::new(desk, caller, request, started);
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
    desk: Desk,
    caller: Caller,
    request: DialoutRequest,
    reads: Reads,
    /// When it arrived.
    started: Instant,
}

impl Dialout {
    fn new(desk: Desk, caller: Caller, request: DialoutRequest, started: Instant) -> Self {
        let reads = Reads::new(desk.clone());
        Self { desk, caller, request, reads, started }
    }

    async fn place_new(self) -> Result<Answer, Refusal> {
        let call_id = mint_call_id(&*self.desk.clock, &*self.desk.entropy);
        self.place_as(call_id).await?;
        Ok(Answer { call_id, replayed: false })
    }

    /// Reads what the call will need, if nobody else waits to read.
    async fn read_ahead(&self) {
        if self.caller.may_use(&self.request.bot_id)
            && let Some(_alone) = self.desk.turns.ahead()
        {
            self.reads.ahead(&self.request).await;
        }
    }

    /// Forgets what was read ahead: the request has waited since.
    fn read_anew(&mut self) {
        self.reads = Reads::new(self.desk.clone());
    }

    /// Checks what is left to be checked, and finds a server; `Ok` when one holds the call.
    async fn place_as(self, call_id: CallId) -> Result<(), Refusal> {
        let Self { desk, caller, request, reads, started } = self;
        if !caller.may_use(&request.bot_id) {
            return Err(MISSING);
        }
        let _turn = desk.turns.dialout(started + desk.placing.turn()).await.ok_or(Refusal::Busy)?;
        let give_up = started + desk.placing.total;
        let open = async {
            reads.ahead(&request).await;
            open_bot(&desk, &reads, &request).await
        };
        let Ok(bot) = timeout_at(give_up, open).await else {
            return Err(placing::silent().into());
        };
        let bot = bot?;
        let wanted = Wanted { call_id, bot: &bot, request: &request, caller: &caller, reads: &reads, started, give_up };
        trunks::carry(&desk, &wanted).await
    }
}

/// All that keeps a caller from a bot is the same 404: there is none, it is not enabled, or not the caller's to use.
const MISSING: Refusal = Refusal::NotFound("bot");

/// The bot, if it may be called through now.
async fn open_bot(desk: &Desk, reads: &Reads, request: &DialoutRequest) -> Result<Arc<Bot>, Refusal> {
    let now = desk.clock.now();
    let bot = reads.bot(&request.bot_id).await?.filter(|bot| bot.enabled).ok_or(MISSING)?;
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
