//! Spend: ceilings that a crowd cannot break, and holds that end once.

use std::time::Duration;

use domain::money::Money;
use domain::ports::{Entropy, Owned};
use domain::spend::{Account, Hold, Price, Reserved, Spender};
use futures_util::future::join_all;
use infra::clock::OsEntropy;

use crate::world::{at, new_call_id, run};

fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

fn account(spender: Spender, ceiling: &str) -> Account {
    Account {
        spender,
        id: format!("s-{:08x}", OsEntropy.dice()),
        day: at(0).to_zoned(jiff::tz::TimeZone::UTC).date(),
        ceiling: money(ceiling),
        resets_at: at(86_400),
    }
}

fn hold(accounts: &[&Account], reserved: &str, due: i64) -> Hold {
    Hold {
        call_id: new_call_id(),
        accounts: accounts.iter().map(|account| (*account).clone()).collect(),
        reserved: money(reserved),
        price: Price { per_minute: money(reserved), per_call: Money::ZERO },
        due_at: at(due),
    }
}

#[test]
fn all_accounts_or_none() {
    run(async |world| {
        let spend = &world.stores.spend;
        let (bot, trunk) = (account(Spender::Bot, "10"), account(Spender::Trunk, "1.5"));
        let spent = async |account: &Account| spend.spent(account).await.unwrap().to_string();
        assert_eq!(spent(&bot).await, "0");
        let first = hold(&[&bot, &trunk], "0.8", 60);
        assert_eq!(spend.reserve(&first).await.unwrap(), Reserved::Held);
        assert_eq!(spend.reserve(&first).await.unwrap(), Reserved::Held, "the same call again");
        let second = hold(&[&bot, &trunk], "0.8", 60);
        assert_eq!(spend.reserve(&second).await.unwrap(), Reserved::Over(trunk.clone()));
        assert_eq!((spent(&bot).await, spent(&trunk).await), ("0.8".into(), "0.8".into()));
        assert_eq!(spend.reserve(&hold(&[&bot], "10.1", 60)).await.unwrap(), Reserved::Over(bot.clone()));
        assert_eq!(spend.reserve(&hold(&[&trunk], "0.7", 60)).await.unwrap(), Reserved::Held, "up to the ceiling");

        assert_eq!(spend.held(first.call_id).await.unwrap(), Some(first.clone()));
        assert_eq!(spend.settle(&first, money("0.3")).await.unwrap(), Owned::Written);
        assert_eq!(spend.settle(&first, money("0.3")).await.unwrap(), Owned::Lost, "once");
        assert_eq!((spent(&bot).await, spent(&trunk).await), ("0.3".into(), "1".into()));
        assert_eq!(spend.held(first.call_id).await.unwrap(), None);
        // What a call cost in the end may go over.
        let long = hold(&[&bot], "1", 60);
        assert_eq!(spend.reserve(&long).await.unwrap(), Reserved::Held);
        assert_eq!(spend.settle(&long, money("20")).await.unwrap(), Owned::Written);
        assert_eq!(spent(&bot).await, "20.3");
        assert_eq!(spend.reserve(&hold(&[&bot], "0.1", 60)).await.unwrap(), Reserved::Over(bot.clone()));
    });
}

#[test]
fn a_crowd_stays_below_the_ceiling() {
    run(async |world| {
        let spend = &world.stores.spend;
        let bot = account(Spender::Bot, "7");
        let holds: Vec<Hold> = (0..30).map(|_| hold(&[&bot], "1", 60)).collect();
        let answers = join_all(holds.iter().map(|hold| spend.reserve(hold))).await;
        let held = answers.into_iter().filter(|answer| matches!(answer, Ok(Reserved::Held))).count();
        assert_eq!(held, 7);
        assert_eq!(spend.spent(&bot).await.unwrap(), money("7"));
    });
}

#[test]
fn holds_are_found_when_they_are_due() {
    run(async |world| {
        let spend = &world.stores.spend;
        let bot = account(Spender::Bot, "7");
        let (early, late) = (hold(&[&bot], "1", 10), hold(&[&bot], "1", 500));
        for hold in [&early, &late] {
            assert_eq!(spend.reserve(hold).await.unwrap(), Reserved::Held);
        }
        let due = async || spend.due(at(10), 1000).await.unwrap();
        // The index follows its table a moment later.
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            while !due().await.contains(&early.call_id) {
                tokio::task::yield_now().await;
            }
        });
        found.await.unwrap();
        assert!(!due().await.contains(&late.call_id));
        assert_eq!(spend.settle(&early, Money::ZERO).await.unwrap(), Owned::Written);
    });
}
