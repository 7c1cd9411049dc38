//! The delivery state machine under random operations: workers that begin, answer, stall and die, a clock that jumps,
//! sweeps, resends, and bots that are replaced. What must hold, holds after each operation.

use std::collections::HashMap;
use std::time::Duration;

use domain::delivery::{Channel, DeliveryRow, DeliveryState, Schedule};
use domain::endpoint::{Breaker, BreakerRules, EndpointId};
use domain::ids::CallId;
use domain::ports::{OutboundAnswer, OutboundError};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::deliver::{Running, begin, conclude, exchange};
use super::resend::resend;
use super::tests::{analysed, bot, run, world};
use crate::sweep;
use crate::testing::{World, answer, status};

type Key = (CallId, Channel);

const CALLS: usize = 3;
/// No honest run needs as many steps to come to its end.
const STEPS_TO_THE_END: usize = 400;

#[derive(Debug, Clone)]
enum Op {
    /// A worker takes a message for this delivery.
    Begin(Index),
    /// The endpoint answers one of the workers.
    Answer(Index, Reply),
    /// One of the workers is gone, whatever the endpoint made of its request.
    Die(Index),
    Advance(u64),
    Sweep,
    Resend(Index),
    /// An admin replaces the bot.
    Replace,
}

#[derive(Debug, Clone, Copy)]
enum Reply {
    Taken,
    Failing,
    BadRequest,
    Redirect,
    Gone,
    Later(u64),
    Silence,
    Blocked,
}

impl Reply {
    fn answer(self) -> Result<OutboundAnswer, OutboundError> {
        match self {
            Self::Taken => status(204),
            Self::Failing => status(500),
            Self::BadRequest => status(400),
            Self::Redirect => answer(302, &[("location", "https://elsewhere.example.com/")], b""),
            Self::Gone => status(410),
            Self::Later(seconds) => answer(429, &[("retry-after", &seconds.to_string())], b""),
            Self::Silence => Err(OutboundError::Timeout),
            Self::Blocked => Err(OutboundError::Blocked("private".into())),
        }
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => Just(Reply::Taken),
        3 => Just(Reply::Failing),
        2 => Just(Reply::Silence),
        2 => Just(Reply::Gone),
        1 => Just(Reply::BadRequest),
        1 => Just(Reply::Redirect),
        1 => Just(Reply::Blocked),
        1 => prop_oneof![Just(5), Just(120), Just(u64::MAX)].prop_map(Reply::Later),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<Index>().prop_map(Op::Begin),
        7 => (any::<Index>(), reply()).prop_map(|(worker, reply)| Op::Answer(worker, reply)),
        1 => any::<Index>().prop_map(Op::Die),
        5 => prop_oneof![1_u64..10, Just(31), Just(400), Just(4000), Just(90_000)].prop_map(Op::Advance),
        1 => Just(Op::Sweep),
        1 => any::<Index>().prop_map(Op::Resend),
        1 => Just(Op::Replace),
    ]
}

/// A worker at its try, and until when the delivery is its own.
struct Worker {
    key: Key,
    number: u32,
    lease: Timestamp,
    running: Running,
}

struct Model {
    world: World,
    keys: Vec<Key>,
    workers: Vec<Worker>,
    /// What each delivery sent first; every other try must send the same.
    first: HashMap<Key, (String, Vec<u8>)>,
    delivered: HashMap<Key, Timestamp>,
    version: u64,
}

impl Model {
    async fn new() -> Self {
        let world = world();
        world.set(|settings| {
            settings.schedule = Schedule { delays: [5, 60, 600].map(Duration::from_secs).to_vec(), jitter_percent: 20 };
            settings.breaker = BreakerRules { after: 2, ..BreakerRules::default() };
        });
        let mut keys = Vec::new();
        for _ in 0..CALLS {
            let call = analysed(&world, |_| ());
            run(&world, &call, None).await;
            keys.extend(Channel::ALL.iter().map(|channel| (call.call_id, *channel)));
        }
        Self { world, keys, workers: Vec::new(), first: HashMap::new(), delivered: HashMap::new(), version: 1 }
    }

    fn row(&self, key: Key) -> DeliveryRow {
        self.world.delivery_row(key.0, key.1).unwrap()
    }

    async fn act(&mut self, op: &Op) {
        match op {
            Op::Begin(which) => self.begin(*which.get(&self.keys)).await,
            Op::Answer(which, reply) if !self.workers.is_empty() => {
                let worker = self.workers.remove(which.index(self.workers.len()));
                self.answer(worker, *reply).await;
            }
            Op::Die(which) if !self.workers.is_empty() => {
                self.workers.remove(which.index(self.workers.len()));
            }
            Op::Answer(..) | Op::Die(_) => {}
            Op::Advance(seconds) => self.world.advance(Duration::from_secs(*seconds)),
            Op::Sweep => drop(sweep::pass(&self.world.desk()).await.unwrap()),
            Op::Resend(which) => self.resend(*which.get(&self.keys)).await,
            Op::Replace => {
                self.version += 1;
                let mut replaced = bot(&self.world);
                replaced["version"] = json!(self.version);
                self.world.bot("bot", replaced);
            }
        }
        self.check().await;
    }

    async fn begin(&mut self, key: Key) {
        let now = self.world.now();
        let before = self.row(key);
        let breaker = self.breaker(&before);
        let Some(running) = begin(&self.world.desk(), key.0, key.1).await.unwrap() else { return };
        assert!(before.state == DeliveryState::Pending && before.due_at <= now, "a try of {before:?}");
        let held = self.workers.iter().any(|other| other.key == key && other.lease > now);
        assert!(!held, "two workers at {key:?}");
        if let Some(Breaker::Open { until, .. } | Breaker::HalfOpen { until, .. }) = breaker {
            assert!(until <= now, "a try against {breaker:?}");
            assert!(
                matches!(self.breaker(&before), Some(Breaker::HalfOpen { until, .. }) if until > now),
                "a probe shuts the others out"
            );
        }
        let row = self.row(key);
        assert_eq!((row.tries, row.running), (before.tries + 1, Some(row.tries)));
        self.workers.push(Worker { key, number: row.tries, lease: row.due_at, running });
    }

    async fn answer(&mut self, worker: Worker, reply: Reply) {
        let before = self.row(worker.key);
        self.world.outbound([reply.answer()]);
        let outcome = exchange(&self.world.desk(), &worker.running).await;
        for request in self.world.requests() {
            let id = request.headers["webhook-id"].to_str().unwrap().to_owned();
            let sent = (id, request.body.to_vec());
            assert_eq!(*self.first.entry(worker.key).or_insert_with(|| sent.clone()), sent, "the bytes changed");
        }
        conclude(&self.world.desk(), worker.running, outcome).await.unwrap();
        let after = self.row(worker.key);
        if before.running == Some(worker.number) {
            assert_eq!(after.running, None, "its own try ends as it says, however late");
        } else {
            assert!(worker.lease <= self.world.now(), "a try was taken away before its lease ended");
            assert_eq!(after, before, "a try that was taken away changes nothing");
        }
    }

    async fn resend(&mut self, key: Key) {
        let call = self.world.row(key.0);
        let before = self.row(key);
        let report = resend(&self.world.desk(), &call, Some(key.1)).await.unwrap();
        assert_eq!(report.resent.len() + report.refused.len(), 1);
        if report.resent.is_empty() {
            assert_eq!(self.row(key), before, "{report:?}");
        } else {
            let row = self.row(key);
            assert_eq!((row.state, row.tries_of_round(), row.due_at), (DeliveryState::Pending, 0, self.world.now()));
            assert_eq!(row.running, None, "whoever was at it has lost its try");
            assert_eq!((&row.webhook_id, &row.body_key), (&before.webhook_id, &before.body_key));
            self.delivered.remove(&key);
        }
    }

    fn breaker(&self, row: &DeliveryRow) -> Option<Breaker> {
        let key = (row.bot_id.clone(), EndpointId::of(row.channel, &row.url));
        self.world.tables.lock().endpoints.get(&key).map(|endpoint| endpoint.breaker)
    }

    async fn check(&mut self) {
        let platform = self.world.platform();
        let now = self.world.now();
        let mut due = platform.tables.deliveries.due(now, 1000).await.unwrap();
        due.sort();
        let mut expect = Vec::new();
        for key in self.keys.clone() {
            let row = self.row(key);
            assert!(row.tries_of_round() <= platform.settings.schedule.tries(), "{row:?}");
            assert_eq!(row.why.is_some(), row.state == DeliveryState::Dead, "{row:?}");
            match row.state {
                DeliveryState::Pending => {
                    assert!(!self.delivered.contains_key(&key), "delivered, and tried again");
                    if row.due_at <= now {
                        expect.push(key);
                    }
                }
                DeliveryState::Delivered => {
                    let at = row.delivered_at.expect("it says when");
                    assert_eq!(*self.delivered.entry(key).or_insert(at), at, "delivered twice");
                }
                DeliveryState::Dead => assert!(!self.delivered.contains_key(&key), "delivered, and dead"),
            }
        }
        expect.sort();
        assert_eq!(due, expect, "whatever is due is found, and nothing else");
    }

    /// Whatever happened: in the end each delivery is delivered or dead, by sweeps alone.
    async fn end(&mut self) {
        self.workers.clear();
        for _ in 0..STEPS_TO_THE_END {
            if self.keys.iter().all(|key| self.row(*key).state != DeliveryState::Pending) {
                return;
            }
            self.world.advance(Duration::from_secs(3600));
            for key in self.keys.clone() {
                self.begin(key).await;
                if let Some(worker) = self.workers.pop() {
                    self.answer(worker, Reply::Failing).await;
                }
            }
            self.act(&Op::Sweep).await;
        }
        panic!("pending for ever");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_delivery_keeps_its_rules(ops in proptest::collection::vec(op(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new().await;
            for op in &ops {
                model.act(op).await;
            }
            model.end().await;
        });
    }
}
