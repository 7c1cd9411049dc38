//! From an analysed call to its bodies, and from a body to the endpoint, try by try.

use std::time::Duration;

use domain::call::{AnalysisStatus, CallRow, NextStep, RecordingStatus};
use domain::delivery::{Channel, DeliveryState};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{Job, OutboundError, QueueName};
use domain::secret::SecretString;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::handle;
use crate::testing::{World, answer, status};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A bot that pushes and has a webhook, as the guide configures them.
fn world() -> World {
    let world = World::new();
    let platform = world.platform();
    let seal = |text: &str| platform.outside.seal.seal("bot/bot", &SecretString::from(text)).0;
    world.bot(
        "bot",
        json!({
            "push": {
                "url": "https://crm.example.com/api/call-result",
                "method": "PUT",
                "token": seal("Bearer t0ken"),
                "secret": seal(SECRET),
                "key_mapper": {
                    "CUSTOMER_ID": "{{crm.customer_id}}",
                    "DISPOSITION": "{{result.disposition}}",
                    "REMARKS": "{{result.remarks}}",
                    "CALL_DURATION": "{{call.duration}}",
                    "RECORDING_URL": "{{call.recording_url}}",
                    "FIXED": [1, true, "{{crm.nothing}}"],
                },
            },
            "webhook": {"url": "https://hooks.example.com/result", "secret": seal(SECRET)},
        }),
    );
    world
}

fn analysed(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let now = world.now();
    let call = world.ended_call(|row| {
        (row.next_step, row.due_at, row.analysis_status) = (Some(NextStep::Push), Some(now), AnalysisStatus::Done);
        change(row);
    });
    world.record(&call, json!({"crm": {"customer_id": 9007199254740993_u64}}));
    world.object(&CallObjects::of(&call).analysis(), br#"{"analysis":{"disposition":"PTP"}}"#);
    call
}

async fn run(world: &World, call: &CallRow, channel: Option<Channel>) {
    handle(&world.platform(), &Job { call_id: call.call_id, channel }).await.unwrap();
}

fn body(world: &World, call: &CallRow, channel: Channel) -> Value {
    let row = world.delivery_row(call.call_id, channel).unwrap();
    serde_json::from_slice(&world.read_object(&row.body_key).unwrap()).unwrap()
}

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

#[tokio::test]
async fn a_delivery_is_signed_and_carries_the_token() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.outbound([status(204), status(200)]);
    run(&world, &call, Some(Channel::Push)).await;
    run(&world, &call, Some(Channel::Webhook)).await;
    let sent = world.requests();
    assert_eq!((sent[0].method.as_str(), sent[0].url.as_str()), ("PUT", "https://crm.example.com/api/call-result"));
    assert_eq!(sent[0].headers["authorization"], "Bearer t0ken");
    assert_eq!(sent[0].headers["webhook-id"], format!("{}-push", call.call_id));
    assert!(!sent[1].headers.contains_key("authorization"));
    assert_eq!(
        (sent[1].method.as_str(), sent[1].headers["webhook-id"].to_str().unwrap().ends_with("-webhook")),
        ("POST", true)
    );
    for request in &sent {
        // `verify` also judges the time; the world's is not the machine's, so the signature is made again.
        let id = request.headers["webhook-id"].to_str().unwrap();
        let at = request.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        let expect = Webhook::new(SECRET).unwrap().sign(id, at, &request.body).unwrap();
        assert_eq!(request.headers["webhook-signature"], expect);
        assert_eq!(at, world.now().as_second());
    }
    let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.tries, row.last_status), (DeliveryState::Delivered, 1, Some(204)));
    run(&world, &call, Some(Channel::Push)).await;
    assert_eq!(world.requests().len(), 0, "what is delivered stays delivered");
}

#[tokio::test]
async fn answers_lead_where_the_rules_say() {
    use DeliveryState as S;
    // (answer, channel) → (state, least seconds until the next try, queued)
    let check = async |result: Result<domain::ports::OutboundAnswer, OutboundError>,
                       channel: Channel,
                       state: S,
                       wait: u64,
                       queued: bool,
                       error: Option<&str>| {
        let world = world();
        let call = analysed(&world, |_| ());
        run(&world, &call, None).await;
        world.sent(QueueName::Deliveries);
        let shown = format!("{result:?} {channel:?}");
        world.outbound([result]);
        run(&world, &call, Some(channel)).await;
        let row = world.delivery_row(call.call_id, channel).unwrap();
        assert_eq!(row.state, state, "{shown}");
        if state == S::Pending {
            assert!(row.due_at >= world.now() + Duration::from_secs(wait), "{shown}");
        }
        assert_eq!(world.sent(QueueName::Deliveries).len(), usize::from(queued), "{shown}");
        let attempts = world.tables.lock().attempts.clone();
        assert_eq!((attempts.len(), attempts[0].n, attempts[0].error.as_deref()), (1, 1, error), "{shown}");
    };
    use Channel::{Push, Webhook};
    check(status(200), Push, S::Delivered, 0, false, None).await;
    check(status(204), Push, S::Delivered, 0, false, None).await;
    check(answer(307, &[("location", "http://169.254.169.254/")], b""), Push, S::Pending, 4, true, None).await;
    check(status(400), Push, S::Pending, 4, true, None).await;
    check(status(500), Push, S::Pending, 4, true, None).await;
    check(answer(429, &[("retry-after", "120")], b""), Push, S::Pending, 120, true, None).await;
    check(answer(503, &[("retry-after", "3600")], b""), Push, S::Pending, 3600, false, None).await;
    check(answer(429, &[("retry-after", "9223372036854775807")], b""), Push, S::Pending, 86_400, false, None).await;
    check(answer(429, &[("retry-after", "-5")], b""), Push, S::Pending, 4, true, None).await;
    check(answer(429, &[("retry-after", "soon")], b""), Push, S::Pending, 4, true, None).await;
    check(status(410), Push, S::Pending, 4, true, None).await;
    check(status(410), Webhook, S::Dead, 0, false, None).await;
    check(Err(OutboundError::Timeout), Push, S::Pending, 4, true, Some("timeout")).await;
    check(Err(OutboundError::Blocked("x".into())), Push, S::Pending, 4, true, Some("blocked")).await;
}

#[tokio::test]
async fn a_dead_endpoint_gets_the_whole_schedule_and_the_same_bytes() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.sent(QueueName::Deliveries);
    let mut waits = Vec::new();
    for _ in 0..20 {
        let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
        if row.state != DeliveryState::Pending {
            break;
        }
        let wait = row.due_at.duration_since(world.now());
        waits.push(wait.as_secs());
        world.advance(Duration::try_from(wait).unwrap());
        run(&world, &call, Some(Channel::Push)).await;
    }
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().state, DeliveryState::Dead);
    let nominal = [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400];
    assert_eq!(waits.len(), nominal.len());
    for (wait, nominal) in waits.iter().zip(nominal) {
        assert!((nominal * 4 / 5..=nominal * 6 / 5).contains(wait), "{wait} for {nominal}");
    }
    let sent = world.requests();
    assert_eq!(sent.len(), 10);
    assert!(
        sent.iter()
            .all(|request| request.body == sent[0].body
                && request.headers["webhook-id"] == sent[0].headers["webhook-id"])
    );
    // Only the waits of up to 15 min went through the queue; the others are the sweep's.
    let delays: Vec<u64> =
        world.sent_with_delay(QueueName::Deliveries).iter().map(|(_, delay)| delay.as_secs()).collect();
    assert_eq!(delays.len(), 2, "{delays:?}");
    assert!((4..=6).contains(&delays[0]) && (240..=361).contains(&delays[1]), "{delays:?}");
}

#[tokio::test]
async fn one_try_at_a_time() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    let tables = world.platform().tables;
    let now = world.now();
    let lease = now + Duration::from_secs(30);
    tables.deliveries.begin_try(call.call_id, Channel::Push, 0, now, lease).await.unwrap();
    // Another worker has begun: until its lease ends, nobody else sends.
    run(&world, &call, Some(Channel::Push)).await;
    assert_eq!(world.requests().len(), 0);
    world.advance(Duration::from_secs(30));
    world.outbound([status(200)]);
    run(&world, &call, Some(Channel::Push)).await;
    let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.tries), (DeliveryState::Delivered, 2));
}

#[tokio::test]
async fn what_cannot_be_sent_is_an_attempt_too() {
    let check = async |spoil: &dyn Fn(&World, &CallRow), error: &str| {
        let world = world();
        let call = analysed(&world, |_| ());
        run(&world, &call, None).await;
        spoil(&world, &call);
        run(&world, &call, Some(Channel::Push)).await;
        let attempts = world.tables.lock().attempts.clone();
        assert_eq!(attempts[0].error.as_deref(), Some(error));
        assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().state, DeliveryState::Pending);
        assert_eq!(world.requests().len(), 0);
    };
    check(
        &|world, call| {
            drop(
                world.outside.lock().objects.remove(&world.delivery_row(call.call_id, Channel::Push).unwrap().body_key),
            )
        },
        "body_gone",
    )
    .await;
    check(&|world, _| drop(world.bot("bot", json!({}))), "endpoint_gone").await;
    let foreign = |world: &World, _: &CallRow| {
        world.bot(
            "bot",
            json!({"push": {"url": "https://crm.example.com", "key_mapper": {}, "token": "sealed:bot/other:eA=="}}),
        );
    };
    check(&foreign, "sealed").await;
}

#[tokio::test]
async fn only_a_kibibyte_of_an_answer_is_kept() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.outbound([answer(500, &[], &[b'x'; 5000])]);
    run(&world, &call, Some(Channel::Push)).await;
    assert_eq!(world.tables.lock().attempts[0].answer.len(), 1024);
}
