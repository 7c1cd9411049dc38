//! API keys: minted or imported, listed, changed and deleted; a key's text is shown once, by the request that minted it.
//! It must never store or list a key's text, nor list its hash, nor let the last admin key lose its role.

pub(crate) mod change;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::api_key::{ApiKey, ApiKeyRow, BotScope, Role, mint};
use domain::field_error::FieldError;
use domain::ids::KeyId;
use domain::ports::{ApiKeys, Clock, Entropy};
use domain::secret::{ExposeSecret, SecretString};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::crud::{locate, tag};
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::problem::Refusal;

/// Longest name of a key, characters.
const NAME_MAX: usize = 100;

/// What it takes to keep keys.
#[derive(Clone, derive_more::Debug)]
#[debug("keys::Desk")]
pub struct Desk {
    pub api_keys: Arc<dyn ApiKeys>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

pub(super) fn routes() -> Router<super::Desk> {
    Router::new()
        .route("/api/v1/admin/keys", get(list).post(create_by_http))
        .route("/api/v1/admin/keys/{id}", get(read).put(change::replace).delete(change::delete))
}

/// What is asked of a new key.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub name: String,
    #[serde(default = "client")]
    pub role: Role,
    /// Needed for a client; an admin's is every bot if not said otherwise.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub bots: Option<BotScope>,
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// An existing key to import; minted if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 256)]
    pub key: Option<SecretString>,
}

fn client() -> Role {
    Role::Client
}

impl NewKey {
    /// An admin's key for every bot; `key`: its text, if it is not to be minted.
    pub fn admin(name: impl Into<String>, key: Option<SecretString>) -> Self {
        Self { name: name.into(), role: Role::Admin, bots: None, expires_at: None, key }
    }
}

/// A key that was just stored.
#[derive(Debug)]
pub struct Created {
    pub row: ApiKeyRow,
    /// Its text, if it was minted here.
    pub minted: Option<SecretString>,
}

/// Stores a new key.
///
/// # Errors
/// What is wrong with it, or that it exists already.
pub async fn create(desk: &Desk, new: NewKey) -> Result<Created, Refusal> {
    let now = desk.clock.now();
    let bots = judge(&new, now).map_err(Refusal::Invalid)?;
    let (hash, prefix, minted) = match &new.key {
        Some(text) => {
            let key = ApiKey::parse(text.expose_secret())
                .map_err(|fault| Refusal::Invalid(vec![FieldError::body("key", "value_error", fault.to_string())]))?;
            (key.hash(), key.prefix(), None)
        }
        None => {
            let key = mint(&*desk.entropy);
            (key.hash, key.prefix, Some(key.secret))
        }
    };
    let row = ApiKeyRow {
        key_hash: hash,
        key_id: mint_id(desk),
        version: 1,
        prefix,
        name: new.name,
        role: new.role,
        bots,
        active: true,
        expires_at: new.expires_at,
        created_at: now,
        last_used_at: None,
    };
    if !desk.api_keys.create(&row).await? {
        return Err(Refusal::Exists);
    }
    tracing::info!(key.id = %row.key_id, role = ?row.role, "key created");
    Ok(Created { row, minted })
}

fn judge(new: &NewKey, now: Timestamp) -> Result<BotScope, Vec<FieldError>> {
    let mut faults = Vec::new();
    faults.extend(name_fault(&new.name));
    if new.expires_at.is_some_and(|end| end <= now) {
        faults.push(FieldError::body("expires_at", "in_the_past", "a new key expires in the future"));
    }
    let bots = match (&new.bots, new.role) {
        (Some(bots), _) => Some(bots.clone()),
        (None, Role::Admin) => Some(BotScope::All),
        (None, Role::Client) => None,
    };
    match bots {
        Some(bots) if faults.is_empty() => Ok(bots),
        Some(_) => Err(faults),
        None => {
            faults.push(FieldError::body("bots", "missing", "a client's key names its bots, or [\"*\"]"));
            Err(faults)
        }
    }
}

fn name_fault(name: &str) -> Option<FieldError> {
    let fits = !name.trim().is_empty() && name.chars().count() <= NAME_MAX;
    (!fits).then(|| FieldError::body("name", "length", format!("a name has 1 to {NAME_MAX} characters")))
}

fn mint_id(desk: &Desk) -> KeyId {
    let mut bytes = [0; 8];
    desk.entropy.fill(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    KeyId::parse(format!("key_{hex}")).expect("key_ and hex digits are id characters")
}

/// A key as admins see it: without its hash.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct Shown<'a> {
    key_id: &'a KeyId,
    version: u64,
    prefix: &'a str,
    name: &'a str,
    role: Role,
    #[schema(value_type = Vec<String>)]
    bots: &'a BotScope,
    active: bool,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    /// Once only.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(row: &'a ApiKeyRow, key: Option<&'a SecretString>) -> Self {
        Self {
            key_id: &row.key_id,
            version: row.version,
            prefix: &row.prefix,
            name: &row.name,
            role: row.role,
            bots: &row.bots,
            active: row.active,
            expires_at: row.expires_at,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            key: key.map(ExposeSecret::expose_secret),
        }
    }
}

fn answer(status: StatusCode, row: &ApiKeyRow, key: Option<&SecretString>) -> Response {
    let mut response = (status, Json(Shown::of(row, key))).into_response();
    tag(&mut response, row.version);
    response
}

async fn create_by_http(State(desk): State<Desk>, _: Admin, body: CappedBody) -> Result<Response, Refusal> {
    let created = create(&desk, typed(body.object()?)?).await?;
    let mut response = answer(StatusCode::CREATED, &created.row, created.minted.as_ref());
    locate(&mut response, "key", created.row.key_id.as_str());
    Ok(response)
}

async fn list(State(desk): State<Desk>, _: Admin) -> Result<Json<Value>, Refusal> {
    let mut rows = desk.api_keys.list().await?;
    rows.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.key_id.cmp(&b.key_id)));
    let items: Vec<Shown<'_>> = rows.iter().map(|row| Shown::of(row, None)).collect();
    Ok(Json(json!({ "items": items })))
}

async fn read(State(desk): State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Response, Refusal> {
    let rows = desk.api_keys.list().await?;
    let row = rows.iter().find(|row| row.key_id.as_str() == id).ok_or(Refusal::NotFound("key"))?;
    Ok(answer(StatusCode::OK, row, None))
}
