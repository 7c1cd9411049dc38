//! API keys.

use domain::api_key::{ApiKeyRow, BotScope, Role, mint};
use domain::ids::{BotId, KeyId};
use domain::ports::KeyChange;
use futures_util::future::join_all;
use infra::clock::OsEntropy;

use crate::world::{at, run};

pub(crate) fn row(bots: BotScope) -> ApiKeyRow {
    let minted = mint(&OsEntropy);
    ApiKeyRow {
        key_hash: minted.hash,
        key_id: KeyId::parse("k-1").unwrap(),
        version: 1,
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

fn admin() -> ApiKeyRow {
    ApiKeyRow { role: Role::Admin, ..row(BotScope::All) }
}

#[test]
fn keys_are_changed_at_the_version_that_was_read_by_an_admin() {
    run(async |world| {
        let keys = &world.stores.api_keys;
        let (asking, key) = (admin(), row(BotScope::All));
        for row in [&asking, &key] {
            assert!(keys.create(row).await.unwrap());
        }
        let changed = |version: u64| ApiKeyRow {
            version,
            name: format!("v{version}"),
            bots: BotScope::Only(vec![BotId::parse("b").unwrap()]),
            expires_at: (version == 2).then(|| at(9)),
            ..key.clone()
        };
        let replace =
            async |version, replaces| keys.replace(&changed(version), replaces, &asking.key_hash).await.unwrap();
        assert_eq!(replace(3, 2).await, KeyChange::Conflict);
        assert_eq!(replace(2, 1).await, KeyChange::Done);
        assert_eq!(keys.get(&key.key_hash).await.unwrap(), Some(changed(2)));
        assert_eq!(replace(2, 1).await, KeyChange::Conflict);
        // A use in between is neither a conflict nor lost; an expiry can be taken away.
        keys.touch(&key.key_hash, at(5), at(0)).await.unwrap();
        assert_eq!(replace(3, 2).await, KeyChange::Done);
        let expect = ApiKeyRow { last_used_at: Some(at(5)), ..changed(3) };
        assert_eq!(keys.get(&key.key_hash).await.unwrap(), Some(expect));

        let delete = async |version| keys.delete(&key.key_hash, version, &asking.key_hash).await.unwrap();
        assert_eq!(delete(2).await, KeyChange::Conflict);
        assert_eq!(delete(3).await, KeyChange::Done);
        assert_eq!(delete(3).await, KeyChange::Conflict);
        assert_eq!(replace(4, 3).await, KeyChange::Conflict, "what is gone stays gone");
        assert_eq!(keys.get(&key.key_hash).await.unwrap(), None);
    });
}

#[test]
fn only_an_active_admin_changes_keys() {
    run(async |world| {
        let keys = &world.stores.api_keys;
        let key = row(BotScope::All);
        let client = row(BotScope::All);
        let revoked = ApiKeyRow { active: false, ..admin() };
        let stranger = admin();
        for row in [&key, &client, &revoked] {
            assert!(keys.create(row).await.unwrap());
        }
        for by in [&client, &revoked, &stranger, &key] {
            let change = ApiKeyRow { version: 2, name: "x".into(), ..key.clone() };
            assert_eq!(keys.replace(&change, 1, &by.key_hash).await.unwrap(), KeyChange::NotAdmin);
            assert_eq!(keys.delete(&key.key_hash, 1, &by.key_hash).await.unwrap(), KeyChange::NotAdmin);
        }
        assert_eq!(keys.get(&key.key_hash).await.unwrap().as_ref(), Some(&key));
        // An admin's own key: what is not its role.
        let own = admin();
        assert!(keys.create(&own).await.unwrap());
        let renamed = ApiKeyRow { version: 2, name: "mine".into(), ..own.clone() };
        assert_eq!(keys.replace(&renamed, 1, &own.key_hash).await.unwrap(), KeyChange::Done);
        assert_eq!(keys.replace(&renamed, 1, &own.key_hash).await.unwrap(), KeyChange::Conflict);
        assert_eq!(keys.get(&own.key_hash).await.unwrap(), Some(renamed));
    });
}

#[test]
fn of_admins_who_revoke_each_other_one_is_left() {
    run(async |world| {
        let keys = &world.stores.api_keys;
        let all: Vec<ApiKeyRow> = (0..4).map(|_| admin()).collect();
        for row in &all {
            assert!(keys.create(row).await.unwrap());
        }
        // Everybody revokes the next one, until nobody can any more.
        for _ in 0..all.len() {
            let turns = all.iter().enumerate().map(async |(index, by)| {
                let next = &all[(index + 1) % all.len()];
                let revoked = ApiKeyRow { version: 2, active: false, ..next.clone() };
                keys.replace(&revoked, 1, &by.key_hash).await
            });
            join_all(turns).await;
        }
        let mut active = 0;
        for row in &all {
            active += usize::from(keys.get(&row.key_hash).await.unwrap().unwrap().active);
        }
        assert!((1..all.len()).contains(&active), "{active} of {}", all.len());
    });
}
