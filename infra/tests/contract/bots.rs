//! Bots and their versions.

use domain::bot::Bot;
use domain::ids::{BotId, TrunkId};
use domain::ports::{Deletion, Entropy, Put, StoreError};
use domain::trunk::Trunk;
use futures_util::future::join_all;
use infra::clock::OsEntropy;
use serde_json::json;

use crate::world::{new_bot_id, run};

pub(crate) fn bot(id: &BotId, version: u64, numbers: &[String]) -> Bot {
    let mut bot: Bot = serde_json::from_value(json!({
        "bot_id": id,
        "name": "Collections",
        "silence": {"prompt_after_seconds": 7.25, "prompts": [], "hangup_after_seconds": 10.0},
        "push": {"url": "https://crm.example.com", "key_mapper": {"z": "{{crm.name}}", "a": [1.5, null, true, {"y": 1, "b": ""}], "m": {}}},
        "outcome_map": {"RNR": "NO_ANSWER"},
    }))
    .unwrap();
    bot.version = version;
    bot.numbers = numbers.to_vec();
    bot
}

pub(crate) fn numbers(count: usize) -> Vec<String> {
    let base = u64::from(OsEntropy.dice());
    (0..count as u64).map(|index| format!("+91{:011}", base * 10_000 % 99_999_990_000 + index)).collect()
}

#[test]
fn bots_are_replaced_at_the_version_that_was_read() {
    run(async |world| {
        let bots = &world.stores.bots;
        let id = new_bot_id("bot");
        let put = async |version, replaces| bots.put(&bot(&id, version, &[]), replaces).await.unwrap();
        assert_eq!(bots.get(&id).await.unwrap(), None);
        assert_eq!(put(2, Some(1)).await, Put::Conflict, "nothing to replace");
        assert_eq!(put(1, None).await, Put::Stored);
        assert_eq!(put(1, None).await, Put::Conflict, "there is one");
        assert_eq!(put(2, Some(1)).await, Put::Stored);
        assert_eq!(put(2, Some(1)).await, Put::Conflict, "replaced meanwhile");
        let renamed = Bot { name: "Renamed".into(), ..bot(&id, 3, &[]) };
        assert_eq!(bots.put(&renamed, Some(2)).await.unwrap(), Put::Stored);

        assert_eq!(bots.get(&id).await.unwrap().as_ref(), Some(&renamed));
        assert_eq!(bots.version(&id, 1).await.unwrap(), Some(bot(&id, 1, &[])));
        assert_eq!(bots.version(&id, 3).await.unwrap().as_ref(), Some(&renamed));
        assert_eq!(bots.version(&id, 4).await.unwrap(), None);
        assert!(bots.list().await.unwrap().contains(&renamed));

        assert_eq!(bots.delete(&id, Some(2)).await.unwrap(), Deletion::Conflict);
        assert_eq!(bots.delete(&id, Some(3)).await.unwrap(), Deletion::Deleted);
        assert_eq!(bots.delete(&id, Some(3)).await.unwrap(), Deletion::Missing);
        assert_eq!(bots.get(&id).await.unwrap(), None);
        assert_eq!(bots.version(&id, 3).await.unwrap(), Some(renamed), "a call may still run on it");
    });
}

#[test]
fn versions_are_listed_newest_first_and_by_the_page() {
    run(async |world| {
        let bots = &world.stores.bots;
        let (id, other) = (new_bot_id("bot"), new_bot_id("other"));
        bots.put(&bot(&other, 1, &[]), None).await.unwrap();
        for version in 1..=5 {
            bots.put(&bot(&id, version, &[]), (version > 1).then(|| version - 1)).await.unwrap();
        }
        let check = async |before: Option<u64>, limit: u32, expect: &[u64]| {
            let found = bots.versions(&id, before, limit).await.unwrap();
            assert_eq!(found.iter().map(|bot| bot.version).collect::<Vec<_>>(), expect, "{before:?} {limit}");
            assert!(found.iter().all(|found| *found == bot(&id, found.version, &[])));
        };
        check(None, 10, &[5, 4, 3, 2, 1]).await;
        check(None, 2, &[5, 4]).await;
        check(Some(4), 2, &[3, 2]).await;
        check(Some(2), 2, &[1]).await;
        check(Some(1), 2, &[]).await;
        bots.delete(&id, None).await.unwrap();
        check(None, 1, &[5]).await;
        assert_eq!(bots.versions(&new_bot_id("none"), None, 5).await.unwrap(), []);
    });
}

#[test]
fn a_bot_keeps_the_order_of_its_key_mapper() {
    run(async |world| {
        let bots = &world.stores.bots;
        let id = new_bot_id("bot");
        bots.put(&bot(&id, 1, &[]), None).await.unwrap();
        let mapper = bots.get(&id).await.unwrap().unwrap().push.unwrap().key_mapper;
        assert_eq!(mapper.to_string(), r#"{"z":"{{crm.name}}","a":[1.5,null,true,{"y":1,"b":""}],"m":{}}"#);
    });
}

#[test]
fn a_number_belongs_to_one_bot() {
    run(async |world| {
        let bots = &world.stores.bots;
        let (first, second) = (new_bot_id("first"), new_bot_id("second"));
        let n = numbers(3);
        let put = async |id: &BotId, version: u64, numbers: &[String]| {
            bots.put(&bot(id, version, numbers), (version > 1).then(|| version - 1)).await.unwrap()
        };
        let taken = |number: &String, by: &BotId| Put::NumberTaken { number: number.clone(), by: by.clone() };
        let owner = async |number: &String| bots.by_number(number).await.unwrap();

        assert_eq!(put(&first, 1, &n[..2]).await, Put::Stored);
        assert_eq!(put(&second, 1, &n[1..]).await, taken(&n[1], &first));
        assert_eq!(owner(&n[2]).await, None, "a refused bot claims nothing");
        assert_eq!(bots.get(&second).await.unwrap(), None);
        assert_eq!(put(&second, 1, &n[2..]).await, Put::Stored);
        assert_eq!(put(&second, 2, &n[1..]).await, taken(&n[1], &first));
        assert_eq!(bots.get(&second).await.unwrap().unwrap().version, 1);

        assert_eq!(put(&first, 2, &n[..1]).await, Put::Stored, "frees the second number");
        assert_eq!((owner(&n[0]).await, owner(&n[1]).await), (Some(first.clone()), None));
        assert_eq!(put(&second, 2, &n[1..]).await, Put::Stored);
        assert_eq!(owner(&n[1]).await, Some(second.clone()));

        assert_eq!(bots.delete(&second, None).await.unwrap(), Deletion::Deleted);
        assert_eq!((owner(&n[0]).await, owner(&n[1]).await, owner(&n[2]).await), (Some(first), None, None));
    });
}

#[test]
fn of_ten_bots_that_want_a_number_one_gets_it() {
    run(async |world| {
        let bots = &world.stores.bots;
        let n = numbers(1);
        let ids: Vec<BotId> = (0..10).map(|_| new_bot_id("rival")).collect();
        let rivals: Vec<Bot> = ids.iter().map(|id| bot(id, 1, &n)).collect();
        let said: Vec<Put> =
            join_all(rivals.iter().map(|bot| bots.put(bot, None))).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<&BotId> =
            ids.iter().zip(&said).filter(|(_, said)| **said == Put::Stored).map(|(id, _)| id).collect();
        assert_eq!(winners.len(), 1, "{said:?}");
        assert_eq!(bots.by_number(&n[0]).await.unwrap().as_ref(), Some(winners[0]));
    });
}

#[test]
fn a_bot_has_as_many_numbers_as_fit_a_transaction() {
    run(async |world| {
        let bots = &world.stores.bots;
        let id = new_bot_id("bot");
        let n = numbers(99);
        assert!(matches!(bots.put(&bot(&id, 1, &n), None).await, Err(StoreError::Refused { .. })));
        assert_eq!(bots.put(&bot(&id, 1, &n[..98]), None).await.unwrap(), Put::Stored);
        assert_eq!(bots.put(&bot(&id, 2, &n[1..]), Some(1)).await.unwrap(), Put::Stored, "one goes, one comes");
        assert_eq!(bots.delete(&id, None).await.unwrap(), Deletion::Deleted);
        assert_eq!(bots.by_number(&n[50]).await.unwrap(), None);
    });
}

#[test]
fn trunks_are_replaced_at_the_version_that_was_read() {
    run(async |world| {
        let trunks = &world.stores.trunks;
        let id = TrunkId::parse(format!("trunk-{:08x}", OsEntropy.dice())).unwrap();
        let trunk = |version: u64| -> Trunk {
            let headers = json!({"X-B": "1", "X-A": "2"});
            let wire = json!({"trunk_id": id, "version": version, "name": "n", "host": "sip.example.com", "default_number": "+911234567890", "max_cps": 0.5, "headers": headers});
            serde_json::from_value(wire).unwrap()
        };
        let put = async |version, replaces| trunks.put(&trunk(version), replaces).await.unwrap();
        assert_eq!(trunks.get(&id).await.unwrap(), None);
        assert_eq!(put(1, Some(0)).await, Put::Conflict);
        assert_eq!(put(1, None).await, Put::Stored);
        assert_eq!(put(1, None).await, Put::Conflict);
        assert_eq!(put(2, Some(1)).await, Put::Stored);
        assert_eq!(put(2, Some(1)).await, Put::Conflict);
        assert_eq!(trunks.get(&id).await.unwrap(), Some(trunk(2)));
        assert!(trunks.list().await.unwrap().contains(&trunk(2)));
        assert_eq!(trunks.delete(&id, Some(1)).await.unwrap(), Deletion::Conflict);
        assert_eq!(trunks.delete(&id, Some(2)).await.unwrap(), Deletion::Deleted);
        for version in [Some(2), None] {
            assert_eq!(trunks.delete(&id, version).await.unwrap(), Deletion::Missing);
        }
        put(1, None).await;
        assert_eq!(trunks.delete(&id, None).await.unwrap(), Deletion::Deleted);
    });
}
