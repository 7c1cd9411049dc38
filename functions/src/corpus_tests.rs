//! The template corpus on its whole way: bots come in through the admin API, and bodies go out to the CRM.

use axum::Router;
use domain::api_key::Role;
use domain::call::{AnalysisStatus, CallRow, NextStep};
use domain::delivery::Channel;
use domain::objects::CallObjects;
use domain::ports::Job;
use serde_json::{Map, Value, json};

use crate::push;
use crate::testing::{HttpAnswer, World, request, status};

fn corpus() -> Value {
    serde_json::from_str(include_str!("../../domain/tests/data/template.json")).unwrap()
}

fn world() -> (World, Router) {
    let world = World::new();
    world.key("sk_test_admin", |row| row.role = Role::Admin);
    let app = crate::router::api(&world.platform());
    (world, app)
}

async fn create(app: &Router, body: String) -> HttpAnswer {
    request(app, "POST", "/api/v1/admin/bots", Some("sk_test_admin"), &[], body).await
}

fn bot(push: &Value) -> String {
    json!({"bot_id": "bot", "name": "Bot", "push": push}).to_string()
}

/// An ended call of bot `bot`, analysed, with the corpus' data.
fn analysed(world: &World, given: &Value) -> CallRow {
    let now = world.now();
    let call = world.ended_call(|row| {
        (row.next_step, row.due_at, row.analysis_status) = (Some(NextStep::Push), Some(now), AnalysisStatus::Done);
    });
    world.record(&call, json!({"crm": given["crm"]}));
    world.object(&CallObjects::of(&call).analysis(), json!({"analysis": given["result"]}).to_string().as_bytes());
    call
}

/// Renders the call's push and sends it once; answers what the CRM got.
async fn pushed(world: &World, call: &CallRow) -> domain::ports::OutboundRequest {
    world.outbound([status(200)]);
    for channel in [None, Some(Channel::Push)] {
        push::handle(&world.desk(), &Job { call_id: call.call_id, channel }).await.unwrap();
    }
    world.requests().pop().expect("one request")
}

#[tokio::test]
async fn templates_reach_the_crm_as_the_corpus_says() {
    let corpus = corpus();
    let cases = corpus["cases"].as_array().unwrap();
    let mapper: Map<String, Value> =
        cases.iter().map(|case| (case["id"].as_str().unwrap().to_owned(), case["template"].clone())).collect();
    assert_eq!(mapper.len(), cases.len(), "ids are unique");
    let (world, app) = world();
    let created = create(&app, bot(&json!({"url": "https://crm.example.com/x", "key_mapper": mapper}))).await;
    assert_eq!(created.status, 201, "{}", created.code());
    let sent = pushed(&world, &analysed(&world, &corpus["context"])).await;
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    for case in cases {
        // Not `assert_eq`: some are larger than anybody would read.
        assert!(body[case["id"].as_str().unwrap()] == case["expect"], "{} ({})", case["id"], case["why"]);
    }
}

#[tokio::test]
async fn push_settings_are_judged_as_the_corpus_says() {
    let corpus = corpus();
    for case in corpus["header_cases"].as_array().unwrap() {
        let (id, expect) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let mut push = json!({"url": "https://crm.example.com/x", "key_mapper": {"A": "{{crm.n}}"}});
        let body = match case["position"].as_str().unwrap() {
            "key_mapper key" => bot(&push).replace(r#"{"A":"{{crm.n}}"}"#, r#"{"A":"{{crm.n}}","B":{"x":1,"x":2}}"#),
            "key_mapper" => {
                let keys: Map<String, Value> = (0..501).map(|index| (format!("k{index}"), json!("v"))).collect();
                push["key_mapper"] = Value::Object(keys);
                bot(&push)
            }
            field @ ("token" | "url" | "method") => {
                push[field] = case["value"].clone();
                bot(&push)
            }
            other => panic!("unknown position {other}"),
        };
        let (world, app) = world();
        let answer = create(&app, body).await;
        if expect.starts_with("sent as ") {
            assert_eq!(answer.status, 201, "{id}");
            let sent = pushed(&world, &analysed(&world, &corpus["context"])).await;
            let header = format!("Authorization: {}", sent.headers["authorization"].to_str().unwrap());
            assert_eq!(expect, format!("sent as {header}"), "{id}");
        } else {
            assert!(expect.contains("422"), "{id}: {expect}");
            assert_eq!(answer.status, 422, "{id}");
            assert_eq!(answer.header("content-type"), "application/problem+json", "{id}");
            assert!(answer.json()["errors"][0]["loc"].is_array(), "{id}");
            assert!(world.tables.lock().bots.is_empty(), "{id}");
        }
    }
}
