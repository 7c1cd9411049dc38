//! Lists as clients and operators page through them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use domain::api_key::{ApiKey, BotScope, Role};
use domain::call::CallState;
use domain::ids::{BotId, CallId, TrunkId};
use domain::outcome::EndReason;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::testing::{World, request};

const CLIENT: &str = "sk_test_client";
const EVERYTHING: &str = "sk_test_everything";
const ADMIN: &str = "sk_test_admin";
const HOUR: Duration = Duration::from_secs(3600);

fn bot(id: &str) -> BotId {
    BotId::parse(id).unwrap()
}

/// A client of bots `a`, `b` and `gone`, one of all bots, an admin; bots `a`, `b` and `c`.
fn world() -> (World, Router) {
    let world = World::new();
    world.key(CLIENT, |row| row.bots = BotScope::Only(["a", "b", "gone"].map(bot).to_vec()));
    world.key(EVERYTHING, |_| ());
    world.key(ADMIN, |row| (row.role, row.bots) = (Role::Admin, BotScope::Only(Vec::new())));
    for id in ["a", "b", "c"] {
        world.bot(id, json!({}));
    }
    let app = crate::router::api(&world.platform());
    (world, app)
}

fn call(world: &World, of: &str, started_at: Timestamp) -> String {
    world.call(|row| (row.bot_id, row.started_at) = (bot(of), started_at)).call_id.to_string()
}

async fn get(app: &Router, key: &str, path: &str) -> (u16, Value) {
    let answer = request(app, "GET", path, Some(key), &[], "").await;
    (answer.status, answer.json())
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["session_id"].as_str().unwrap().to_owned()).collect()
}

/// The whole list, and how many pages it took.
async fn all(app: &Router, key: &str, query: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let (status, page) = get(app, key, &format!("/api/v1/calls?{query}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(ids(&page));
        pages += 1;
        assert!(pages < 100, "the list does not end");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (found, pages),
        }
    }
}

#[tokio::test]
async fn calls_come_newest_first_over_days_and_bots() {
    let (world, app) = world();
    let now = world.now();
    let mut expect = BTreeMap::new();
    for index in 0..60_u32 {
        let of = if index % 3 == 0 { "a" } else { "b" };
        let at = now - HOUR * 7 * index;
        expect.insert(std::cmp::Reverse(at), call(&world, of, at));
    }
    call(&world, "c", now);
    let expect: Vec<String> = expect.into_values().collect();
    for limit in [1, 7, 60, 100] {
        let (found, _) = all(&app, CLIENT, &format!("limit={limit}")).await;
        assert_eq!(found, expect, "pages of {limit}");
    }
    let (_, first) = get(&app, CLIENT, "/api/v1/calls").await;
    assert_eq!(ids(&first), expect[..50]);
    let of_a: Vec<String> = expect.iter().step_by(3).cloned().collect();
    assert_eq!(all(&app, CLIENT, "bot_id=a&limit=9").await.0, of_a);
    assert_eq!(all(&app, EVERYTHING, "limit=100").await.0.len(), 61);
}

#[tokio::test]
async fn an_item_is_the_summary_of_its_call() {
    let (world, app) = world();
    let row = world.ended_call(|row| (row.bot_id, row.disposition) = (bot("a"), Some("PTP".into())));
    let (_, page) = get(&app, CLIENT, "/api/v1/calls").await;
    let item = &page["items"][0];
    assert_eq!(item["session_id"], row.call_id.to_string());
    for (name, value) in [
        ("state", json!("ended")),
        ("caller_id", json!("+919876543210")),
        ("call_duration_seconds", json!(12.5)),
        ("disconnected_by", json!("bot")),
        ("end_reason", json!("bot_hangup")),
        ("disposition", json!("PTP")),
        ("recording_url", json!("")),
    ] {
        assert_eq!(item[name], value, "{name}");
    }
    assert!(item.get("transcript").is_none() && item.get("owner").is_none(), "{item}");
    assert_eq!(page["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_reader_sees_the_bots_of_its_key_only() {
    let (world, app) = world();
    let (a, c, gone) =
        (call(&world, "a", world.now()), call(&world, "c", world.now()), call(&world, "gone", world.now()));
    let check = async |key: &str, path: &str, expect: &[&String]| {
        let (status, page) = get(&app, key, path).await;
        assert_eq!(status, 200, "{path}");
        let (mut found, mut expect) = (ids(&page), expect.iter().map(|id| (*id).clone()).collect::<Vec<_>>());
        found.sort();
        expect.sort();
        assert_eq!(found, expect, "{key} {path}");
    };
    check(CLIENT, "/api/v1/calls", &[&a, &gone]).await;
    check(CLIENT, "/api/v1/calls?bot_id=gone", &[&gone]).await;
    check(CLIENT, "/api/v1/calls?bot_id=b", &[]).await;
    // A bot that was deleted is listed for who names it.
    check(EVERYTHING, "/api/v1/calls", &[&a, &c]).await;
    check(EVERYTHING, "/api/v1/calls?bot_id=gone", &[&gone]).await;
    check(ADMIN, "/api/v1/admin/calls", &[&a, &c]).await;
    check(ADMIN, "/api/v1/calls", &[]).await;
    for id in ["c", "never-was"] {
        let (status, problem) = get(&app, CLIENT, &format!("/api/v1/calls?bot_id={id}")).await;
        assert_eq!((status, &problem["detail"]), (404, &json!("no such bot")), "{id}");
    }
    assert_eq!(request(&app, "GET", "/api/v1/calls", None, &[], "").await.status, 401);
    assert_eq!(get(&app, CLIENT, "/api/v1/admin/calls").await.0, 403);
}

#[tokio::test]
async fn a_cursor_of_another_key_leads_nowhere() {
    let (world, app) = world();
    for _ in 0..3 {
        call(&world, "c", world.now());
    }
    let a = call(&world, "a", world.now() - HOUR);
    let (_, page) = get(&app, EVERYTHING, "/api/v1/calls?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let (status, problem) = get(&app, CLIENT, &format!("/api/v1/calls?limit=1&cursor={cursor}")).await;
    assert_eq!((status, &problem["errors"][0]["loc"]), (422, &json!(["query", "cursor"])));
    // A forged one moves its reader within what the reader may see.
    let hash = ApiKey::parse(CLIENT).unwrap().hash();
    let reader = world.tables.lock().keys[&hash].key_id.clone();
    let asked = [("limit".to_owned(), "1".to_owned())];
    let query = domain::call_list::CallQuery::parse(&asked, &["limit"], &reader, world.now()).unwrap();
    let late = domain::call_list::CallPosition { started_ms: i64::MAX, call_id: CallId::NIL };
    let forged = query.cursor(&late);
    let (status, page) = get(&app, CLIENT, &format!("/api/v1/calls?limit=1&cursor={forged}")).await;
    assert_eq!((status, ids(&page)), (200, vec![a]));
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let (world, app) = world();
    let live = call(&world, "a", world.now() - HOUR);
    let busy = world.ended_call(|row| {
        (row.bot_id, row.end_reason, row.disposition) = (bot("b"), Some(EndReason::Busy), Some("BUSY".into()));
        row.trunk_id = Some(TrunkId::parse("second").unwrap());
    });
    let done = world.ended_call(|row| (row.bot_id, row.started_at) = (bot("a"), world.now() - HOUR * 48));
    let (busy, done) = (busy.call_id.to_string(), done.call_id.to_string());
    let check = async |key: &str, path: &str, query: &str, expect: &[&String]| {
        let (status, page) = get(&app, key, &format!("{path}?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), expect, "{query}");
    };
    // The world begins on 2026-01-05 at 12:00 UTC.
    let calls = "/api/v1/calls";
    check(CLIENT, calls, "state=ended", &[&busy, &done]).await;
    check(CLIENT, calls, "state=accepted", &[&live]).await;
    check(CLIENT, calls, "from=2026-01-05T11:00:00Z", &[&busy, &live]).await;
    check(CLIENT, calls, "from=2026-01-05T11:00:01Z", &[&busy]).await;
    check(CLIENT, calls, "to=2026-01-05T12:00:00Z", &[&live, &done]).await;
    check(CLIENT, calls, "from=2026-01-03&to=2026-01-05", &[&done]).await;
    check(CLIENT, calls, "to=2026-01-03", &[]).await;
    check(CLIENT, calls, "state=ended&bot_id=a", &[&done]).await;
    let admin = "/api/v1/admin/calls";
    check(ADMIN, admin, "disposition=BUSY", &[&busy]).await;
    check(ADMIN, admin, "end_reason=bot_hangup", &[&done]).await;
    check(ADMIN, admin, "trunk_id=second", &[&busy]).await;
    check(ADMIN, admin, "trunk_id=second&state=accepted", &[]).await;
    let (_, page) = get(&app, ADMIN, "/api/v1/admin/calls?trunk_id=second").await;
    let line = &page["items"][0];
    assert_eq!(
        (&line["trunk_id"], &line["owner"]["server_id"], &line["bot_version"]),
        (&json!("second"), &json!("a"), &json!(1))
    );
    assert!(line.get("recording_token").is_none(), "{line}");
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said() {
    let (_, app) = world();
    let check = async |key: &str, path: &str, parameter: &str| {
        let (status, problem) = get(&app, key, path).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid")), "{path}");
        assert_eq!(problem["errors"][0]["loc"], json!(["query", parameter]), "{path}");
    };
    check(CLIENT, "/api/v1/calls?limit=0", "limit").await;
    check(CLIENT, "/api/v1/calls?limit=101", "limit").await;
    check(CLIENT, "/api/v1/calls?state=dead", "state").await;
    check(CLIENT, "/api/v1/calls?from=now", "from").await;
    check(CLIENT, "/api/v1/calls?cursor=zzz", "cursor").await;
    check(CLIENT, "/api/v1/calls?bot=a", "bot").await;
    check(CLIENT, "/api/v1/calls?disposition=PTP", "disposition").await;
    check(CLIENT, "/api/v1/calls?limit=1&limit=1", "limit").await;
    check(ADMIN, "/api/v1/admin/calls?end_reason=tired", "end_reason").await;
}

#[tokio::test]
async fn a_page_looks_at_so_many_days_and_the_next_goes_on() {
    let (world, app) = world();
    let old = call(&world, "a", world.now() - HOUR * 24 * 300);
    // Without `from`, one page looks back over a month.
    assert_eq!(all(&app, CLIENT, "bot_id=a").await, (vec![], 1));
    // The world begins on 2026-01-05; the day of `from` counts.
    let (found, pages) = all(&app, CLIENT, "bot_id=a&from=2025-01-01").await;
    assert_eq!((found, pages), (vec![old], 370_usize.div_ceil(super::BOT_DAYS)));
    world.tables.lock().days_read = 0;
    let (_, first) = get(&app, CLIENT, "/api/v1/calls?bot_id=a&from=2025-01-01").await;
    assert_eq!((ids(&first).len(), world.tables.lock().days_read), (0, super::BOT_DAYS));
    // More bots than that: a day of each, all the same.
    let many: Vec<BotId> = (0..200).map(|index| bot(&format!("m{index}"))).collect();
    let key = world.key("sk_test_many_bots", |row| row.bots = BotScope::Only(many.clone()));
    assert!(key.may_use(&many[199]));
    let newest = call(&world, "m199", world.now());
    world.tables.lock().days_read = 0;
    let (_, page) = get(&app, "sk_test_many_bots", "/api/v1/calls").await;
    assert_eq!((ids(&page), world.tables.lock().days_read), (vec![newest], 200));
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn a_page_reads_so_many_rows_and_the_next_goes_on() {
    let (world, app) = world();
    let now = world.now();
    for index in 0..700_u16 {
        let [high, low] = index.to_be_bytes();
        let random = [high, low, 0, 0, 0, 0, 0, 0, high, low];
        world.call(|row| {
            row.call_id = CallId::from_parts(now.as_millisecond().unsigned_abs(), random);
            (row.bot_id, row.started_at) = (bot("a"), now - Duration::from_secs(u64::from(index)));
            row.state = if index == 650 { CallState::Ringing } else { CallState::Ended };
        });
    }
    let (_, first) = get(&app, CLIENT, "/api/v1/calls?state=ringing").await;
    assert_eq!((ids(&first).len(), first["next_cursor"].is_string()), (0, true));
    assert_eq!(all(&app, CLIENT, "state=ringing").await.0.len(), 1);
    assert_eq!(all(&app, CLIENT, "limit=33").await.0.len(), 700);
}
