//! Deliveries: leases, tries, and what is due.

use domain::delivery::{AttemptFlag, AttemptRow, Channel, DeadWhy, DeliveryRow, DeliveryState, Next, Target};
use domain::ids::CallId;
use domain::ports::Owned;
use futures_util::future::join_all;

use crate::world::{at, new_bot_id, new_call_id, run};

pub(crate) fn row(call_id: CallId, channel: Channel) -> DeliveryRow {
    let to = Target { url: "https://crm.example.com/x".into(), method: "POST".into() };
    DeliveryRow::new(call_id, channel, new_bot_id("bot"), to, "calls/x/push.body.json".into(), at(0))
}

pub(crate) fn attempt(call_id: CallId, channel: Channel, n: u32, status: Option<u16>) -> AttemptRow {
    let error = if status.is_none() { Some("timeout".to_owned()) } else { None };
    AttemptRow {
        call_id,
        channel,
        n,
        at: at(i64::from(n)),
        status,
        error,
        latency_ms: 12,
        answer: "no".into(),
        flag: Some(AttemptFlag::Throttled),
    }
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
        let end =
            async |n, status, next| deliveries.end_try(&attempt(id, Channel::Push, n, status), &next).await.unwrap();
        let again = |seconds| Next::Again { due_at: at(seconds) };
        use Next::Delivered;
        assert_eq!(begin(0, 1, 60).await, Owned::Lost, "there is no row");
        assert_eq!(end(1, None, again(5)).await, Owned::Lost);
        deliveries.create(&row(id, Channel::Push)).await.unwrap();

        assert_eq!(begin(0, -1, 60).await, Owned::Lost, "not due yet");
        assert_eq!(begin(1, 1, 60).await, Owned::Lost, "another number of tries");
        assert_eq!(begin(0, 1, 60).await, Owned::Written);
        assert_eq!(begin(1, 59, 120).await, Owned::Lost, "the lease holds");
        assert_eq!(end(2, None, again(65)).await, Owned::Lost, "not the running try");
        assert_eq!(end(1, Some(500), again(65)).await, Owned::Written);
        assert_eq!(end(1, Some(200), Delivered).await, Owned::Lost, "ended already");

        // The second try's worker dies; the third takes over, and what the second says then counts no more.
        assert_eq!(begin(1, 65, 100).await, Owned::Written);
        assert_eq!(begin(2, 100, 160).await, Owned::Written);
        assert_eq!(end(2, Some(200), Delivered).await, Owned::Lost);
        assert_eq!(end(3, Some(204), Delivered).await, Owned::Written);
        assert_eq!(begin(3, 9_999, 10_000).await, Owned::Lost, "delivered");

        let read = deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!(
            (read.state, read.tries, read.last_status, read.delivered_at),
            (DeliveryState::Delivered, 3, Some(204), Some(at(3)))
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
        let dead = Next::Dead(DeadWhy::ScheduleOver);
        for (index, next) in [(0, None), (1, Some(Next::Delivered)), (2, Some(dead))] {
            let (id, channel) = ids[index];
            assert_eq!(deliveries.begin_try(id, channel, 0, at(-99_920), at(0)).await.unwrap(), Owned::Written);
            if let Some(next) = next {
                let ended = deliveries.end_try(&attempt(id, channel, 1, None), &next).await.unwrap();
                assert_eq!(ended, Owned::Written);
            }
        }
        assert_eq!(due(-99_920, 100).await, ids[3..]);

        // Put off and buried, they are not due; sent again, they are.
        let (id, channel) = ids[3];
        assert_eq!(deliveries.put_off(id, channel, 0, at(-99_920), at(0)).await.unwrap(), Owned::Written);
        assert_eq!(due(-99_920, 100).await, ids[4..]);
        let (id, channel) = ids[4];
        let why = DeadWhy::EndpointDisabled;
        assert_eq!(deliveries.bury(id, channel, 0, at(-99_920), why).await.unwrap(), Owned::Written);
        assert_eq!(due(-99_920, 100).await, ids[5..]);
        for (id, channel) in &ids[1..=4] {
            let seen = deliveries.get(*id, *channel).await.unwrap().unwrap();
            assert_eq!(deliveries.resend(&seen, at(-99_930)).await.unwrap(), Owned::Written);
        }
        let mut found = due(-99_920, 100).await;
        found.sort();
        let mut expect = ids[1..].to_vec();
        expect.sort();
        assert_eq!(found, expect);
        for (id, channel) in expect {
            let tries = deliveries.get(id, channel).await.unwrap().unwrap().tries;
            deliveries.bury(id, channel, tries, at(-99_920), why).await.unwrap();
        }
    });
}

#[test]
fn a_delivery_is_put_off_or_buried_by_whoever_read_it_as_it_is() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let id = new_call_id();
        let put_off =
            async |tries, now, until| deliveries.put_off(id, Channel::Push, tries, at(now), at(until)).await.unwrap();
        let bury =
            async |tries, now| deliveries.bury(id, Channel::Push, tries, at(now), DeadWhy::EndpointDown).await.unwrap();
        let read = async || deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!((put_off(0, 1, 60).await, bury(0, 1).await), (Owned::Lost, Owned::Lost), "there is no row");
        deliveries.create(&row(id, Channel::Push)).await.unwrap();
        assert_eq!((put_off(0, -1, 60).await, bury(0, -1).await), (Owned::Lost, Owned::Lost), "not due yet");
        assert_eq!((put_off(1, 1, 60).await, bury(1, 1).await), (Owned::Lost, Owned::Lost), "another number of tries");
        assert_eq!(put_off(0, 1, 60).await, Owned::Written);
        assert_eq!((read().await.tries, read().await.due_at), (0, at(60)), "no try is counted");

        // A worker that is held up past its lease: whoever puts the delivery off takes its try away.
        deliveries.begin_try(id, Channel::Push, 0, at(60), at(90)).await.unwrap();
        assert_eq!((put_off(1, 89, 200).await, bury(1, 89).await), (Owned::Lost, Owned::Lost), "the lease holds");
        assert_eq!(put_off(1, 90, 200).await, Owned::Written);
        let late = deliveries.end_try(&attempt(id, Channel::Push, 1, Some(200)), &Next::Delivered).await.unwrap();
        assert_eq!((late, read().await.running), (Owned::Lost, None));
        assert_eq!(bury(1, 200).await, Owned::Written);
        assert_eq!((read().await.state, read().await.why), (DeliveryState::Dead, Some(DeadWhy::EndpointDown)));
        assert_eq!(bury(1, 300).await, Owned::Lost);
    });
}

#[test]
fn a_resend_begins_a_new_round_unless_a_worker_is_at_it() {
    run(async |world| {
        let deliveries = &world.stores.deliveries;
        let id = new_call_id();
        let read = async || deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        let never = row(id, Channel::Push);
        assert_eq!(deliveries.resend(&never, at(1)).await.unwrap(), Owned::Lost, "there is no row");
        deliveries.create(&never).await.unwrap();
        deliveries.begin_try(id, Channel::Push, 0, at(1), at(60)).await.unwrap();
        let seen = read().await;
        assert_eq!((seen.running, seen.held_until(at(59))), (Some(1), Some(at(60))));
        assert_eq!(deliveries.resend(&seen, at(59)).await.unwrap(), Owned::Lost, "a worker is at it");
        assert_eq!(deliveries.resend(&DeliveryRow { tries: 0, ..seen.clone() }, at(61)).await.unwrap(), Owned::Lost);
        assert_eq!(deliveries.resend(&seen, at(61)).await.unwrap(), Owned::Written, "its lease has ended");
        let late = deliveries.end_try(&attempt(id, Channel::Push, 1, None), &Next::Delivered).await.unwrap();
        assert_eq!(late, Owned::Lost, "it is told by the new round");

        deliveries.begin_try(id, Channel::Push, 1, at(61), at(90)).await.unwrap();
        let gone = Next::Dead(DeadWhy::EndpointGone);
        deliveries.end_try(&attempt(id, Channel::Push, 2, Some(410)), &gone).await.unwrap();
        let dead = read().await;
        assert_eq!(
            (dead.state, dead.why, dead.tries_of_round()),
            (DeliveryState::Dead, Some(DeadWhy::EndpointGone), 1)
        );
        assert_eq!(deliveries.resend(&dead, at(100)).await.unwrap(), Owned::Written);
        let again = read().await;
        let expect = DeliveryRow {
            state: DeliveryState::Pending,
            why: None,
            tries_before: 2,
            due_at: at(100),
            resent_at: Some(at(100)),
            ..dead.clone()
        };
        assert_eq!(again, expect, "all else is as it was");
        assert_eq!((again.tries_of_round(), again.round_began()), (0, at(100)));
        assert_eq!(deliveries.resend(&dead, at(100)).await.unwrap(), Owned::Lost, "once");
    });
}
