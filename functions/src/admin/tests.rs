//! Entities and keys through the admin API: secrets, versions, faults.

mod connect_tokens;
mod fleet;
mod keys;
mod locations;
mod versions;
use std::time::Duration;

use axum::Router;
use domain::api_key::Role;
use domain::call::{Brought, CallRow, NextStep};
use domain::delivery::{Channel, DeliveryState};
use domain::endpoint::{Breaker, EndpointRow, Gone};
use domain::ports::{Job, QueueName};
use domain::secret::{ExposeSecret, Personal};
use serde_json::{Value, json};

use super::keys::{NewKey, create};
use super::router;
use crate::testing::{HttpAnswer, World, request};

const ADMIN: Option<&str> = Some("sk_test_admin");

fn world() -> (World, Router) {
    let world = World::new();
    world.key("sk_test_admin", |row| row.role = Role::Admin);
    world.key("sk_test_client", |_| ());
    let app = router(world.desk());
    (world, app)
}

async fn send(app: &Router, method: &str, path: &str, tag: Option<&str>, body: &Value) -> HttpAnswer {
    let headers: Vec<(&str, &str)> = tag.map(|tag| ("if-match", tag)).into_iter().collect();
    request(app, method, &format!("/api/v1/admin/{path}"), ADMIN, &headers, body.to_string()).await
}

async fn get(app: &Router, path: &str) -> HttpAnswer {
    request(app, "GET", &format!("/api/v1/admin/{path}"), ADMIN, &[], "").await
}

fn bot() -> Value {
    json!({"bot_id": "b1", "name": "Collections", "push": {"url": "https://crm.example.com/x", "token": "Bearer s3cret", "key_mapper": {"A": "{{crm.a}}"}}})
}

fn trunk() -> Value {
    json!({"trunk_id": "t1", "name": "Carrier", "host": "sip.example.com", "default_number": "+911234567890", "username": "u", "password": "pa55"})
}

#[tokio::test]
async fn a_bot_lives_through_its_versions() {
    let (_, app) = world();
    let created = send(&app, "POST", "bots", None, &bot()).await;
    assert_eq!((created.status, created.header("etag").as_str()), (201, "\"1\""));
    assert_eq!(send(&app, "POST", "bots", None, &bot()).await.code(), "exists");

    let mut read = get(&app, "bots/b1").await;
    assert_eq!((read.status, read.header("etag").as_str()), (200, "\"1\""));
    assert_eq!(read.json()["max_call_duration_seconds"], 600);
    let mut body = read.json();
    body["name"] = json!("Renamed");
    assert_eq!(send(&app, "PUT", "bots/b1", None, &body).await.status, 428);
    assert_eq!(send(&app, "PUT", "bots/b1", Some("\"7\""), &body).await.status, 412);
    let replaced = send(&app, "PUT", "bots/b1", Some("\"1\""), &body).await;
    assert_eq!(
        (replaced.status, replaced.json()["version"].clone(), replaced.json()["name"].clone()),
        (200, json!(2), json!("Renamed"))
    );
    assert_eq!(send(&app, "PUT", "bots/b1", Some("\"1\""), &body).await.status, 412);

    assert_eq!(send(&app, "DELETE", "bots/b1", Some("\"1\""), &json!(null)).await.status, 412);
    assert_eq!(send(&app, "DELETE", "bots/b1", None, &json!(null)).await.status, 204);
    read = get(&app, "bots/b1").await;
    assert_eq!((read.status, read.code().as_str()), (404, "not_found"));
    assert_eq!(send(&app, "DELETE", "bots/b1", None, &json!(null)).await.status, 404);
    // Calls still refer to versions 1 and 2.
    assert_eq!(send(&app, "POST", "bots", None, &bot()).await.json()["version"], 3);
}

#[tokio::test]
async fn who_may_connect_comes_back_as_it_was_sent() {
    let (_, app) = world();
    let sent = json!({"access": "allowlist", "cidrs": ["203.0.113.0/24", "2001:db8::/32"], "dialect": "vobiz",
        "chunk_ms": 40, "tokens_after": "2026-01-05T12:00:00Z"});
    let mut body = bot();
    body["websocket"] = sent.clone();
    assert_eq!(send(&app, "POST", "bots", None, &body).await.status, 201);
    assert_eq!(get(&app, "bots/b1").await.json()["websocket"], sent);
    // What a bot says nothing of has its default, and a replacement forgets what it leaves out.
    let replaced = send(&app, "PUT", "bots/b1", Some("\"1\""), &bot()).await.json();
    assert_eq!(replaced["websocket"], json!({"access": "key", "cidrs": [], "chunk_ms": 20}));
}

#[tokio::test]
async fn secrets_go_in_and_do_not_come_out() {
    let (world, app) = world();
    let created = send(&app, "POST", "bots", None, &bot()).await.json();
    let minted = created["push"]["secret"].as_str().unwrap().to_owned();
    assert!(minted.starts_with("whsec_"), "a secret is minted and shown once");
    assert_eq!(created["push"]["token"], "***");
    let shown = get(&app, "bots/b1").await.json();
    assert_eq!((shown["push"]["token"].clone(), shown["push"]["secret"].clone()), (json!("***"), json!("***")));
    let listed = String::from_utf8(get(&app, "bots").await.body).unwrap();
    let stored = || serde_json::to_value(world.tables.lock().bots.values().next().unwrap()).unwrap();
    assert!(!listed.contains("s3cret") && !stored().to_string().contains("s3cret") && !listed.contains("sealed:"));

    let platform = world.platform();
    let opened = |pointer: &str| {
        let sealed = serde_json::from_value(stored().pointer(pointer).unwrap().clone()).unwrap();
        platform.outside.seal.open("bot/b1", &sealed).unwrap().expose_secret().to_owned()
    };
    assert_eq!((opened("/push/token"), opened("/push/secret")), ("Bearer s3cret".to_owned(), minted.clone()));

    // `***` keeps, absence keeps, a text replaces, null removes.
    let kept = send(&app, "PUT", "bots/b1", Some("\"1\""), &shown).await;
    assert_eq!(kept.status, 200, "{}", kept.json());
    assert_eq!((opened("/push/token"), opened("/push/secret")), ("Bearer s3cret".to_owned(), minted.clone()));
    let mut body = bot();
    body["push"].as_object_mut().unwrap().remove("token");
    assert_eq!(send(&app, "PUT", "bots/b1", Some("\"2\""), &body).await.status, 200);
    assert_eq!((opened("/push/token"), opened("/push/secret")), ("Bearer s3cret".to_owned(), minted));
    body["push"]["token"] = json!("Bearer new");
    body["push"]["secret"] = json!(null);
    let replaced = send(&app, "PUT", "bots/b1", Some("\"3\""), &body).await;
    assert_eq!(opened("/push/token"), "Bearer new");
    assert_eq!((replaced.json()["push"].get("secret"), stored()["push"].get("secret")), (None, None));
}

#[tokio::test]
async fn faults_are_named_by_their_place() {
    let (_, app) = world();
    let check = async |path: &str, base: Value, pointer: &str, value: Value, loc: &[&str]| {
        let mut body = base;
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        let answer = send(&app, "POST", path, None, &body).await;
        assert_eq!(answer.status, 422, "{pointer}: {}", answer.json());
        let locs: Vec<Vec<String>> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| serde_json::from_value(e["loc"].clone()).unwrap())
            .collect();
        assert!(locs.iter().any(|found| found == loc), "{pointer}: {locs:?}");
    };
    check("bots", bot(), "/naem", json!("x"), &["body", "naem"]).await;
    check("bots", bot(), "/push/tokn", json!("x"), &["body", "push", "tokn"]).await;
    check("bots", bot(), "/push/method", json!("DELETE"), &["body", "push", "method"]).await;
    check("bots", bot(), "/push/token", json!("***"), &["body", "push", "token"]).await;
    check("bots", bot(), "/push/token", json!(5), &["body", "push", "token"]).await;
    check("bots", bot(), "/push/token", json!("a\nb"), &["body", "push", "token"]).await;
    check("bots", bot(), "/push/token", json!("{{crm.x}}"), &["body", "push", "token"]).await;
    check("bots", bot(), "/push/secret", json!("whsec_!!"), &["body", "push", "secret"]).await;
    check("bots", bot(), "/push/url", json!("http://169.254.169.254/"), &["body", "push", "url"]).await;
    check("bots", bot(), "/webhook", json!({"url": "ftp://x"}), &["body", "webhook", "url"]).await;
    check(
        "bots",
        bot(),
        "/llm",
        json!({"providers": [{"vendor": "openai", "base_url": "gopher://x"}]}),
        &["body", "llm", "providers", "0", "base_url"],
    )
    .await;
    check("bots", bot(), "/analysis_schema", json!({"type": "nonsense"}), &["body", "analysis_schema"]).await;
    check("bots", bot(), "/bot_id", json!("a b"), &["body", "bot_id"]).await;
    let socket = |settings: Value| ("bots", bot(), "/websocket", settings);
    for (settings, place) in [
        (json!({"access": "everybody"}), ["body", "websocket", "access"]),
        (json!({"access": "allowlist"}), ["body", "websocket", "cidrs"]),
        (json!({"dialect": "sip"}), ["body", "websocket", "dialect"]),
        (json!({"chunk_ms": 10}), ["body", "websocket", "chunk_ms"]),
        (json!({"acces": "open"}), ["body", "websocket", "acces"]),
        (json!({"tokens_after": "yesterday"}), ["body", "websocket", "tokens_after"]),
    ] {
        let (path, bot, pointer, settings) = socket(settings);
        check(path, bot, pointer, settings, &place).await;
    }
    check("bots", bot(), "/websocket", json!({"cidrs": ["10.0.0.300/8"]}), &["body", "websocket", "cidrs", "0"]).await;
    check("bots", bot(), "/name", json!(null), &["body", "name"]).await;
    check("trunks", trunk(), "/port", json!(99999), &["body", "port"]).await;
    check("trunks", trunk(), "/register", json!(true), &["body", "register"]).await;
    let nameless = send(&app, "POST", "bots", None, &json!({"bot_id": "x"})).await;
    assert_eq!(
        nameless.json()["errors"][0],
        json!({"loc": ["body", "name"], "msg": "missing field `name`", "type": "missing"})
    );
    assert_eq!(send(&app, "POST", "bots", None, &json!([])).await.status, 422);
}

#[tokio::test]
async fn a_did_belongs_to_one_bot() {
    let (_, app) = world();
    let with_number = |id: &str| json!({"bot_id": id, "name": id, "numbers": ["+911234567890"]});
    assert_eq!(send(&app, "POST", "bots", None, &with_number("b1")).await.status, 201);
    let second = send(&app, "POST", "bots", None, &with_number("b2")).await;
    assert_eq!((second.status, second.code().as_str()), (409, "number_taken"));
}

#[tokio::test]
async fn a_trunk_keeps_its_password_to_itself() {
    let (world, app) = world();
    let created = send(&app, "POST", "trunks", None, &trunk()).await;
    assert_eq!((created.status, created.json()["password"].clone()), (201, json!("***")));
    let sealed = world.tables.lock().trunks.values().next().unwrap().password.clone().unwrap();
    let opened = world.platform().outside.seal.open("trunk/t1", &sealed).unwrap();
    assert_eq!(opened.expose_secret(), "pa55");
    let mut body = trunk();
    body["trunk_id"] = json!("t2");
    assert_eq!(send(&app, "PUT", "trunks/t1", Some("\"1\""), &body).await.status, 422);
}

#[tokio::test]
async fn keys_are_shown_once() {
    let (world, app) = world();
    let minted = send(&app, "POST", "keys", None, &json!({"name": "CRM", "bots": ["b1"]})).await;
    assert_eq!(minted.status, 201);
    let text = minted.json()["key"].as_str().unwrap().to_owned();
    assert!(text.starts_with("rf_") && text.len() == 43, "{text}");
    let imported =
        send(&app, "POST", "keys", None, &json!({"name": "old", "bots": ["*"], "key": "legacy-key-1"})).await;
    assert_eq!((imported.status, imported.json().get("key")), (201, None));
    assert_eq!(
        send(&app, "POST", "keys", None, &json!({"name": "old", "bots": ["*"], "key": "legacy-key-1"})).await.code(),
        "exists"
    );
    let listed = String::from_utf8(get(&app, "keys").await.body).unwrap();
    assert!(!listed.contains(&text) && !listed.contains("legacy-key-1") && !listed.contains("hash"), "{listed}");
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()["items"].as_array().unwrap().len(), 4);
    let first = create(&world.desk(), NewKey::admin("first", None)).await.unwrap();
    assert_eq!((first.row.role, first.minted.is_some()), (Role::Admin, true));
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let (_, app) = world();
    let check = async |body: Value, field: &str| {
        let answer = send(&app, "POST", "keys", None, &body).await;
        assert_eq!((answer.status, answer.json()["errors"][0]["loc"][1].clone()), (422, json!(field)), "{body}");
    };
    check(json!({"bots": ["*"]}), "name").await;
    check(json!({"name": " ", "bots": ["*"]}), "name").await;
    check(json!({"name": "x"}), "bots").await;
    check(json!({"name": "x", "bots": ["*"], "expires_at": "2020-01-01T00:00:00Z"}), "expires_at").await;
    check(json!({"name": "x", "bots": ["*"], "key": "short"}), "key").await;
    check(json!({"name": "x", "bots": ["*"], "role": "root"}), "role").await;
}

#[tokio::test]
async fn only_admins_come_in() {
    let (_, app) = world();
    for path in [
        "bots",
        "trunks",
        "keys",
        "keys/key_1",
        "bots/b1",
        "bots/b1/versions",
        "bots/b1/versions/1",
        "bots/b1/endpoints",
        "calls",
        "calls/0190a5f0-0000-7000-8000-000000000001",
        "fleet",
    ] {
        let path = format!("/api/v1/admin/{path}");
        assert_eq!(request(&app, "GET", &path, Some("sk_test_client"), &[], "").await.status, 403, "{path}");
        assert_eq!(request(&app, "GET", &path, None, &[], "").await.status, 401, "{path}");
    }
}

/// Where the bucket did not take what a call was begun with, its row holds it, and nobody is shown more of a call for that.
#[tokio::test]
async fn a_call_is_shown_without_what_it_was_begun_with() {
    let (world, app) = world();
    let variables = Some(Personal(r#"{"loan":"7"}"#.to_owned()));
    let call = world.ended_call(|row| row.brought = Some(Brought { variables, custom: None }));
    let shown = get(&app, &format!("calls/{}", call.call_id)).await.json()["call"].clone();
    assert_eq!(shown["call_id"], call.call_id.to_string());
    for kept in ["recording_token", "brought"] {
        assert!(shown.get(kept).is_none(), "{kept}: {shown}");
    }
}

#[tokio::test]
async fn a_call_shows_its_deliveries_and_attempts() {
    let (world, app) = world();
    let call = world.ended_call(|_| ());
    world.delivery(&call, domain::delivery::Channel::Push, |_| ());
    let shown = get(&app, &format!("calls/{}", call.call_id)).await.json();
    assert_eq!(shown["call"]["call_id"], call.call_id.to_string());
    assert_eq!(shown["call"].get("recording_token"), None);
    assert_eq!(shown["deliveries"][0]["delivery"]["state"], "pending");
    assert_eq!(shown["deliveries"][0]["attempts"], json!([]));
}

/// An ended call with a stored body, whose deliveries have these states.
fn delivered(world: &World, states: &[(Channel, DeliveryState)]) -> CallRow {
    let call = world.ended_call(|_| ());
    world.object("body", b"{}");
    for (channel, state) in states {
        world.delivery(&call, *channel, |row| {
            (row.state, row.tries) = (*state, 4);
            row.due_at += Duration::from_secs(3600);
        });
    }
    call
}

async fn push_again(app: &Router, call: &CallRow, body: &str) -> HttpAnswer {
    let path = format!("/api/v1/admin/calls/{}/push", call.call_id);
    request(app, "POST", &path, ADMIN, &[], body.to_owned()).await
}

#[tokio::test]
async fn whatever_state_a_delivery_is_in_it_is_sent_again() {
    use Channel::{Push, Webhook};
    for state in [DeliveryState::Dead, DeliveryState::Delivered, DeliveryState::Pending] {
        let (world, app) = world();
        let call = delivered(&world, &[(Push, state), (Webhook, state)]);
        let answer = push_again(&app, &call, r#"{"channel":"webhook"}"#).await;
        assert_eq!(answer.status, 202, "{state:?}: {}", answer.json());
        let shown = &answer.json()["deliveries"][0];
        assert_eq!((&shown["channel"], &shown["state"]), (&json!("webhook"), &json!("pending")), "{state:?}");
        assert_eq!(answer.json()["deliveries"].as_array().unwrap().len(), 1);
        assert_eq!(world.sent(QueueName::Deliveries), [Job { call_id: call.call_id, channel: Some(Webhook) }]);
        let row = world.delivery_row(call.call_id, Webhook).unwrap();
        assert_eq!(
            (row.state, row.tries, row.tries_of_round(), row.due_at),
            (DeliveryState::Pending, 4, 0, world.now())
        );
        assert_eq!((row.why, row.body_key.as_str()), (None, "body"));
        assert_eq!(world.delivery_row(call.call_id, Push).unwrap().state, state, "the other is left alone");
        let both = push_again(&app, &call, "").await;
        assert_eq!(both.json()["deliveries"].as_array().unwrap().len(), 2, "{state:?}: {}", both.json());
        assert_eq!(both.json()["call_id"], call.call_id.to_string());
    }
}

#[tokio::test]
async fn what_cannot_be_sent_again_says_why() {
    use Channel::{Push, Webhook};
    use DeliveryState::Dead;
    let check = async |prepare: &dyn Fn(&World) -> CallRow, body: &str, status: u16, code: &str| {
        let (world, app) = world();
        let call = prepare(&world);
        let answer = push_again(&app, &call, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.json());
        assert_eq!(world.sent(QueueName::Deliveries), []);
        answer
    };
    check(&|world| world.call(|_| ()), "", 409, "call_live").await;
    let unrendered = |world: &World| world.ended_call(|row| row.next_step = Some(NextStep::Analyze));
    let answer = check(&unrendered, "", 409, "not_rendered").await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("next step: analyze"), "{}", answer.json());
    assert_eq!(answer.header("retry-after"), "30");
    check(&|world| world.ended_call(|_| ()), "", 404, "no_delivery").await;
    let push_only = |world: &World| delivered(world, &[(Push, Dead)]);
    let answer = check(&push_only, r#"{"channel":"webhook"}"#, 404, "no_delivery").await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("for webhook: version 1"), "{}", answer.json());
    let erased = |world: &World| {
        let call = delivered(world, &[(Push, Dead)]);
        world.outside.lock().objects.clear();
        call
    };
    check(&erased, "", 409, "body_gone").await;
    let running = |world: &World| {
        let call = world.ended_call(|_| ());
        world.object("body", b"{}");
        world.delivery(&call, Push, |row| {
            (row.tries, row.running) = (1, Some(1));
            row.due_at += Duration::from_secs(20);
        });
        call
    };
    assert_eq!(check(&running, "", 409, "try_running").await.header("retry-after"), "20");
    let disabled = |world: &World| {
        let call = delivered(world, &[(Webhook, Dead)]);
        world.bot("bot", json!({}));
        disable(world, &call, Webhook);
        call
    };
    check(&disabled, "", 409, "endpoint_disabled").await;
    check(&push_only, r#"{"channel":"fax"}"#, 422, "invalid").await;
    check(&push_only, r#"{"chanel":"push"}"#, 422, "invalid").await;
    check(&push_only, "[]", 422, "invalid").await;
    let unknown = |world: &World| {
        let call = world.call(|_| ());
        world.tables.lock().calls.clear();
        call
    };
    check(&unknown, "", 404, "not_found").await;
}

fn disable(world: &World, call: &CallRow, channel: Channel) {
    let row = world.delivery_row(call.call_id, channel).unwrap();
    let mut endpoint = EndpointRow::new(row.bot_id.clone(), channel, &row.url, world.now());
    endpoint.gone = Gone { bot_version: 1, calls: vec![call.call_id], disabled_at: Some(world.now()) };
    endpoint.breaker = Breaker::Open { until: world.now(), times: 2 };
    world.tables.lock().endpoints.insert((row.bot_id, endpoint.endpoint.clone()), endpoint);
}

#[tokio::test]
async fn one_endpoint_that_is_disabled_does_not_keep_the_other_from_being_sent() {
    let (world, app) = world();
    world.bot("bot", json!({}));
    let call = delivered(&world, &[(Channel::Push, DeliveryState::Dead), (Channel::Webhook, DeliveryState::Dead)]);
    disable(&world, &call, Channel::Webhook);
    let answer = push_again(&app, &call, "{}").await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    assert_eq!(answer.json()["deliveries"][0]["channel"], "push");
    assert_eq!(answer.json()["refused"][0]["code"], "endpoint_disabled");
}

#[tokio::test]
async fn a_bots_endpoints_are_shown_without_their_urls() {
    let (world, app) = world();
    world.bot("bot", json!({}));
    let call = delivered(&world, &[(Channel::Webhook, DeliveryState::Dead)]);
    assert_eq!(get(&app, "bots/bot/endpoints").await.json(), json!({"items": []}), "all is well");
    disable(&world, &call, Channel::Webhook);
    let shown = get(&app, "bots/bot/endpoints").await;
    let item = &shown.json()["items"][0];
    assert_eq!((&item["channel"], &item["origin"]), (&json!("webhook"), &json!("https://crm.example.com")));
    assert_eq!((&item["breaker"]["state"], &item["disabled_since"]), (&json!("open"), &json!(world.now())));
    assert!(!String::from_utf8_lossy(&shown.body).contains("/hook"), "a path may hold a token");
    // Replaced since then: enabled again.
    world.bot("bot", json!({"version": 2}));
    assert_eq!(get(&app, "bots/bot/endpoints").await.json()["items"][0]["disabled_since"], json!(null));
    assert_eq!(get(&app, "bots/nobody/endpoints").await.status, 404);
}
