//! Reading, hanging up and recordings, as clients meet them.

use std::time::Duration;

use domain::api_key::BotScope;
use domain::call::{AnalysisStatus, CallState, FenceRow, RecordingStatus};
use domain::ids::BotId;
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::CallEntry;
use serde_json::json;

use super::router;
use crate::testing::{World, request};

const KEY: Option<&str> = Some("sk_test_client");

fn world() -> World {
    let world = World::new();
    world.key("sk_test_client", |row| row.bots = BotScope::Only(vec![BotId::parse("bot").unwrap()]));
    world.bot("bot", json!({}));
    world.server("a", |_| ());
    world
}

#[tokio::test]
async fn a_live_call_shows_its_state_and_an_ended_one_its_result() {
    let world = world();
    let live = world.call(|row| row.state = CallState::Ringing);
    let app = router(world.desk());
    let shown = request(&app, "GET", &format!("/api/v1/calls/{}", live.call_id), KEY, &[], "").await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json()["state"], "ringing");
    assert_eq!(shown.json()["session_id"], live.call_id.to_string());
    assert_eq!(shown.json()["caller_id"], "+919876543210");

    let ended = world.ended_call(|row| {
        row.recording_status = RecordingStatus::Complete;
        row.analysis_status = AnalysisStatus::Done;
    });
    world.record(&ended, json!({"variables": {"loan_number": 12345678901234567890_u64}}));
    world.object(&CallObjects::of(&ended).analysis(), br#"{"analysis":{"disposition":"PTP"}}"#);
    let shown = request(&app, "GET", &format!("/api/v1/calls/{}", ended.call_id), KEY, &[], "").await.json();
    assert_eq!(shown["state"], "ended");
    assert_eq!(shown["call_duration_seconds"], 12.5);
    assert_eq!(shown["disconnected_by"], "bot");
    assert_eq!(shown["transcript"][1]["speaker"], "customer");
    assert_eq!(shown["variables"]["loan_number"], "12345678901234567890");
    assert_eq!(shown["post_call_analysis"], json!({"disposition": "PTP"}));
    let url =
        format!("https://api.example.com/api/v1/recordings/{}.wav?token={}", ended.call_id, ended.recording_token);
    assert_eq!(shown["recording_url"], url);
}

#[tokio::test]
async fn an_ended_call_without_objects_still_has_a_result() {
    let world = world();
    let ended = world.ended_call(|row| {
        row.answered_at = None;
        row.duration_ms = 0;
        row.end_reason = Some(EndReason::NoAnswer);
    });
    let app = router(world.desk());
    let shown = request(&app, "GET", &format!("/api/v1/calls/{}", ended.call_id), KEY, &[], "").await.json();
    assert_eq!(shown["disconnected_by"], "RNR");
    assert_eq!(shown["call_duration_seconds"], 0.0);
    assert_eq!(shown["recording_url"], "");
    assert_eq!(shown["post_call_analysis"], json!({}));
    assert_eq!(shown["transcript"], json!([]));
}

#[tokio::test]
async fn what_a_key_may_not_see_does_not_exist() {
    let world = world();
    let other = world.call(|row| row.bot_id = BotId::parse("other").unwrap());
    let fenced = world.call(|_| ());
    let fence = FenceRow { call_id: fenced.call_id, refused: true, fenced_at: world.now() };
    world.tables.lock().calls.insert(fenced.call_id, CallEntry::Fenced(fence));
    let app = router(world.desk());
    let unknown = "0190a5f0-0000-7000-8000-000000000001".to_owned();
    for id in [other.call_id.to_string(), fenced.call_id.to_string(), unknown, "nonsense".to_owned()] {
        for (method, path) in [("GET", format!("/api/v1/calls/{id}")), ("POST", format!("/api/v1/calls/{id}/hangup"))] {
            let answer = request(&app, method, &path, KEY, &[], "").await;
            assert_eq!((answer.status, answer.code()), (404, "not_found".to_owned()), "{method} {path}");
            assert_eq!(answer.json()["detail"], "no such call");
            assert_eq!(request(&app, method, &path, None, &[], "").await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_hang_up_reaches_the_server_that_holds_the_call() {
    let check = async |prepare: &dyn Fn(&World), expect: u16, told: usize| {
        let world = world();
        let call = world.call(|_| ());
        prepare(&world);
        let app = router(world.desk());
        let answer = request(&app, "POST", &format!("/api/v1/calls/{}/hangup", call.call_id), KEY, &[], "").await;
        assert_eq!(answer.status, expect);
        assert_eq!(world.outside.lock().hung_up.len(), told);
    };
    check(&|_| (), 202, 1).await;
    check(&|world| world.outside.lock().knows_call = Some(false), 202, 1).await;
    check(&|world| world.outside.lock().knows_call = None, 503, 1).await;
    check(&|world| drop(world.server("a", |row| row.epoch.0 = 2)), 503, 0).await;
    check(&|world| world.tables.lock().servers.clear(), 503, 0).await;
    let end = |world: &World| {
        for entry in world.tables.lock().calls.values_mut() {
            if let CallEntry::Call(row) = entry {
                row.state = CallState::Ended;
            }
        }
    };
    check(&end, 202, 0).await;
}

#[tokio::test]
async fn recordings_redirect_once_they_are_there() {
    use RecordingStatus as R;
    let check = async |status: R, token: &str, expect: u16, code: &str| {
        let world = world();
        let call = world.ended_call(|row| row.recording_status = status);
        let app = router(world.desk());
        let token = token.replace("RIGHT", &call.recording_token);
        let answer =
            request(&app, "GET", &format!("/api/v1/recordings/{}.wav{token}", call.call_id), None, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (expect, code), "{status:?} {token}");
        answer
    };
    let found = check(R::Complete, "?token=RIGHT", 302, "").await;
    assert!(found.header("location").ends_with("/recording.wav?expires=300"), "{}", found.header("location"));
    assert_eq!(found.header("cache-control"), "no-store");
    check(R::Partial, "?token=RIGHT", 302, "").await;
    let pending = check(R::Pending, "?token=RIGHT", 404, "recording_pending").await;
    assert_eq!(pending.header("retry-after"), "5");
    assert_eq!(check(R::Lost, "?token=RIGHT", 404, "recording_lost").await.header("retry-after"), "");
    check(R::Lost, "?token=wrong", 404, "not_found").await;
    check(R::None, "?token=RIGHT", 404, "not_found").await;
    check(R::Complete, "?token=wrong", 404, "not_found").await;
    check(R::Complete, "?token=", 404, "not_found").await;
    check(R::Complete, "", 404, "not_found").await;
    check(R::Pending, "?token=wrong", 404, "not_found").await;

    let app = router(world().desk());
    for file in [
        "x.wav",
        "0190a5f0-0000-7000-8000-000000000001.wav",
        "0190a5f0-0000-7000-8000-000000000001.mp3",
        "..%2F..%2Fetc",
    ] {
        let answer = request(&app, "GET", &format!("/api/v1/recordings/{file}?token=x"), None, &[], "").await;
        assert_eq!(answer.status, 404, "{file}");
    }
}

#[tokio::test]
async fn an_empty_stored_token_opens_nothing() {
    let world = world();
    let call = world.ended_call(|row| {
        row.recording_status = RecordingStatus::Complete;
        row.recording_token = String::new();
    });
    let app = router(world.desk());
    let answer = request(&app, "GET", &format!("/api/v1/recordings/{}.wav?token=", call.call_id), None, &[], "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_live_calls_recording_is_pending() {
    let world = world();
    let call = world.call(|_| ());
    let app = router(world.desk());
    let answer = request(
        &app,
        "GET",
        &format!("/api/v1/recordings/{}.wav?token={}", call.call_id, call.recording_token),
        None,
        &[],
        "",
    )
    .await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "recording_pending"));
}

#[tokio::test]
async fn a_table_that_is_down_is_a_503_that_says_when_to_come_back() {
    let world = world();
    let call = world.call(|_| ());
    world.tables.lock().down = true;
    world.advance(Duration::from_secs(1));
    let app = router(world.desk());
    let answer = request(&app, "GET", &format!("/api/v1/calls/{}", call.call_id), KEY, &[], "").await;
    assert_eq!(
        (answer.status, answer.code().as_str(), answer.header("retry-after").as_str()),
        (503, "unavailable", "2")
    );
    assert!(!String::from_utf8_lossy(&answer.body).contains("switched off"), "inner causes stay inside");
}
