//! Sums, counts, places in line, and who writes the view when its writer is gone.

use super::*;
use crate::ids::Epoch;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn id(name: &str) -> ServerId {
    ServerId::parse(name).unwrap()
}

fn trunk() -> TrunkId {
    TrunkId::parse("t").unwrap()
}

fn row(name: &str, calls: u32, age: i64, draining: bool) -> ServerRow {
    ServerRow {
        server_id: id(name),
        epoch: Epoch(1),
        address: "127.0.0.1:1".into(),
        ws_url: String::new(),
        sip: String::new(),
        group: name.starts_with('g').then(|| "pool".into()),
        calls,
        max: 10,
        free: 10 - calls,
        trunk_calls: BTreeMap::from([(trunk(), calls)]),
        draining,
        version: "0".into(),
        heartbeat_at: at(-age),
    }
}

fn limited(calls: u32) -> BTreeMap<TrunkId, Limited> {
    let limits = TrunkLimits { calls: Some(calls), ..TrunkLimits::default() };
    BTreeMap::from([(trunk(), Limited { limits, group: None })])
}

/// A view of shards that hold these servers.
fn view(shards: &[&[ServerRow]], limit: u32) -> FleetView {
    let sums: Vec<ShardSummary> =
        (0..).zip(shards).map(|(shard, rows)| ShardSummary::of(shard, rows, &id("a"), at(0))).collect();
    FleetView::of(&sums, &limited(limit), &id("a"), at(0))
}

#[test]
fn a_shards_sum_has_every_server_once() {
    let rows = [
        row("a", 3, 0, false),
        row("b", 1, 20, false),
        row("c", 2, 0, true),
        row("g", 4, 0, false),
        row("z", 9, 31, false),
    ];
    let sum = ShardSummary::of(7, &rows, &id("a"), at(0));
    let groups: Vec<(Option<&str>, u32, u32, u32)> = sum
        .groups
        .iter()
        .map(|sum| {
            (sum.group.as_deref(), sum.capacity.healthy, sum.sharing, sum.held.get(&trunk()).copied().unwrap_or(0))
        })
        .collect();
    // One that is silent for 20 s counts for shares, and not for capacity; one for 31 s for nothing.
    assert_eq!(groups, [(None, 2, 2, 4), (Some("pool"), 1, 1, 4)]);
    assert_eq!(sum.leaving, BTreeMap::from([(trunk(), 2)]));
    let total = crate::fleet::FleetSummary::total([&sum, &sum], &id("a"), at(0));
    assert_eq!(total.capacity, Capacity { healthy: 6, calls: 18, max: 60, available: 26 });
    assert_eq!(total.groups.len(), 2);
}

#[test]
fn shards_with_room_come_first_and_full_ones_not_at_all() {
    let view =
        view(&[&[row("a", 9, 0, false)], &[row("b", 10, 0, false)], &[row("g", 2, 0, false), row("c", 1, 0, true)]], 5);
    assert_eq!(view.with_room(None), [2, 0]);
    assert_eq!(view.with_room(Some("pool")), [2]);
    assert_eq!(view.with_room(Some("none")), [] as [u16; 0]);
}

#[test]
fn a_shard_with_more_than_its_part_is_set_apart() {
    let check = |shards: &[&[ServerRow]], limit: u32, expect: (u32, u32, &[u16])| {
        let view = view(shards, limit);
        let found = view.trunks.get(&trunk()).cloned().unwrap_or_default();
        let over: Vec<u16> = found.over.iter().copied().collect();
        assert_eq!((found.held, found.out, over.as_slice()), expect, "{limit}");
    };
    let (a, b, c) = ([row("a", 5, 0, false)], [row("b", 1, 0, false)], [row("c", 0, 0, false)]);
    check(&[&a, &b, &c], 15, (6, 0, &[]));
    check(&[&a, &b, &c], 9, (6, 5, &[0]));
    // With the first set apart, four are left for two.
    check(&[&a, &[row("b", 3, 0, false)], &c], 9, (8, 8, &[0, 1]));
    check(&[&[row("a", 5, 0, true)], &b, &c], 15, (6, 5, &[]));
    // More servers than calls: only the first have a share.
    check(&[&[row("a", 1, 0, false)], &c, &[row("d", 1, 0, false)]], 2, (2, 1, &[2]));
    check(&[&c], 9, (0, 0, &[]));
}

#[test]
fn a_view_is_as_old_as_the_oldest_count_in_it() {
    let mut view = view(&[&[row("a", 0, 0, false)], &[]], 5);
    let check = |view: &FleetView, now: i64, expect: u64| {
        assert_eq!(view.valid_for(at(now)), Duration::from_secs(expect), "{now}");
    };
    check(&view, 0, 30);
    check(&view, 29, 1);
    check(&view, 31, 0);
    check(&view, -20, 30);
    check(&view, -21, 0);
    view.shards[1].0 = at(-25).as_millisecond();
    check(&view, 0, 5);
    view.shards.clear();
    check(&view, 0, 0);
}

#[test]
fn an_abandoned_view_is_taken_up_by_few_and_then_by_more() {
    let shards: Vec<&[ServerRow]> = vec![&[]; 600];
    let view = view(&shards, 5);
    let takers = |seconds: i64| (0..600).filter(|shard| view.is_next_for(&id("x"), *shard, at(seconds))).count();
    assert!(view.is_next_for(&id("a"), 3, at(1)), "its writer goes on");
    assert_eq!(takers(4), 0);
    let (soon, later, late) = (takers(6), takers(12), takers(40));
    assert!(soon <= 5 && (2..40).contains(&later) && late == 600, "{soon} {later} {late}");
}

#[test]
fn a_view_reads_back_and_stays_short() {
    let sums: Vec<ShardSummary> =
        (0..640).map(|shard| ShardSummary::of(shard, &[row("a", 5, 0, false)], &id("a"), at(0))).collect();
    let limits = TrunkLimits { calls: Some(640), ..TrunkLimits::default() };
    let names = (0..600).map(|n| TrunkId::parse(format!("trunk-{n}")).unwrap()).chain([trunk()]);
    let limited = names.map(|name| (name, Limited { limits, group: None })).collect();
    let view = FleetView::of(&sums, &limited, &id("a"), at(0));
    assert_eq!(view.trunks[&trunk()].over.len(), 640, "each holds more than its one call");
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<FleetView>(&text).unwrap(), view);
    assert!(text.len() < 24_000, "{} bytes for 640 shards", text.len());
    for over in [vec![], vec![0], vec![3, 4, 65_535]] {
        let trunk = TrunkView { over: over.into_iter().collect(), ..TrunkView::default() };
        let text = serde_json::to_string(&trunk).unwrap();
        assert_eq!(serde_json::from_str::<TrunkView>(&text).unwrap(), trunk);
    }
}
