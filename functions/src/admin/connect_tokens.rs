//! Connect tokens for diallers: made here, kept nowhere, judged by every fleet server for itself.
//! It must never log a token, nor make one for a bot that does not exist.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use domain::connect_token::{self, Claims, NAME_MAX};
use domain::field_error::FieldError;
use domain::fleet::STALE_FOR_RANKING_SECONDS;
use domain::ids::{BotId, KeyId};
use domain::ports::StoreError;
use domain::secret::ExposeSecret;
use domain::websocket::{base_url, path_of};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::fleet_health::believable;
use crate::problem::Refusal;

const SHORTEST: i64 = 60;
const LONGEST: i64 = 365 * 24 * 3600;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/api/v1/admin/bots/{id}/connect-tokens", post(create))
}

/// What is asked of a token; all of it may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = NewConnectToken)]
pub(crate) struct Asked {
    /// How long it opens the bot's door, in seconds.
    #[schema(minimum = 60, maximum = 31_536_000)]
    expires_in_seconds: i64,
    /// Stands in the token, so that whoever finds one can tell whose it is; 1 to 100 characters.
    name: Option<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { expires_in_seconds: 3600, name: None }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConnectToken)]
pub(crate) struct Shown {
    /// Shown this once.
    token: String,
    /// Stands as the key's id with the calls that come with the token.
    #[schema(value_type = String)]
    token_id: KeyId,
    /// What a dialler connects to, token included; null while nothing says where the fleet's WebSocket ports are.
    url: Option<String>,
    expires_at: Timestamp,
    name: Option<String>,
}

async fn create(
    State(desk): State<Desk>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    body: CappedBody,
) -> Result<Response, Refusal> {
    let asked: Asked = if body.0.is_empty() { Asked::default() } else { typed(body.object()?)? };
    judge(&asked)?;
    let id = BotId::parse(id).map_err(|_| Refusal::NotFound("bot"))?;
    let bot = desk.bots.get(&id).await?.ok_or(Refusal::NotFound("bot"))?;
    let made_at = desk.clock.now();
    let claims = Claims {
        bot: bot.bot_id,
        id: connect_token::mint_id(&*desk.entropy),
        made_at,
        expires_at: made_at + SignedDuration::from_secs(asked.expires_in_seconds),
        name: asked.name,
    };
    let secrets = desk.secrets.fleet().await?;
    let token = connect_token::mint(&secrets, &claims);
    let token = token.expose_secret();
    let url = base(&desk, made_at).await?.map(|base| format!("{base}{}?token={token}", path_of(&claims.bot)));
    tracing::info!(bot.id = %claims.bot, token.id = %claims.id, key.id = %caller.key_id, "connect token made");
    let Claims { id: token_id, expires_at, name, .. } = claims;
    let shown = Shown { token: token.to_owned(), token_id, url, expires_at, name };
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn judge(asked: &Asked) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if !(SHORTEST..=LONGEST).contains(&asked.expires_in_seconds) {
        let msg = format!("must be from {SHORTEST} to {LONGEST}, a minute to a year");
        faults.push(FieldError::body("expires_in_seconds", "out_of_range", msg));
    }
    let named = |name: &String| !name.trim().is_empty() && name.chars().count() <= NAME_MAX;
    if !asked.name.as_ref().is_none_or(named) {
        faults.push(FieldError::body("name", "length", format!("a name has 1 to {NAME_MAX} characters")));
    }
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}

/// Where diallers find the fleet: under its one name, else at a server that is alive.
async fn base(desk: &Desk, now: Timestamp) -> Result<Option<String>, StoreError> {
    if let Some(url) = &desk.ws_public_url {
        return Ok(Some(url.clone()));
    }
    let alive = believable(desk.servers.all().await?, now);
    let fresh = alive.into_iter().filter(|row| row.age_seconds(now) <= STALE_FOR_RANKING_SECONDS);
    let known = fresh.filter_map(|row| Some((row.draining, row.server_id, base_url(&row.ws_url)?)));
    Ok(known.min().map(|(_, _, url)| url))
}
