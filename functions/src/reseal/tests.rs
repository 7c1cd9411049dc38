//! Secrets go over to the newest key, whatever happens meanwhile.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::api_key::Role;
use domain::bot::Bot;
use domain::ids::{BotId, TrunkId};
use domain::ports::{Seal, SealError, SealedCursor, SealedPlace};
use domain::secret::{ExposeSecret, Sealed, SecretString};
use serde_json::{Value, json};

use super::*;
use crate::platform::Platform;
use crate::testing::{World, request};

/// Keys by their ids; what they seal says which one did it, and for whom.
struct Keys(Vec<&'static str>);

impl Seal for Keys {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed {
        Sealed(format!("{}|{entity}|{}", self.0[0], STANDARD.encode(secret.expose_secret())))
    }

    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        let parts: Vec<&str> = sealed.0.split('|').collect();
        match parts[..] {
            [key, of, text] if self.0.contains(&key) && of == entity => {
                Ok(SecretString::from(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()))
            }
            _ => Err(SealError::Unopenable(entity.to_owned())),
        }
    }

    fn keys(&self) -> Vec<String> {
        self.0.iter().map(|key| (*key).to_owned()).collect()
    }

    fn key_of(&self, sealed: &Sealed) -> Option<String> {
        sealed.0.split_once('|').map(|(key, _)| key.to_owned())
    }
}

fn platform(world: &World, keys: &[&'static str]) -> Platform {
    let mut platform = world.platform();
    platform.outside.seal = Arc::new(Keys(keys.to_vec()));
    platform
}

fn sealed(key: &'static str, entity: &str, text: &str) -> String {
    Keys(vec![key]).seal(entity, &SecretString::from(text)).0
}

/// Two versions of a bot, a version of one that is gone, and a trunk: five secrets in six places.
fn world() -> World {
    let world = World::new();
    let secret = |text: &str| sealed("k1", "bot/b", text);
    world.bot(
        "b",
        json!({"push": {"url": "https://crm.example.com", "key_mapper": {"z": 1.50, "a": "{{crm.a}}"},
        "token": secret("token-1")}}),
    );
    world.bot(
        "b",
        json!({"version": 2, "webhook": {"url": "https://crm.example.com", "secret": secret("hook")},
        "llm": {"providers": [{"vendor": "script"}, {"vendor": "openai", "api_key": secret("model")}]}}),
    );
    world.bot(
        "gone",
        json!({"prefetch": {"url": "https://crm.example.com", "token": sealed("k1", "bot/gone", "fetch")}}),
    );
    world.tables.lock().bots.remove(&BotId::parse("gone").unwrap());
    world.trunk("t", json!({"password": sealed("k1", "trunk/t", "pa55")}));
    world
}

/// Everything that is sealed, opened by these keys; `?` where that fails.
fn opened(world: &World, keys: &[&'static str]) -> Vec<String> {
    let rows = world.tables.lock();
    let bots = rows
        .bots
        .values()
        .chain(rows.bot_versions.values())
        .map(|bot| (SealedPlace::Bot(bot.bot_id.clone()), json!(bot)));
    let trunks = rows.trunks.values().map(|trunk| (SealedPlace::Trunk(trunk.trunk_id.clone()), json!(trunk)));
    let mut found = Vec::new();
    for (place, mut document) in bots.chain(trunks) {
        for_each_secret(&mut document, place.pointers(), &mut |_, text| {
            let text = Sealed(text.as_str().unwrap().to_owned());
            let opened = Keys(keys.to_vec()).open(&place.entity(), &text);
            found.push(opened.map_or("?".to_owned(), |text| text.expose_secret().to_owned()));
        });
    }
    found
}

const ALL: [&str; 7] = ["hook", "model", "token-1", "hook", "model", "fetch", "pa55"];

async fn whole(platform: &Platform, dry_run: bool) -> Tally {
    let (tally, next) = pass(&platform.into(), dry_run, SealedCursor::default()).await.unwrap();
    assert_eq!(next, None);
    tally
}

fn with(keys: &[(&str, u64)]) -> BTreeMap<String, u64> {
    keys.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
}

#[tokio::test]
async fn every_secret_goes_over_to_the_newest_key() {
    let world = world();
    let before = world.tables.lock().bot_versions.clone();
    let both = platform(&world, &["k2", "k1"]);
    let dry = whole(&both, true).await;
    assert_eq!((dry.looked_at, dry.resealed, dry.sealed_with), (5, 0, with(&[("k1", 7)])));
    assert_eq!(opened(&world, &["k1"]), ALL, "a dry run leaves all as it is");

    let done = whole(&both, false).await;
    assert_eq!((done.resealed, done.changed, done.unopenable), (7, 0, 0));
    assert_eq!(done.sealed_with, with(&[("k2", 7)]));
    assert_eq!(opened(&world, &["k2"]), ALL, "nothing needs the old key");
    let unsealed = |bot: &Bot| {
        let mut bot = json!(bot);
        domain::secret::mask(&mut bot, domain::secret::BOT_SECRETS);
        bot.to_string()
    };
    for (id, bot) in &world.tables.lock().bot_versions {
        assert_eq!(unsealed(bot), unsealed(&before[id]), "nothing else changed, not even an order");
    }
    let again = whole(&both, false).await;
    assert_eq!((again.resealed, again.sealed_with), (0, with(&[("k2", 7)])));
}

#[tokio::test]
async fn what_does_not_open_stays_and_is_counted() {
    let world = world();
    world.trunk("u", json!({"password": sealed("k0", "trunk/u", "lost")}));
    world.trunk("v", json!({"password": sealed("k1", "trunk/t", "copied from another trunk")}));
    let done = whole(&platform(&world, &["k2", "k1"]), false).await;
    assert_eq!((done.resealed, done.unopenable), (7, 2));
    assert_eq!(done.sealed_with, with(&[("k0", 1), ("k1", 1), ("k2", 7)]));
    let lost = world.tables.lock().trunks[&TrunkId::parse("u").unwrap()].password.clone();
    assert_eq!(lost, Some(Sealed(sealed("k0", "trunk/u", "lost"))));
}

#[tokio::test]
async fn a_pass_that_breaks_off_is_gone_on_with() {
    let world = world();
    let both = platform(&world, &["k2", "k1"]);
    world.tables.lock().broken = vec!["reseal"];
    assert!(pass(&(&both).into(), false, SealedCursor::default()).await.is_err());
    assert_eq!(opened(&world, &["k1"]), ALL);
    world.tables.lock().broken.clear();
    // As if it had died after the bots themselves.
    let half = pass(&(&both).into(), false, SealedCursor::Versions(None)).await.unwrap().0;
    assert_eq!((half.resealed, half.sealed_with), (5, with(&[("k2", 5)])));
    assert_eq!(opened(&world, &["k2", "k1"]), ALL, "all the time, both keys open everything");
    assert_eq!(whole(&both, false).await.sealed_with, with(&[("k2", 7)]));
}

#[tokio::test]
async fn whoever_replaces_a_bot_meanwhile_is_not_undone_and_takes_its_secrets_along() {
    let world = world();
    world.key("rf_admin_key", |row| row.role = Role::Admin);
    let (old, both) = (platform(&world, &["k1"]), platform(&world, &["k2", "k1"]));
    let (rows, _) = both.tables.sealed_rows.page(&SealedCursor::default(), 10).await.unwrap();
    let replace = async |platform: &Platform, name: &str| {
        let body = json!({"name": name, "webhook": {"url": "https://crm.example.com", "secret": "***"}});
        let app = crate::admin::router(platform.into());
        let header = [("if-match", "*")];
        let path = "/api/v1/admin/bots/b";
        let answer = request(&app, "PUT", path, Some("rf_admin_key"), &header, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    };
    let secret = || -> String {
        let bot = &world.tables.lock().bots[&BotId::parse("b").unwrap()];
        bot.webhook.as_ref().unwrap().secret.as_ref().unwrap().0.split('|').next().unwrap().to_owned()
    };
    // A process that does not know the new key yet keeps the secret as it was; the row that was read is not written over.
    replace(&old, "First").await;
    assert_eq!(secret(), "k1");
    let mut tally = Tally::default();
    one(&(&both).into(), &rows[0], false, &mut tally).await.unwrap();
    assert_eq!((tally.resealed, tally.changed, tally.sealed_with), (0, 1, with(&[("k1", 2)])));
    assert_eq!(world.tables.lock().bots[&BotId::parse("b").unwrap()].name, "First");
    // One that does seals what it keeps anew.
    replace(&both, "Second").await;
    assert_eq!(secret(), "k2");
}

#[tokio::test]
async fn an_admin_asks_until_it_is_done() {
    let world = world();
    for n in 0..120 {
        world.trunk(&format!("t{n}"), json!({"password": sealed("k1", &format!("trunk/t{n}"), "pa55")}));
    }
    world.key("rf_admin_key", |row| row.role = Role::Admin);
    world.key("rf_client_key", |_| ());
    let app = crate::admin::router((&platform(&world, &["k2", "k1"])).into());
    let ask = async |key: &str, body: Value| {
        request(&app, "POST", "/api/v1/admin/secrets/reseal", Some(key), &[], body.to_string()).await
    };
    assert_eq!(ask("rf_client_key", json!({})).await.status, 403);
    assert_eq!(ask("rf_admin_key", json!({"cursor": "nowhere"})).await.status, 422);
    let first = ask("rf_admin_key", json!({})).await;
    assert_eq!(first.status, 200);
    let first = first.json();
    assert_eq!((&first["done"], &first["keys"]), (&json!(false), &json!(["k2", "k1"])));
    let second = ask("rf_admin_key", json!({"cursor": first["cursor"]})).await.json();
    assert_eq!((&second["done"], &second["cursor"]), (&json!(true), &Value::Null));
    let sum = |name: &str| first[name].as_u64().unwrap() + second[name].as_u64().unwrap();
    assert_eq!((sum("looked_at"), sum("resealed")), (125, 127));
    assert!(!first.to_string().contains("k1|") && !first.to_string().contains("pa55"));
}
