//! Requests with an `Idempotency-Key`: repeated, at once, and after each point at which the one before may have died.

use std::time::Duration;

use axum::Router;
use domain::api_key::{ApiKey, Caller};
use domain::call::FenceRow;
use domain::dialout::parse;
use domain::fleet::{DialAnswer, Refusal as ServerRefusal};
use domain::idempotency::{BodyHash, Entry, Progress, ScopedKey};
use domain::ids::{CallId, TrunkId};
use domain::ports::CallEntry;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::super::tests::world;
use super::super::{Answer, Dialout, router};
use super::place;
use crate::problem::Refusal;
use crate::testing::{Act, HttpAnswer, World, request};

const KEY: &str = "sk_test_A";
const BODY: &str = r#"{"bot_id":"bot-1","to_number":"+919876543210"}"#;
const FULL: Act = Act::Refuse(ServerRefusal::Full);
const LEASE: Duration = Duration::from_secs(35);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn ask(app: &Router, key: &str, idempotency: &str, body: &str) -> HttpAnswer {
    let headers = [("idempotency-key", idempotency)];
    request(app, "POST", "/api/v1/dialout", Some(key), &headers, body.to_owned()).await
}

async fn dial(world: &World, idempotency: &str) -> HttpAnswer {
    ask(&router(world.desk()), KEY, idempotency, BODY).await
}

fn entries(world: &World) -> Vec<Entry> {
    world.tables.lock().idempotency.values().cloned().collect()
}

pub(super) fn call_ids(world: &World) -> Vec<CallId> {
    let rows = world.tables.lock();
    rows.calls.iter().filter(|(_, entry)| matches!(entry, CallEntry::Call(_))).map(|(id, _)| *id).collect()
}

/// Time passes, and the server's heart beats on.
pub(super) fn advance(world: &World, by: Duration) {
    world.advance(by);
    world.server("a", |_| ());
}

fn caller(world: &World) -> Caller {
    world.tables.lock().keys[&ApiKey::parse(KEY).unwrap().hash()].caller(world.now()).unwrap()
}

fn scoped(world: &World, header: &str) -> ScopedKey {
    ScopedKey::read(&caller(world).key_id, [header.as_bytes()]).unwrap().unwrap()
}

/// The request as the function runs it, without the task around it: dropped half-way, it dies as a function does.
pub(super) async fn placed(world: &World, header: &str) -> Result<Answer, Refusal> {
    let request = parse(BODY.as_bytes()).unwrap();
    let dialout = Dialout::new(world.desk(), caller(world), request, Instant::now());
    place(dialout, scoped(world, header), BodyHash::of(BODY.as_bytes())).await
}

/// Puts what a function leaves that died after it had claimed the key.
fn in_flight(world: &World) -> Entry {
    let id = CallId::from_parts(world.now().as_millisecond().unsigned_abs(), [42; 10]);
    let entry = Entry::begin(scoped(world, "K1"), BodyHash::of(BODY.as_bytes()), id, world.now());
    world.tables.lock().idempotency.insert(entry.key.clone(), entry.clone());
    entry
}

#[tokio::test]
async fn one_key_places_one_call_and_answers_it_again() {
    let world = world();
    world.key("sk_test_B", |_| ());
    let app = router(world.desk());
    let first = ask(&app, KEY, "K1", BODY).await;
    assert_eq!((first.status, first.header("idempotent-replayed").as_str()), (200, ""));
    let again = ask(&app, KEY, "K1", BODY).await;
    assert_eq!((again.status, again.header("idempotent-replayed").as_str()), (200, "true"));
    assert_eq!((again.body, world.accepted(), world.dialled().len()), (first.body, 1, 1));

    let other_body = ask(&app, KEY, "K1", &BODY.replace("43210", "43211")).await;
    assert_eq!((other_body.status, other_body.code().as_str()), (422, "idempotency_mismatch"));
    assert_eq!(other_body.json()["errors"][0]["loc"], json!(["header", "idempotency-key"]));
    assert_eq!(world.accepted(), 1);
    // Another header, another API key, no header: calls of their own.
    assert_eq!(ask(&app, KEY, "K2", BODY).await.header("idempotent-replayed"), "");
    assert_eq!(ask(&app, "sk_test_B", "K1", BODY).await.header("idempotent-replayed"), "");
    assert_eq!((entries(&world).len(), world.accepted()), (3, 3));
    for _ in 0..2 {
        assert_eq!(request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.status, 200);
    }
    assert_eq!((entries(&world).len(), world.accepted()), (3, 5));
}

#[tokio::test]
async fn a_key_counts_for_a_day_by_the_clock_of_who_reads_it() {
    let world = world();
    let first = dial(&world, "K1").await;
    advance(&world, DAY - Duration::from_secs(1));
    assert_eq!(dial(&world, "K1").await.body, first.body);
    // The table keeps the entry for longer; nobody heeds it.
    advance(&world, Duration::from_secs(1));
    let next = dial(&world, "K1").await;
    assert_eq!((next.status, next.header("idempotent-replayed").as_str(), world.accepted()), (200, "", 2));
    assert_eq!(dial(&world, "K1").await.body, next.body);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let world = world();
    let app = router(world.desk());
    let check = async |headers: &[(&str, &str)], status: u16, kind: &str| {
        let answer = request(&app, "POST", "/api/v1/dialout", Some(KEY), headers, BODY).await;
        let error = answer.json()["errors"][0].clone();
        assert_eq!((answer.status, error["type"].as_str().unwrap_or_default()), (status, kind), "{headers:?}");
        assert!(status == 200 || error["loc"] == json!(["header", "idempotency-key"]), "{error}");
    };
    let (longest, long) = ("k".repeat(255), "k".repeat(256));
    check(&[("idempotency-key", &longest)], 200, "").await;
    check(&[("idempotency-key", &long)], 422, "string_too_long").await;
    check(&[("idempotency-key", "")], 422, "string_too_short").await;
    check(&[("idempotency-key", "a\tb")], 422, "string_pattern_mismatch").await;
    check(&[("idempotency-key", "a"), ("idempotency-key", "a")], 422, "too_many").await;
    assert_eq!((entries(&world).len(), world.accepted()), (1, 1));
}

#[tokio::test]
async fn a_refusal_frees_the_key() {
    let check = async |spoil: &dyn Fn(&World), mend: &dyn Fn(&World), body: &str, status: u16| {
        let world = world();
        spoil(&world);
        let app = router(world.desk());
        let refused = ask(&app, KEY, "K1", body).await;
        assert_eq!((refused.status, entries(&world).len()), (status, 0), "{body}");
        mend(&world);
        let placed = ask(&app, KEY, "K1", BODY).await;
        assert_eq!((placed.status, placed.header("idempotent-replayed").as_str(), world.accepted()), (200, "", 1));
    };
    let nothing = |_: &World| ();
    check(&nothing, &nothing, "{", 422).await;
    check(&nothing, &nothing, &BODY.replace("bot-1", "bot-2"), 404).await;
    check(&nothing, &nothing, &BODY.replace("bot-1", "bot-closed"), 503).await;
    check(&nothing, &nothing, &BODY.replace("bot-1", "bot-notrunk"), 503).await;
    check(&nothing, &nothing, &BODY.replace("+919876543210", "112"), 422).await;
    check(&|world| world.script("a", &[FULL]), &nothing, BODY, 503).await;
    check(&|world| world.tables.lock().servers.clear(), &|world| drop(world.server("a", |_| ())), BODY, 503).await;
    let at_limit = |world: &World| {
        world.trunk("trunk", json!({"max_calls": 1}));
        world.server("a", |row| row.trunk_calls = [(TrunkId::parse("trunk").unwrap(), 1)].into());
    };
    check(&at_limit, &|world| drop(world.server("a", |_| ())), BODY, 503).await;
}

#[tokio::test]
async fn a_replay_needs_nothing_but_the_key() {
    let world = world();
    let first = dial(&world, "K1").await;
    {
        let mut rows = world.tables.lock();
        rows.servers.clear();
        rows.trunks.clear();
        rows.bots.clear();
    }
    assert_eq!(dial(&world, "K1").await.body, first.body);
}

/// Many requests with one key at once.
async fn crowd(world: &World, requests: usize) -> Vec<HttpAnswer> {
    let asked = (0..requests).map(|_| {
        let app = router(world.desk());
        tokio::spawn(async move { ask(&app, KEY, "K1", BODY).await })
    });
    join_all(asked).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_at_once_one_places_the_call_and_all_have_its_answer() {
    let check = async |acts: &[Act]| {
        let world = world();
        world.script("a", acts);
        let answers = crowd(&world, 100).await;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{acts:?}");
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count();
        assert_eq!((world.accepted(), replayed), (1, 99), "{acts:?}");
    };
    check(&[]).await;
    // The holder needs two seconds, then four: the others wait for it.
    check(&[Act::TakeSilently, Act::Accept]).await;
    check(&[Act::TakeSilently, Act::Silent]).await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_cannot_be_served_hears_why_and_leaves_nothing() {
    let world = world();
    world.tables.lock().servers.clear();
    let answers = crowd(&world, 100).await;
    assert!(answers.iter().all(|answer| answer.code() == "no_capacity"));
    assert_eq!((entries(&world).len(), world.accepted()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_to_come_back() {
    let world = world();
    let held = in_flight(&world);
    let began = Instant::now();
    let answer = dial(&world, "K1").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency_in_flight"));
    assert_eq!((answer.header("retry-after").as_str(), began.elapsed().as_secs()), ("5", 8));
    advance(&world, LEASE - Duration::from_secs(2));
    assert_eq!(dial(&world, "K1").await.header("retry-after"), "2");
    // Another body need not wait to hear that it is wrong.
    let other = ask(&router(world.desk()), KEY, "K1", &BODY.replace("43210", "43211")).await;
    assert_eq!(other.code(), "idempotency_mismatch");
    assert_eq!((entries(&world), world.dialled().len()), (vec![held], 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_freed_holds_nobody_up() {
    let check = async |acts: &[Act], code: &str| {
        let world = world();
        world.script("a", acts);
        world.tables.lock().slow.push("let_go");
        let began = Instant::now();
        assert_eq!(dial(&world, "K1").await.code(), code);
        assert!(began.elapsed() <= Duration::from_secs(8), "{code}: {:?}", began.elapsed());
    };
    check(&[Act::Silent, Act::Silent], "no_capacity").await;
    check(&[Act::Silent, Act::TakeSilently], "").await;
}

/// It read ahead when it came, and what it read then may be seconds old when its turn comes.
#[tokio::test(start_paused = true)]
async fn who_has_waited_for_another_goes_by_what_is_true_then() {
    let world = world();
    in_flight(&world);
    let app = router(world.desk());
    let asked = tokio::spawn(async move { ask(&app, KEY, "K1", BODY).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "enabled": false}));
    world.tables.lock().idempotency.clear();
    assert_eq!((asked.await.unwrap().status, world.dialled().len()), (404, 0));
}

#[tokio::test]
async fn a_request_that_died_is_gone_on_with_under_its_own_id() {
    let check = async |left_behind: &dyn Fn(&World, CallId), expect_same: bool, replayed: &str, asked: usize| {
        let world = world();
        let held = in_flight(&world);
        left_behind(&world, held.call_id);
        advance(&world, LEASE);
        let answer = dial(&world, "K1").await;
        assert_eq!((answer.status, answer.header("idempotent-replayed").as_str()), (200, replayed));
        let calls = call_ids(&world);
        assert_eq!((calls.len(), calls[0] == held.call_id, world.dialled().len()), (1, expect_same, asked));
        assert_eq!(answer.json()["call_id"], calls[0].to_string());
        assert_eq!(entries(&world)[0].progress, Progress::Done);
        assert_eq!(dial(&world, "K1").await.body, answer.body);
    };
    // It had asked nobody.
    check(&|_, _| (), true, "", 1).await;
    // A server had taken the call.
    let taken = |world: &World, id: CallId| drop(world.call(|row| row.call_id = id));
    check(&taken, true, "true", 0).await;
    // It had fenced the id: that call will never be, so there may be another.
    let fenced = |world: &World, id: CallId| {
        let fence = FenceRow { call_id: id, refused: true, fenced_at: world.now() };
        world.tables.lock().calls.insert(id, CallEntry::Fenced(fence));
    };
    check(&fenced, false, "", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_dies_between_acceptance_and_answer_dials_once() {
    let world = std::sync::Arc::new(world());
    world.script("a", &[Act::TakeSilently]);
    let dying = tokio::spawn({
        let world = world.clone();
        async move { placed(&world, "K1").await }
    });
    while world.accepted() == 0 {
        tokio::task::yield_now().await;
    }
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    assert_eq!(dial(&world, "K1").await.code(), "idempotency_in_flight");
    advance(&world, LEASE);
    let answer = dial(&world, "K1").await;
    assert_eq!((answer.status, world.accepted(), world.dialled().len()), (200, 1, 1));
    assert_eq!(answer.json()["call_id"], call_ids(&world)[0].to_string());
}

#[tokio::test]
async fn of_a_crowd_that_finds_a_dead_request_one_goes_on() {
    let world = world();
    let held = in_flight(&world);
    advance(&world, LEASE);
    let answers = crowd(&world, 50).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!((call_ids(&world), world.dialled().len()), (vec![held.call_id], 1));
}

#[tokio::test]
async fn who_goes_on_and_is_refused_fences_the_id_first() {
    let world = world();
    let held = in_flight(&world);
    advance(&world, LEASE);
    world.script("a", &[FULL]);
    assert_eq!(dial(&world, "K1").await.code(), "no_capacity");
    assert!(matches!(world.tables.lock().calls[&held.call_id], CallEntry::Fenced(_)));
    assert_eq!(entries(&world), []);
    // The question of the request that died arrives only now: nobody dials.
    let mut late = world.outside.lock().commands[0].clone();
    late.call_id = held.call_id;
    let server = world.server("a", |_| ());
    let answer = world.platform().outside.fleet.dial(&server, &late, Duration::from_secs(1)).await.unwrap();
    assert_eq!(answer, DialAnswer::Refused(ServerRefusal::Fenced));
    assert_eq!(dial(&world, "K1").await.status, 200);
    assert_eq!((call_ids(&world).len(), call_ids(&world).contains(&held.call_id)), (1, false));
}

#[tokio::test]
async fn who_goes_on_and_is_refused_finds_a_call_taken_meanwhile() {
    let world = world();
    let held = in_flight(&world);
    advance(&world, LEASE);
    // While the bot is closed, a server takes what the dead request had asked of it.
    let closed = json!([{"days": ["sun"], "start": "12:00", "end": "13:00"}]);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "timezone": "UTC", "active_hours": closed}));
    let dead = world.platform();
    let resumed = held.resumed(world.now());
    dead.tables.idempotency.claim(&resumed, Some(&held)).await.unwrap();
    world.call(|row| row.call_id = held.call_id);
    let settled = super::settle(&world.desk(), &resumed, Err(Refusal::NoCapacity)).await;
    assert!(settled.is_ok(), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_fate_is_unknown_keeps_its_key() {
    // The server takes the call and says nothing; the fence cannot be put.
    let world = world();
    world.script("a", &[Act::TakeSilently, Act::Silent]);
    world.tables.lock().broken.push("fence");
    let unknown = dial(&world, "K1").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (503, "unavailable"));
    let call = call_ids(&world)[0];
    world.tables.lock().broken.clear();
    // Nobody is at it any more, so that the lease need not run out.
    let answer = dial(&world, "K1").await;
    assert_eq!((answer.status, answer.json()["call_id"].clone()), (200, json!(call.to_string())));
    assert_eq!((world.accepted(), world.dialled().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_could_not_be_noted_stands() {
    let world = world();
    world.tables.lock().broken.push("let_go");
    let first = dial(&world, "K1").await;
    assert_eq!((first.status, entries(&world)[0].progress), (200, Progress::InFlight));
    world.tables.lock().broken.clear();
    advance(&world, LEASE);
    assert_eq!(dial(&world, "K1").await.body, first.body);
    assert_eq!((world.accepted(), entries(&world)[0].progress), (1, Progress::Done));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_finds_its_answer() {
    let world = world();
    world.script("a", &[Act::TakeSilently, Act::Accept]);
    let app = router(world.desk());
    let leaving = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, KEY, "K1", BODY).await }
    });
    while world.accepted() == 0 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    let again = ask(&app, KEY, "K1", BODY).await;
    assert_eq!((again.status, again.header("idempotent-replayed").as_str()), (200, "true"));
    assert_eq!((again.json()["call_id"].clone(), world.accepted()), (json!(call_ids(&world)[0].to_string()), 1));
}

#[tokio::test]
async fn a_table_that_is_down_places_no_call() {
    let world = world();
    world.tables.lock().down = true;
    let request = parse(BODY.as_bytes()).unwrap();
    let row = caller(&world);
    let dialout = Dialout::new(world.desk(), row, request, Instant::now());
    let answer = place(dialout, scoped(&world, "K1"), BodyHash::of(BODY.as_bytes())).await;
    assert!(matches!(answer, Err(Refusal::Store(_))), "{answer:?}");
    assert_eq!(world.dialled().len(), 0);
}
