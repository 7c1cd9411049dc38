//! How many answers of tables and servers a dialout waits for, one after the other: every answer takes a second of
//! simulated time, so that the time it took is their number.

use std::time::Duration;

use axum::Router;
use domain::fleet::Refusal as ServerRefusal;
use domain::ids::Epoch;
use domain::spend::{PriceRule, Prices};
use lambda_http::request::RequestContext;
use serde_json::json;

use super::{BODY, KEY, router, world};
use crate::memory::Staleness;
use crate::platform::PlacingBudget;
use crate::testing::{Act, World, request};

const TRIP: Duration = Duration::from_secs(1);

/// A process behind the gateway, whose authorizer has said who calls; it goes by what it read up to an hour ago, or by nothing.
fn process(world: &World, remembers: bool) -> Router {
    let long = Duration::from_secs(3600);
    world.remember(if remembers { Staleness { entities: long, servers: long } } else { Staleness::NONE });
    world.set(|settings| {
        settings.placing = PlacingBudget { per_server: long, total: long, ..PlacingBudget::default() };
    });
    world.tables.lock().latency = TRIP;
    let mut context = RequestContext::ApiGatewayV1(Default::default());
    if let RequestContext::ApiGatewayV1(context) = &mut context {
        let said = json!({"key_id": "key_0123456789abcdef", "role": "client", "bots": "*"});
        context.authorizer.fields = serde_json::from_value(said).unwrap();
    }
    router(world.desk()).layer(axum::Extension(context))
}

/// How many answers one dialout waits for, one after the other.
async fn trips(world: &World, app: &Router, key: Option<&str>) -> (u64, Vec<&'static str>) {
    world.tables.lock().trips.clear();
    let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    let began = tokio::time::Instant::now();
    let answer = request(app, "POST", "/api/v1/dialout", Some(KEY), &headers, BODY).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    (began.elapsed().as_secs(), world.tables.lock().trips.clone())
}

/// With a ceiling, with limits of the trunk.
fn furnish(world: &World, ceiling: bool, limits: bool) {
    let rules = vec![PriceRule::parse("+91 0.5 0.1").unwrap()];
    world.set(|settings| settings.prices = Prices::new(rules, Duration::from_secs(60)));
    let ceiling = if ceiling { json!("100") } else { json!(null) };
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "max_spend_per_day": ceiling}));
    world.trunk("trunk", if limits { json!({"max_calls": 50, "max_cps": 50}) } else { json!({}) });
}

#[tokio::test(start_paused = true)]
async fn a_warm_dialout_waits_for_four_answers_at_most() {
    let check = async |key: bool, ceiling: bool, limits: bool, expect: u64| {
        let world = world();
        furnish(&world, ceiling, limits);
        let app = process(&world, true);
        trips(&world, &app, key.then_some("first")).await;
        let (waited, asked) = trips(&world, &app, key.then_some("second")).await;
        assert_eq!(waited, expect, "key {key}, ceiling {ceiling}, limits {limits}: {asked:?}");
        // Whether the number is the platform's own is always asked: it is another with each call.
        assert!(!asked.iter().any(|asked| ["bot", "trunk", "servers"].contains(asked)), "{asked:?}");
    };
    check(false, false, false, 2).await;
    check(false, false, true, 2).await;
    check(false, true, false, 3).await;
    check(true, false, false, 3).await;
    check(true, true, true, 4).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_read_again_all_at_once() {
    let check = async |key: bool, ceiling: bool, limits: bool, expect: u64| {
        let world = world();
        furnish(&world, ceiling, limits);
        let app = process(&world, false);
        trips(&world, &app, key.then_some("first")).await;
        let (waited, asked) = trips(&world, &app, key.then_some("second")).await;
        assert_eq!(waited, expect, "key {key}, ceiling {ceiling}, limits {limits}: {asked:?}");
        for once in ["bot", "trunk", "number"] {
            assert_eq!(asked.iter().filter(|asked| **asked == once).count(), 1, "{once}: {asked:?}");
        }
    };
    check(false, false, false, 2).await;
    check(false, false, true, 2).await;
    check(false, true, false, 3).await;
    check(true, false, false, 3).await;
    check(true, true, true, 4).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_process_waits_for_more() {
    let world = world();
    furnish(&world, true, true);
    let app = process(&world, true);
    assert_eq!(trips(&world, &app, Some("first")).await.0, 6);
    let app = process(&world, true);
    assert_eq!(trips(&world, &app, None).await.0, 5, "without a key");
}

#[tokio::test(start_paused = true)]
async fn a_change_counts_once_what_is_remembered_is_too_old() {
    let world = world();
    world.remember(Staleness::default());
    let app = router(world.desk());
    let status = async || request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.status;
    assert_eq!(status().await, 200);
    world.bot("bot-1", json!({"trunk_ids": ["trunk"], "enabled": false}));
    assert_eq!(status().await, 200);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(status().await, 404);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_same_process_counts_at_once() {
    let world = world();
    world.remember(Staleness::default());
    world.key("sk_test_admin", |row| row.role = domain::api_key::Role::Admin);
    let app = crate::router::api(&world.platform());
    let status = async || request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.status;
    assert_eq!(status().await, 200);
    let admin = Some("sk_test_admin");
    assert_eq!(request(&app, "DELETE", "/api/v1/admin/bots/bot-1", admin, &[], "").await.status, 204);
    assert_eq!(status().await, 404);
}

/// What was remembered of it is of a process that is gone: its next one has room.
#[tokio::test(start_paused = true)]
async fn a_server_that_has_started_again_is_asked_again() {
    for limits in [json!({}), json!({"max_calls": 5})] {
        let world = world();
        world.trunk("trunk", limits);
        world.tables.lock().servers.clear();
        world.server("a", |_| ());
        let app = process(&world, true);
        let status = async || request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.status;
        assert_eq!(status().await, 200);
        for (epoch, gone) in [(2, Act::Refuse(ServerRefusal::WrongServer)), (3, Act::Unreachable)] {
            world.server("a", |row| row.epoch = Epoch(epoch));
            world.script("a", &[gone]);
            assert_eq!(status().await, 200, "{gone:?}");
        }
    }
}

/// They were remembered to have room, and have none any more; another has: three refusals by memory say nothing of the fleet.
#[tokio::test(start_paused = true)]
async fn who_is_refused_by_one_that_was_remembered_looks_at_all_as_they_are_now() {
    for limits in [json!({}), json!({"max_calls": 50})] {
        let world = world();
        world.trunk("trunk", limits);
        let known = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        for id in known {
            world.server(id, |_| ());
        }
        let app = process(&world, true);
        let status = async || request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await.status;
        assert_eq!(status().await, 200);
        for id in known {
            world.server(id, |row| (row.free, row.calls) = (0, 10));
            world.script(id, &[Act::Refuse(ServerRefusal::Full)]);
        }
        world.server("z", |_| ());
        assert_eq!(status().await, 200);
        let asked = world.dialled().split_off(1);
        assert_eq!((asked.len(), asked.last().map(String::as_str)), (2, Some("z")), "{asked:?}");
    }
}
