//! A fleet of three shards whose servers know the others by counts: read late, summed by servers that stall or change,
//! with clocks that differ, and views that come out of order.

use super::*;
use crate::fleet::view::{FleetView, Limited, ShardSummary};

const SERVERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SHARDS: u16 = 3;
/// An older sum than this is not waited for: who makes the view reads the shard itself.
const OLD: f64 = 8.0;

struct Node {
    shares: Option<Shares>,
    held: u32,
    draining: bool,
    /// How far its clock is ahead, ms.
    ahead: i64,
}

struct Sim {
    begin: Instant,
    now: Duration,
    nodes: Vec<Node>,
    rows: BTreeMap<usize, ServerRow>,
    sums: Vec<Option<ShardSummary>>,
    /// Read, and not written yet.
    late_sums: Vec<ShardSummary>,
    view: Option<Arc<FleetView>>,
    before: Option<Arc<FleetView>>,
    late_views: Vec<FleetView>,
    limit: u32,
}

fn shard(server: usize) -> u16 {
    server as u16 % SHARDS
}

impl Sim {
    fn new(limit: u32, ahead: [i64; 6]) -> Self {
        let node = |ahead: i64| Node { shares: None, held: 0, draining: false, ahead };
        Self {
            begin: start(),
            now: Duration::ZERO,
            nodes: ahead.into_iter().map(node).collect(),
            rows: BTreeMap::new(),
            sums: vec![None; usize::from(SHARDS)],
            late_sums: Vec::new(),
            view: None,
            before: None,
            late_views: Vec::new(),
            limit,
        }
    }

    fn clock(&self, server: usize) -> Timestamp {
        wall(self.now) + jiff::SignedDuration::from_millis(self.nodes[server].ahead)
    }

    fn start(&mut self, server: usize) {
        if self.nodes[server].shares.is_none() {
            self.nodes[server].shares = Some(Shares::new(id(SERVERS[server]), None));
        }
    }

    fn kill(&mut self, server: usize) {
        let node = &mut self.nodes[server];
        (node.shares, node.held, node.draining) = (None, 0, false);
    }

    fn drain(&mut self, server: usize, draining: bool) {
        let node = &mut self.nodes[server];
        let was = std::mem::replace(&mut node.draining, draining);
        if was
            && !draining
            && let Some(shares) = &mut node.shares
        {
            shares.come_back();
        }
    }

    fn shard_rows(&self, of: u16) -> Vec<ServerRow> {
        self.rows.iter().filter(|(server, _)| shard(**server) == of).map(|(_, row)| row.clone()).collect()
    }

    fn beat(&mut self, server: usize, sees_newest: bool) {
        if self.nodes[server].shares.is_none() {
            return;
        }
        let (at, now) = (self.clock(server), self.begin + self.now);
        let node = &self.nodes[server];
        let mut row = row(SERVERS[server], node.held, node.draining, Duration::ZERO);
        row.heartbeat_at = at;
        self.rows.insert(server, row);
        let rows = self.shard_rows(shard(server));
        let view = if sees_newest { &self.view } else { &self.before };
        let rest = match view.clone() {
            Some(view) => Rest::Seen(Far { shard: shard(server), view }),
            None => Rest::Unseen,
        };
        self.nodes[server].shares.as_mut().unwrap().observe(now, now, &rows, &rest, at);
    }

    /// Sums a shard by the clock of its first living server; a sum that stalls is written with the next.
    fn sum(&mut self, of: u16, stalls: bool) {
        let leader = (0..SERVERS.len()).find(|server| shard(*server) == of && self.nodes[*server].shares.is_some());
        let Some(leader) = leader else { return };
        let sum = ShardSummary::of(of, &self.shard_rows(of), &id(SERVERS[leader]), self.clock(leader));
        self.late_sums.push(sum);
        if !stalls {
            for sum in std::mem::take(&mut self.late_sums) {
                let stored = &mut self.sums[usize::from(sum.shard)];
                if stored.as_ref().is_none_or(|old| old.summed_at <= sum.summed_at) {
                    *stored = Some(sum);
                }
            }
        }
    }

    fn make_view(&mut self, by: usize, stalls: bool) {
        if self.nodes[by].shares.is_none() {
            return;
        }
        let (now, me) = (self.clock(by), id(SERVERS[by]));
        let believed = |sum: &&ShardSummary| now.duration_since(sum.summed_at).as_secs_f64().abs() <= OLD;
        let sum = |of: u16| match self.sums[usize::from(of)].as_ref().filter(believed) {
            Some(sum) => sum.clone(),
            None => ShardSummary::of(of, &self.shard_rows(of), &me, now),
        };
        let sums: Vec<ShardSummary> = (0..SHARDS).map(sum).collect();
        let limited = BTreeMap::from([(trunk(), Limited { limits: calls(self.limit), group: None })]);
        self.late_views.push(FleetView::of(&sums, &limited, &me, now));
        if !stalls {
            for view in std::mem::take(&mut self.late_views) {
                if self.view.as_ref().is_none_or(|old| old.summed_at <= view.summed_at) {
                    self.before = self.view.replace(Arc::new(view));
                }
            }
        }
    }

    fn in_use(&self) -> impl Iterator<Item = &Shares> {
        let now = self.begin + self.now;
        let in_use = self.nodes.iter().filter(|node| !node.draining).filter_map(|node| node.shares.as_ref());
        in_use.filter(move |shares| {
            shares.seen.is_some_and(|seen| now.duration_since(seen) <= VIEW_VALID)
                && shares.good_until.is_none_or(|until| now < until)
                && shares.settled.is_some_and(|settled| settled <= now)
        })
    }

    /// What all servers could hold at this moment if none held anything.
    fn shares(&self) -> u32 {
        let share = |shares: &Shares| {
            let idle = |member: &Member| Member { calls: BTreeMap::new(), ..member.clone() };
            let far = shares.members.far.as_ref().map(|far| {
                let view = FleetView { trunks: BTreeMap::new(), ..(*far.view).clone() };
                Far { shard: far.shard, view: Arc::new(view) }
            });
            let members = Members { rows: shares.members.rows.iter().map(idle).collect(), far };
            members.calls_share(&shares.server, &trunk(), &calls(self.limit), None)
        };
        self.in_use().map(share).sum()
    }

    fn call(&mut self, server: usize) {
        let (now, limits, trunk) = (self.begin + self.now, calls(self.limit), trunk());
        let over = Over { trunk: &trunk, limits, group: None };
        let node = &mut self.nodes[server];
        let Some(shares) = node.shares.as_mut().filter(|_| !node.draining) else { return };
        if shares.check(now, &over, node.held).is_ok() {
            shares.note(now, &over);
            node.held += 1;
        }
    }

    /// Everybody tells, sums and sees.
    fn tell_all(&mut self) {
        for _ in 0..2 {
            for server in 0..SERVERS.len() {
                self.beat(server, true);
            }
            (0..SHARDS).for_each(|shard| self.sum(shard, false));
            let maker = (0..SERVERS.len()).find(|server| self.nodes[*server].shares.is_some());
            if let Some(maker) = maker {
                self.make_view(maker, false);
            }
        }
        for server in 0..SERVERS.len() {
            self.beat(server, true);
        }
    }

    fn held(&self) -> u32 {
        self.nodes.iter().map(|node| node.held).sum()
    }
}

/// All six servers, told of each other until nobody is new.
fn settled(limit: u32) -> Sim {
    let mut sim = Sim::new(limit, [0; 6]);
    (0..SERVERS.len()).for_each(|server| sim.start(server));
    for _ in 0..60 {
        sim.now += Duration::from_secs(1);
        sim.tell_all();
    }
    sim
}

#[test]
fn once_settled_the_limit_is_used_whole() {
    for limit in [0, 1, 5, 6, 7, 20, 1000] {
        let mut sim = settled(limit);
        assert_eq!(sim.shares(), limit);
        for server in (0..SERVERS.len()).cycle().take(50) {
            sim.call(server);
            sim.tell_all();
        }
        assert_eq!(sim.held(), limit.min(50), "one after the other");
    }
}

#[test]
fn a_newcomer_waits_longer_than_any_count_without_it_is_good() {
    let mut sim = settled(12);
    sim.kill(5);
    sim.now += Duration::from_secs(31);
    sim.tell_all();
    sim.start(5);
    for second in 0..52 {
        sim.tell_all();
        let uses = sim.in_use().any(|shares| shares.server == id("f"));
        assert_eq!(uses, second >= 50, "{second}");
        sim.now += Duration::from_secs(1);
    }
}

#[test]
fn without_a_view_or_with_an_old_one_nobody_uses_a_share() {
    let mut sim = settled(12);
    assert_eq!(sim.in_use().count(), 6);
    for _ in 0..28 {
        sim.now += Duration::from_secs(1);
        (0..SERVERS.len()).for_each(|server| sim.beat(server, true));
    }
    assert_eq!(sim.in_use().count(), 6);
    for _ in 0..3 {
        sim.now += Duration::from_secs(1);
        (0..SERVERS.len()).for_each(|server| sim.beat(server, true));
    }
    assert_eq!(sim.in_use().count(), 0);
    sim.tell_all();
    assert_eq!(sim.in_use().count(), 6, "nobody forgot them meanwhile");
}

#[derive(Debug, Clone, Copy)]
enum Upset {
    Nothing,
    Start(usize),
    Kill(usize),
    Drain(usize),
    Open(usize),
}

fn upset() -> impl Strategy<Value = Upset> {
    let server = 0..SERVERS.len();
    prop_oneof![
        24 => Just(Upset::Nothing),
        4 => server.clone().prop_map(Upset::Start),
        1 => server.clone().prop_map(Upset::Kill),
        1 => server.clone().prop_map(Upset::Drain),
        1 => server.prop_map(Upset::Open),
    ]
}

impl Sim {
    fn upset(&mut self, upset: Upset) {
        match upset {
            Upset::Nothing => {}
            Upset::Start(server) => self.start(server),
            Upset::Kill(server) => self.kill(server),
            Upset::Drain(server) => self.drain(server, true),
            Upset::Open(server) => self.drain(server, false),
        }
    }
}

/// One second: who is not heard, who sees an older view, whose sums stall, who makes the view, and what happens.
type Second = (u8, u8, u8, usize, bool, Upset);

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn shares_by_counts_never_add_up_to_more_than_the_limit(
        limit in 1_u32..14,
        ahead in prop::array::uniform6(-9_900_i64..9_900),
        seconds in prop::collection::vec(
            (any::<u8>(), any::<u8>(), any::<u8>(), 0_usize..6, prop::bool::weighted(0.3), upset()), 60..260,
        ),
        quiet in 0_u8..4,
    ) {
        let mut sim = Sim::new(limit, ahead);
        (0..4).for_each(|server| sim.start(server));
        let mut used = false;
        for (unheard, sees_old, stalls, maker, view_stalls, upset) in seconds as Vec<Second> {
            sim.now += Duration::from_secs(1);
            sim.upset(upset);
            for server in 0..SERVERS.len() {
                // Most beats get through; whoever is unlucky is silent for long now and then.
                if (unheard >> server) & 1 == 0 || quiet == 0 {
                    sim.beat(server, (sees_old >> server) & 1 == 0);
                }
            }
            for shard in 0..SHARDS {
                sim.sum(shard, (stalls >> shard) & 1 == 1);
            }
            sim.make_view(maker, view_stalls);
            let sum = sim.shares();
            used |= sum > 0;
            prop_assert!(sum <= limit, "{sum} shares of {limit} at {:?}", sim.now);
        }
        // Silent only by the dice: somebody got so far.
        prop_assume!(used);
    }

    #[test]
    fn calls_at_once_keep_the_limit_over_shards_too(
        limit in 1_u32..14,
        steps in prop::collection::vec((0_usize..6, 0_u8..10, upset()), 1..200),
    ) {
        let mut sim = settled(limit);
        for (server, what, upset) in steps {
            sim.now += Duration::from_millis(700);
            if !matches!(upset, Upset::Kill(_)) {
                sim.upset(upset);
            }
            match what {
                0..8 => sim.call(server),
                _ => sim.nodes[server].held = sim.nodes[server].held.saturating_sub(1),
            }
            sim.tell_all();
            prop_assert!(sim.held() <= limit, "{} calls of {limit}", sim.held());
        }
    }
}
