//! Whose calls are ended, whose are left alone, and in which order the end is written.

use std::time::Duration;

use domain::call::{CallRow, CallState, NextStep, RecordingStatus};
use domain::ids::{Epoch, Owner, ServerId};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{CallEntry, Job, QueueName};

use super::{Report, pass};
use crate::testing::World;

const SILENT: Duration = Duration::from_secs(31);

/// One server `a` of epoch 1 with one answered call.
fn world() -> (World, CallRow) {
    let world = World::new();
    world.server("a", |_| ());
    let call = world.call(|row| {
        row.state = CallState::Answered;
        row.answered_at = Some(row.started_at);
        row.recording_status = RecordingStatus::Pending;
    });
    (world, call)
}

#[tokio::test]
async fn a_server_that_is_silent_and_does_not_answer_loses_its_calls() {
    let (world, call) = world();
    let objects = CallObjects::of(&call);
    world.object(&objects.checkpoint(1), &[0; 960_000]);
    world.advance(SILENT);
    let report = pass(&world.desk()).await.unwrap();
    assert_eq!(report, Report { alarm: false, servers_gone: 1, calls_ended: 1 });
    let row = world.row(call.call_id);
    assert_eq!((row.state, row.end_reason), (CallState::Ended, Some(EndReason::ServerLost)));
    assert_eq!((row.recording_status, row.duration_ms), (RecordingStatus::Partial, 30_000));
    assert_eq!(row.next_step, Some(NextStep::Announce));
    assert!(world.read_object(&objects.recording()).is_some());
    assert_eq!(world.sent(QueueName::CallEnded), [Job { call_id: call.call_id, channel: None }]);
    assert_eq!(pass(&world.desk()).await.unwrap().calls_ended, 0, "once");
}

#[tokio::test]
async fn evidence_decides() {
    let check = async |prepare: &dyn Fn(&World, &CallRow), ended: u32, why: &str| {
        let (world, call) = world();
        prepare(&world, &call);
        assert_eq!(pass(&world.desk()).await.unwrap().calls_ended, ended, "{why}");
        assert_eq!(world.row(call.call_id).state == CallState::Ended, ended > 0, "{why}");
    };
    let alive = |world: &World, epoch: u64| {
        let mut row = world.tables.lock().servers.values().next().unwrap().clone();
        row.epoch = Epoch(epoch);
        world.outside.lock().alive.push(row);
    };
    check(&|_, _| (), 0, "a fresh heartbeat").await;
    check(&|world, _| world.advance(SILENT), 1, "silent, no answer").await;
    let answers = |world: &World, _: &CallRow| {
        alive(world, 1);
        world.advance(SILENT);
    };
    check(&answers, 0, "silent, but it answers").await;
    let later = |world: &World, _: &CallRow| {
        alive(world, 2);
        world.advance(SILENT);
    };
    check(&later, 1, "a later incarnation answers").await;
    check(&|world, _| drop(world.server("a", |row| row.epoch = Epoch(2))), 1, "its row has a later epoch").await;
    check(&|world, _| world.tables.lock().servers.clear(), 0, "no row, and the call is young").await;
    let gone = |world: &World, _: &CallRow| {
        world.tables.lock().servers.clear();
        world.advance(Duration::from_secs(60));
    };
    check(&gone, 1, "no row for a minute").await;
}

#[tokio::test]
async fn a_later_incarnations_own_calls_are_left_alone() {
    let (world, old) = world();
    world.server("a", |row| row.epoch = Epoch(2));
    let own = world.call(|row| row.owner = Owner { server_id: ServerId::parse("a").unwrap(), epoch: Epoch(2) });
    assert_eq!(pass(&world.desk()).await.unwrap().calls_ended, 1);
    assert_eq!(world.row(old.call_id).state, CallState::Ended);
    assert_eq!(world.row(own.call_id).state, CallState::Accepted);
}

#[tokio::test]
async fn a_silent_majority_stops_the_pass() {
    let check = async |fresh: &[&str], silent: &[&str], forgotten: &[&str], alarm: bool| {
        let (world, _) = world();
        world.tables.lock().servers.clear();
        world.advance(Duration::from_secs(3600));
        let now = world.now();
        for (ids, age) in [(fresh, 0), (silent, 31), (forgotten, 601)] {
            for id in ids {
                world.server(id, |row| row.heartbeat_at = now - Duration::from_secs(age));
            }
        }
        let report = pass(&world.desk()).await.unwrap();
        assert_eq!(report.alarm, alarm, "{fresh:?} {silent:?} {forgotten:?}");
        assert_eq!(report.calls_ended, u32::from(!alarm), "{fresh:?} {silent:?} {forgotten:?}");
    };
    check(&[], &["a"], &[], false).await;
    check(&[], &["a", "b"], &[], false).await;
    check(&["b", "c"], &["a"], &[], false).await;
    check(&["b", "c"], &["a", "d"], &[], false).await;
    check(&["b"], &["a", "c"], &[], true).await;
    check(&[], &["a", "b", "c"], &[], true).await;
    check(&["b", "c"], &[], &["a", "d", "e", "f"], false).await;
}

#[tokio::test]
async fn a_call_past_its_deadline_is_ended_through_its_server_or_without() {
    let check = async |late: u64, knows: Option<bool>, told: usize, ended: u32| {
        let (world, call) = world();
        world.advance(Duration::from_secs(700 + late));
        world.server("a", |_| ());
        world.outside.lock().knows_call = knows;
        assert_eq!(pass(&world.desk()).await.unwrap().calls_ended, ended, "{late} {knows:?}");
        assert_eq!(world.outside.lock().hung_up.len(), told, "{late} {knows:?}");
        assert_eq!(world.row(call.call_id).state == CallState::Ended, ended == 1);
    };
    check(119, Some(true), 0, 0).await;
    check(121, Some(true), 1, 0).await;
    check(121, None, 1, 0).await;
    check(121, Some(false), 1, 1).await;
    check(241, Some(true), 1, 1).await;
}

#[tokio::test]
async fn the_first_end_stands() {
    let (world, call) = world();
    world.advance(SILENT);
    let row = world.row(call.call_id);
    if let Some(CallEntry::Call(row)) = world.tables.lock().calls.get_mut(&call.call_id) {
        row.state = CallState::Ended;
        row.end_reason = Some(EndReason::BotHangup);
    }
    // Its server came back in time and will upload the whole recording: pieces must not take its place.
    let objects = CallObjects::of(&call);
    world.object(&objects.checkpoint(1), &[0; 32_000]);
    assert!(!super::ending::end(&world.desk(), &row, None).await.unwrap());
    assert_eq!(world.row(call.call_id).end_reason, Some(EndReason::BotHangup));
    assert!(world.read_object(&objects.recording()).is_none() && world.read_object(&objects.record()).is_none());
    assert_eq!(world.sent(QueueName::CallEnded), []);
}

#[tokio::test]
async fn an_announcement_that_is_lost_is_the_sweeps() {
    let (world, call) = world();
    world.advance(SILENT);
    world.break_queues(true);
    assert_eq!(pass(&world.desk()).await.unwrap().calls_ended, 1);
    world.break_queues(false);
    world.advance(Duration::from_secs(61));
    crate::sweep::pass(&world.desk()).await.unwrap();
    assert_eq!(world.sent(QueueName::CallEnded), [Job { call_id: call.call_id, channel: None }]);
}

#[tokio::test]
async fn a_call_that_never_was_answered_has_no_recording_and_no_duration() {
    let world = World::new();
    let call = world.call(|row| row.recording_status = RecordingStatus::Pending);
    world.server("a", |_| ());
    world.advance(SILENT);
    pass(&world.desk()).await.unwrap();
    let row = world.row(call.call_id);
    assert_eq!((row.recording_status, row.duration_ms, row.answered_at), (RecordingStatus::None, 0, None));
}

#[tokio::test]
async fn rows_of_servers_long_gone_are_taken_off() {
    let (world, _) = world();
    world.server("old", |_| ());
    world.advance(Duration::from_secs(601));
    world.server("a", |_| ());
    pass(&world.desk()).await.unwrap();
    let left: Vec<String> = world.tables.lock().servers.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["a"]);
}
