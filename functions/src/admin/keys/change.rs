//! Changing, revoking and deleting a key. Whoever asks stays an admin, and the table checks so in the same moment: then
//! there is an admin key after every change, however many admins change each other's at once.
//! It must never change a key's text: a key that is known too widely is revoked, and another is minted.

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api_key::{ApiKeyRow, BotScope, Caller, Role};
use domain::field_error::FieldError;
use domain::ports::KeyChange;
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::crud::{expect_version, matches};
use super::{Desk, answer, name_fault};
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::problem::Refusal;

/// Members that a read shows and nobody changes; what was read may be sent back whole.
const READ_ONLY: &[&str] = &["version", "prefix", "created_at", "last_used_at"];

/// A key as it is to be. All but the expiry must be said: a key that was revoked is not to come back by an omission.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyChange)]
pub(crate) struct Wanted {
    name: String,
    role: Role,
    #[schema(value_type = Vec<String>)]
    bots: BotScope,
    active: bool,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// The key that is meant, and the one that asks.
struct Pair {
    target: ApiKeyRow,
    asking: ApiKeyRow,
    /// Whether a usable admin key is left if `asking` is one no longer.
    others: bool,
}

impl Pair {
    async fn find(desk: &Desk, caller: &Caller, id: &str) -> Result<Self, Refusal> {
        let now = desk.clock.now();
        let rows = desk.api_keys.list().await?;
        let by_id = |id: &str| rows.iter().find(|row| row.key_id.as_str() == id).cloned();
        let asking = by_id(caller.key_id.as_str()).ok_or(Refusal::Unauthorized { retry_after: None })?;
        let target = by_id(id).ok_or(Refusal::NotFound("key"))?;
        let others = rows.iter().any(|row| row.key_id != asking.key_id && row.is_usable_admin(now));
        Ok(Self { target, asking, others })
    }

    /// Refuses what would take its own role from the key that asks.
    fn keep_the_role(&self, stays_admin: bool) -> Result<(), Refusal> {
        match (self.target.key_id == self.asking.key_id, stays_admin) {
            (true, false) if self.others => Err(Refusal::OwnKey),
            (true, false) => Err(Refusal::LastAdminKey),
            _ => Ok(()),
        }
    }
}

pub(super) async fn replace(
    State(desk): State<Desk>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Response, Refusal> {
    let mut incoming = body.object()?;
    let pair = Pair::find(&desk, &caller, &id).await?;
    expect_version(&headers, pair.target.version)?;
    let wanted = read(&mut incoming, &pair.target, desk.clock.now())?;
    let row = ApiKeyRow {
        version: pair.target.version + 1,
        name: wanted.name,
        role: wanted.role,
        bots: wanted.bots,
        active: wanted.active,
        expires_at: wanted.expires_at,
        ..pair.target.clone()
    };
    // The last admin key is not to end by itself either.
    let ends = row.expires_at.is_some() && row.expires_at != pair.target.expires_at;
    pair.keep_the_role(row.is_usable_admin(desk.clock.now()) && (pair.others || !ends))?;
    let changed = desk.api_keys.replace(&row, pair.target.version, &pair.asking.key_hash).await?;
    settled(changed)?;
    tracing::info!(key.id = %row.key_id, role = ?row.role, active = row.active, by = %caller.key_id, "key changed");
    Ok(answer(StatusCode::OK, &row, None))
}

pub(super) async fn delete(
    State(desk): State<Desk>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let pair = Pair::find(&desk, &caller, &id).await?;
    if headers.get(IF_MATCH).is_some_and(|tag| !matches(tag, pair.target.version)) {
        return Err(Refusal::PreconditionFailed);
    }
    pair.keep_the_role(false)?;
    let keys = &desk.api_keys;
    settled(keys.delete(&pair.target.key_hash, pair.target.version, &pair.asking.key_hash).await?)?;
    tracing::info!(key.id = %pair.target.key_id, by = %caller.key_id, "key deleted");
    Ok(StatusCode::NO_CONTENT)
}

fn settled(change: KeyChange) -> Result<(), Refusal> {
    match change {
        KeyChange::Done => Ok(()),
        KeyChange::Conflict => Err(Refusal::PreconditionFailed),
        // Revoked between this request's authentication and its write.
        KeyChange::NotAdmin => Err(Refusal::Unauthorized { retry_after: None }),
    }
}

fn read(incoming: &mut Value, target: &ApiKeyRow, now: Timestamp) -> Result<Wanted, Refusal> {
    let one = |field: &str, kind: &str, msg: &str| Err(Refusal::Invalid(vec![FieldError::body(field, kind, msg)]));
    if let Value::Object(members) = incoming {
        for name in READ_ONLY {
            members.remove(*name);
        }
        if members.remove("key_id").is_some_and(|id| id != target.key_id.as_str()) {
            return one("key_id", "id_mismatch", "an entity keeps its id");
        }
        if members.contains_key("key") {
            return one("key", "extra_forbidden", "a key's text is never changed: revoke it and mint another");
        }
    }
    let wanted: Wanted = typed(incoming.take())?;
    if let Some(fault) = name_fault(&wanted.name) {
        return Err(Refusal::Invalid(vec![fault]));
    }
    if wanted.expires_at.is_some_and(|end| end <= now) && wanted.expires_at != target.expires_at {
        return one(
            "expires_at",
            "in_the_past",
            "in the future, or null for never; to end a key now, set active to false",
        );
    }
    Ok(wanted)
}
