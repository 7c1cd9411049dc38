//! API keys.

use domain::api_key::{ApiKeyRow, BotScope, Role, mint};
use domain::ids::{BotId, KeyId};
use infra::clock::OsEntropy;

use crate::world::{at, run};

pub(crate) fn row(bots: BotScope) -> ApiKeyRow {
    let minted = mint(&OsEntropy);
    ApiKeyRow {
        key_hash: minted.hash,
        key_id: KeyId::parse("k-1").unwrap(),
        prefix: minted.prefix,
        name: "crm".into(),
        role: Role::Client,
        bots,
        active: true,
        expires_at: None,
        created_at: at(0),
        last_used_at: None,
    }
}

#[test]
fn keys_are_found_by_hash_and_created_once() {
    run(async |world| {
        let keys = &world.stores.api_keys;
        let all = row(BotScope::All);
        let some = ApiKeyRow {
            expires_at: Some(at(9)),
            role: Role::Admin,
            ..row(BotScope::Only(vec![BotId::parse("b").unwrap()]))
        };
        let none = row(BotScope::Only(Vec::new()));
        for row in [&all, &some, &none] {
            assert_eq!(keys.get(&row.key_hash).await.unwrap(), None);
            assert!(keys.create(row).await.unwrap());
            assert!(!keys.create(&ApiKeyRow { name: "other".into(), ..row.clone() }).await.unwrap());
            assert_eq!(keys.get(&row.key_hash).await.unwrap().as_ref(), Some(row));
        }
        let listed = keys.list().await.unwrap();
        assert!([all, some, none].iter().all(|row| listed.contains(row)));
    });
}

#[test]
fn a_use_is_noted_when_the_last_one_is_long_ago() {
    run(async |world| {
        let keys = &world.stores.api_keys;
        let row = row(BotScope::All);
        keys.create(&row).await.unwrap();
        let check = async |used: i64, not_since: i64, expect: i64| {
            keys.touch(&row.key_hash, at(used), at(not_since)).await.unwrap();
            assert_eq!(
                keys.get(&row.key_hash).await.unwrap().unwrap().last_used_at,
                Some(at(expect)),
                "used at {used}"
            );
        };
        check(100, 0, 100).await;
        check(200, 50, 100).await;
        check(300, 100, 300).await;
        let stranger = mint(&OsEntropy).hash;
        keys.touch(&stranger, at(1), at(0)).await.unwrap();
        assert_eq!(keys.get(&stranger).await.unwrap(), None, "a use makes no key");
    });
}
