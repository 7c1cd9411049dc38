//! Admission: cases, crowds of threads, and a model that random histories are held against.

use domain::ids::Epoch;
use domain::share::TrunkLimits;
use proptest::prelude::*;

use super::*;

fn id() -> ServerId {
    ServerId::parse("a").unwrap()
}

fn trunk(name: &str) -> TrunkId {
    TrunkId::parse(name).unwrap()
}

fn row(name: &str, trunk_calls: BTreeMap<TrunkId, u32>) -> ServerRow {
    ServerRow {
        server_id: ServerId::parse(name).unwrap(),
        epoch: Epoch(1),
        address: "127.0.0.1:1".into(),
        ws_url: String::new(),
        sip: String::new(),
        group: None,
        calls: 0,
        max: 10,
        free: 10,
        trunk_calls,
        draining: false,
        version: "0".into(),
        heartbeat_at: Timestamp::UNIX_EPOCH,
    }
}

/// Ready, and alone in its fleet.
fn open(max: u32) -> Admission {
    let admission = Admission::new(max, id(), None);
    admission.set_ready(true);
    admission.observe(Instant::now(), &[row("a", BTreeMap::new())], &Rest::Nothing, Timestamp::UNIX_EPOCH);
    admission
}

fn at_most(trunk: &TrunkId, calls: u32) -> Over<'_> {
    Over { trunk, limits: TrunkLimits { calls: Some(calls), ..TrunkLimits::default() }, group: None }
}

#[test]
fn nobody_is_let_in_before_the_first_heartbeat_nor_while_draining() {
    let admission = Admission::new(1, id(), None);
    assert_eq!(admission.take(None).err(), Some(Refusal::NotReady));
    admission.set_ready(true);
    assert!(admission.take(None).is_ok());
    admission.drain();
    assert_eq!(admission.take(None).err(), Some(Refusal::Draining));
    assert_eq!(admission.load().free(), 0);
}

#[test]
fn nobody_is_let_in_without_a_heartbeat_for_ten_seconds() {
    let before = Instant::now();
    let admission = open(2);
    let heard = Instant::now();
    assert!(admission.take_at(before + SILENCE_LIMIT, None).is_ok());
    // Nobody said anything in between: a process that was stopped finds the same.
    let late = heard + SILENCE_LIMIT + std::time::Duration::from_millis(100);
    assert_eq!(admission.take_at(late, None).err(), Some(Refusal::NotReady));
    admission.set_ready(true);
    assert!(admission.take(None).is_ok());
}

#[test]
fn a_drained_server_opens_again_and_an_ending_one_never() {
    let admission = open(2);
    let live = admission.take(None).unwrap();
    for _ in 0..2 {
        admission.drain();
        assert_eq!((admission.load().draining, admission.load().calls), (true, 1), "live calls go on");
    }
    assert!(admission.resume() && admission.resume());
    assert!(admission.take(None).is_ok());
    admission.end();
    assert!(!admission.resume());
    assert_eq!(admission.take(None).err(), Some(Refusal::Draining));
    drop(live);
    assert_eq!(admission.load().calls, 0);
}

#[test]
fn slots_are_exact_and_come_back() {
    let admission = open(2);
    let first = admission.take(None).unwrap();
    let second = admission.take(None).unwrap();
    assert_eq!(admission.take(None).err(), Some(Refusal::Full));
    drop(first);
    assert_eq!(admission.load().free(), 1);
    drop(second);
    assert_eq!(admission.load().free(), 2);
}

#[test]
fn a_trunk_has_a_limit_of_its_own() {
    let admission = open(10);
    let trunk = trunk("t");
    let held = admission.take(Some(&at_most(&trunk, 1))).unwrap();
    assert_eq!(admission.take(Some(&at_most(&trunk, 1))).err(), Some(Refusal::TrunkLimit));
    assert!(admission.take(None).is_ok());
    drop(held);
    assert!(admission.take(Some(&at_most(&trunk, 1))).is_ok());
    assert!(admission.load().trunk_calls.is_empty());
}

#[test]
fn a_limit_is_shared_with_those_who_are_seen() {
    let admission = open(10);
    let trunk = trunk("t");
    let both = [row("a", BTreeMap::new()), row("b", BTreeMap::new())];
    admission.observe(Instant::now(), &both, &Rest::Nothing, Timestamp::UNIX_EPOCH);
    let over = at_most(&trunk, 3);
    let held: Vec<Permit> = (0..2).map(|_| admission.take(Some(&over)).unwrap()).collect();
    assert_eq!(admission.take(Some(&over)).err(), Some(Refusal::TrunkLimit), "the third is the other's");
    drop(held);
    // A view that is too old is none.
    let late = Instant::now() + domain::share::VIEW_VALID + std::time::Duration::from_secs(1);
    admission.set_ready_at(late, true);
    assert_eq!(admission.take_at(late, Some(&over)).err(), Some(Refusal::TrunkLimit));
    assert!(admission.take_at(late, Some(&Over { limits: TrunkLimits::default(), ..over })).is_ok());
}

#[test]
fn concurrent_takers_never_get_more_than_there_is() {
    let admission = open(37);
    let taken = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..100).map(|_| scope.spawn(|| admission.take(None).ok())).collect();
        takers.into_iter().filter_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(taken.len(), 37);
}

/// Threads that take, hold and give back, while others look, drain and make it ready again: at no moment are there more
/// than there may be, and in the end nothing is left.
#[test]
fn a_crowd_that_comes_and_goes_leaves_nothing_behind() {
    const THREADS: usize = 8;
    let admission = open(5);
    let names = [trunk("t"), trunk("u")];
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (admission, name) = (&admission, &names[number % 2]);
            scope.spawn(move || {
                for _ in 0..500 {
                    let first = admission.take(Some(&at_most(name, 3)));
                    let second = admission.take(None);
                    drop(first);
                    std::thread::yield_now();
                    drop(second);
                }
            });
        }
        scope.spawn(|| {
            for round in 0..2000 {
                admission.set_ready(round % 7 != 0);
                let load = admission.load();
                assert!(load.calls <= load.max);
                assert!(load.trunk_calls.values().all(|held| (1..=3).contains(held)), "{load:?}");
                assert!(load.trunk_calls.values().sum::<u32>() <= load.calls, "{load:?}");
            }
        });
    });
    assert_eq!(admission.load(), Load { calls: 0, max: 5, draining: false, trunk_calls: BTreeMap::new() });
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Over no trunk, or over the first or second.
    Take(Option<usize>),
    /// The permit at this place among those held, counted round.
    GiveBack(usize),
    Ready(bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::of(0_usize..2).prop_map(Step::Take),
        6 => any::<usize>().prop_map(Step::GiveBack),
        2 => any::<bool>().prop_map(Step::Ready),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    /// The model is a list of who is inside.
    #[test]
    fn admission_is_a_list_of_who_is_inside(max in 0_u32..6, limit in 1_u32..4, steps in prop::collection::vec(step(), 0..120)) {
        let admission = Admission::new(max, id(), None);
        admission.observe(Instant::now(), &[row("a", BTreeMap::new())], &Rest::Nothing, Timestamp::UNIX_EPOCH);
        let names = [trunk("t"), trunk("u")];
        let (mut inside, mut ready, mut draining) = (Vec::<(Option<usize>, Permit)>::new(), false, false);
        for step in steps {
            match step {
                Step::Take(over) => {
                    let held = inside.iter().filter(|(of, _)| over.is_some() && *of == over).count();
                    let expect = match () {
                        () if draining => Err(Refusal::Draining),
                        () if !ready => Err(Refusal::NotReady),
                        () if inside.len() as u64 >= u64::from(max) => Err(Refusal::Full),
                        () if held as u64 >= u64::from(limit) => Err(Refusal::TrunkLimit),
                        () => Ok(()),
                    };
                    let over_trunk = over.map(|index| at_most(&names[index], limit));
                    let took = admission.take(over_trunk.as_ref());
                    prop_assert_eq!(took.as_ref().map(|_| ()).map_err(|refusal| *refusal), expect);
                    inside.extend(took.ok().map(|permit| (over, permit)));
                }
                Step::GiveBack(at) if !inside.is_empty() => drop(inside.swap_remove(at % inside.len())),
                Step::GiveBack(_) => {}
                Step::Ready(now) => {
                    admission.set_ready(now);
                    ready = now;
                }
                Step::Drain => {
                    admission.drain();
                    draining = true;
                }
            }
            let mut trunk_calls = BTreeMap::new();
            for index in inside.iter().filter_map(|(over, _)| *over) {
                *trunk_calls.entry(names[index].clone()).or_insert(0_u32) += 1;
            }
            let load = Load { calls: u32::try_from(inside.len()).unwrap(), max, draining, trunk_calls };
            prop_assert_eq!(&admission.load(), &load);
            let told = admission.watch().borrow().clone();
            prop_assert_eq!(told, load, "what the heartbeat sees");
        }
        inside.clear();
        prop_assert_eq!(admission.load().calls, 0);
    }
}
