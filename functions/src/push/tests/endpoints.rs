//! What all deliveries to one endpoint have in common: its breaker, its 410s, its time.

use std::time::Duration;

use domain::delivery::{Channel, DeadWhy, DeliveryState};
use domain::endpoint::Breaker;
use domain::ports::{Job, OutboundError};
use serde_json::json;

use super::{analysed, bot, handle, run, world};
use crate::push::deliver;
use crate::testing::{World, answer, status};

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
    let desk = world.desk();
    handle(&desk, &Job { call_id: waiting[0].call_id, channel: Some(Channel::Push) }).await.unwrap();
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
    let desk = world.desk();
    let probe = deliver::begin(&desk, first.call_id, Channel::Push).await.unwrap().unwrap();
    assert!(deliver::begin(&desk, second.call_id, Channel::Push).await.unwrap().is_none());
    world.outbound([Err(OutboundError::Timeout)]);
    let outcome = deliver::exchange(&desk, &probe).await;
    deliver::conclude(&desk, probe, outcome).await.unwrap();
    let until = world.now() + Duration::from_secs(60);
    assert_eq!(breaker(&world), Some(Breaker::Open { until, times: 2 }), "twice as long");
    world.advance(Duration::from_secs(120));
    world.outbound([status(200), status(200)]);
    for row in [&first, &second] {
        handle(&desk, &Job { call_id: row.call_id, channel: Some(Channel::Push) }).await.unwrap();
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
