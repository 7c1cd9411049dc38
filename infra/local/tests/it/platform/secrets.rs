//! `ringfleet secrets rotate`, from one data key to the next, over restarts of the platform.

use std::path::Path;

use domain::ids::{BotId, TrunkId};
use domain::ports::{Seal, bot_entity, trunk_entity};
use domain::secret::{ExposeSecret, Sealed};
use infra::seal::{AesSeal, LocalKeyFile};
use infra::secrets::DeploymentSecrets;
use serde_json::{Value, json};

use super::calls::tables;
use super::process::{Running, Said, World, run};

async fn rotate(world: &World, running: &Running, key: &str, more: &[&str]) -> Said {
    let file = running.text("fleet_secret_file");
    let arguments = [&["secrets", "rotate", "--settle", "0", "--fleet-secret-file", &file], more].concat();
    let mut command = world.command(arguments);
    command.env("RINGFLEET_URL", running.text("http")).env("RINGFLEET_ADMIN_KEY", key);
    run(command).await
}

#[track_caller]
fn refused(said: &Said, part: &str) {
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.lines().last().unwrap().contains(part), "`{part}` is not in {said:?}");
}

#[track_caller]
fn answer(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

/// The secrets of the trunk, the bot, and the bot's first version, as they are stored.
async fn stored(running: &Running) -> [(String, Sealed); 3] {
    let tables = tables(running).await;
    let (trunk, bot) = (TrunkId::parse("t").unwrap(), BotId::parse("b").unwrap());
    let password = tables.trunks.get(&trunk).await.unwrap().unwrap().password.unwrap();
    let now = tables.bots.get(&bot).await.unwrap().unwrap().push.unwrap().token.unwrap();
    let first = tables.bots.version(&bot, 1).await.unwrap().unwrap().push.unwrap().token.unwrap();
    [(trunk_entity(&trunk), password), (bot_entity(&bot), now), (bot_entity(&bot), first)]
}

async fn opened(running: &Running) -> Vec<String> {
    let file = running.text("fleet_secret_file");
    let wrap = LocalKeyFile::beside(Path::new(&file));
    let seal = AesSeal::load(&DeploymentSecrets::file(&file), &wrap).await.unwrap();
    let open = |(entity, sealed): &(String, Sealed)| seal.open(entity, sealed).unwrap().expose_secret().to_owned();
    stored(running).await.iter().map(open).collect()
}

#[tokio::test]
async fn a_data_key_takes_the_place_of_another_and_every_secret_goes_over() {
    let world = World::new();
    let first = world.up(&[]).await;
    let (key, admin) = (first.text("admin_key"), first.admin());
    let push = |token: &str| json!({"url": "https://crm.example.com", "token": token, "key_mapper": {"a": "b"}});
    admin.create_bot(9, json!({"push": push("Bearer one")})).await;
    assert_eq!(admin.replace("/api/v1/admin/bots/b", json!({"name": "B", "push": push("Bearer two")})).await.0, 200);
    let trunk = json!({"name": "T", "host": "127.0.0.1", "default_number": "+911234567890", "password": "pa55"});
    assert_eq!(admin.replace("/api/v1/admin/trunks/t", trunk).await.0, 200);
    let secrets = ["pa55", "Bearer two", "Bearer one"];
    assert_eq!(opened(&first).await, secrets);
    refused(&rotate(&world, &first, &key, &["--drop-old"]).await, "k1 is the only data key");

    // Told that nobody has to be waited for, it does not believe it: the platform does not know the key.
    refused(&rotate(&world, &first, &key, &[]).await, "does not know k2 yet");
    first.kill().await;
    let second = world.up(&[]).await;
    assert_eq!(opened(&second).await, secrets);
    refused(&rotate(&world, &second, &key, &["--drop-old"]).await, "k2 does not seal yet");
    refused(&rotate(&world, &second, &key, &[]).await, "does not seal with k2 yet");
    second.kill().await;

    let third = world.up(&[]).await;
    let done = answer(&rotate(&world, &third, &key, &["--json"]).await);
    assert_eq!((&done["sealing"], &done["unused"], &done["dropped"]), (&json!("k2"), &json!(["k1"]), &json!([])));
    // The bot's current version is stored twice.
    assert_eq!(done["resealed"].as_u64().unwrap(), done["sealed_with"]["k2"].as_u64().unwrap(), "{done}");
    assert!(stored(&third).await.iter().all(|(_, sealed)| sealed.0.starts_with("v1:k2:")));
    let said = rotate(&world, &third, &key, &[]).await;
    assert!(said.stdout.contains("nothing is sealed with k1 any more: --drop-old"), "{said:?}");

    let done = answer(&rotate(&world, &third, &key, &["--drop-old", "--json"]).await);
    assert_eq!((&done["dropped"], &done["resealed"]), (&json!(["k1"]), &json!(0)));
    assert_eq!(opened(&third).await, secrets, "without the old key");
    refused(&rotate(&world, &third, &key, &["--drop-old"]).await, "k2 is the only data key");
    third.kill().await;
    let last = world.up(&[]).await;
    assert_eq!(last.client(&key).get("/api/v1/admin/bots/b").await.0, 200);
    refused(&rotate(&world, &last, "rf_nobodys", &[]).await, "401");
}
