//! A fleet of many shards: what a dialout reads of it, and that it finds who has room or a share.

use std::collections::BTreeMap;

use domain::fleet::view::{FleetView, Limited, ShardSummary};
use domain::ids::{ServerId, TrunkId};
use domain::share::TrunkLimits;
use serde_json::json;

use super::{BODY, KEY, dial, router, world};
use crate::testing::{World, request};

const SHARDS: u16 = 64;

/// One server a shard, named by letters whose first is of that shard; and the view that the fleet has of itself.
fn fleet(free: impl Fn(u16) -> u32, held: impl Fn(u16) -> u32, limits: Option<u32>) -> World {
    let world = world();
    world.tables.lock().servers.clear();
    world.tables.lock().shards = SHARDS;
    world.trunk("trunk", limits.map_or(json!({}), |limit| json!({"max_calls": limit})));
    let trunk = TrunkId::parse("trunk").unwrap();
    let letters = ('A'..='Z').chain('a'..='z').chain('0'..='9');
    for letter in letters {
        let shard = letter as u16 % SHARDS;
        world.server(&letter.to_string(), |row| {
            (row.free, row.calls) = (free(shard), 10 - free(shard));
            row.trunk_calls = BTreeMap::from([(trunk.clone(), held(shard))]);
        });
    }
    look(&world, limits);
    world
}

/// The view is made of what lies in the table.
fn look(world: &World, limit: Option<u32>) {
    let by = ServerId::parse("A").unwrap();
    let mut rows = world.tables.lock();
    let of = |shard: u16| {
        let lies = |id: &ServerId| u16::from(id.as_str().as_bytes()[0]) % SHARDS == shard;
        let rows: Vec<_> = rows.servers.values().filter(|row| lies(&row.server_id)).cloned().collect();
        ShardSummary::of(shard, &rows, &by, world.now())
    };
    let sums: Vec<ShardSummary> = (0..SHARDS).map(of).collect();
    let limits = TrunkLimits { calls: limit, ..TrunkLimits::default() };
    let limited = limit.map(|_| (TrunkId::parse("trunk").unwrap(), Limited { limits, group: None }));
    rows.view = Some(FleetView::of(&sums, &limited.into_iter().collect(), &by, world.now()));
}

/// How many shards were read.
fn read(world: &World) -> usize {
    world.tables.lock().trips.iter().filter(|asked| **asked == "servers").count()
}

#[tokio::test]
async fn the_one_with_room_is_found_by_reading_one_shard() {
    let world = fleet(|shard| if shard == 41 { 3 } else { 0 }, |_| 0, None);
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!((world.dialled(), read(&world)), (vec!["i".to_owned()], 1));
}

#[tokio::test]
async fn calls_spread_over_all_that_have_room() {
    let world = fleet(|_| 10, |_| 0, None);
    for _ in 0..40 {
        assert_eq!(dial(&world, BODY).await.status, 200);
    }
    let mut asked = world.dialled();
    asked.sort();
    asked.dedup();
    assert!(asked.len() > 10, "{asked:?}");
    assert_eq!(read(&world), 80, "two shards each");
}

#[tokio::test]
async fn a_full_fleet_costs_a_few_readings_and_not_a_scan() {
    let world = fleet(|_| 0, |_| 0, None);
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_capacity"));
    assert_eq!(read(&world), 6);
    // Without a view, as when the fleet has just begun, neither.
    let world = fleet(|_| 0, |_| 0, None);
    world.tables.lock().view = None;
    assert_eq!(dial(&world, BODY).await.code(), "no_capacity");
    assert_eq!(read(&world), 6);
}

#[tokio::test]
async fn who_has_a_share_of_a_trunk_is_found() {
    // Five calls among 62 servers: the first five, by shard and id, have one each, and four use it.
    let first = |shard: u16| (1..=5).contains(&shard);
    let world = fleet(|_| 5, |shard| u32::from(first(shard) && shard != 3), Some(5));
    assert_eq!(dial(&world, BODY).await.status, 200);
    assert_eq!(world.dialled(), ["C"]);
    assert!(read(&world) <= 8, "{}", read(&world));
}

#[tokio::test]
async fn a_trunk_whose_shares_are_used_up_is_at_its_limit() {
    let world = fleet(|_| 5, |shard| u32::from((1..=5).contains(&shard)), Some(5));
    let answer = dial(&world, BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "trunk_limit"));
    assert_eq!(world.dialled().len(), 0);
    assert!(read(&world) <= 8, "{}", read(&world));
}

/// What was remembered of the trunk is a guess; that it was one must not decide where the call is offered.
#[tokio::test]
async fn a_trunk_that_was_given_another_group_finds_it() {
    let world = fleet(|_| 0, |_| 0, None);
    for (id, group) in [("i", "old"), ("B", "new")] {
        world.server(id, |row| row.group = Some(group.to_owned()));
    }
    look(&world, None);
    let app = router(world.desk());
    for group in ["old", "new"] {
        world.trunk("trunk", json!({"server_group": group}));
        let answer = request(&app, "POST", "/api/v1/dialout", Some(KEY), &[], BODY).await;
        assert_eq!(answer.status, 200, "{group}");
    }
    assert_eq!(world.dialled(), ["i", "B"]);
}
