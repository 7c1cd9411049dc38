//! Who is let in and who is not, by each kind of access; and that guessing takes long.

use std::sync::atomic::Ordering;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use domain::connect_token::{Claims, mint, mint_id};
use domain::ids::BotId;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::test_support::Outside;
use super::*;

const PEER: &str = "203.0.113.1:4000";

struct World {
    outside: Arc<Outside>,
    door: Door,
}

fn world() -> World {
    let outside = Arc::new(Outside::default());
    outside.key("good-key-1", &[], |_| ());
    outside.key("scoped-key", &["b"], |_| ());
    outside.key("others-key", &["c"], |_| ());
    outside.key("revoked-key", &[], |row| row.active = false);
    let now = outside.now();
    outside.key("expired-key", &[], |row| row.expires_at = Some(now));
    let trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let door = Door::new(trusted, outside.clone(), outside.clone(), outside.clone());
    World { outside, door }
}

fn bot(websocket: Value) -> Bot {
    serde_json::from_value(json!({"bot_id": "b", "name": "B", "websocket": websocket})).unwrap()
}

impl World {
    async fn knock(&self, bot: &Bot, peer: &str, headers: &[(&str, &str)], query: &str) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let query = Query::read(Some(query));
        self.door.admit(Knock { bot, peer: peer.parse().unwrap(), headers: &map, query: &query }).await
    }

    async fn token(&self, bot: &str, seconds: i64) -> String {
        let made_at = self.outside.now();
        let claims = Claims {
            bot: BotId::parse(bot).unwrap(),
            id: mint_id(&*self.outside),
            made_at,
            expires_at: made_at + jiff::SignedDuration::from_secs(seconds),
            name: None,
        };
        mint(&self.outside.fleet().await.unwrap(), &claims).expose_secret().to_owned()
    }
}

/// `Ok` = welcome with this key id, `Err` = the code of the refusal.
fn told(verdict: &Verdict) -> Result<Option<&str>, &'static str> {
    match verdict {
        Verdict::Welcome { key_id, .. } => Ok(key_id.as_ref().map(KeyId::as_str)),
        Verdict::Refused(refused) => Err(refused.code()),
    }
}

#[tokio::test(start_paused = true)]
async fn with_access_key_a_key_of_the_bot_is_shown_in_some_way() {
    let world = world();
    let bot = bot(json!({}));
    let check = async |headers: &[(&str, &str)], query: &str, expect: Result<Option<&str>, &'static str>| {
        assert_eq!(told(&world.knock(&bot, PEER, headers, query).await), expect, "{headers:?} {query}");
    };
    let good = Ok(Some("id-good-key-1"));
    check(&[("x-api-key", "good-key-1")], "", good).await;
    check(&[("authorization", "Bearer good-key-1")], "", good).await;
    // exotel:good-key-1
    check(&[("authorization", "Basic ZXhvdGVsOmdvb2Qta2V5LTE=")], "", good).await;
    check(&[], "key=good-key-1", good).await;
    check(&[], "dialect=exotel&key=scoped-key", Ok(Some("id-scoped-key"))).await;
    check(&[("x-api-key", "unknown-key")], "key=good-key-1", good).await;
    for wrong in ["", "key=", "key=unknown-key", "key=revoked-key", "key=expired-key", "Key=good-key-1"] {
        check(&[], wrong, Err("unauthorized")).await;
    }
    check(&[], "key=good-key-1&key=good-key-1", Err("unauthorized")).await;
    check(&[("x-api-key", "others-key")], "", Err("not_found")).await;
    world.outside.broken.store(true, Ordering::SeqCst);
    check(&[("x-api-key", "good-key-1")], "", good).await;
    check(&[("x-api-key", "some-other-key")], "", Err("unavailable")).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_token_opens_its_bot_and_no_other() {
    let world = world();
    let token = world.token("b", 60).await;
    let (bot, query) = (bot(json!({})), format!("token={token}"));
    let ours = Ok(Some("ct_0707070707070707"));
    assert_eq!(told(&world.knock(&bot, PEER, &[], &query).await), ours);
    assert_eq!(told(&world.knock(&bot, PEER, &[("x-api-key", token.as_str())], "").await), ours);
    assert_eq!(told(&world.knock(&bot, PEER, &[("authorization", &format!("Bearer {token}"))], "").await), ours);
    let other = format!("token={}", world.token("c", 60).await);
    assert_eq!(told(&world.knock(&bot, PEER, &[], &other).await), Err("not_found"));
    assert_eq!(told(&world.knock(&bot, PEER, &[], &format!("{query}x")).await), Err("unauthorized"));
    let taken_back = super::tests::bot(json!({"tokens_after": "2026-05-01T12:00:01Z"}));
    assert_eq!(told(&world.knock(&taken_back, PEER, &[], &query).await), Err("unauthorized"));
    world.outside.advance(Duration::from_secs(60));
    assert_eq!(told(&world.knock(&bot, PEER, &[], &query).await), Err("unauthorized"));
    assert_eq!(world.outside.reads.load(Ordering::SeqCst), 0, "a token needs no table");
}

#[tokio::test(start_paused = true)]
async fn with_an_allowlist_the_address_counts_and_with_open_nothing() {
    let world = world();
    let listed = bot(json!({"access": "allowlist", "cidrs": ["203.0.113.0/24", "2001:db8::/32"]}));
    let check = async |peer: &str, forwarded: &str, expect: Result<&str, &'static str>| {
        let verdict = world.knock(&listed, peer, &[("x-forwarded-for", forwarded)], "").await;
        match (&verdict, expect) {
            (Verdict::Welcome { key_id: None, address }, Ok(expect)) => assert_eq!(address.to_string(), expect),
            (Verdict::Refused(refused), Err(code)) => assert_eq!(refused.code(), code, "{peer} {forwarded}"),
            _ => panic!("{peer} {forwarded}: {verdict:?}"),
        }
    };
    check("203.0.113.9:1", "", Ok("203.0.113.9")).await;
    check("[::ffff:203.0.113.9]:1", "", Ok("203.0.113.9")).await;
    check("[2001:db8::5]:1", "", Ok("2001:db8::5")).await;
    check("198.51.100.1:1", "", Err("address_not_allowed")).await;
    // The header counts from a proxy of ours only, and only what that proxy wrote.
    check("198.51.100.1:1", "203.0.113.9", Err("address_not_allowed")).await;
    check("10.0.0.1:1", "203.0.113.9", Ok("203.0.113.9")).await;
    check("10.0.0.1:1", "203.0.113.9, 198.51.100.1", Err("address_not_allowed")).await;
    check("10.0.0.1:1", "", Err("address_not_allowed")).await;
    // A key doesn't open a door that asks for an address.
    let keyed = world.knock(&listed, "198.51.100.1:1", &[("x-api-key", "good-key-1")], "").await;
    assert_eq!(told(&keyed), Err("address_not_allowed"));
    let open = bot(json!({"access": "open"}));
    assert_eq!(told(&world.knock(&open, "198.51.100.1:1", &[], "key=unknown-key").await), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_up_every_30_s_and_its_use_noted_every_hour() {
    let world = world();
    let (bot, key) = (bot(json!({})), [("x-api-key", "good-key-1")]);
    let counts = || (world.outside.reads.load(Ordering::SeqCst), world.outside.touches.load(Ordering::SeqCst));
    for _ in 0..100 {
        assert!(told(&world.knock(&bot, PEER, &key, "").await).is_ok());
    }
    assert_eq!(counts(), (1, 1));
    world.outside.key("good-key-1", &[], |row| row.active = false);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(told(&world.knock(&bot, PEER, &key, "").await).is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(told(&world.knock(&bot, PEER, &key, "").await), Err("unauthorized"));
    assert_eq!(counts(), (2, 1));
    // One that did not hold is looked up each time: it may be minted the next moment.
    assert_eq!(told(&world.knock(&bot, PEER, &key, "").await), Err("unauthorized"));
    world.outside.key("good-key-1", &[], |row| row.last_used_at = Some("2026-05-01T11:30:00Z".parse().unwrap()));
    assert!(told(&world.knock(&bot, PEER, &key, "").await).is_ok());
    assert_eq!(counts(), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn who_guesses_waits_and_who_has_a_key_does_not() {
    let world = world();
    let bot = bot(json!({}));
    let knock = async |peer: &str, key: &str| {
        let began = Instant::now();
        let verdict = world.knock(&bot, peer, &[("x-api-key", key)], "").await;
        (told(&verdict).is_ok(), began.elapsed())
    };
    for _ in 0..5 {
        assert_eq!(knock(PEER, "wrong-key").await, (false, Duration::ZERO));
    }
    assert_eq!(knock(PEER, "wrong-key").await, (false, Duration::from_millis(100)));
    assert_eq!(knock(PEER, "others-key").await, (false, Duration::from_millis(200)));
    assert_eq!(knock(PEER, "good-key-1").await, (true, Duration::ZERO));
    assert_eq!(knock("203.0.113.2:1", "wrong-key").await, (false, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_would_be_right_and_repeat_nothing() {
    let check = async |refused: Refused, status: StatusCode, parts: &[&str]| {
        let response = refused.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let headers = response.headers().clone();
        let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        let members: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["type", "title", "status", "detail", "code"]);
        for part in parts {
            assert!(body["detail"].as_str().unwrap().contains(part), "{part} in {body}");
        }
        headers
    };
    let ways = ["websocket.access", "X-API-Key", "Bearer", "Basic", "?key=", "?token="];
    let headers =
        check(Refused::NoKey { retry_after: Some(Duration::from_millis(1500)) }, StatusCode::UNAUTHORIZED, &ways).await;
    assert_eq!((headers.get_all(WWW_AUTHENTICATE).iter().count(), &headers[RETRY_AFTER]), (3, &"2".parse().unwrap()));
    let address = "203.0.113.1".parse().unwrap();
    check(Refused::Address(address), StatusCode::FORBIDDEN, &["websocket.cidrs", "203.0.113.1"]).await;
    check(Refused::NoSuchBot, StatusCode::NOT_FOUND, &["no such bot"]).await;
    let headers = check(Refused::Unavailable, StatusCode::SERVICE_UNAVAILABLE, &["moment"]).await;
    assert_eq!(headers[RETRY_AFTER], "2");

    let world = world();
    let bot = bot(json!({}));
    let (mut headers, query) = (HeaderMap::new(), Query::read(Some("key=sup3r-secret&token=rfc_s3cret.x")));
    headers.insert("x-api-key", "hidden-key-1".parse().unwrap());
    let knock = Knock { bot: &bot, peer: PEER.parse().unwrap(), headers: &headers, query: &query };
    let printed = format!("{knock:?} {:?}", world.door);
    let verdict = format!("{:?}", world.door.admit(knock).await);
    for secret in ["sup3r", "s3cret", "hidden"] {
        assert!(!printed.contains(secret) && !verdict.contains(secret), "{printed} {verdict}");
    }
}
