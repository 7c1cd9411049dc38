//! From an analysed call to its bodies, and from a body to the endpoint, try by try.

use std::time::Duration;

use domain::call::{AnalysisStatus, CallRow, NextStep, RecordingStatus};
use domain::delivery::{AttemptFlag, Channel, DeadWhy, DeliveryState};
use domain::endpoint::Breaker;
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
pub(super) fn world() -> World {
    let world = World::new();
    world.bot("bot", bot(&world));
    world
}

pub(super) fn bot(world: &World) -> Value {
    let platform = world.platform();
    let seal = |text: &str| platform.outside.seal.seal("bot/bot", &SecretString::from(text)).0;
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
    })
}

pub(super) fn analysed(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let now = world.now();
    let call = world.ended_call(|row| {
        (row.next_step, row.due_at, row.analysis_status) = (Some(NextStep::Push), Some(now), AnalysisStatus::Done);
        change(row);
    });
    world.record(&call, json!({"crm": {"customer_id": 9007199254740993_u64}}));
    world.object(&CallObjects::of(&call).analysis(), br#"{"analysis":{"disposition":"PTP"}}"#);
    call
}

pub(super) async fn run(world: &World, call: &CallRow, channel: Option<Channel>) {
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
    check(answer(503, &[("retry-after", "5")], b""), Push, S::Pending, 5, true, None).await;
    check(answer(500, &[("retry-after", "3600")], b""), Push, S::Pending, 4, true, None).await;
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

#[tokio::test]
async fn answers_are_flagged_for_the_operator() {
    use AttemptFlag::{ConfigError, Security, Throttled};
    let check = async |result: Result<domain::ports::OutboundAnswer, OutboundError>, flag: Option<AttemptFlag>| {
        let world = world();
        let call = analysed(&world, |_| ());
        run(&world, &call, None).await;
        let shown = format!("{result:?}");
        world.outbound([result]);
        run(&world, &call, Some(Channel::Push)).await;
        assert_eq!(world.tables.lock().attempts[0].flag, flag, "{shown}");
    };
    check(status(200), None).await;
    check(status(500), None).await;
    check(status(404), Some(ConfigError)).await;
    check(answer(301, &[("location", "http://169.254.169.254/")], b""), Some(Security)).await;
    check(Err(OutboundError::Blocked("x".into())), Some(Security)).await;
    check(answer(429, &[("retry-after", "7")], b""), Some(Throttled)).await;
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

/// A new call of the bot whose push is answered so; the delivery as it is then.
async fn pushed(
    world: &World,
    result: Result<domain::ports::OutboundAnswer, OutboundError>,
    channel: Channel,
) -> domain::delivery::DeliveryRow {
    let call = analysed(world, |_| ());
    run(world, &call, None).await;
    world.outbound([result]);
    run(world, &call, Some(channel)).await;
    world.outside.lock().answers.clear();
    world.delivery_row(call.call_id, channel).unwrap()
}

#[tokio::test]
async fn a_push_endpoint_is_disabled_after_three_calls_that_got_410_and_enabled_by_a_new_bot() {
    let world = world();
    for _ in 0..2 {
        assert_eq!(pushed(&world, status(410), Channel::Push).await.state, DeliveryState::Pending);
    }
    // One that is taken breaks the row.
    assert_eq!(pushed(&world, status(200), Channel::Push).await.state, DeliveryState::Delivered);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(pushed(&world, status(410), Channel::Push).await);
    }
    let third = pushed(&world, status(410), Channel::Push).await;
    assert_eq!((third.state, third.why), (DeliveryState::Dead, Some(DeadWhy::EndpointGone)));
    world.requests();

    // Later calls, and those that waited for their next try, are not tried.
    let later = pushed(&world, status(200), Channel::Push).await;
    assert_eq!((later.state, later.why, later.tries), (DeliveryState::Dead, Some(DeadWhy::EndpointDisabled), 0));
    world.advance(Duration::from_secs(10));
    let platform = world.platform();
    handle(&platform, &Job { call_id: waiting[0].call_id, channel: Some(Channel::Push) }).await.unwrap();
    let row = world.delivery_row(waiting[0].call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.why, row.tries), (DeliveryState::Dead, Some(DeadWhy::EndpointDisabled), 1));
    assert_eq!(world.requests().len(), 0);
    // The webhook is another endpoint.
    assert_eq!(pushed(&world, status(200), Channel::Webhook).await.state, DeliveryState::Delivered);

    // Replaced, with the same URL: an admin has looked at it.
    let mut replaced = bot(&world);
    replaced["version"] = json!(2);
    world.bot("bot", replaced);
    assert_eq!(pushed(&world, status(410), Channel::Push).await.state, DeliveryState::Pending, "three calls again");
    assert_eq!(pushed(&world, status(200), Channel::Push).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn another_url_is_another_endpoint() {
    let world = world();
    assert_eq!(pushed(&world, status(410), Channel::Webhook).await.state, DeliveryState::Dead);
    let mut moved = bot(&world);
    moved["webhook"]["url"] = json!("https://hooks.example.com/new");
    world.bot("bot", moved);
    assert_eq!(pushed(&world, status(200), Channel::Webhook).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_then_probed_by_one() {
    let world = world();
    let breaker = |world: &World| world.tables.lock().endpoints.values().next().map(|endpoint| endpoint.breaker);
    for failures in 1..5 {
        pushed(&world, Err(OutboundError::Timeout), Channel::Push).await;
        assert_eq!(breaker(&world), Some(Breaker::Closed { failures }));
    }
    pushed(&world, status(502), Channel::Push).await;
    let until = world.now() + Duration::from_secs(30);
    assert_eq!(breaker(&world), Some(Breaker::Open { until, times: 1 }));
    world.requests();

    let first = pushed(&world, status(200), Channel::Push).await;
    let second = pushed(&world, status(200), Channel::Push).await;
    for row in [&first, &second] {
        assert_eq!((row.state, row.tries), (DeliveryState::Pending, 0), "no try is used up");
        assert!(row.due_at >= until && row.due_at <= until + Duration::from_secs(30), "{}", row.due_at);
    }
    assert_eq!(world.requests().len(), 0, "nobody waits for it");

    // One probes; until it is back, the others wait.
    world.advance(Duration::from_secs(60));
    let platform = world.platform();
    let probe = super::deliver::begin(&platform, first.call_id, Channel::Push).await.unwrap().unwrap();
    assert!(super::deliver::begin(&platform, second.call_id, Channel::Push).await.unwrap().is_none());
    world.outbound([Err(OutboundError::Timeout)]);
    let outcome = super::deliver::exchange(&platform, &probe).await;
    super::deliver::conclude(&platform, probe, outcome).await.unwrap();
    let until = world.now() + Duration::from_secs(60);
    assert_eq!(breaker(&world), Some(Breaker::Open { until, times: 2 }), "twice as long");
    world.advance(Duration::from_secs(120));
    world.outbound([status(200), status(200)]);
    for row in [&first, &second] {
        handle(&platform, &Job { call_id: row.call_id, channel: Some(Channel::Push) }).await.unwrap();
        assert_eq!(world.delivery_row(row.call_id, Channel::Push).unwrap().state, DeliveryState::Delivered);
    }
    assert_eq!(breaker(&world), Some(Breaker::Closed { failures: 0 }));
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_by_every_delivery_but_not_for_ever() {
    let world = world();
    let first = pushed(&world, answer(429, &[("retry-after", "120")], b""), Channel::Push).await;
    let until = world.now() + Duration::from_secs(120);
    assert!(first.due_at >= until);
    let other = pushed(&world, status(200), Channel::Push).await;
    assert!((other.state, other.tries) == (DeliveryState::Pending, 0) && other.due_at >= until);
    world.advance(Duration::from_secs(180));
    // Nonsense holds its own delivery back for a day, and the others for a quarter of an hour.
    let long = pushed(&world, answer(503, &[("retry-after", "9223372036854775807")], b""), Channel::Push).await;
    assert!(long.due_at >= world.now() + Duration::from_secs(86_400));
    let other = pushed(&world, status(200), Channel::Push).await;
    assert!(other.due_at <= world.now() + Duration::from_secs(900 + 30));
}

#[tokio::test]
async fn what_is_held_back_longer_than_the_schedule_takes_is_dead() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    for _ in 0..5 {
        pushed(&world, Err(OutboundError::Timeout), Channel::Push).await;
    }
    let mut waited = Duration::ZERO;
    let hour = Duration::from_secs(3600);
    while world.delivery_row(call.call_id, Channel::Push).unwrap().state == DeliveryState::Pending {
        assert!(waited < 200 * hour, "held back for ever");
        waited += hour;
        world.advance(hour);
        // Somebody else's probe has just failed again.
        let now = world.now();
        for endpoint in world.tables.lock().endpoints.values_mut() {
            endpoint.breaker = Breaker::Open { until: now + Duration::from_secs(900), times: 9 };
        }
        run(&world, &call, Some(Channel::Push)).await;
    }
    let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.why, row.tries), (DeliveryState::Dead, Some(DeadWhy::EndpointDown), 0));
    assert!(waited > 75 * hour, "{waited:?}");
}

#[tokio::test]
async fn a_bucket_or_an_endpoint_table_that_is_down_uses_up_no_try() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.outside.lock().objects_broken = true;
    let platform = world.platform();
    let job = Job { call_id: call.call_id, channel: Some(Channel::Push) };
    assert!(handle(&platform, &job).await.is_err());
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().tries, 0);
    world.outside.lock().objects_broken = false;
    world.outbound([status(200)]);
    handle(&platform, &job).await.unwrap();
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().tries, 1);
}

#[tokio::test]
async fn workers_that_die_do_not_make_a_schedule_endless() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    let platform = world.platform();
    for _ in 0..10 {
        assert!(super::deliver::begin(&platform, call.call_id, Channel::Push).await.unwrap().is_some());
        world.advance(Duration::from_secs(30));
    }
    run(&world, &call, Some(Channel::Push)).await;
    let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.why, row.tries), (DeliveryState::Dead, Some(DeadWhy::ScheduleOver), 10));
}
