//! From a body to the endpoint, try by try.

use std::time::Duration;

use domain::call::CallRow;
use domain::delivery::{AttemptFlag, Channel, DeadWhy, DeliveryState};
use domain::ports::{Job, OutboundError, QueueName};
use serde_json::json;
use standardwebhooks::Webhook;

use super::{SECRET, analysed, handle, run, world};
use crate::push::deliver;
use crate::testing::{World, answer, status};

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

/// The lease is counted from the try on, and not from when its body was asked for.
#[tokio::test]
async fn a_slow_bucket_lets_no_second_worker_in() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.outside.lock().objects_take = Duration::from_secs(40);
    let desk = world.desk();
    assert!(deliver::begin(&desk, call.call_id, Channel::Push).await.unwrap().is_some());
    assert!(deliver::begin(&desk, call.call_id, Channel::Push).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bucket_or_an_endpoint_table_that_is_down_uses_up_no_try() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    world.outside.lock().objects_broken = true;
    let desk = world.desk();
    let job = Job { call_id: call.call_id, channel: Some(Channel::Push) };
    assert!(handle(&desk, &job).await.is_err());
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().tries, 0);
    world.outside.lock().objects_broken = false;
    world.outbound([status(200)]);
    handle(&desk, &job).await.unwrap();
    assert_eq!(world.delivery_row(call.call_id, Channel::Push).unwrap().tries, 1);
}

#[tokio::test]
async fn workers_that_die_do_not_make_a_schedule_endless() {
    let world = world();
    let call = analysed(&world, |_| ());
    run(&world, &call, None).await;
    let desk = world.desk();
    for _ in 0..10 {
        assert!(deliver::begin(&desk, call.call_id, Channel::Push).await.unwrap().is_some());
        world.advance(Duration::from_secs(30));
    }
    run(&world, &call, Some(Channel::Push)).await;
    let row = world.delivery_row(call.call_id, Channel::Push).unwrap();
    assert_eq!((row.state, row.why, row.tries), (DeliveryState::Dead, Some(DeadWhy::ScheduleOver), 10));
}
