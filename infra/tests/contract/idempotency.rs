//! Idempotency keys: one claim holds, holders let go of what is theirs only.

use std::sync::Arc;

use domain::idempotency::{BodyHash, Entry, LetGo, Progress, ScopedKey};
use domain::ids::KeyId;
use domain::ports::{Entropy, KeyClaim, Owned};
use futures_util::future::join_all;
use infra::clock::OsEntropy;

use crate::world::{at, new_call_id, run};

pub(crate) fn new_key() -> ScopedKey {
    let header = format!("{:08x}{:08x}", OsEntropy.dice(), OsEntropy.dice());
    ScopedKey::read(&KeyId::parse("k-1").unwrap(), [header.as_bytes()]).unwrap().unwrap()
}

pub(crate) fn entry(key: &ScopedKey) -> Entry {
    Entry::begin(key.clone(), BodyHash::of(b"{}"), new_call_id(), at(0))
}

#[test]
fn an_entry_is_read_as_it_was_put_and_put_once() {
    run(async |world| {
        let table = &world.stores.idempotency;
        let key = new_key();
        assert_eq!(table.get(&key).await.unwrap(), None);
        let first = entry(&key);
        assert_eq!(table.claim(&first, None).await.unwrap(), KeyClaim::Claimed);
        assert_eq!(table.get(&key).await.unwrap().as_ref(), Some(&first));
        assert_eq!(table.claim(&entry(&key), None).await.unwrap(), KeyClaim::Exists(first.clone()));
        assert_eq!(table.get(&key).await.unwrap(), Some(first));
    });
}

#[test]
fn of_a_hundred_claims_of_one_key_one_holds_and_the_rest_see_it() {
    run(async |world| {
        let key = new_key();
        let claims = (0..100).map(|_| {
            let (table, entry) = (Arc::clone(&world.stores.idempotency), entry(&key));
            tokio::spawn(async move { table.claim(&entry, None).await.unwrap() })
        });
        let claims: Vec<KeyClaim> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(claims.iter().filter(|claim| **claim == KeyClaim::Claimed).count(), 1);
        let winner = world.stores.idempotency.get(&key).await.unwrap().unwrap();
        assert!(claims.iter().all(|claim| *claim == KeyClaim::Claimed || *claim == KeyClaim::Exists(winner.clone())));
    });
}

#[test]
fn of_twenty_that_take_over_one_does() {
    run(async |world| {
        let table = &world.stores.idempotency;
        let first = entry(&new_key());
        table.claim(&first, None).await.unwrap();
        let second = first.resumed(at(40));
        let claims = join_all((0..20).map(|_| table.claim(&second, Some(&first)))).await;
        let held = claims.iter().filter(|claim| *claim.as_ref().unwrap() == KeyClaim::Claimed);
        assert_eq!(held.count(), 1);
        // Who held it before holds it no more.
        for how in [LetGo::Done, LetGo::Release, LetGo::GiveBack { at: at(41) }] {
            assert_eq!(table.let_go(&first, how).await.unwrap(), Owned::Lost, "{how:?}");
        }
        assert_eq!(table.get(&first.key).await.unwrap(), Some(second));
    });
}

#[test]
fn an_entry_is_taken_over_as_it_was_read() {
    run(async |world| {
        let table = &world.stores.idempotency;
        let check = async |over: &Entry, how: Option<LetGo>, expect: bool| {
            let first = Entry { call_id: over.call_id, ..entry(&new_key()) };
            table.claim(&first, None).await.unwrap();
            if let Some(how) = how {
                assert_eq!(table.let_go(&first, how).await.unwrap(), Owned::Written);
            }
            let next = entry(&first.key);
            let over = Entry { key: first.key.clone(), ..over.clone() };
            let claimed = table.claim(&next, Some(&over)).await.unwrap() == KeyClaim::Claimed;
            assert_eq!(claimed, expect, "{over:?} {how:?}");
        };
        let first = entry(&new_key());
        let done = first.let_go(LetGo::Done).unwrap();
        check(&first, None, true).await;
        check(&first, Some(LetGo::GiveBack { at: at(5) }), true).await;
        check(&first, Some(LetGo::Done), false).await;
        check(&first, Some(LetGo::Release), true).await;
        check(&done, Some(LetGo::Done), true).await;
        check(&done, None, false).await;
        check(&first.resumed(at(1)), None, false).await;
    });
}

#[test]
fn a_holder_lets_go() {
    run(async |world| {
        let table = &world.stores.idempotency;
        let check = async |how: LetGo, expect: &dyn Fn(&Entry) -> Option<Entry>| {
            let held = entry(&new_key());
            table.claim(&held, None).await.unwrap();
            assert_eq!(table.let_go(&held, how).await.unwrap(), Owned::Written, "{how:?}");
            assert_eq!(table.get(&held.key).await.unwrap(), expect(&held), "{how:?}");
        };
        check(LetGo::Release, &|_| None).await;
        check(LetGo::Done, &|held| Some(Entry { progress: Progress::Done, ..held.clone() })).await;
        check(LetGo::GiveBack { at: at(7) }, &|held| Some(Entry { lease_until: at(7), ..held.clone() })).await;
        // What is done stays done, and what is gone needs no release.
        let held = entry(&new_key());
        assert_eq!(table.let_go(&held, LetGo::Release).await.unwrap(), Owned::Written);
        assert_eq!(table.let_go(&held, LetGo::Done).await.unwrap(), Owned::Lost);
        table.claim(&held, None).await.unwrap();
        table.let_go(&held, LetGo::Done).await.unwrap();
        for how in [LetGo::Release, LetGo::GiveBack { at: at(8) }] {
            assert_eq!(table.let_go(&held, how).await.unwrap(), Owned::Lost, "{how:?}");
        }
        assert_eq!(table.get(&held.key).await.unwrap().unwrap().progress, Progress::Done);
    });
}
