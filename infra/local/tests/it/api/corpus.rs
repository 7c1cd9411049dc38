//! Every request of the corpus on the wire, against real tables.

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::api_key::BotScope;
use domain::fleet::Refusal;
use domain::ids::BotId;
use domain::ports::Deletion;
use infra::aws::connect;
use infra::config::AwsConfig;
use infra::dynamodb::stores;
use serde_json::{Value, json};

use super::world::{Answer, START, World};

const CORPUS: &str = include_str!("../../../../../functions/tests/data/dialout.jsonl");

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_corpus_gets_its_answer() {
    let world = World::start().await;
    fixtures(&world).await;
    let cases: Vec<Value> = CORPUS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let url = set_up(&world, case["setup"].as_str().unwrap_or_default()).await;
        let before = calls(&world).await;
        let expect: Vec<u64> = case["expect"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        let mut answer = play(&world, &url, case).await;
        // Tables that stand still with their machine are no part of the case, and 503 says to come again.
        for _ in 0..5 {
            if answer.code() != "unavailable" || expect.contains(&503) {
                break;
            }
            answer = play(&world, &url, case).await;
        }
        assert!(expect.contains(&u64::from(answer.status)), "{id}: {} {}", answer.status, answer.code());
        let dials = (calls(&world).await - before) as u64;
        assert!(dials <= case["max_dials"].as_u64().unwrap(), "{id}: {dials} calls");
        // The server itself answers what it can't read as a request.
        if answer.status >= 400 && answer.status != 431 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{id}");
            assert!(!answer.code().is_empty(), "{id}");
        }
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after").is_empty(), answer.code() == "no_trunk", "{id}");
        }
        if answer.status == 405 {
            assert_eq!(answer.header("allow"), "POST", "{id}");
        }
    }
}

async fn fixtures(world: &World) {
    let scope = ["bot-1", "bot-deleted", "bot-closed", "bot-notrunk"].map(|id| BotId::parse(id).unwrap());
    world.key("sk_test_A", |row| row.bots = BotScope::Only(scope.to_vec())).await;
    world.key("sk_test_REVOKED", |row| row.active = false).await;
    let now = world.now();
    world.key("sk_test_EXPIRED", |row| row.expires_at = Some(now)).await;
    world.bot("bot-1", json!({})).await;
    world.bot("bot-2", json!({})).await;
    world.bot("bot-deleted", json!({})).await;
    let deleted = world.stores.bots.delete(&BotId::parse("bot-deleted").unwrap(), None).await.unwrap();
    assert_eq!(deleted, Deletion::Deleted);
    world.bot("bot-notrunk", json!({"trunk_ids": ["gone"]})).await;
    world.bot("bot-closed", hours("UTC", "mon", "12:01")).await;
}

fn hours(zone: &str, day: &str, start: &str) -> Value {
    json!({"timezone": zone, "active_hours": [{"days": [day], "start": start, "end": format!("{:02}:00", start[..2].parse::<u8>().unwrap() + 1)}]})
}

/// Makes what the case asks for; answers where the API is to be asked.
async fn set_up(world: &World, word: &str) -> String {
    world.set_now(START.parse().unwrap()).await;
    world.fleet.refusals.lock().unwrap().clear();
    world.bot("bot-closed", hours("UTC", "mon", "12:01")).await;
    match word {
        "" | "revoked" | "expired" | "closed now" | "after 200_idem_first" => {}
        "fleet empty" => world.retire().await,
        "heartbeat +3600 s" => world.beat(|row| row.heartbeat_at += Duration::from_secs(3600)).await,
        "now = start" => world.set_now(world.now() + Duration::from_secs(60)).await,
        "DST gap" => {
            // 2031-03-09 02:00–03:00 does not exist in New York.
            world.bot("bot-closed", hours("America/New_York", "sun", "02:00")).await;
            world.set_now("2031-03-09T07:30:00Z".parse().unwrap()).await;
        }
        "fleet answers 503 to assign" => world.fleet.refusals.lock().unwrap().push_back(Refusal::Full),
        "ddb throttle" => return throttled(world).await,
        other => panic!("unknown set-up {other}"),
    }
    world.url.clone()
}

/// The API over a DynamoDB that throttles whatever it is asked.
async fn throttled(world: &World) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let refuse = || async {
        let said = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}"#;
        (http::StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.0")], said).into_response()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await.unwrap() });
    let clients = connect(&AwsConfig {
        endpoint: Some(endpoint),
        region: Some("eu-west-1".into()),
        access_key_id: Some("x".into()),
        secret_access_key: Some("x".to_owned().into()),
    })
    .await;
    world.serve(stores(&clients, &world.names)).await
}

async fn calls(world: &World) -> usize {
    let mut sum = 0;
    for bot in ["bot-1", "bot-2", "bot-closed", "bot-notrunk", "bot-deleted"] {
        sum += world.call_ids(bot).await.len();
    }
    sum
}

async fn play(world: &World, url: &str, case: &Value) -> Answer {
    let method = case["method"].as_str().unwrap().parse().unwrap();
    let mut request = world.http.request(method, format!("{url}{}", case["path"].as_str().unwrap()));
    for (name, value) in case["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = match case["body_b64"].as_str() {
        Some(text) => STANDARD.decode(text).unwrap(),
        None => case["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    world.send(request.body(body)).await
}
