//! From an analysed call to its bodies, once.

use std::time::Duration;

use domain::call::{CallRow, NextStep, RecordingStatus};
use domain::delivery::Channel;
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{Job, QueueName};
use serde_json::json;

use super::{analysed, body, bot, run, world};
use crate::testing::World;

#[tokio::test]
async fn both_channels_are_rendered_stored_and_queued() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    assert_eq!(
        body(&world, &call, Channel::Push),
        json!({"CUSTOMER_ID": "9007199254740993", "DISPOSITION": "PTP", "REMARKS": "Call ended: bot hangup.",
            "CALL_DURATION": "12.5", "RECORDING_URL": "", "FIXED": [1, true, ""]})
    );
    let webhook = body(&world, &call, Channel::Webhook);
    assert_eq!(webhook["session_id"], call.call_id.to_string());
    assert_eq!(webhook["post_call_analysis"], json!({"disposition": "PTP"}));
    let row = world.row(call.call_id);
    assert_eq!(
        (row.next_step, row.warnings.as_slice()),
        (None, &["push.key_mapper: {{crm.nothing}} has no value".to_owned()][..])
    );
    let jobs = [Channel::Push, Channel::Webhook].map(|channel| Job { call_id: call.call_id, channel: Some(channel) });
    assert_eq!(world.sent(QueueName::Deliveries), jobs);
}

#[tokio::test]
async fn a_call_nobody_answered_is_pushed_with_its_outcome() {
    let world = world();
    let call = analysed(&world, |row| {
        row.end_reason = Some(EndReason::NoAnswer);
        (row.answered_at, row.duration_ms) = (None, 0);
    });
    world.object(&CallObjects::of(&call).record(), b"{}");
    world.object(&CallObjects::of(&call).analysis(), b"{}");
    run(&world, &call, None).await;
    let push = body(&world, &call, Channel::Push);
    assert_eq!((push["DISPOSITION"].clone(), push["CALL_DURATION"].clone()), (json!("NO_ANSWER"), json!("0")));
    assert_eq!(body(&world, &call, Channel::Webhook)["post_call_analysis"], json!({}));
}

#[tokio::test]
async fn rendering_again_changes_nothing() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    let first = world.delivery_row(call.call_id, Channel::Push).unwrap();
    // As after a crash between the rows and the step: the bot has moved on, the rows have not.
    world.tables.lock().calls.insert(call.call_id, domain::ports::CallEntry::Call(Box::new(call.clone())));
    world.object(&CallObjects::of(&call).analysis(), br#"{"analysis":{"disposition":"OTHER"}}"#);
    run(&world, &call, None).await;
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap(), first);
    assert_eq!(body(&world, &call, Channel::Push)["DISPOSITION"], "PTP");
    assert_eq!(world.row(call.call_id).next_step, None);
}

#[tokio::test]
async fn a_recording_that_never_comes_is_settled_from_checkpoints() {
    let world = world();
    let call = analysed(&world, |row| row.recording_status = RecordingStatus::Pending);
    world.object(&CallObjects::of(&call).checkpoint(1), &[0; 32_000]);
    run(&world, &call, None).await;
    assert!(body(&world, &call, Channel::Push)["RECORDING_URL"].as_str().unwrap().ends_with(&call.recording_token));
    assert_eq!(world.sent(QueueName::Deliveries).len(), 2, "the push does not wait");
    // Still in sight of the sweep, which asks again; deliveries are not made twice.
    world.advance(Duration::from_secs(899));
    run(&world, &call, None).await;
    assert_eq!((world.row(call.call_id).next_step, world.sent(QueueName::Deliveries).len()), (Some(NextStep::Push), 0));
    world.advance(Duration::from_secs(1));
    run(&world, &call, None).await;
    let row = world.row(call.call_id);
    assert_eq!((row.next_step, row.recording_status), (None, RecordingStatus::Partial));
}

#[tokio::test]
async fn a_recording_that_came_late_closes_the_call() {
    let world = world();
    let call = analysed(&world, |row| row.recording_status = RecordingStatus::Pending);
    run(&world, &call, None).await;
    let platform = world.platform();
    platform.tables.calls.settle_recording(call.call_id, RecordingStatus::Complete).await.unwrap();
    run(&world, &call, None).await;
    let row = world.row(call.call_id);
    assert_eq!((row.next_step, row.recording_status), (None, RecordingStatus::Complete));
}

#[tokio::test]
async fn a_bot_without_endpoints_is_done_at_once() {
    let world = World::new();
    world.bot("bot", json!({}));
    for change in [|_: &mut CallRow| (), |row: &mut CallRow| row.bot_version = 7] {
        let call = analysed(&world, change);
        run(&world, &call, None).await;
        assert_eq!(world.row(call.call_id).next_step, None);
    }
    assert_eq!(world.sent(QueueName::Deliveries), []);
}

/// What a call's deliveries say of its recording, as it was when they were rendered.
#[tokio::test]
async fn recordings_are_told_apart_in_what_is_pushed() {
    use RecordingStatus as R;
    let check = async |status: R, word: &str, url: bool| {
        let world = world();
        let mut mapped = bot(&world);
        mapped["push"]["key_mapper"] =
            json!({"url": "{{call.recording_url}}", "status": "{{result.recording_status}}"});
        world.bot("bot", mapped);
        let call = analysed(&world, |row| row.recording_status = status);
        run(&world, &call, None).await;
        let stable =
            format!("https://api.example.com/api/v1/recordings/{}.wav?token={}", call.call_id, call.recording_token);
        let expect = if url { stable } else { String::new() };
        let push = body(&world, &call, Channel::Push);
        assert_eq!(push, json!({"url": expect, "status": word}), "{status:?}");
        let webhook = body(&world, &call, Channel::Webhook);
        assert_eq!(
            (&webhook["recording_url"], &webhook["recording_status"]),
            (&json!(expect), &json!(word)),
            "{status:?}"
        );
    };
    check(R::Complete, "complete", true).await;
    check(R::Partial, "partial", true).await;
    check(R::Pending, "pending", true).await;
    check(R::Lost, "lost", false).await;
    check(R::None, "none", false).await;
}
