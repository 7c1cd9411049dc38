//! Shares: tables, and a simulated fleet whose servers see each other late, go silent, come back and end.

mod far;

use proptest::prelude::*;

use super::*;
use crate::ids::Epoch;

fn id(name: &str) -> ServerId {
    ServerId::parse(name).unwrap()
}

fn trunk() -> TrunkId {
    TrunkId::parse("t").unwrap()
}

fn wall(at: Duration) -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap() + at
}

fn row(name: &str, calls: u32, draining: bool, beat: Duration) -> ServerRow {
    ServerRow {
        server_id: id(name),
        epoch: Epoch(1),
        address: "127.0.0.1:1".into(),
        ws_url: String::new(),
        sip: String::new(),
        group: name.starts_with('g').then(|| "pool".into()),
        calls,
        max: 1000,
        free: 1000 - calls,
        trunk_calls: BTreeMap::from([(trunk(), calls)]),
        draining,
        version: "0".into(),
        heartbeat_at: wall(beat),
    }
}

fn calls(limit: u32) -> TrunkLimits {
    TrunkLimits { calls: Some(limit), ..TrunkLimits::default() }
}

#[test]
fn a_limit_is_divided_whole() {
    let check = |limit: u32, among: u32, expect: &[u32]| {
        let shares: Vec<u32> = (0..5).map(|rank| divide(limit, among, rank)).collect();
        assert_eq!(shares, expect, "{limit} among {among}");
    };
    check(10, 3, &[4, 3, 3, 0, 0]);
    check(9, 3, &[3, 3, 3, 0, 0]);
    check(1, 1, &[1, 0, 0, 0, 0]);
    check(2, 5, &[1, 1, 0, 0, 0]);
    check(7, 0, &[0; 5]);
}

#[test]
fn the_smallest_limit_says_how_many_share() {
    let check = |limits: TrunkLimits, servers: usize, expect: u32| assert_eq!(limits.holders(servers), expect);
    check(TrunkLimits::default(), 4, 4);
    check(calls(30), 4, 4);
    check(calls(3), 4, 3);
    check(TrunkLimits { per_second: Some(Pace::per_second(0.5)), ..calls(30) }, 4, 1);
    check(TrunkLimits { per_minute: Some(Pace::per_minute(2)), ..calls(30) }, 4, 2);
    assert_eq!(Pace::per_second(2.9), Pace { calls: 2, span: Duration::from_secs(1) });
    assert_eq!(Pace::per_second(0.5), Pace { calls: 1, span: Duration::from_secs(2) });
}

#[test]
fn what_is_held_beyond_a_share_is_taken_off_the_others() {
    let check = |limit: u32, servers: &[(&str, u32, bool)], expect: &[u32]| {
        let rows: Vec<ServerRow> =
            servers.iter().map(|(name, held, draining)| row(name, *held, *draining, Duration::ZERO)).collect();
        let members = Members::of(&rows, wall(Duration::ZERO));
        let shares: Vec<u32> =
            servers.iter().map(|(name, ..)| members.calls_share(&id(name), &trunk(), &calls(limit), None)).collect();
        assert_eq!(shares, expect, "{limit} {servers:?}");
    };
    check(10, &[("a", 0, false), ("b", 0, false)], &[5, 5]);
    check(10, &[("a", 10, false), ("b", 0, false)], &[5, 0]);
    check(10, &[("a", 7, false), ("b", 0, false)], &[5, 3]);
    check(12, &[("a", 8, false), ("b", 0, false), ("c", 0, false)], &[4, 2, 2]);
    check(9, &[("a", 5, false), ("b", 4, false), ("c", 0, false)], &[3, 2, 0]);
    // One that drains takes no more; what it holds still counts.
    check(10, &[("a", 4, true), ("b", 0, false), ("c", 0, false)], &[0, 3, 3]);
    // More servers than calls: those without a share.
    check(2, &[("a", 0, false), ("b", 0, false), ("c", 0, false)], &[1, 1, 0]);
    check(2, &[("a", 0, false), ("b", 0, false), ("c", 1, false)], &[1, 0, 0]);
    check(0, &[("a", 0, false)], &[0]);
}

#[test]
fn dialout_sees_who_has_room() {
    let check = |rows: &[ServerRow], limit: u32, group: Option<&str>, room: &[&str], used_up: bool| {
        let members = Members::of(rows, wall(Duration::from_secs(31)));
        let names = ["a", "b", "c", "g"];
        let found: Vec<&str> =
            names.into_iter().filter(|name| members.has_room(&id(name), &trunk(), &calls(limit), group)).collect();
        assert_eq!((found.as_slice(), members.is_used_up(&trunk(), &calls(limit), group)), (room, used_up));
    };
    let now = Duration::from_secs(31);
    let rows = [row("a", 1, false, now), row("b", 0, false, now), row("g", 0, false, now)];
    check(&rows, 3, None, &["b", "g"], false);
    check(&rows, 1, None, &[], true);
    check(&rows, 2, None, &["b"], false);
    check(&rows, 2, Some("pool"), &["g"], false);
    check(&rows, 1, Some("pool"), &[], true);
    check(&rows, 2, Some("none"), &[], false);
    check(&[], 2, None, &[], false);
    // Silent for longer than `reap` waits: it holds nothing any more.
    check(&[row("a", 1, false, Duration::ZERO), row("b", 0, false, now)], 1, None, &["b"], false);
}

/// Monotonic time for tests, from one arbitrary moment.
#[expect(clippy::disallowed_methods, reason = "a test needs some moment to begin with")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_newcomer_waits_unless_it_is_alone() {
    let begin = start();
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let (trunk, limits) = (trunk(), TrunkLimits { per_second: Some(Pace::per_second(2.0)), ..calls(4) });
    let over = Over { trunk: &trunk, limits, group: None };
    let mut alone = Shares::new(id("a"), None);
    assert_eq!(alone.check(at(0), &over, 0), Err(Denied::NoShare));
    assert_eq!(alone.check(at(0), &Over { limits: TrunkLimits::default(), ..over }, 9), Ok(()));
    alone.observe(at(0), at(0), &[row("a", 0, false, Duration::ZERO)], &Rest::Nothing, wall(Duration::ZERO));
    assert_eq!(alone.check(at(0), &over, 3), Ok(()));
    assert_eq!(alone.check(at(0), &over, 4), Err(Denied::Calls));
    alone.note(at(0), &over);
    alone.note(at(0), &over);
    assert_eq!(alone.check(at(999), &over, 2), Err(Denied::Pace));
    assert_eq!(alone.check(at(1000), &over, 2), Ok(()));
    assert_eq!(alone.check(at(10_001), &over, 0), Err(Denied::NoShare), "its view is too old");

    let both = [row("a", 0, false, Duration::ZERO), row("b", 0, false, Duration::ZERO)];
    let mut second = Shares::new(id("b"), None);
    for ms in (0..=12_000).step_by(2000) {
        second.observe(at(ms), at(ms), &both, &Rest::Nothing, wall(Duration::ZERO));
        let expect = match ms {
            0..10_000 => Err(Denied::NoShare),
            // Right before, the other may have used the whole pace.
            10_000 => Err(Denied::Pace),
            _ => Ok(()),
        };
        assert_eq!(second.check(at(ms), &over, 0), expect, "{ms}");
    }
    assert_eq!(second.check(at(12_000), &over, 2), Err(Denied::Calls));
    let elsewhere = Over { group: Some("pool"), ..over };
    assert_eq!(second.check(at(12_000), &elsewhere, 0), Err(Denied::Calls), "it is not in the trunk's group");
}

/// What happens to one server in a step.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A heartbeat, its reading of the table, and then as many calls as it can begin.
    Beat,
    /// It begins a call without looking again.
    Call,
    /// A call of its own ends.
    End,
    /// Its heartbeats fail from here on, or get through again.
    Cut(bool),
    Drain,
    /// It takes calls again.
    Open,
    /// It dies, and with it its calls.
    Kill,
    /// It begins anew.
    Start,
}

struct Node {
    shares: Option<Shares>,
    held: u32,
    cut: bool,
    draining: bool,
}

struct Fleet {
    begin: Instant,
    now: Duration,
    nodes: Vec<Node>,
    table: BTreeMap<ServerId, ServerRow>,
    limits: TrunkLimits,
    begun: Vec<Duration>,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Fleet {
    fn new(limits: TrunkLimits) -> Self {
        let nodes = NAMES.map(|_| Node { shares: None, held: 0, cut: false, draining: false }).into();
        Self { begin: start(), now: Duration::ZERO, nodes, table: BTreeMap::new(), limits, begun: Vec::new() }
    }

    fn step(&mut self, server: usize, event: Event) {
        let now = self.begin + self.now;
        match event {
            Event::Beat => self.beat(server),
            Event::Call => self.call(server),
            Event::End => self.nodes[server].held = self.nodes[server].held.saturating_sub(1),
            Event::Cut(cut) => self.nodes[server].cut = cut,
            Event::Drain => self.nodes[server].draining = true,
            Event::Open => {
                let node = &mut self.nodes[server];
                if std::mem::take(&mut node.draining)
                    && let Some(shares) = node.shares.as_mut()
                {
                    shares.come_back();
                }
            }
            Event::Kill => self.nodes[server] = Node { shares: None, held: 0, cut: false, draining: false },
            Event::Start if self.nodes[server].shares.is_none() => {
                self.nodes[server].shares = Some(Shares::new(id(NAMES[server]), None));
                self.beat(server);
            }
            Event::Start => {}
        }
        self.check_shares(now);
    }

    fn beat(&mut self, server: usize) {
        let (now, at) = (self.begin + self.now, self.now);
        let node = &mut self.nodes[server];
        let Some(shares) = node.shares.as_mut().filter(|_| !node.cut) else { return };
        self.table.insert(id(NAMES[server]), row(NAMES[server], node.held, node.draining, at));
        let rows: Vec<ServerRow> = self.table.values().cloned().collect();
        shares.observe(now, now, &rows, &Rest::Nothing, wall(at));
    }

    fn call(&mut self, server: usize) {
        let now = self.begin + self.now;
        let (trunk, limits) = (trunk(), self.limits);
        let over = Over { trunk: &trunk, limits, group: None };
        let node = &mut self.nodes[server];
        let Some(shares) = node.shares.as_mut().filter(|_| !node.draining) else { return };
        if shares.check(now, &over, node.held).is_ok() {
            shares.note(now, &over);
            node.held += 1;
            self.begun.push(self.now);
            self.check_pace();
        }
    }

    /// However many calls could begin at this moment, with none held: no more than the limit.
    fn check_shares(&self, now: Instant) {
        let Some(limit) = self.limits.calls else { return };
        let empty = |shares: &Shares| {
            let idle = |member: &Member| Member { calls: BTreeMap::new(), ..member.clone() };
            let members = Members { rows: shares.members.rows.iter().map(idle).collect(), far: None };
            members.calls_share(&shares.server, &trunk(), &self.limits, None)
        };
        let in_use = self.nodes.iter().filter(|node| !node.draining).filter_map(|node| node.shares.as_ref());
        let in_use = in_use.filter(|shares| {
            shares.seen.is_some_and(|seen| now.duration_since(seen) <= VIEW_VALID)
                && shares.settled.is_some_and(|settled| settled <= now)
        });
        let sum: u32 = in_use.map(empty).sum();
        assert!(sum <= limit, "{sum} shares of {limit}");
    }

    fn check_pace(&self) {
        for pace in self.limits.paces() {
            let recent = self.begun.iter().rev().take_while(|at| self.now - **at < pace.span).count();
            assert!(recent as u64 <= u64::from(pace.calls), "{recent} calls within {:?} of {}", pace.span, pace.calls);
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Beat),
        12 => Just(Event::Call),
        3 => Just(Event::End),
        1 => any::<bool>().prop_map(Event::Cut),
        1 => Just(Event::Drain),
        1 => Just(Event::Open),
        1 => Just(Event::Kill),
        3 => Just(Event::Start),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Beats come whenever they come, or not at all, and servers die and come back under the same id.
    #[test]
    fn shares_never_add_up_to_more_than_the_limit(
        limit in 1_u32..9,
        steps in prop::collection::vec((0_usize..4, event(), 0_u64..4000), 1..300),
    ) {
        let mut fleet = Fleet::new(calls(limit));
        for (server, event, wait) in steps {
            fleet.now += Duration::from_millis(wait);
            fleet.step(server, event);
        }
    }

    /// A restart forgets its own calls: here nobody dies, but falls silent and drains.
    #[test]
    fn no_span_ever_sees_more_calls_than_the_pace_allows(
        per_second in prop::option::of(0.2_f64..8.0),
        per_minute in prop::option::of(1_u32..40),
        steps in prop::collection::vec((0_usize..4, event(), 0_u64..1500), 1..400),
    ) {
        let limits = TrunkLimits {
            calls: None,
            per_second: per_second.map(Pace::per_second),
            per_minute: per_minute.map(Pace::per_minute),
        };
        let mut fleet = Fleet::new(limits);
        for (server, event, wait) in steps {
            if !matches!(event, Event::Kill) {
                fleet.now += Duration::from_millis(wait);
                fleet.step(server, event);
            }
        }
    }

    /// While heartbeats get through, calls at once stay within the limit whoever joins and drains.
    #[test]
    fn calls_at_once_keep_the_limit_while_heartbeats_get_through(
        limit in 1_u32..12,
        steps in prop::collection::vec((0_usize..4, event(), 0_u64..900), 1..250),
    ) {
        let mut fleet = Fleet::new(calls(limit));
        for (server, event, wait) in steps {
            fleet.now += Duration::from_millis(wait);
            if !matches!(event, Event::Kill | Event::Cut(_)) {
                fleet.step(server, event);
            }
            // Everybody beats on change, as the heartbeat task does.
            for server in 0..NAMES.len() {
                fleet.beat(server);
            }
            let held: u32 = fleet.nodes.iter().map(|node| node.held).sum();
            prop_assert!(held <= limit, "{held} calls of {limit}");
        }
    }
}
