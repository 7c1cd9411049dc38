//! Endpoints against each other over a network that loses, doubles, delays and reorders, on simulated time.
//!
//! A seed decides everything, so a failure is replayed by its number.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sip::digest::Algorithm;
use sip::{AuthOutcome, CallHandle, Credentials, Endpoint, Event, InviteRequest, Source, Transmit};

use crate::harness::{LONG, config, some_instant};

/// The caller, and what it calls: the fork sends an INVITE on to both callees.
const CALLER: &str = "10.0.0.1:5060";
const FORK: &str = "10.0.0.9:5060";
const CALLEES: [&str; 2] = ["10.0.0.2:5060", "10.0.0.3:5060"];
const CALLS: usize = 6;
/// No call rings or lasts longer, so that every run comes to an end even if a BYE is lost for good.
const LIMIT: Duration = Duration::from_secs(90);

struct Node {
    endpoint: Endpoint,
    address: SocketAddr,
    /// What became of each call: the number of its terminal events.
    calls: BTreeMap<CallHandle, u32>,
    answered: u32,
}

/// What happens later: a packet arrives, or an owner does something.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Packet { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Invite,
    Ring { node: usize, call: CallHandle },
    Accept { node: usize, call: CallHandle },
    Reject { node: usize, call: CallHandle },
    HangUp { node: usize, call: CallHandle },
}

struct World {
    rng: StdRng,
    start: Instant,
    now: Instant,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Instant, u64, Later)>>,
    sequence: u64,
    loss: f64,
    doubling: f64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = some_instant();
        let node = |(at, address): (usize, &str)| Node {
            endpoint: Endpoint::new(config(address, 100), seed * 10 + at as u64),
            address: address.parse().unwrap(),
            calls: BTreeMap::new(),
            answered: 0,
        };
        let bad = rng.random_range(0..4);
        World {
            loss: [0.0, 0.05, 0.2, 0.4][bad],
            doubling: [0.0, 0.1, 0.2, 0.3][rng.random_range(0..4)],
            rng,
            start,
            now: start,
            nodes: [CALLER, CALLEES[0], CALLEES[1]].into_iter().enumerate().map(node).collect(),
            queue: BinaryHeap::new(),
            sequence: 0,
        }
    }

    fn later(&mut self, after: Duration, what: Later) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + after, self.sequence, what)));
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    fn run(&mut self) {
        for _ in 0..CALLS {
            let after = self.millis(0..5_000);
            self.later(after, Later::Invite);
        }
        loop {
            let timer = self.nodes.iter().filter_map(|node| node.endpoint.poll_timeout()).min();
            let event = self.queue.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = timer.into_iter().chain(event).min() else {
                break;
            };
            assert!(next - self.start < Duration::from_secs(3_600), "never ends");
            self.now = self.now.max(next);
            if event == Some(next) {
                let Some(Reverse((_, _, what))) = self.queue.pop() else {
                    break;
                };
                self.happens(what);
            } else {
                let now = self.now;
                for node in &mut self.nodes {
                    node.endpoint.handle_timeout(now);
                }
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        for at in 0..self.nodes.len() {
            while let Some(transmit) = self.nodes[at].endpoint.poll_transmit() {
                self.carry(&transmit);
            }
            while let Some(event) = self.nodes[at].endpoint.poll_event() {
                self.on_event(at, event);
            }
        }
    }

    fn carry(&mut self, transmit: &Transmit) {
        let fork: SocketAddr = FORK.parse().unwrap();
        let targets: Vec<SocketAddr> = if transmit.remote == fork {
            CALLEES.iter().map(|callee| callee.parse().unwrap()).collect()
        } else {
            vec![transmit.remote]
        };
        for to in targets {
            let copies = 1 + usize::from(self.rng.random_bool(self.doubling));
            for _ in 0..copies {
                if self.rng.random_bool(self.loss) {
                    continue;
                }
                // A wide spread reorders.
                let delay = self.millis(1..400);
                let packet = Later::Packet { from: transmit.local, to, bytes: transmit.bytes.clone() };
                self.later(delay, packet);
            }
        }
    }

    fn happens(&mut self, what: Later) {
        let now = self.now;
        let sdp = Bytes::from_static(b"v=0\r\n");
        match what {
            Later::Packet { from, to, bytes } => {
                let Some(node) = self.nodes.iter_mut().find(|node| node.address == to) else {
                    return;
                };
                let source = Source { transport: sip::Transport::Udp, local: to, remote: from };
                node.endpoint.handle_datagram(now, source, &bytes);
            }
            Later::Invite => self.place_call(),
            // The owner acts on what it last knew; the call may have ended since.
            Later::Ring { node, call } => drop(self.nodes[node].endpoint.ring(now, call, 180, None)),
            Later::Accept { node, call } => drop(self.nodes[node].endpoint.accept(now, call, sdp)),
            Later::Reject { node, call } => drop(self.nodes[node].endpoint.reject(now, call, 486, vec![])),
            Later::HangUp { node, call } => drop(self.nodes[node].endpoint.hang_up(now, call, None)),
        }
    }

    fn place_call(&mut self) {
        let target = [CALLEES[0], CALLEES[1], FORK][self.rng.random_range(0..3)];
        let request = InviteRequest {
            target: format!("sip:bot@{target}"),
            remote: target.parse().unwrap(),
            from_uri: "sip:alice@10.0.0.1".into(),
            from_display: None,
            to_uri: format!("sip:bot@{target}"),
            call_id: None,
            headers: vec![],
            sdp: Bytes::from_static(b"v=0\r\n"),
            credentials: self.rng.random_bool(0.8).then(|| Credentials {
                username: "alice".into(),
                password: "secret".into(),
                realm: None,
            }),
        };
        let call = self.nodes[0].endpoint.invite(self.now, request).unwrap();
        assert_eq!(self.nodes[0].calls.insert(call, 0), None);
        // At once, while it rings, around the answer, or when the call has lasted.
        let after = match self.rng.random_range(0..4) {
            0 => self.millis(0..300),
            1 => self.millis(300..4_000),
            2 => self.millis(2_000..12_000),
            _ => LIMIT,
        };
        self.later(after, Later::HangUp { node: 0, call });
        self.later(LIMIT, Later::HangUp { node: 0, call });
    }

    fn on_event(&mut self, node: usize, event: Event) {
        let call = event.call();
        if let Event::Incoming { .. } = &event {
            assert_eq!(self.nodes[node].calls.insert(call, 0), None, "a handle was used twice");
            self.on_incoming(node, call);
            return;
        }
        let state = &mut self.nodes[node];
        let terminal = state.calls.get_mut(&call).expect("an event of a call that we know");
        assert_eq!(*terminal, 0, "{event:?} after the end");
        if event.is_terminal() {
            *terminal += 1;
        }
        if matches!(event, Event::Answered { .. }) {
            state.answered += 1;
        }
    }

    fn on_incoming(&mut self, node: usize, call: CallHandle) {
        let endpoint = &mut self.nodes[node].endpoint;
        let wants_auth = self.rng.random_bool(0.5);
        if wants_auth && endpoint.verify(self.now, call, "alice", "secret") != Ok(AuthOutcome::Accepted) {
            endpoint.challenge(self.now, call, "sim", &[Algorithm::Sha256]).unwrap();
            return;
        }
        let answer = self.millis(0..8_000);
        if self.rng.random_bool(0.7) {
            let ring = self.millis(0..1_000);
            self.later(ring, Later::Ring { node, call });
        }
        match self.rng.random_range(0..10) {
            0 | 1 => self.later(answer, Later::Reject { node, call }),
            2 => {}
            _ => {
                self.later(answer, Later::Accept { node, call });
                if self.rng.random_bool(0.4) {
                    let talk = self.millis(0..10_000);
                    self.later(answer + talk, Later::HangUp { node, call });
                }
            }
        }
        self.later(LIMIT, Later::HangUp { node, call });
    }
}

#[test]
fn every_call_ends_once_and_nothing_is_left() {
    let (mut calls, mut answered) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.run();
        for node in &world.nodes {
            for (call, terminal) in &node.calls {
                assert_eq!(*terminal, 1, "seed {seed}: {call:?} at {}", node.address);
            }
            let stats = node.endpoint.stats();
            assert_eq!(
                (stats.calls_live, stats.dialogs_live, stats.transactions_live),
                (0, 0, 0),
                "seed {seed}: left behind at {}",
                node.address
            );
            assert!(stats.parse_errors.is_empty(), "seed {seed}: {:?}", stats.parse_errors);
            calls += node.calls.len();
            answered += node.answered;
        }
        assert!(world.now - world.start < LIMIT * 3 + LONG * 4, "seed {seed} took long");
    }
    // The net is bad, but it is a net: a good part of the calls must get through.
    assert!(calls > 2_000 && answered > 300, "{calls} calls, {answered} answered");
}

#[test]
fn a_good_network_has_no_timeouts() {
    for seed in 1_000..1_030 {
        let mut world = World::new(seed);
        (world.loss, world.doubling) = (0.0, 0.0);
        world.run();
        let sent_again: u64 = world.nodes.iter().map(|node| node.endpoint.stats().retransmissions).sum();
        // Only a late answer (the round trip is up to 0.8 s) and an unheard fork make anyone repeat a message.
        assert!(sent_again < 400, "seed {seed}: {sent_again}");
    }
}

#[test]
fn the_same_seed_plays_the_same_game() {
    let play = |seed| {
        let mut world = World::new(seed);
        world.run();
        (world.sequence, world.now - world.start)
    };
    assert_eq!(play(42), play(42));
    assert_ne!(play(42), play(43));
}
