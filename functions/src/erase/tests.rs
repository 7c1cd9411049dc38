//! A person's calls lose the person, whoever they belong to and however the number was written.

use domain::api_key::Role;
use domain::call::{CallRow, CallState, Direction, NextStep};
use domain::delivery::{AttemptRow, Channel};
use domain::objects::CallObjects;
use domain::secret::Personal;
use serde_json::{Value, json};

use crate::admin::router;
use crate::testing::{HttpAnswer, World, request};

const NUMBER: &str = "+919876543210";

async fn ask(world: &World, body: Value) -> HttpAnswer {
    world.key("rf_admin_key", |row| row.role = Role::Admin);
    let app = router(world.desk());
    request(&app, "POST", "/api/v1/admin/erase", Some("rf_admin_key"), &[], body.to_string()).await
}

fn call(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let row = world.ended_call(|row| {
        row.disposition = Some("PTP".into());
        row.warnings = vec!["unknown field in the dialout: asha".into()];
        change(row);
    });
    world.record(&row, json!({"variables": {"name": "Asha"}}));
    world.object(&CallObjects::of(&row).recording(), b"RIFF");
    world.object(&format!("{}something-new", CallObjects::of(&row).folder()), b"?");
    row
}

#[tokio::test]
async fn every_call_with_the_number_loses_the_person_and_keeps_its_times() {
    let world = World::new();
    let out = call(&world, |_| ());
    let inbound = call(&world, |row| {
        row.direction = Direction::Inbound;
        (row.from_number, row.to_number) = (Personal("09876543210".into()), Personal("+911234567890".into()));
    });
    let other = call(&world, |row| row.to_number = Personal("+919876543211".into()));
    // Our own number is nobody's.
    let own = call(&world, |row| {
        (row.to_number, row.from_number) = (Personal("+14155550100".into()), Personal(NUMBER.into()))
    });
    world.delivery(&out, Channel::Push, |_| ());
    world.tables.lock().attempts.push(AttemptRow {
        flag: None,
        call_id: out.call_id,
        channel: Channel::Push,
        n: 1,
        at: world.now(),
        status: Some(500),
        error: None,
        latency_ms: 1,
        answer: "no Asha here".into(),
    });

    let dry = ask(&world, json!({"number": NUMBER, "dry_run": true})).await.json();
    let expect = json!({"done": true, "cursor": null, "dry_run": true, "looked_at": 4, "calls": 2, "unfinished": 0,
        "objects": 0, "deliveries_stopped": 1});
    assert_eq!(dry, expect);
    assert_eq!(world.row(out.call_id).to_number.0, NUMBER);

    let done = ask(&world, json!({"number": NUMBER})).await.json();
    assert_eq!((&done["calls"], &done["objects"], &done["deliveries_stopped"]), (&json!(2), &json!(6), &json!(1)));
    let row = world.row(out.call_id);
    assert_eq!((row.to_number.0.as_str(), row.from_number.0.as_str()), ("erased", "+911234567890"));
    assert_eq!((row.disposition, row.recording_token, row.warnings.len()), (None, String::new(), 0));
    assert_eq!((row.duration_ms, row.erased_at), (12_500, Some(world.now())));
    assert_eq!(world.row(inbound.call_id).from_number.0, "erased");
    assert!(world.delivery_row(out.call_id, Channel::Push).is_none() && world.tables.lock().attempts.is_empty());
    for row in [&other, &own] {
        assert_eq!(world.row(row.call_id).disposition.as_deref(), Some("PTP"));
        assert!(world.read_object(&CallObjects::of(row).recording()).is_some());
    }
    assert_eq!(world.outside.lock().objects.len(), 6, "only those of the others");

    let again = ask(&world, json!({"number": NUMBER})).await.json();
    assert_eq!((&again["calls"], &again["unfinished"]), (&json!(0), &json!(0)), "once is enough");
}

#[tokio::test]
async fn the_result_of_an_erased_call_is_whole_and_empty() {
    let world = World::new();
    let row = call(&world, |_| ());
    ask(&world, json!({"number": NUMBER})).await;
    world.key("sk_test_client", |_| ());
    let app = crate::calls::router(world.desk());
    let path = format!("/api/v1/calls/{}", row.call_id);
    let shown = request(&app, "GET", &path, Some("sk_test_client"), &[], "").await.json();
    assert_eq!((&shown["caller_id"], &shown["to_number"]), (&json!("erased"), &json!("erased")));
    assert_eq!(
        (&shown["transcript"], &shown["variables"], &shown["recording_url"]),
        (&json!([]), &json!({}), &json!(""))
    );
    assert_eq!((&shown["call_duration_seconds"], &shown["end_reason"]), (&json!(12.5), &json!("bot_hangup")));
    assert!(shown["erased_at"].is_string());
}

#[tokio::test]
async fn calls_that_are_not_over_are_counted_and_left() {
    let world = World::new();
    let live = call(&world, |row| row.state = CallState::Answered);
    let unpushed = call(&world, |row| row.next_step = Some(NextStep::Push));
    let told = ask(&world, json!({"number": NUMBER})).await.json();
    assert_eq!((&told["calls"], &told["unfinished"]), (&json!(0), &json!(2)));
    for row in [live, unpushed] {
        assert_eq!(world.row(row.call_id).to_number.0, NUMBER);
        assert!(world.read_object(&CallObjects::of(&row).recording()).is_some());
    }
}

#[tokio::test]
async fn numbers_are_read_as_people_write_them_and_never_repeated() {
    let check = async |body: Value, status: u16, kind: &str| {
        let world = World::new();
        call(&world, |_| ());
        let answer = ask(&world, body.clone()).await;
        assert_eq!(answer.status, status, "{body}");
        let told = answer.json();
        assert_eq!(told["errors"][0]["type"].as_str().unwrap_or_default(), kind, "{told}");
        assert!(!told.to_string().contains("98765"), "{told}");
        if status == 200 {
            assert_eq!(told["calls"], 1, "{body}");
        }
    };
    check(json!({"number": NUMBER}), 200, "").await;
    check(json!({"number": " +91 98765-43210 "}), 200, "").await;
    check(json!({"number": "098765 43210", "country": "IN"}), 200, "").await;
    check(json!({"number": "9876543210"}), 422, "country_missing").await;
    check(json!({"number": "9876543210", "country": "ZZ"}), 422, "unknown_country").await;
    check(json!({"number": "+91987654321098765"}), 422, "phone_number_impossible").await;
    check(json!({"number": 9_876_543_210_u64}), 422, "value_error").await;
    check(json!({"number": NUMBER, "cursor": "98765"}), 422, "cursor").await;
    check(json!({}), 422, "missing").await;
}

#[tokio::test]
async fn a_long_table_is_read_piece_by_piece() {
    let world = World::new();
    for _ in 0..250 {
        world.ended_call(|row| row.to_number = Personal("+14155550100".into()));
    }
    for _ in 0..5 {
        world.advance(std::time::Duration::from_secs(1));
        world.ended_call(|_| ());
    }
    let (mut cursor, mut calls, mut asked) = (Value::Null, 0, 0);
    loop {
        let told = ask(&world, json!({"number": NUMBER, "cursor": cursor})).await.json();
        calls += told["calls"].as_u64().unwrap();
        asked += 1;
        cursor = told["cursor"].clone();
        if told["done"] == true {
            break;
        }
    }
    assert_eq!((calls, asked), (5, 1), "two pages fit into one request");
    // A request that did its part says where to go on.
    for _ in 0..120 {
        world.advance(std::time::Duration::from_secs(1));
        world.ended_call(|_| ());
    }
    for _ in 0..200 {
        world.ended_call(|row| row.to_number = Personal("+14155550100".into()));
    }
    let first = ask(&world, json!({"number": NUMBER})).await.json();
    assert_eq!((&first["done"], first["calls"].as_u64().unwrap() >= 100), (&json!(false), true), "{first}");
    let second = ask(&world, json!({"number": NUMBER, "cursor": first["cursor"]})).await.json();
    assert_eq!(second["done"], true);
    assert_eq!(first["calls"].as_u64().unwrap() + second["calls"].as_u64().unwrap(), 120);
}

#[tokio::test]
async fn only_admins_erase() {
    let world = World::new();
    world.key("sk_test_client", |_| ());
    let app = router(world.desk());
    let body = json!({"number": NUMBER}).to_string();
    let answer = request(&app, "POST", "/api/v1/admin/erase", Some("sk_test_client"), &[], body.clone()).await;
    assert_eq!(answer.status, 403);
    assert_eq!(request(&app, "POST", "/api/v1/admin/erase", None, &[], body).await.status, 401);
}
