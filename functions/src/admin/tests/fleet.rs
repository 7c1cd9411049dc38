//! The fleet's view, and draining.

use domain::ids::{Epoch, TrunkId};
use serde_json::json;

use super::{get, send, world};

#[tokio::test]
async fn the_view_shows_every_server_and_sums_the_healthy_ones() {
    let (world, app) = world();
    let now = world.now();
    let trunk = |calls: u32| [(TrunkId::parse("t").unwrap(), calls)].into();
    world.server("a", |s| (s.calls, s.max, s.free, s.trunk_calls) = (8, 10, 2, trunk(8)));
    world.server("b", |s| (s.calls, s.max, s.free, s.draining, s.trunk_calls) = (1, 10, 0, true, trunk(1)));
    world.server("old", |s| s.heartbeat_at = now - std::time::Duration::from_millis(11_250));
    world.server("ahead", |s| s.heartbeat_at = now + std::time::Duration::from_secs(3600));
    let view = get(&app, "fleet").await;
    assert_eq!(view.status, 200);
    let view = view.json();
    let first = json!({"id": "a", "epoch": 1, "group": null, "calls": 8, "max": 10, "free": 2, "trunk_calls": {"t": 8},
        "draining": false, "version": "0", "heartbeat_age_seconds": 0.0, "healthy": true});
    assert_eq!(view["servers"][0], first);
    let health: Vec<_> =
        view["servers"].as_array().unwrap().iter().map(|s| (s["id"].clone(), s["healthy"].clone())).collect();
    let expect = [("a", true), ("ahead", false), ("b", true), ("old", false)];
    assert_eq!(health, expect.map(|(id, healthy)| (json!(id), json!(healthy))));
    assert_eq!(view["servers"][3]["heartbeat_age_seconds"], 11.3);
    let sums =
        json!({"servers": 4, "healthy": 2, "draining": 1, "calls": 9, "max": 20, "free": 2, "trunk_calls": {"t": 9}});
    assert_eq!(view["sums"], sums);
    assert!(!view.to_string().contains("10.0.0.1"), "addresses are private");
}

#[tokio::test]
async fn draining_goes_through_the_server_and_can_be_taken_back() {
    let (world, app) = world();
    let row = world.server("a", |s| s.calls = 3);
    world.outside.lock().alive.push(row);
    let drain = async |verb: &str| send(&app, "POST", &format!("fleet/a/{verb}"), None, &json!({})).await;
    for _ in 0..2 {
        let told = drain("drain").await;
        let expect = json!({"server_id": "a", "epoch": 1, "calls": 3, "draining": true});
        assert_eq!((told.status, told.json()), (200, expect));
    }
    assert_eq!(get(&app, "fleet").await.json()["servers"][0]["draining"], true);
    assert_eq!(drain("undrain").await.json()["draining"], false);

    let id = world.server("a", |_| ()).server_id;
    world.outside.lock().ending.push(id);
    assert_eq!(drain("drain").await.status, 200);
    let ending = drain("undrain").await;
    assert_eq!((ending.status, ending.code().as_str()), (409, "server_ending"));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_reported_as_draining() {
    let (world, app) = world();
    world.server("silent", |_| ());
    let restarted = world.server("restarted", |s| s.epoch = Epoch(2));
    world.outside.lock().alive.push(restarted);
    world.server("restarted", |s| s.epoch = Epoch(1));
    let check = async |id: &str, status: u16, code: &str| {
        let answer = send(&app, "POST", &format!("fleet/{id}/drain"), None, &json!({})).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{id}");
        assert_eq!(answer.header("retry-after").is_empty(), status != 503);
    };
    check("silent", 503, "server_silent").await;
    check("restarted", 503, "server_silent").await;
    check("nobody", 404, "not_found").await;
    check("no%20id", 404, "not_found").await;
}
