//! What is due goes, what is not stays, and what is under way is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::call::{AnalysisStatus, CallRow, CallState, NextStep, RecordingStatus};
use domain::delivery::{AttemptRow, Channel, DeliveryState};
use domain::ids::{BotId, CallId};
use domain::objects::CallObjects;
use domain::ports::CallEntry;
use serde_json::{Value, json};

use super::*;
use crate::testing::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn world(retention: Value) -> World {
    let world = World::new();
    world.bot("bot", json!({ "retention": retention }));
    world
}

fn forward(world: &World, days: u32) {
    world.advance(DAY * days);
}

/// An ended call with everything that a call can leave.
fn whole(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let row = world.ended_call(|row| {
        row.recording_status = RecordingStatus::Complete;
        row.analysis_status = AnalysisStatus::Done;
        change(row);
    });
    let objects = CallObjects::of(&row);
    world.record(
        &row,
        json!({"variables": {"name": "Asha"}, "crm": {"name": "Asha"}, "collected": {"promise": "Friday"}}),
    );
    for key in [objects.recording(), objects.checkpoint(1), objects.checkpoint(2)] {
        world.object(&key, b"RIFF");
    }
    world.object(&objects.checkpoint_record(), b"{}");
    world.object(&objects.analysis(), br#"{"analysis":{"disposition":"PTP"}}"#);
    world.object(&objects.variables(), br#"{"name":"Asha"}"#);
    // One that a row names, and one of a worker that came second.
    let body = format!("{}.0011", objects.body(Channel::Push));
    world.object(&body, b"{}");
    world.object(&format!("{}.2233", objects.body(Channel::Push)), b"{}");
    world.delivery(&row, Channel::Push, |delivery| {
        delivery.state = DeliveryState::Delivered;
        delivery.body_key = body;
    });
    world.tables.lock().attempts.push(AttemptRow {
        flag: None,
        call_id: row.call_id,
        channel: Channel::Push,
        n: 1,
        at: world.now(),
        status: Some(200),
        error: None,
        latency_ms: 3,
        answer: "thank you, Asha".into(),
    });
    row
}

/// Names in the call's folder.
fn left(world: &World, row: &CallRow) -> Vec<String> {
    let folder = CallObjects::of(row).folder();
    let outside = world.outside.lock();
    let mut names: Vec<String> =
        outside.objects.keys().filter_map(|key| key.strip_prefix(&folder)).map(str::to_owned).collect();
    names.sort();
    names
}

fn exists(world: &World, id: CallId) -> bool {
    world.tables.lock().calls.contains_key(&id)
}

async fn shown(world: &World, row: &CallRow) -> Value {
    let app = crate::calls::router(world.desk());
    world.key("sk_test_client", |_| ());
    let path = format!("/api/v1/calls/{}", row.call_id);
    crate::testing::request(&app, "GET", &path, Some("sk_test_client"), &[], "").await.json()
}

#[tokio::test]
async fn each_class_goes_when_its_days_are_over_and_the_result_says_so() {
    let world = world(json!({"recordings_days": 10, "transcripts_days": 20, "variables_days": 30, "calls_days": 40}));
    let row = whole(&world, |_| ());
    let desk = world.desk();

    forward(&world, 10);
    assert_eq!(pass(&desk).await.unwrap(), Report::default(), "a call is kept for the whole of its days");
    forward(&world, 1);
    assert_eq!(pass(&desk).await.unwrap(), Report { calls: 1, objects: 3, left: 0 });
    let result = shown(&world, &row).await;
    assert_eq!((&result["recording_url"], &result["recording_status"]), (&json!(""), &json!("none")));
    assert_eq!((&result["expired"], &result["transcript"][1]["speaker"]), (&json!(["recording"]), &json!("customer")));
    assert_eq!(pass(&desk).await.unwrap(), Report::default(), "once is enough");

    forward(&world, 10);
    assert_eq!(pass(&desk).await.unwrap().calls, 1);
    assert_eq!(left(&world, &row), ["record.json", "variables.json"], "bodies of both workers are gone");
    let result = shown(&world, &row).await;
    assert_eq!((&result["transcript"], &result["post_call_analysis"]), (&json!([]), &json!({})));
    assert_eq!(result["variables"], json!({"name": "Asha"}));
    assert_eq!(world.tables.lock().attempts[0].answer, "");

    forward(&world, 10);
    assert_eq!(pass(&desk).await.unwrap().calls, 1);
    assert_eq!(left(&world, &row), [""; 0]);
    let result = shown(&world, &row).await;
    assert_eq!(result["expired"], json!(["recording", "transcript", "variables"]));
    assert_eq!((&result["variables"], &result["call_duration_seconds"]), (&json!({}), &json!(12.5)));

    forward(&world, 10);
    assert_eq!(pass(&desk).await.unwrap().calls, 1);
    assert!(!exists(&world, row.call_id) && world.delivery_row(row.call_id, Channel::Push).is_none());
    assert!(world.tables.lock().attempts.is_empty());
}

#[tokio::test]
async fn variables_that_go_first_leave_no_copy_behind() {
    let world = world(json!({"variables_days": 1}));
    let row = whole(&world, |_| ());
    forward(&world, 2);
    pass(&world.desk()).await.unwrap();
    for key in world.outside.lock().objects.values() {
        assert!(!String::from_utf8_lossy(key).contains("\"Asha\""));
    }
    let result = shown(&world, &row).await;
    assert_eq!(result["transcript"][1]["text"], "Yes, I will pay on Friday.");
    assert_eq!(result["post_call_analysis"]["disposition"], "PTP");
}

#[tokio::test]
async fn an_expired_recording_says_that_it_is() {
    let world = world(json!({"recordings_days": 1}));
    let row = whole(&world, |_| ());
    forward(&world, 2);
    pass(&world.desk()).await.unwrap();
    let app = crate::calls::router(world.desk());
    let check = async |token: &str, code: &str| {
        let path = format!("/api/v1/recordings/{}.wav?token={token}", row.call_id);
        let answer = crate::testing::request(&app, "GET", &path, None, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, code));
    };
    check(&row.recording_token, "recording_expired").await;
    check("wrong", "not_found").await;
}

#[tokio::test]
async fn what_is_under_way_is_waited_for() {
    let check = async |change: &dyn Fn(&mut CallRow), pending: bool, settle: &dyn Fn(&World, CallId)| {
        let world = world(json!({"calls_days": 1}));
        let row = whole(&world, |row| change(row));
        // It holds up nobody else.
        let other = whole(&world, |_| ());
        if pending {
            world.delivery(&row, Channel::Webhook, |_| ());
        }
        forward(&world, 2);
        let desk = world.desk();
        let report = pass(&desk).await.unwrap();
        assert_eq!((report.calls, report.left), (1, 1), "{row:?}");
        assert!(exists(&world, row.call_id) && !exists(&world, other.call_id));
        assert!(left(&world, &row).len() > 5);
        settle(&world, row.call_id);
        let report = pass(&desk).await.unwrap();
        assert_eq!((report.calls, report.left), (1, 0), "{row:?}");
        assert!(!exists(&world, row.call_id));
    };
    let mend = |world: &World, id: CallId| {
        if let Some(CallEntry::Call(row)) = world.tables.lock().calls.get_mut(&id) {
            (row.state, row.next_step, row.recording_status) = (CallState::Ended, None, RecordingStatus::Complete);
        }
    };
    check(&|row| row.next_step = Some(NextStep::Push), false, &mend).await;
    check(&|row| row.state = CallState::Answered, false, &mend).await;
    check(&|row| row.recording_status = RecordingStatus::Pending, false, &mend).await;
    let give_up = |world: &World, id: CallId| {
        if let Some(row) = world.tables.lock().deliveries.get_mut(&(id, Channel::Webhook)) {
            row.state = DeliveryState::Dead;
        }
    };
    check(&|_| (), true, &give_up).await;
}

#[tokio::test]
async fn the_current_rule_counts_for_past_calls() {
    let world = world(json!({"calls_days": 100}));
    let row = whole(&world, |_| ());
    forward(&world, 50);
    let desk = world.desk();
    pass(&desk).await.unwrap();
    assert!(exists(&world, row.call_id));
    // Longer than it was is no way back; a call that waits meanwhile is not due any more.
    world.bot("bot", json!({"version": 2, "retention": {"calls_days": 20}}));
    let waits = whole(&world, |row| row.next_step = Some(NextStep::Push));
    forward(&world, 21);
    pass(&desk).await.unwrap();
    assert!(!exists(&world, row.call_id) && exists(&world, waits.call_id));
    world.bot("bot", json!({"version": 3, "retention": {"calls_days": 30}}));
    if let Some(CallEntry::Call(row)) = world.tables.lock().calls.get_mut(&waits.call_id) {
        row.next_step = None;
    }
    pass(&desk).await.unwrap();
    assert!(exists(&world, waits.call_id));
    // And of a bot that was deleted, its last.
    world.tables.lock().bots.clear();
    forward(&world, 10);
    pass(&desk).await.unwrap();
    assert!(!exists(&world, waits.call_id));
}

#[tokio::test]
async fn nothing_is_kept_of_nobody_who_did_not_say_so() {
    let world = world(json!({}));
    let row = whole(&world, |_| ());
    forward(&world, 5000);
    assert_eq!(pass(&world.desk()).await.unwrap(), Report::default());
    assert_eq!(left(&world, &row).len(), 9);
    assert!(world.tables.lock().progress.is_empty());
}

#[tokio::test]
async fn a_pass_is_bounded_and_the_next_one_goes_on() {
    let world = world(json!({"calls_days": 1}));
    for _ in 0..60 {
        world.ended_call(|_| ());
    }
    world.bot("other", json!({"retention": {"calls_days": 1}}));
    world.ended_call(|row| row.bot_id = BotId::parse("other").unwrap());
    forward(&world, 3);
    world.set(|settings| (settings.retain.calls_per_bot, settings.retain.pages_per_bot) = (25, 100));
    let desk = world.desk();
    let mut passes = 0;
    while world.accepted() > 0 {
        let before = world.accepted();
        pass(&desk).await.unwrap();
        assert!(before - world.accepted() <= 50, "two pages at most of each bot");
        passes += 1;
        assert!(passes < 10);
    }
    assert!(passes > 1);
}

#[tokio::test]
async fn a_store_that_fails_anywhere_costs_nothing_but_time() {
    let world = world(json!({"calls_days": 1}));
    let row = whole(&world, |_| ());
    forward(&world, 2);
    let platform = world.platform();
    // As after a crash: half of it gone, the way not noted.
    let kinds = BTreeSet::from([Kind::Recording]);
    platform.tables.housekeeping.mark_expired(row.call_id, &kinds).await.unwrap();
    platform.outside.objects.delete(&CallObjects::of(&row).recording()).await.unwrap();
    platform.tables.housekeeping.forget_delivery(row.call_id, Channel::Push).await.unwrap();
    world.tables.lock().down = true;
    assert!(pass(&world.desk()).await.is_err());
    world.tables.lock().down = false;
    assert_eq!(pass(&world.desk()).await.unwrap().calls, 1);
    assert!(!exists(&world, row.call_id) && left(&world, &row).is_empty());
}

#[tokio::test]
async fn of_two_passes_one_keeps_the_place() {
    let world = world(json!({"calls_days": 1}));
    let house = world.platform().tables.housekeeping;
    let bot = BotId::parse("bot").unwrap();
    let first = Progress::starting(FIRST_DAY);
    assert_eq!(house.keep_progress(&bot, Kind::Call, &first).await.unwrap(), Owned::Written);
    assert_eq!(house.keep_progress(&bot, Kind::Call, &first).await.unwrap(), Owned::Lost);
    let read = house.progress(&bot, Kind::Call).await.unwrap().unwrap();
    assert_eq!(read, Progress { revision: 1, ..first });
}
