//! `Idempotency-Key` on the wire, against real tables.

use std::time::Duration;

use domain::call::FenceRow;
use domain::idempotency::{BodyHash, Entry, Progress, ScopedKey};
use domain::ids::{BotId, CallId, KeyId};
use domain::ports::{CallEntry, Claim, KeyClaim, mint_call_id};
use futures_util::future::join_all;
use infra::clock::OsEntropy;
use serde_json::json;

use super::world::{Answer, World, row};

const KEY: &str = "sk_test_A";
const BODY: &str = r#"{"bot_id":"bot-1","to_number":"+919876543210"}"#;

async fn world() -> (World, KeyId) {
    let world = World::start().await;
    let key_id = world.key(KEY, |_| ()).await;
    world.bot("bot-1", json!({})).await;
    (world, key_id)
}

/// Whoever is told to come again, because the tables stood still with their machine, comes again: that is what a key is for.
async fn dial(world: &World, key: &str) -> Answer {
    let ask = async || {
        let request = world.http.post(format!("{}/api/v1/dialout", world.url));
        world.send(request.header("x-api-key", KEY).header("idempotency-key", key).body(BODY)).await
    };
    let mut answer = ask().await;
    for _ in 0..5 {
        if ![409, 503].contains(&answer.status) {
            break;
        }
        answer = ask().await;
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_posts_with_one_key_are_one_call_and_one_answer() {
    let (world, _) = world().await;
    *world.fleet.pause.lock().unwrap() = Duration::from_millis(300);
    let answers = join_all((0..100).map(|_| dial(&world, "K1"))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body), "{}", answer.code());
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count();
    let calls = world.call_ids("bot-1").await;
    assert_eq!((replayed, *world.fleet.asked.lock().unwrap(), calls.len()), (99, 1, 1));
    assert_eq!(answers[0].json(), json!({"status": "ok", "call_id": calls[0]}));
}

/// What a function leaves that died after it had claimed the key.
async fn in_flight(world: &World, key_id: &KeyId, key: &str) -> Entry {
    let scoped = ScopedKey::read(key_id, [key.as_bytes()]).unwrap().unwrap();
    let id = mint_call_id(&*world.clock, &OsEntropy);
    let entry = Entry::begin(scoped, BodyHash::of(BODY.as_bytes()), id, world.now());
    assert_eq!(world.stores.idempotency.claim(&entry, None).await.unwrap(), KeyClaim::Claimed);
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_is_gone_on_with_under_its_own_id() {
    let (world, key_id) = world().await;
    let bot = BotId::parse("bot-1").unwrap();
    let taken = async |id: CallId| {
        assert_eq!(world.stores.calls.create(&row(id, &bot, world.now())).await.unwrap(), Claim::Claimed);
    };
    let fenced = async |id: CallId| {
        let fence = FenceRow { call_id: id, refused: true, fenced_at: world.now() };
        assert_eq!(world.stores.calls.fence(&fence).await.unwrap(), Claim::Claimed);
    };
    let (open, held, gone) = (
        in_flight(&world, &key_id, "open").await,
        in_flight(&world, &key_id, "held").await,
        in_flight(&world, &key_id, "gone").await,
    );
    taken(held.call_id).await;
    fenced(gone.call_id).await;
    world.set_now(world.now() + Duration::from_secs(35)).await;
    let check = async |key: &str, entry: &Entry, same: bool, replayed: &str, asked: usize| {
        *world.fleet.asked.lock().unwrap() = 0;
        // Two that come at once: one goes on, the other has its answer.
        let (first, second) = tokio::join!(dial(&world, key), dial(&world, key));
        assert_eq!((first.status, &first.body), (200, &second.body), "{key}: {}", first.code());
        let both = [first.header("idempotent-replayed"), second.header("idempotent-replayed")];
        assert!(both.iter().any(|header| header == replayed), "{key}: {both:?}");
        assert_eq!(
            (first.json()["call_id"] == json!(entry.call_id), *world.fleet.asked.lock().unwrap()),
            (same, asked)
        );
        let stored = world.stores.idempotency.get(&entry.key).await.unwrap().unwrap();
        assert_eq!((stored.progress, json!(stored.call_id)), (Progress::Done, first.json()["call_id"].clone()));
    };
    check("open", &open, true, "", 1).await;
    check("held", &held, true, "true", 0).await;
    check("gone", &gone, false, "", 1).await;
    assert!(matches!(world.stores.calls.get(gone.call_id).await.unwrap(), Some(CallEntry::Fenced(_))));
    assert_eq!(world.call_ids("bot-1").await.len(), 3);
}
