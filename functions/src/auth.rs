//! Who calls: `X-API-Key` → hash → row → [`Caller`], for handlers as an extractor and for API Gateway as an authorizer.
//! It must never log or keep a key, and never tell a missing key from a wrong one.

mod doorman;
mod gateway;

pub use doorman::Doorman;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use domain::api_key::{ApiKey, Caller};
use domain::ports::{ApiKeys, Clock, StoreError};
use http::HeaderMap;
use http::request::Parts;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::problem::Refusal;
use crate::turns::Turns;

const HEADER: &str = "x-api-key";
/// `last_used_at` is at most this fine.
const TOUCH_EVERY: Duration = Duration::from_secs(3600);

/// What it takes to tell who calls.
#[derive(Clone, derive_more::Debug)]
#[debug("auth::Desk")]
pub struct Desk {
    pub api_keys: Arc<dyn ApiKeys>,
    pub clock: Arc<dyn Clock>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    pub doorman: Arc<Doorman>,
    pub turns: Arc<Turns>,
}

/// The proof that a request came with a usable key.
#[derive(Debug, Clone)]
pub struct Authenticated(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Authenticated
where
    Desk: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        if let Some(caller) = gateway::caller(parts) {
            return Ok(Self(caller));
        }
        let desk = Desk::from_ref(state);
        match authenticate(&desk, &parts.headers).await? {
            Some(caller) => Ok(Self(caller)),
            None => {
                let address = doorman::client_address(parts, &desk.trusted_proxies);
                Err(Refusal::Unauthorized { retry_after: desk.doorman.refuse(address).await })
            }
        }
    }
}

/// `Option<Authenticated>`: no header is no caller; a header that does not hold is still a 401.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Authenticated
where
    Desk: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Refusal> {
        if !parts.headers.contains_key(HEADER) {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

/// The proof that a request came with a usable key of role `admin`.
#[derive(Debug, Clone)]
pub struct Admin(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Desk: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Authenticated(caller) = <Authenticated as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if caller.is_admin() { Ok(Self(caller)) } else { Err(Refusal::Forbidden) }
    }
}

/// Looks the one key of `headers` up; `None` when it is missing, doubled, malformed, unknown, revoked or expired.
async fn authenticate(desk: &Desk, headers: &HeaderMap) -> Result<Option<Caller>, StoreError> {
    let mut given = headers.get_all(HEADER).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => identify(desk, text).await,
        Err(_) => Ok(None),
    }
}

async fn identify(desk: &Desk, text: &str) -> Result<Option<Caller>, StoreError> {
    let Ok(key) = ApiKey::parse(text) else { return Ok(None) };
    let hash = key.hash();
    let _turn = desk.turns.lookup().await.ok_or_else(busy)?;
    let Some(row) = desk.api_keys.get(&hash).await? else { return Ok(None) };
    let now = desk.clock.now();
    let caller = row.caller(now);
    let not_since = now - TOUCH_EVERY;
    if caller.is_some()
        && row.last_used_at.is_none_or(|last| last < not_since)
        && desk.doorman.is_first_use(&hash, now, not_since)
        && let Err(cause) = desk.api_keys.touch(&hash, now, not_since).await
    {
        desk.doorman.forget_use(&hash);
        // The request is good all the same: only a display field stays behind.
        tracing::warn!(error = %cause, key.id = %row.key_id, "last use of a key not noted");
    }
    Ok(caller)
}

fn busy() -> StoreError {
    StoreError::Unavailable { what: "ApiKeys", cause: "too many look-ups are under way".to_owned() }
}

/// What API Gateway sends to a REQUEST authorizer, as far as it is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerRequest {
    pub method_arn: String,
    #[serde(default)]
    pub headers: Option<HashMap<String, String>>,
}

/// An allowing policy and what is known of the caller.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerAnswer {
    pub principal_id: String,
    pub policy_document: Value,
    pub context: Value,
}

/// Why the authorizer gives no policy. API Gateway answers 401 to exactly the first text, 500 to any other.
#[derive(Debug, Error)]
pub enum AuthorizerError {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("keys are not readable: {0}")]
    Store(#[from] StoreError),
}

/// Authorizes a request at API Gateway, for the whole stage, so that the answer may be cached by key.
///
/// # Errors
/// [`AuthorizerError::Unauthorized`] for a key that does not hold.
pub async fn authorize(desk: &Desk, request: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerError> {
    let mut given = request.headers.iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case(HEADER));
    let (Some((_, text)), None) = (given.next(), given.next()) else { return Err(AuthorizerError::Unauthorized) };
    let Some(caller) = identify(desk, text).await? else {
        // Not held back: a waiting function is paid for, and the gateway's firewall counts better.
        metrics::counter!("ringfleet_auth_failures_total").increment(1);
        return Err(AuthorizerError::Unauthorized);
    };
    Ok(AuthorizerAnswer {
        principal_id: caller.key_id.to_string(),
        policy_document: json!({
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": whole_stage(&request.method_arn)}],
        }),
        context: gateway::context(&caller),
    })
}

/// `arn:…:api/stage/GET/path` → `arn:…:api/stage/*`.
fn whole_stage(method_arn: &str) -> String {
    let mut parts = method_arn.splitn(3, '/');
    match (parts.next(), parts.next()) {
        (Some(api), Some(stage)) => format!("{api}/{stage}/*"),
        _ => method_arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use http::StatusCode;

    use super::*;
    use crate::testing::World;

    async fn open(_: Authenticated) -> StatusCode {
        StatusCode::OK
    }
    async fn admin(_: Admin) -> StatusCode {
        StatusCode::OK
    }
    async fn optional(caller: Option<Authenticated>) -> StatusCode {
        if caller.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT }
    }

    #[tokio::test]
    async fn keys_open_what_they_may() {
        let world = World::new();
        world.key("sk_test_client", |_| ());
        world.key("sk_test_admin", |row| row.role = domain::api_key::Role::Admin);
        world.key("sk_test_revoked", |row| row.active = false);
        let now = world.now();
        world.key("sk_test_expired", |row| row.expires_at = Some(now));
        let app = Router::new()
            .route("/open", get(open))
            .route("/admin", get(admin))
            .route("/optional", get(optional))
            .with_state(world.desk::<Desk>());
        let cases: &[(&str, Option<&str>, u16)] = &[
            ("/open", Some("sk_test_client"), 200),
            ("/open", Some("sk_test_admin"), 200),
            ("/open", None, 401),
            ("/open", Some(""), 401),
            ("/open", Some(" "), 401),
            ("/open", Some("short"), 401),
            ("/open", Some("unknown-key"), 401),
            ("/open", Some("sk_test_revoked"), 401),
            ("/open", Some("sk_test_expired"), 401),
            ("/open", Some("sk_test_client\u{e9}"), 401),
            ("/admin", Some("sk_test_admin"), 200),
            ("/admin", Some("sk_test_client"), 403),
            ("/admin", Some("unknown-key"), 401),
            ("/admin", None, 401),
            ("/optional", None, 204),
            ("/optional", Some("sk_test_client"), 200),
            ("/optional", Some("unknown-key"), 401),
        ];
        for (path, key, expect) in cases {
            let answer = crate::testing::request(&app, "GET", path, *key, &[], "").await;
            assert_eq!(answer.status, *expect, "{path} {key:?}");
        }
    }

    #[tokio::test]
    async fn a_use_is_noted_once_an_hour() {
        let world = World::new();
        let row = world.key("sk_test_client", |_| ());
        let last = || world.tables.lock().keys[&row.key_hash].last_used_at;
        let desk = world.desk();
        let first = world.now();
        identify(&desk, "sk_test_client").await.unwrap().unwrap();
        assert_eq!(last(), Some(first));
        world.advance(Duration::from_secs(3599));
        identify(&desk, "sk_test_client").await.unwrap().unwrap();
        assert_eq!(last(), Some(first));
        world.advance(Duration::from_secs(2));
        identify(&desk, "sk_test_client").await.unwrap().unwrap();
        assert_eq!(last(), Some(world.now()));
    }

    #[tokio::test]
    async fn the_authorizer_allows_the_stage_or_says_exactly_unauthorized() {
        let world = World::new();
        world.key("sk_test_client", |_| ());
        let ask = |key: &str| AuthorizerRequest {
            method_arn: "arn:aws:execute-api:eu-west-1:1:api/prod/POST/api/v1/dialout".into(),
            headers: Some(HashMap::from([("X-Api-Key".to_owned(), key.to_owned())])),
        };
        let desk = world.desk();
        let allowed = authorize(&desk, &ask("sk_test_client")).await.unwrap();
        assert_eq!(allowed.policy_document["Statement"][0]["Resource"], "arn:aws:execute-api:eu-west-1:1:api/prod/*");
        let refused = authorize(&desk, &ask("sk_test_nobody")).await.unwrap_err();
        assert_eq!(refused.to_string(), "Unauthorized");
    }
}
