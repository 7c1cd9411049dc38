//! Fleet servers: epochs that rise, and heartbeats that only the latest may write.

use std::collections::{BTreeMap, BTreeSet};

use domain::fleet::view::{FleetView, ShardSummary};
use domain::fleet::{Capacity, FleetSummary, GroupCapacity, ServerRow};
use domain::ids::{Epoch, ServerId, TrunkId};
use domain::ports::{Entropy, Owned};
use futures_util::future::join_all;
use infra::clock::OsEntropy;

use crate::world::{at, run};

pub(crate) fn new_id() -> ServerId {
    ServerId::parse(format!("server-{:08x}", OsEntropy.dice())).unwrap()
}

pub(crate) fn row(server_id: ServerId, epoch: u64) -> ServerRow {
    ServerRow {
        server_id,
        epoch: Epoch(epoch),
        address: "10.0.0.1:8088".into(),
        ws_url: String::new(),
        sip: "192.0.2.7:5060".to_owned(),
        group: Some("pool".into()),
        calls: 2,
        max: 10,
        free: 8,
        trunk_calls: BTreeMap::from([(TrunkId::parse("t-1").unwrap(), 2)]),
        draining: false,
        version: "0.1.0".into(),
        heartbeat_at: at(100),
    }
}

#[test]
fn epochs_rise_strictly_whoever_asks() {
    run(async |world| {
        let servers = &world.stores.servers;
        let (id, other) = (new_id(), new_id());
        let epochs: Vec<Epoch> =
            join_all((0..50).map(|_| servers.next_epoch(&id))).await.into_iter().map(Result::unwrap).collect();
        let distinct: BTreeSet<&Epoch> = epochs.iter().collect();
        assert_eq!(distinct.len(), 50);
        assert!(servers.next_epoch(&id).await.unwrap() > **distinct.last().unwrap());
        assert_eq!(servers.next_epoch(&other).await.unwrap(), Epoch(1));
    });
}

#[test]
fn a_heartbeat_gives_way_to_newer_ones_only() {
    run(async |world| {
        let servers = &world.stores.servers;
        let id = new_id();
        let beat = async |row: &ServerRow| servers.heartbeat(row).await.unwrap();
        let read = async || servers.get(&id).await.unwrap();
        assert_eq!(read().await, None);
        let second = row(id.clone(), 2);
        assert_eq!(beat(&second).await, Owned::Written);
        assert_eq!(read().await.as_ref(), Some(&second));
        assert_eq!(beat(&ServerRow { heartbeat_at: at(999), ..row(id.clone(), 1) }).await, Owned::Lost);
        assert_eq!(read().await.as_ref(), Some(&second));
        // Held up on the way: it is still the owner's, but a later one is there.
        assert_eq!(beat(&ServerRow { calls: 9, heartbeat_at: at(90), ..second.clone() }).await, Owned::Written);
        assert_eq!(read().await.as_ref(), Some(&second));
        let later = ServerRow { calls: 3, heartbeat_at: at(102), trunk_calls: BTreeMap::new(), group: None, ..second };
        assert_eq!(beat(&later).await, Owned::Written);
        assert_eq!(read().await, Some(later));
        // The clock of the new incarnation may be behind.
        let third = ServerRow { heartbeat_at: at(50), ..row(id.clone(), 3) };
        assert_eq!(beat(&third).await, Owned::Written);
        assert_eq!(read().await, Some(third));
    });
}

#[test]
fn every_server_is_in_one_shard_until_it_retires() {
    run(async |world| {
        let servers = &world.stores.servers;
        let ids: BTreeSet<ServerId> = (0..12).map(|_| new_id()).collect();
        for id in &ids {
            assert_eq!(servers.heartbeat(&row(id.clone(), 4)).await.unwrap(), Owned::Written);
        }
        let known = |rows: Vec<ServerRow>| {
            rows.into_iter().map(|row| row.server_id).filter(|id| ids.contains(id)).collect::<Vec<_>>()
        };
        assert_eq!(known(servers.all().await.unwrap()).into_iter().collect::<BTreeSet<_>>(), ids);
        let mut counted = 0;
        for shard in 0..servers.shards() {
            counted += known(servers.of_shard(shard).await.unwrap()).len();
        }
        assert_eq!(counted, 12);

        let first = ids.first().unwrap().clone();
        servers.retire(&row(first.clone(), 3).owner()).await.unwrap();
        assert!(servers.get(&first).await.unwrap().is_some(), "not the one that retires");
        servers.retire(&row(first.clone(), 4).owner()).await.unwrap();
        assert!(servers.get(&first).await.unwrap().is_none());
        servers.retire(&row(first, 4).owner()).await.unwrap();
    });
}

#[test]
fn the_latest_summary_stands_and_is_no_server() {
    run(async |world| {
        let servers = &world.stores.servers;
        let summary = |calls: u32, seconds: i64| FleetSummary {
            capacity: Capacity { healthy: 1, calls, max: 10, available: 10 - calls },
            groups: vec![GroupCapacity { group: Some("pool".into()), capacity: Capacity::default() }],
            summed_by: ServerId::parse("a").unwrap(),
            summed_at: at(seconds),
        };
        assert_eq!(servers.summary().await.unwrap(), None);
        servers.put_summary(&summary(3, 10)).await.unwrap();
        servers.put_summary(&summary(2, 9)).await.unwrap();
        assert_eq!(servers.summary().await.unwrap(), Some(summary(3, 10)));
        servers.put_summary(&summary(4, 12)).await.unwrap();
        assert_eq!(servers.summary().await.unwrap(), Some(summary(4, 12)));
        assert!(servers.all().await.unwrap().iter().all(|row| row.server_id.as_str() != "fleet"));
    });
}

#[test]
fn sums_of_shards_and_their_view_give_way_to_later_ones_only() {
    run(async |world| {
        let servers = &world.stores.servers;
        let by = ServerId::parse("a").unwrap();
        let sum = |shard: u16, epoch: u64, seconds: i64| {
            let row = ServerRow { heartbeat_at: at(seconds), ..row(ServerId::parse("s").unwrap(), epoch) };
            let rows = vec![row; usize::from(shard) + 1];
            ShardSummary::of(shard, &rows, &by, at(seconds))
        };
        for sum in [sum(0, 1, 10), sum(1, 1, 10), sum(1, 1, 12), sum(0, 1, 9)] {
            servers.put_shard(&sum).await.unwrap();
        }
        let mut read = servers.shard_sums().await.unwrap();
        read.sort_by_key(|sum| sum.shard);
        assert_eq!(read, [sum(0, 1, 10), sum(1, 1, 12)]);

        let view = |seconds: i64| FleetView::of(&read, &BTreeMap::new(), &by, at(seconds));
        assert_eq!(servers.view(0).await.unwrap(), None);
        servers.put_view(&view(20)).await.unwrap();
        servers.put_view(&view(19)).await.unwrap();
        for shard in 0..servers.shards() {
            assert_eq!(servers.view(shard).await.unwrap(), Some(view(20)));
        }
        let shown = servers.all().await.unwrap();
        assert!(shown.iter().all(|row| !["view", "00000", "00001"].contains(&row.server_id.as_str())));
        for shard in 0..servers.shards() {
            for row in servers.of_shard(shard).await.unwrap() {
                assert_eq!(servers.shard_of(&row.server_id), shard);
            }
        }
    });
}
