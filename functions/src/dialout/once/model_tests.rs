//! Whatever dies, hangs, fills up or comes late, in whatever order: one key is at most one call, and one answer.

use std::time::Duration;

use domain::fleet::Refusal as ServerRefusal;
use domain::ids::CallId;
use futures_util::future::join_all;
use proptest::prelude::*;

use super::super::tests::world;
use super::tests::{advance, call_ids, placed};
use crate::testing::{Act, World};

/// What may happen, one after the other.
#[derive(Debug, Clone)]
enum Step {
    /// So many requests at once, each dying after so many milliseconds.
    Ask(Vec<u64>),
    /// What servers do with the next offers.
    Script(&'static str, Act),
    /// What both do from now on, each for two offers; what was scripted before is forgotten.
    Both(Act),
    Break(&'static str),
    Mend,
    Seconds(u64),
    /// A server takes what it was asked long ago.
    Late,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Accept),
        Just(Act::TakeSilently),
        Just(Act::Silent),
        Just(Act::Unreachable),
        Just(Act::Status(500)),
        Just(Act::Refuse(ServerRefusal::Full)),
        Just(Act::Refuse(ServerRefusal::NotReady)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let dies_after = prop_oneof![Just(60_000), Just(1_000), 0..9_000_u64];
    prop_oneof![
        4 => prop::collection::vec(dies_after, 1..5).prop_map(Step::Ask),
        4 => (prop_oneof![Just("a"), Just("e")], act()).prop_map(|(server, act)| Step::Script(server, act)),
        4 => prop_oneof![act(), Just(Act::Silent), Just(Act::Refuse(ServerRefusal::Full))].prop_map(Step::Both),
        1 => prop_oneof![Just("fence"), Just("let_go"), Just("call")].prop_map(Step::Break),
        2 => Just(Step::Mend),
        3 => prop_oneof![Just(36), 1..40_u64].prop_map(Step::Seconds),
        2 => Just(Step::Late),
    ]
}

fn pass(world: &World, by: Duration) {
    advance(world, by);
    world.server("e", |_| ());
}

/// The call ids of those that were answered with 200.
async fn ask(world: &World, dying: &[u64]) -> Vec<CallId> {
    let asked = dying.iter().map(|after| tokio::time::timeout(Duration::from_millis(*after), placed(world, "K1")));
    join_all(asked).await.into_iter().flatten().filter_map(|answer| Some(answer.ok()?.call_id)).collect()
}

async fn take_late(world: &World) {
    let Some((server, command)) = world.outside.lock().pending.pop() else { return };
    let scripted = world.outside.lock().acts.remove(server.server_id.as_str());
    let _ = world.platform().outside.fleet.dial(&server, &command, Duration::ZERO).await;
    if let Some(acts) = scripted {
        world.outside.lock().acts.insert(server.server_id.to_string(), acts);
    }
}

async fn play(steps: &[Step]) {
    let world = world();
    pass(&world, Duration::ZERO);
    let mut answered = Vec::new();
    for step in steps {
        match step {
            Step::Ask(dying) => answered.extend(ask(&world, dying).await),
            Step::Script(server, act) => world.script(server, &[*act]),
            Step::Both(act) => {
                world.outside.lock().acts.clear();
                for server in ["a", "e"] {
                    world.script(server, &[*act; 2]);
                }
            }
            Step::Break(operation) => world.tables.lock().broken.push(operation),
            Step::Mend => world.tables.lock().broken.clear(),
            Step::Seconds(seconds) => pass(&world, Duration::from_secs(*seconds)),
            Step::Late => take_late(&world).await,
        }
        assert!(call_ids(&world).len() <= 1, "two calls of one key");
    }
    // Once all is well again, the key has its call, and its answer is the one that was given before.
    world.tables.lock().broken.clear();
    world.outside.lock().acts.clear();
    pass(&world, Duration::from_secs(36));
    let last = ask(&world, &[60_000, 60_000]).await;
    while !world.outside.lock().pending.is_empty() {
        take_late(&world).await;
    }
    assert_eq!((last.len(), call_ids(&world)), (2, vec![last[0]]));
    answered.extend(last);
    assert!(answered.iter().all(|id| *id == answered[0]), "two answers of one key");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_key_is_one_call_and_one_answer(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(&steps));
    }
}
