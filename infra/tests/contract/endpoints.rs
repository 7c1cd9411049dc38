//! Endpoints: changed only from what was read.

use domain::delivery::Channel;
use domain::endpoint::{Breaker, EndpointRow, Gone};
use futures_util::future::join_all;

use crate::world::{at, new_bot_id, new_call_id, run};

pub(crate) fn row(rev: u64) -> EndpointRow {
    EndpointRow { rev, ..EndpointRow::new(new_bot_id("bot"), Channel::Push, "https://crm.example.com/x", at(0)) }
}

/// The same one revision on, with everything set.
pub(crate) fn next(row: &EndpointRow) -> EndpointRow {
    EndpointRow {
        rev: row.rev + 1,
        breaker: Breaker::Open { until: at(30), times: 2 },
        gone: Gone { bot_version: 3, calls: vec![new_call_id()], disabled_at: Some(at(7)) },
        ..row.clone()
    }
}

#[test]
fn an_endpoint_is_changed_from_what_was_read() {
    run(async |world| {
        let endpoints = &world.stores.endpoints;
        let first = row(0);
        let read = async || endpoints.get(&first.bot_id, &first.endpoint).await.unwrap();
        assert_eq!(read().await, None);
        assert!(!endpoints.put(&next(&first), Some(0)).await.unwrap(), "there is none to replace");
        assert!(endpoints.put(&first, None).await.unwrap());
        assert!(!endpoints.put(&first, None).await.unwrap(), "there is one");
        assert_eq!(read().await, Some(first.clone()));
        let second = next(&first);
        assert!(endpoints.put(&second, Some(0)).await.unwrap());
        assert!(!endpoints.put(&next(&first), Some(0)).await.unwrap(), "replaced already");
        assert_eq!(read().await, Some(second.clone()));

        let other = EndpointRow::new(first.bot_id.clone(), Channel::Webhook, "https://crm.example.com/x", at(0));
        assert!(endpoints.put(&other, None).await.unwrap());
        assert_eq!(endpoints.of_bot(&first.bot_id).await.unwrap(), [second, other]);
        assert!(endpoints.of_bot(&new_bot_id("none")).await.unwrap().is_empty());
    });
}

#[test]
fn of_fifty_workers_one_probes() {
    run(async |world| {
        let endpoints = &world.stores.endpoints;
        let open = next(&row(0));
        assert!(endpoints.put(&open, None).await.unwrap());
        let probe = EndpointRow { rev: open.rev + 1, ..open.probing(at(60)) };
        let tried = join_all((0..50).map(|_| endpoints.put(&probe, Some(open.rev)))).await;
        assert_eq!(tried.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1);
    });
}
