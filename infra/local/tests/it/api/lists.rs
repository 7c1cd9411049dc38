//! Lists of calls on the wire, against the real index.

use std::time::Duration;

use domain::api_key::{BotScope, Role};
use domain::ids::BotId;
use domain::ports::{Claim, mint_call_id};
use infra::clock::OsEntropy;
use serde_json::{Value, json};

use super::world::{World, row};

async fn page(world: &World, key: &str, path: &str) -> Value {
    let request = world.http.get(format!("{}{path}", world.url)).header("x-api-key", key);
    let answer = world.send(request).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_back_over_days_and_bots() {
    let world = World::start().await;
    let (a, b) = (BotId::parse("a").unwrap(), BotId::parse("b").unwrap());
    world.key("sk_test_A", |row| row.bots = BotScope::Only(vec![a.clone()])).await;
    world.key("sk_test_B", |_| ()).await;
    world.key("sk_admin", |row| row.role = Role::Admin).await;
    world.bot("a", json!({})).await;
    world.bot("b", json!({})).await;
    let mut expect = Vec::new();
    for index in 0..30_u32 {
        let bot = if index % 2 == 0 { &a } else { &b };
        let call =
            row(mint_call_id(&*world.clock, &OsEntropy), bot, world.now() - Duration::from_secs(9 * 3600) * index);
        assert_eq!(world.stores.calls.create(&call).await.unwrap(), Claim::Claimed);
        expect.push(call.call_id.to_string());
    }
    let walk = async |key: &str, path: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = page(&world, key, &format!("{path}{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            found.extend(items.iter().map(|item| item["session_id"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let of_a: Vec<String> = expect.iter().step_by(2).cloned().collect();
    assert_eq!(walk("sk_test_B", "/api/v1/calls?limit=4").await, expect);
    assert_eq!(walk("sk_admin", "/api/v1/admin/calls?limit=100").await, expect);
    assert_eq!(walk("sk_test_A", "/api/v1/calls?limit=7").await, of_a);
    assert_eq!(walk("sk_test_B", "/api/v1/calls?bot_id=a&limit=100&state=accepted").await, of_a);
    assert_eq!(walk("sk_test_B", "/api/v1/calls?state=ended&limit=100").await, Vec::<String>::new());
}
