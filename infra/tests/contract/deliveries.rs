//! Deliveries: leases, tries, and what is due.

use domain::delivery::{AttemptRow, Channel, DeliveryRow, DeliveryState, webhook_id};
use domain::ids::CallId;
use domain::ports::Owned;
use futures_util::future::join_all;

use crate::world::{at, new_bot_id, new_call_id, run};

pub(crate) fn row(call_id: CallId, channel: Channel) -> DeliveryRow {
    DeliveryRow {
        call_id,
        channel,
        bot_id: new_bot_id("bot"),
        state: DeliveryState::Pending,
        tries: 0,
        due_at: at(0),
        created_at: at(0),
        url: "https://crm.example.com/x".into(),
        method: "POST".into(),
        webhook_id: webhook_id(call_id, channel),
        body_key: "calls/x/push.body.json".into(),
        last_status: None,
        delivered_at: None,
    }
}

pub(crate) fn attempt(call_id: CallId, channel: Channel, n: u32, status: Option<u16>) -> AttemptRow {
    let error = if status.is_none() { Some("timeout".to_owned()) } else { None };
    AttemptRow { call_id, channel, n, at: at(i64::from(n)), status, error, latency_ms: 12, answer: "no".into() }
}

#[test]
fn a_delivery_is_created_once_a_channel() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let id = new_call_id();
        assert!(deliveries.create(&row(id, Channel::Push)).await.unwrap());
        assert!(
            !deliveries.create(&DeliveryRow { url: "https://other".into(), ..row(id, Channel::Push) }).await.unwrap()
        );
        assert!(deliveries.create(&row(id, Channel::Webhook)).await.unwrap());
        let read = deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!(read, DeliveryRow { bot_id: read.bot_id.clone(), ..row(id, Channel::Push) });
        assert_eq!(deliveries.get(new_call_id(), Channel::Push).await.unwrap(), None);
    });
}

#[test]
fn of_fifty_workers_one_begins_the_try() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let id = new_call_id();
        deliveries.create(&row(id, Channel::Push)).await.unwrap();
        let begin = (0..50).map(|_| deliveries.begin_try(id, Channel::Push, 0, at(1), at(60)));
        let begun: Vec<Owned> = join_all(begin).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(begun.iter().filter(|begun| **begun == Owned::Written).count(), 1);
        let read = deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!((read.tries, read.due_at), (1, at(60)));
    });
}

#[test]
fn a_try_is_begun_when_due_and_ended_by_who_runs_it() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let id = new_call_id();
        let begin =
            async |tries, now, until| deliveries.begin_try(id, Channel::Push, tries, at(now), at(until)).await.unwrap();
        let end = async |n, status, state, due| {
            deliveries.end_try(&attempt(id, Channel::Push, n, status), state, at(due)).await.unwrap()
        };
        use DeliveryState::{Delivered, Pending};
        assert_eq!(begin(0, 1, 60).await, Owned::Lost, "there is no row");
        assert_eq!(end(1, None, Pending, 5).await, Owned::Lost);
        deliveries.create(&row(id, Channel::Push)).await.unwrap();

        assert_eq!(begin(0, -1, 60).await, Owned::Lost, "not due yet");
        assert_eq!(begin(1, 1, 60).await, Owned::Lost, "another number of tries");
        assert_eq!(begin(0, 1, 60).await, Owned::Written);
        assert_eq!(begin(1, 59, 120).await, Owned::Lost, "the lease holds");
        assert_eq!(end(2, None, Pending, 65).await, Owned::Lost, "not the running try");
        assert_eq!(end(1, Some(500), Pending, 65).await, Owned::Written);
        assert_eq!(end(1, Some(200), Delivered, 65).await, Owned::Lost, "ended already");

        // The second try's worker dies; the third takes over, and what the second says then counts no more.
        assert_eq!(begin(1, 65, 100).await, Owned::Written);
        assert_eq!(begin(2, 100, 160).await, Owned::Written);
        assert_eq!(end(2, Some(200), Delivered, 100).await, Owned::Lost);
        assert_eq!(end(3, Some(204), Delivered, 100).await, Owned::Written);
        assert_eq!(begin(3, 9_999, 10_000).await, Owned::Lost, "delivered");

        let read = deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!(
            (read.state, read.tries, read.last_status, read.delivered_at),
            (Delivered, 3, Some(204), Some(at(3)))
        );
        let attempts = deliveries.attempts(id, Channel::Push).await.unwrap();
        let expect = [attempt(id, Channel::Push, 1, Some(500)), attempt(id, Channel::Push, 3, Some(204))];
        assert_eq!(attempts, expect, "in order, and none of a lost try");
        assert!(deliveries.attempts(id, Channel::Webhook).await.unwrap().is_empty());
    });
}

#[test]
fn due_deliveries_are_found_in_order_over_all_shards() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let mut ids = Vec::new();
        for index in 0..9_i64 {
            let id = new_call_id();
            let due_at = at(-100_000 + index * 10);
            deliveries.create(&DeliveryRow { due_at, ..row(id, Channel::Webhook) }).await.unwrap();
            ids.push((id, Channel::Webhook));
        }
        let dead =
            DeliveryRow { state: DeliveryState::Dead, due_at: at(-100_000), ..row(new_call_id(), Channel::Push) };
        deliveries.create(&dead).await.unwrap();
        let due = async |seconds, limit| deliveries.due(at(seconds), limit).await.unwrap();
        assert_eq!(due(-99_920, 100).await, ids);
        assert_eq!(due(-99_921, 100).await, ids[..8]);
        assert_eq!(due(-99_920, 4).await, ids[..4]);

        // One under way, one delivered, one dead: none is due.
        for (index, state) in [(0, None), (1, Some(DeliveryState::Delivered)), (2, Some(DeliveryState::Dead))] {
            let (id, channel) = ids[index];
            assert_eq!(deliveries.begin_try(id, channel, 0, at(-99_920), at(0)).await.unwrap(), Owned::Written);
            if let Some(state) = state {
                let ended = deliveries.end_try(&attempt(id, channel, 1, None), state, at(-100_000)).await.unwrap();
                assert_eq!(ended, Owned::Written);
            }
        }
        assert_eq!(due(-99_920, 100).await, ids[3..]);
    });
}
