//! The order of refusals, the placing of calls, and the corpus of requests.

mod large;
mod limits;
mod trips;

use std::time::Duration;

use base64::Engine;
use domain::api_key::BotScope;
use domain::fleet::Refusal as ServerRefusal;
use domain::ids::{BotId, TrunkId};
use domain::ports::CallEntry;
use serde_json::{Value, json};

use super::router;
use crate::testing::{Act, HttpAnswer, World, request};

const KEY: &str = "sk_test_A";
const BODY: &str = r#"{"bot_id":"bot-1","to_number":"+919876543210"}"#;

/// The corpus' fixtures: `bot-1` open and in scope, `bot-2` out of scope, `bot-closed`, `bot-notrunk`; one server.
pub(super) fn world() -> World {
    let world = World::new();
    let scope = ["bot-1", "bot-deleted", "bot-closed", "bot-notrunk", "bot-off"].map(|id| BotId::parse(id).unwrap());
    world.key(KEY, |row| row.bots = BotScope::Only(scope.to_vec()));
    world.key("sk_test_REVOKED", |row| row.active = false);
    let now = world.now();
    world.key("sk_test_EXPIRED", |row| row.expires_at = Some(now));
    world.trunk("trunk", json!({"default_country": "IN"}));
    world.bot("bot-1", json!({"trunk_ids": ["trunk"]}));
    world.bot("bot-2", json!({"trunk_ids": ["trunk"]}));
    // The world begins on a Monday at 12:00 UTC.
    let hours = json!([{"days": ["mon"], "start": "12:01", "end": "13:00"}]);
    world.bot("bot-closed", json!({"trunk_ids": ["trunk"], "timezone": "UTC", "active_hours": hours}));
    world.bot("bot-notrunk", json!({"trunk_ids": ["gone"]}));
    world.bot("bot-off", json!({"trunk_ids": ["trunk"], "enabled": false}));
    world.server("a", |_| ());
    world
}

async fn dial(world: &World, body: &str) -> HttpAnswer {
    request(&router(world.desk()), "POST", "/api/v1/dialout", Some(KEY), &[], body.to_owned()).await
}

fn fenced(world: &World) -> usize {
    world.tables.lock().calls.values().filter(|entry| matches!(entry, CallEntry::Fenced(_))).count()
}

#[tokio::test]
async fn accepted_is_answered_with_exactly_two_members() {
    let world = world();
    let answer = dial(&world, BODY).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let members = body.as_object().unwrap();
    assert_eq!(members.len(), 2);
    assert_eq!(members["status"], "ok");
    let (id, entry) = world.tables.lock().calls.iter().next().map(|(id, entry)| (*id, entry.clone())).unwrap();
    assert_eq!(members["call_id"], id.to_string());
    let CallEntry::Call(row) = entry else { panic!("a call") };
    assert_eq!((row.to_number.0.as_str(), row.from_number.0.as_str()), ("+919876543210", "+911234567890"));
    assert_eq!(row.bot_version, 1);
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    // Each row breaks one thing more than the last, from the end of the order to its beginning.
    let full = |world: &World| world.script("a", &[Act::Refuse(ServerRefusal::Full)]);
    let at_limit = |world: &World| {
        world.trunk("trunk", json!({"max_calls": 3}));
        world.server("a", |row| row.trunk_calls = [(TrunkId::parse("trunk").unwrap(), 3)].into());
    };
    let bad_number = r#"{"bot_id":"bot-1","to_number":"112"}"#;
    let check = async |prepare: &[&dyn Fn(&World)], body: &str, status: u16, code: &str, retry: bool| {
        let world = world();
        prepare.iter().for_each(|step| step(&world));
        let answer = dial(&world, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.headers.contains_key("retry-after"), retry, "{code}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(world.accepted(), 0);
    };
    check(&[&full], BODY, 503, "no_capacity", true).await;
    check(&[&full, &at_limit], BODY, 503, "trunk_limit", true).await;
    check(&[&full, &at_limit], bad_number, 422, "invalid", false).await;
    check(&[&full], &bad_number.replace("bot-1", "bot-notrunk"), 503, "no_trunk", false).await;
    check(&[&full], &bad_number.replace("bot-1", "bot-closed"), 503, "outside_active_hours", true).await;
    check(&[&full], &bad_number.replace("bot-1", "bot-2"), 404, "not_found", false).await;
    check(&[&full], &bad_number.replace("bot-1", "bot-deleted"), 404, "not_found", false).await;
    check(&[&full], &bad_number.replace("bot-1", "bot-off"), 404, "not_found", false).await;
    check(&[&full], r#"{"bot_id":"bot-2"}"#, 422, "invalid", false).await;
    let unauthorized = request(&router(world().desk()), "POST", "/api/v1/dialout", Some("nope-nope"), &[], "{").await;
    assert_eq!(unauthorized.status, 401);
}

#[tokio::test]
async fn a_closed_bot_says_when_it_opens() {
    let world = world();
    let body = BODY.replace("bot-1", "bot-closed");
    let answer = dial(&world, &body).await;
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(answer.json()["next_open_at"], "2026-01-05T12:01:00Z");
    world.advance(Duration::from_secs(60));
    world.server("a", |_| ());
    assert_eq!(dial(&world, &body).await.status, 200);
}

#[tokio::test]
async fn an_invalid_field_is_named_as_it_was_sent() {
    let answer = dial(&world(), r#"{"bot_id":"bot-1","to_number":5}"#).await;
    assert_eq!(answer.json()["errors"][0]["loc"], json!(["body", "to_number"]));
    assert!(answer.json()["errors"][0]["msg"].is_string());
}

#[tokio::test]
async fn unknown_fields_are_noted_or_refused_when_asked() {
    let body = r#"{"bot_id":"bot-1","to_number":"+919876543210","prompt":"x"}"#;
    let world = world();
    assert_eq!(dial(&world, body).await.status, 200);
    assert_eq!(world.outside.lock().commands[0].warnings, ["unknown field in the dialout: prompt"]);
    let app = router(world.desk());
    for prefer in ["handling=strict", "respond-async, Handling=\"strict\""] {
        let answer = request(&app, "POST", "/api/v1/dialout", Some(KEY), &[("prefer", prefer)], body).await;
        assert_eq!((answer.status, answer.json()["errors"][0]["loc"][1].clone()), (422, json!("prompt")), "{prefer}");
    }
    let lenient = request(&app, "POST", "/api/v1/dialout", Some(KEY), &[("prefer", "handling=lenient")], body).await;
    assert_eq!(lenient.status, 200);
}

#[tokio::test]
async fn a_full_trunk_passes_the_call_to_the_next() {
    let world = world();
    world.trunk("trunk", json!({"max_calls": 0}));
    world.trunk("second", json!({}));
    world.bot("bot-1", json!({"trunk_ids": ["gone", "trunk", "second"]}));
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!(world.outside.lock().commands[0].trunk_id.as_str(), "second");
}

#[tokio::test]
async fn the_platforms_own_numbers_are_not_dialled() {
    let world = world();
    world.bot("other", json!({"numbers": ["+919876543210"]}));
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.json()["errors"][0]["type"].clone()), (422, json!("own_number")));
}

/// One offer: what each server does, in the order of asking; what the client hears; who was asked.
struct Placing {
    acts: &'static [(&'static str, &'static [Act])],
    status: u16,
    code: &'static str,
    asked: &'static [&'static str],
    fences: usize,
    calls: usize,
    seconds: u64,
}

async fn place(case: Placing) {
    let world = world();
    world.tables.lock().servers.clear();
    for (index, (id, acts)) in case.acts.iter().enumerate() {
        // Fewer free slots each: the ranking is the order of this list.
        world.server(id, |row| row.free = 10 - 3 * index as u32);
        world.script(id, acts);
    }
    // One shard sees all, so that the ranking alone decides.
    let began = tokio::time::Instant::now();
    let answer = dial(&world, BODY).await;
    let took = began.elapsed();
    let asked = world.dialled();
    assert_eq!((answer.status, answer.code().as_str()), (case.status, case.code), "{asked:?}");
    assert_eq!(asked, case.asked);
    assert_eq!((fenced(&world), world.accepted()), (case.fences, case.calls), "{asked:?}");
    assert_eq!(took.as_secs(), case.seconds, "{asked:?}");
    // What the client heard is what there is: a call if and only if 200.
    assert_eq!(world.accepted() == 1, answer.status == 200);
}

const FULL: Act = Act::Refuse(ServerRefusal::Full);
const UNSETTLED: Act = Act::Refuse(ServerRefusal::Unsettled);
const WRONG: Act = Act::Refuse(ServerRefusal::WrongServer);
const FENCED: Act = Act::Refuse(ServerRefusal::Fenced);
const TRUNK: Act = Act::Refuse(ServerRefusal::TrunkLimit);

#[tokio::test(start_paused = true)]
async fn servers_are_asked_until_one_takes_the_call() {
    let none = Placing { acts: &[], status: 503, code: "no_capacity", asked: &[], fences: 0, calls: 0, seconds: 0 };
    place(Placing { ..none }).await;
    let none = Placing { fences: 0, ..none };
    place(Placing { acts: &[("a", &[Act::Accept])], status: 200, code: "", asked: &["a"], calls: 1, ..none }).await;
    place(Placing { acts: &[("a", &[FULL]), ("e", &[])], status: 200, code: "", asked: &["a", "e"], calls: 1, ..none })
        .await;
    place(Placing {
        acts: &[("a", &[Act::Unreachable]), ("e", &[])],
        status: 200,
        code: "",
        asked: &["a", "e"],
        calls: 1,
        ..none
    })
    .await;
    place(Placing {
        acts: &[("a", &[WRONG]), ("e", &[])],
        status: 200,
        code: "",
        asked: &["a", "e"],
        calls: 1,
        ..none
    })
    .await;
    place(Placing {
        acts: &[("a", &[Act::Status(401)]), ("e", &[])],
        status: 200,
        code: "",
        asked: &["a", "e"],
        calls: 1,
        ..none
    })
    .await;
    // Three servers at most.
    let all = &[("a", &[FULL] as &[Act]), ("e", &[FULL]), ("i", &[FULL]), ("m", &[])];
    place(Placing { acts: all, asked: &["a", "e", "i"], ..none }).await;
    // Every refusal for the trunk's sake is the trunk's limit.
    place(Placing { acts: &[("a", &[TRUNK])], code: "trunk_limit", asked: &["a"], ..none }).await;
    place(Placing { acts: &[("a", &[TRUNK]), ("e", &[FULL])], asked: &["a", "e"], ..none }).await;
    place(Placing { acts: &[("a", &[FENCED]), ("e", &[])], asked: &["a"], ..none }).await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_settled_by_asking_again_and_then_by_the_fence() {
    let none =
        Placing { acts: &[], status: 503, code: "no_capacity", asked: &["a", "a"], fences: 0, calls: 0, seconds: 0 };
    // It took the call, the answer got lost, the second asking says so.
    place(Placing {
        acts: &[("a", &[Act::TakeSilently, Act::Accept])],
        status: 200,
        code: "",
        calls: 1,
        seconds: 2,
        ..none
    })
    .await;
    // It took the call and then went silent: its row says so.
    place(Placing {
        acts: &[("a", &[Act::TakeSilently, Act::Silent])],
        status: 200,
        code: "",
        calls: 1,
        seconds: 4,
        ..none
    })
    .await;
    place(Placing {
        acts: &[("a", &[Act::TakeSilently, Act::Unreachable])],
        status: 200,
        code: "",
        calls: 1,
        seconds: 2,
        ..none
    })
    .await;
    place(Placing {
        acts: &[("a", &[Act::TakeSilently, Act::Status(500)])],
        status: 200,
        code: "",
        calls: 1,
        seconds: 2,
        ..none
    })
    .await;
    // It never took it: the fence stands, and nobody else is asked.
    place(Placing { acts: &[("a", &[Act::Silent, Act::Silent]), ("e", &[])], fences: 1, seconds: 4, ..none }).await;
    place(Placing { acts: &[("a", &[Act::Status(502), Act::Unreachable]), ("e", &[])], fences: 1, ..none }).await;
    // It does not know itself whether the row is its own: that is no refusal.
    place(Placing { acts: &[("a", &[UNSETTLED, UNSETTLED]), ("e", &[])], fences: 1, ..none }).await;
    place(Placing { acts: &[("a", &[UNSETTLED, Act::Accept])], status: 200, code: "", calls: 1, ..none }).await;
    place(Placing {
        acts: &[("a", &[Act::TakeSilently, UNSETTLED]), ("e", &[])],
        status: 200,
        code: "",
        calls: 1,
        seconds: 2,
        ..none
    })
    .await;
    // It refuses the second time: another may take it.
    place(Placing {
        acts: &[("a", &[Act::Silent, FULL]), ("e", &[])],
        status: 200,
        code: "",
        asked: &["a", "a", "e"],
        calls: 1,
        seconds: 2,
        ..none
    })
    .await;
    // Unsure of the first, refused by the others: the fence decides, here for the call that the first has.
    let torn = &[("a", &[Act::TakeSilently, FULL] as &[Act]), ("e", &[Act::Accept])];
    place(Placing { acts: torn, status: 200, code: "", asked: &["a", "a", "e"], calls: 1, seconds: 2, ..none }).await;
    let torn = &[("a", &[Act::Silent, FULL] as &[Act]), ("e", &[FULL])];
    place(Placing { acts: torn, asked: &["a", "a", "e"], fences: 1, seconds: 2, ..none }).await;
}

#[tokio::test(start_paused = true)]
async fn the_client_has_its_answer_within_eight_seconds() {
    const SILENT: &[Act] = &[Act::Silent, FULL];
    let acts = &[("a", SILENT), ("e", SILENT), ("i", SILENT)];
    place(Placing {
        acts,
        status: 503,
        code: "no_capacity",
        asked: &["a", "a", "e", "e", "i", "i"],
        fences: 1,
        calls: 0,
        seconds: 6,
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tables_that_hang_do_not_hold_the_client_up() {
    let check = async |slow: &[&'static str], acts: &[Act]| {
        let world = world();
        world.tables.lock().slow = slow.to_vec();
        world.script("a", acts);
        let began = tokio::time::Instant::now();
        let answer = dial(&world, BODY).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{slow:?}");
        assert!(began.elapsed() <= Duration::from_secs(8), "{slow:?}: {:?}", began.elapsed());
    };
    check(&["bot", "trunk"], &[]).await;
    check(&["servers"], &[]).await;
    check(&["fence"], &[Act::Silent, Act::Silent]).await;
    check(&["servers", "fence"], &[Act::Silent, FULL]).await;
}

#[tokio::test]
async fn an_id_that_another_server_has_is_under_way() {
    let world = world();
    let asked = request(&router(world.desk()), "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.json();
    let id = domain::ids::CallId::parse(asked["call_id"].as_str().unwrap()).unwrap();
    // The same call is offered to another server, which finds the row of the first.
    world.tables.lock().servers.clear();
    world.server("b", |_| ());
    let hash = domain::api_key::ApiKey::parse(KEY).unwrap().hash();
    let caller = world.tables.lock().keys[&hash].caller(world.now()).unwrap();
    let request = domain::dialout::parse(BODY.as_bytes()).unwrap();
    let dialout = super::Dialout::new(world.desk(), caller, request, tokio::time::Instant::now());
    assert!(dialout.place_as(id).await.is_ok());
    assert_eq!((world.dialled(), world.accepted()), (vec!["a".to_owned(), "b".to_owned()], 1));
}

#[tokio::test]
async fn a_fenced_id_is_never_dialled_later() {
    let world = world();
    world.set(|settings| settings.placing.per_server = Duration::from_millis(1));
    world.script("a", &[Act::Silent, Act::Silent]);
    assert_eq!(dial(&world, BODY).await.status, 503);
    let command = world.outside.lock().commands[0].clone();
    let server = world.tables.lock().servers.values().next().unwrap().clone();
    let late = world.platform().outside.fleet.dial(&server, &command, Duration::from_secs(1)).await.unwrap();
    assert_eq!(late, domain::fleet::DialAnswer::Refused(ServerRefusal::Fenced));
}

#[tokio::test]
async fn servers_that_cannot_be_believed_are_not_asked() {
    let check = async |change: &dyn Fn(&mut domain::fleet::ServerRow), expect: u16| {
        let world = world();
        world.server("a", |row| change(row));
        assert_eq!(dial(&world, BODY).await.status, expect);
    };
    check(&|row| row.heartbeat_at += Duration::from_secs(3600), 503).await;
    check(&|row| row.heartbeat_at += Duration::from_secs(5), 200).await;
    check(&|row| row.heartbeat_at -= Duration::from_secs(11), 503).await;
    check(&|row| row.draining = true, 503).await;
    check(&|row| row.free = 0, 503).await;
}

#[tokio::test]
async fn a_trunks_server_group_is_kept_to() {
    let world = world();
    world.trunk("trunk", json!({"server_group": "mumbai"}));
    assert_eq!(dial(&world, BODY).await.code(), "no_capacity");
    world.server("b", |row| row.group = Some("mumbai".into()));
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!(world.dialled(), ["b"]);
}

#[tokio::test]
async fn tables_that_are_down_are_a_503_and_no_call() {
    let world = world();
    world.tables.lock().down = true;
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert_eq!(world.dialled().len(), 0);
}

#[tokio::test]
async fn the_corpus_of_requests_gets_its_statuses() {
    let corpus = include_str!("../../tests/data/dialout.jsonl");
    let cases: Vec<Value> = corpus.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 55, "{} cases", cases.len());
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let world = set_up(case["setup"].as_str().unwrap_or_default(), &cases).await;
        let before = world.accepted();
        let answer = play(&world, case).await;
        let expect: Vec<u64> = case["expect"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert!(expect.contains(&u64::from(answer.status)), "{id}: {} {}", answer.status, answer.json());
        let dials = (world.accepted() - before) as u64;
        assert!(dials <= case["max_dials"].as_u64().unwrap(), "{id}");
        match answer.status {
            200 => {
                let body = answer.json();
                assert_eq!((body.as_object().unwrap().len(), body["status"].as_str()), (2, Some("ok")), "{id}");
                assert!(body["call_id"].is_string(), "{id}");
            }
            503 => assert_eq!(answer.headers.contains_key("retry-after"), answer.code() != "no_trunk", "{id}"),
            405 => assert_eq!(answer.header("allow"), "POST", "{id}"),
            422 => assert!(answer.json()["errors"][0]["loc"].is_array(), "{id}"),
            _ => {}
        }
        if answer.status >= 400 {
            assert!(!answer.code().is_empty(), "{id}: every refusal is a problem");
            assert_eq!(answer.header("content-type"), "application/problem+json", "{id}");
        }
    }
}

async fn play(world: &World, case: &Value) -> HttpAnswer {
    let headers: Vec<(&str, &str)> = case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let body = match case["body_b64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => case["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    let (method, path) = (case["method"].as_str().unwrap(), case["path"].as_str().unwrap());
    request(&crate::router::api(&world.platform()), method, path, None, &headers, body).await
}

async fn set_up(word: &str, cases: &[Value]) -> World {
    let world = world();
    if let Some(earlier) = word.strip_prefix("after ") {
        let first = cases.iter().find(|case| case["id"] == earlier).unwrap();
        assert_eq!(play(&world, first).await.status, 200, "{earlier}");
        return world;
    }
    match word {
        "" | "revoked" | "expired" | "closed now" => {}
        "fleet empty" => world.tables.lock().servers.clear(),
        "heartbeat +3600 s" => drop(world.server("a", |row| row.heartbeat_at += Duration::from_secs(3600))),
        "now = start" => {
            world.advance(Duration::from_secs(60));
            world.server("a", |_| ());
        }
        "DST gap" => {
            // 2026-03-08 02:00–03:00 does not exist in New York.
            let hours = json!([{"days": ["sun"], "start": "02:00", "end": "03:00"}]);
            world.bot(
                "bot-closed",
                json!({"trunk_ids": ["trunk"], "timezone": "America/New_York", "active_hours": hours}),
            );
            world.outside.lock().now = "2026-03-08T07:30:00Z".parse().unwrap();
            world.server("a", |_| ());
        }
        "fleet answers 503 to assign" => world.script("a", &[FULL]),
        "ddb throttle" => world.tables.lock().down = true,
        other => panic!("unknown set-up {other}"),
    }
    world
}
