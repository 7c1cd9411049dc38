//! Limits of trunks over the fleet, ceilings on spend, rules for numbers: who is asked, what is set aside, what is said.

use std::time::Duration;

use domain::spend::{PriceRule, Prices};
use serde_json::json;

use super::{BODY, FULL, TRUNK, dial, world};
use crate::testing::{Act, World};

/// Six servers and a trunk with these limits.
fn fleet(limits: serde_json::Value) -> World {
    let world = world();
    for id in ["a", "b", "c", "d", "e", "f"] {
        world.server(id, |_| ());
    }
    world.trunk("trunk", limits);
    world
}

#[tokio::test]
async fn who_has_a_share_is_asked_first() {
    let check = async |limits: serde_json::Value, holding: &[(&str, u32)], expect: &[&str]| {
        let world = fleet(limits);
        for (id, calls) in holding {
            world.server(id, |row| row.trunk_calls = [(domain::ids::TrunkId::parse("trunk").unwrap(), *calls)].into());
        }
        let answer = dial(&world, BODY).await;
        assert_eq!(answer.status == 200, !expect.is_empty(), "{}", answer.json());
        assert_eq!(world.dialled(), expect);
    };
    check(json!({"max_calls": 1}), &[], &["a"]).await;
    check(json!({"max_cps": 1}), &[], &["a"]).await;
    check(json!({"max_calls": 2}), &[("a", 1)], &["b"]).await;
    check(json!({"max_calls": 12}), &[("a", 2), ("b", 2), ("c", 2), ("d", 2), ("e", 2), ("f", 1)], &["f"]).await;
    // Nobody has anything left: no server is asked.
    check(json!({"max_calls": 2}), &[("a", 1), ("b", 1)], &[]).await;
}

#[tokio::test]
async fn a_call_is_placed_if_any_server_has_a_share_left() {
    let world = fleet(json!({"max_cps": 6}));
    for id in ["a", "b", "c", "e", "f"] {
        world.script(id, &[TRUNK]);
    }
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!(world.dialled().last().map(String::as_str), Some("d"));
    // Those that can't take a call for any other reason are still three at most.
    let world = fleet(json!({"max_cps": 6}));
    for id in ["a", "b", "c", "d", "e", "f"] {
        world.script(id, &[FULL]);
    }
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.code().as_str(), world.dialled().len()), ("no_capacity", 3));
}

#[tokio::test]
async fn a_trunk_that_every_server_refuses_passes_the_call_to_the_next() {
    let world = world();
    world.trunk("trunk", json!({"max_cpm": 1}));
    world.trunk("second", json!({}));
    world.bot("bot-1", json!({"trunk_ids": ["trunk", "second"]}));
    world.script("a", &[TRUNK, Act::Accept]);
    assert_eq!(dial(&world, BODY).await.status, 200);
    let commands = world.outside.lock().commands.clone();
    let over: Vec<&str> = commands.iter().map(|command| command.trunk_id.as_str()).collect();
    assert_eq!(over, ["trunk", "second"]);
    assert_eq!(commands[0].call_id, commands[1].call_id);

    world.script("a", &[TRUNK, FULL]);
    let answer = dial(&world, BODY).await;
    assert_eq!(answer.code(), "no_capacity", "the second can't either");
    world.bot("bot-1", json!({"trunk_ids": ["trunk"]}));
    world.script("a", &[TRUNK]);
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "trunk_limit"));
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test(start_paused = true)]
async fn while_a_server_may_have_the_call_no_other_trunk_is_tried() {
    let world = world();
    world.trunk("trunk", json!({"max_cpm": 1}));
    world.trunk("second", json!({}));
    world.bot("bot-1", json!({"trunk_ids": ["trunk", "second"]}));
    world.script("a", &[Act::TakeSilently, TRUNK]);
    assert_eq!(dial(&world, BODY).await.status, 200, "the fence finds the row");
    assert_eq!((world.dialled().len(), world.accepted()), (2, 1));
}

fn priced(world: &World) {
    let rules = vec![PriceRule::parse("+91 0.5 0.1").unwrap()];
    world.set(|settings| settings.prices = Prices::new(rules, Duration::from_secs(60)));
}

fn spent(world: &World) -> Vec<u64> {
    world.tables.lock().spent.values().copied().collect()
}

#[tokio::test]
async fn a_ceiling_is_kept_and_says_when_it_resets() {
    let world = world();
    priced(&world);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "max_spend_per_day": "1.25"}));
    assert_eq!((dial(&world, BODY).await.status, dial(&world, BODY).await.status), (200, 200));
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "spend_ceiling"));
    // The bot's day is Kolkata's.
    assert_eq!(answer.header("retry-after"), (6 * 3600 + 1800).to_string());
    assert_eq!(answer.json()["resets_at"], "2026-01-05T18:30:00Z");
    assert!(answer.json()["detail"].as_str().unwrap().contains("max_spend_per_day"));
    assert_eq!((world.accepted(), spent(&world)), (2, vec![1_200_000]));
    world.advance(Duration::from_secs(6 * 3600 + 1800));
    world.server("a", |_| ());
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!(spent(&world), [1_200_000, 600_000]);
}

#[tokio::test]
async fn a_trunk_at_its_ceiling_passes_the_call_to_the_next() {
    let world = world();
    priced(&world);
    world.trunk("trunk", json!({"max_spend_per_day": "0.7"}));
    world.trunk("second", json!({}));
    world.bot("bot-1", json!({"trunk_ids": ["trunk", "second"]}));
    assert_eq!((dial(&world, BODY).await.status, dial(&world, BODY).await.status), (200, 200));
    let over: Vec<String> = world.outside.lock().commands.iter().map(|command| command.trunk_id.to_string()).collect();
    assert_eq!(over, ["trunk", "second"]);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"]}));
    let answer = dial(&world, BODY).await;
    assert_eq!(
        (answer.code().as_str(), answer.json()["resets_at"].clone()),
        ("spend_ceiling", json!("2026-01-06T00:00:00Z"))
    );
}

#[tokio::test]
async fn a_call_that_is_refused_gives_its_money_back() {
    let check = async |acts: &[Act], expect: u64| {
        let world = world();
        priced(&world);
        world.bot("bot-1", json!({"trunk_ids": ["trunk"], "max_spend_per_day": "1"}));
        world.script("a", acts);
        let accepted = dial(&world, BODY).await.status == 200;
        assert_eq!(accepted, expect > 0);
        assert_eq!((spent(&world), world.tables.lock().holds.len()), (vec![expect], usize::from(accepted)), "{acts:?}");
    };
    check(&[Act::Accept], 600_000).await;
    check(&[FULL], 0).await;
    check(&[TRUNK], 0).await;
    check(&[Act::Status(500), Act::Unreachable], 0).await;
    check(&[Act::Unreachable], 0).await;
}

#[tokio::test(start_paused = true)]
async fn money_that_is_not_given_back_holds_nobody_up() {
    let world = world();
    priced(&world);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "max_spend_per_day": "1"}));
    world.script("a", &[Act::Silent, Act::Silent]);
    world.tables.lock().slow.push("settle");
    let began = tokio::time::Instant::now();
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_capacity"));
    assert!(began.elapsed() <= Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(world.tables.lock().holds.len(), 1, "the sweep finds it");
}

/// A call has one hold, whose accounts are those of the trunk that it was set aside for.
#[tokio::test]
async fn money_that_is_not_given_back_is_not_taken_for_the_next_trunks() {
    let world = world();
    priced(&world);
    world.trunk("trunk", json!({"max_cpm": 1, "max_spend_per_day": "5"}));
    world.trunk("second", json!({"max_spend_per_day": "5"}));
    world.bot("bot-1", json!({"trunk_ids": ["trunk", "second"]}));
    world.tables.lock().broken.push("settle");
    world.script("a", &[TRUNK]);
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str(), world.accepted()), (503, "trunk_limit", 0));
    world.tables.lock().broken.clear();
    world.script("a", &[TRUNK]);
    assert_eq!(dial(&world, BODY).await.status, 200);
    let over: Vec<String> = world.outside.lock().commands.iter().map(|command| command.trunk_id.to_string()).collect();
    assert_eq!(over, ["trunk", "trunk", "second"]);
}

#[tokio::test]
async fn without_a_ceiling_no_row_is_touched_and_without_a_price_no_call_made() {
    let world = world();
    priced(&world);
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!((spent(&world), world.tables.lock().holds.len()), (vec![], 0));
    let abroad = BODY.replace("+919876543210", "+442079460958");
    assert_eq!(dial(&world, &abroad).await.status, 200);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "max_spend_per_day": "1"}));
    let answer = dial(&world, &abroad).await;
    assert_eq!((answer.status, answer.json()["errors"][0]["type"].clone()), (422, json!("number_without_price")));
}

#[tokio::test]
async fn numbers_that_the_trunk_does_not_call_are_explained() {
    let check = async |rules: serde_json::Value, number: &str, word: &str, part: &str| {
        let world = world();
        world.trunk("trunk", rules);
        let answer = dial(&world, &BODY.replace("+919876543210", number)).await;
        let fault = &answer.json()["errors"][0];
        assert_eq!((answer.status, &fault["type"]), (422, &json!(word)), "{number}");
        assert_eq!(fault["loc"], json!(["body", "to_number"]));
        assert!(fault["msg"].as_str().unwrap().contains(part), "{fault}");
        assert!(!answer.json().to_string().contains(number), "the number is not repeated");
        assert_eq!(world.accepted(), 0);
    };
    check(json!({"allowed_countries": ["IN", "US"]}), "+442079460958", "country_not_allowed", "IN, US").await;
    check(json!({"denied_prefixes": ["+4420"]}), "+442079460958", "number_denied", "denied_prefixes").await;
    check(json!({"allowed_prefixes": ["+91"]}), "+442079460958", "number_not_allowed", "+91").await;
    check(json!({}), "+19002345678", "premium_number", "allow_premium").await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_waits_for_its_turn_and_no_longer_than_there_is_time() {
    let world = world();
    let desk: super::super::Desk = world.desk();
    let mut held = Vec::new();
    while let Some(turn) = desk.turns.dialout(tokio::time::Instant::now()).await {
        held.push(turn);
    }
    let app = super::router(desk.clone());
    let ask = async |body: &'static str| {
        let began = tokio::time::Instant::now();
        let answer = crate::testing::request(&app, "POST", "/api/v1/dialout", Some(super::KEY), &[], body).await;
        (answer.status, answer.code(), answer.header("retry-after"), began.elapsed())
    };
    let budget = desk.placing.turn();
    assert_eq!(ask(BODY).await, (503, "unavailable".into(), "2".into(), budget));
    assert_eq!(ask("{}").await.0, 422, "what is wrong is said at once");
    assert_eq!(world.dialled().len(), 0);
    held.pop();
    assert_eq!(ask(BODY).await.0, 200);
}
