//! Previews against past and invented calls, and their lint.

use axum::Router;
use domain::api_key::Role;
use domain::call::CallState;
use domain::delivery::Channel;
use domain::ports::{Job, QueueName};
use domain::secret::SecretString;
use serde_json::{Value, json};

use super::super::router;
use crate::testing::{HttpAnswer, World, request, status};

fn world() -> (World, Router) {
    let world = World::new();
    world.key("sk_test_admin", |row| row.role = Role::Admin);
    let app = router(world.desk());
    (world, app)
}

async fn ask(app: &Router, bot: &str, body: &str) -> HttpAnswer {
    let path = format!("/api/v1/admin/bots/{bot}/push/preview");
    request(app, "POST", &path, Some("sk_test_admin"), &[], body.to_owned()).await
}

fn push(mapper: Value) -> Value {
    json!({"push": {"url": "https://crm.example.com/x", "method": "PUT", "key_mapper": mapper}})
}

#[tokio::test]
async fn a_past_call_is_rendered_as_it_would_be_pushed() {
    let (world, app) = world();
    let mapper = json!({"Id": "{{call.id}}", "Who": "{{crm.name}}", "How": "{{result.disposition}}", "N": 1});
    world.bot("bot", push(mapper));
    let call = world.ended_call(|_| ());
    world.record(&call, json!({"crm": {"name": "Asha"}}));
    let shown = ask(&app, "bot", &json!({"call_id": call.call_id}).to_string()).await.json();
    assert_eq!(shown["body"]["Id"], call.call_id.to_string());
    assert_eq!(
        (&shown["body"]["Who"], &shown["body"]["N"], &shown["against"]),
        (&json!("Asha"), &json!(1), &json!("call"))
    );
    assert_eq!((&shown["method"], &shown["url"]), (&json!("PUT"), &json!("https://crm.example.com/x")));
    assert_eq!((&shown["lint"], &shown["missing"]), (&json!([]), &json!([])));
    assert!(world.requests().is_empty(), "nothing is sent");
}

#[tokio::test]
async fn a_preview_has_the_body_and_the_header_names_of_the_delivery() {
    let (world, app) = world();
    let platform = world.platform();
    let seal = |text: &str| platform.outside.seal.seal("bot/bot", &SecretString::from(text)).0;
    let mut bot = push(json!({"A": ["{{call.duration}}", "{{crm.name}}"]}));
    bot["push"]["token"] = json!(seal("Bearer s3cret"));
    bot["push"]["secret"] = json!(seal("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="));
    world.bot("bot", bot);
    let call = world.ended_call(|row| row.next_step = Some(domain::call::NextStep::Push));
    world.record(&call, json!({"crm": {"name": "Asha"}}));
    let shown = ask(&app, "bot", &json!({"call_id": call.call_id}).to_string()).await.json();

    world.outbound([status(200)]);
    for channel in [None, Some(Channel::Push)] {
        crate::push::handle(&world.desk(), &Job { call_id: call.call_id, channel }).await.unwrap();
    }
    world.sent(QueueName::Deliveries);
    let sent = world.requests().remove(0);
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), shown["body"]);
    let mut names: Vec<&str> = sent.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let previewed: Vec<&String> = shown["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, previewed);
    assert_eq!(shown["headers"]["webhook-id"], sent.headers["webhook-id"].to_str().unwrap());
    for secret in ["authorization", "webhook-signature"] {
        assert_eq!(shown["headers"][secret], "***");
    }
    assert!(!shown.to_string().contains("s3cret"));
}

#[tokio::test]
async fn without_a_call_one_is_invented_that_has_every_field() {
    let (world, app) = world();
    world.bot("bot", json!({}));
    let mapper = json!({
        "a": "{{crm.loan_number}}/{{crm.customer.city}}", "b": "{{result.promise_date}}", "c": "{{call.batch}}",
        "d": "{{call.duration}}", "e": "{{result.disposition}}", "f": "{{call.transcipt}}", "g": "{{lead.x}}",
    });
    let shown = ask(&app, "bot", &json!({"key_mapper": mapper}).to_string()).await.json();
    let body = &shown["body"];
    assert_eq!(body["a"], "<loan_number>/<customer.city>");
    assert_eq!((&body["b"], &body["c"], &body["d"]), (&json!("<promise_date>"), &json!("<batch>"), &json!("42.5")));
    assert!(!body["e"].as_str().unwrap().is_empty());
    assert_eq!((&body["f"], &body["g"]), (&json!(""), &json!("")));
    assert_eq!(
        shown["lint"],
        json!([
            {"pointer": "/f", "name": "call.transcipt", "problem": "unknown_field", "nearest": "call.transcript"},
            {"pointer": "/g", "name": "lead.x", "problem": "unknown_namespace"},
        ])
    );
    assert_eq!((&shown["against"], &shown["url"]), (&json!("sample"), &json!(null)));
    assert_eq!(shown["call_id"], "00000000-0000-0000-0000-000000000000");
}

#[tokio::test]
async fn against_a_call_the_nearest_name_is_one_that_the_call_has() {
    let (world, app) = world();
    world.bot("bot", push(json!({})));
    let call = world.ended_call(|_| ());
    world.record(&call, json!({"crm": {"loan_number": "7"}}));
    let asked = json!({"call_id": call.call_id, "key_mapper": {"x": ["{{crm.loan_numbr}}", "{{crm.colour}}"]}});
    let shown = ask(&app, "bot", &asked.to_string()).await.json();
    assert_eq!(
        shown["lint"],
        json!([
            {"pointer": "/x/0", "name": "crm.loan_numbr", "problem": "no_value", "nearest": "crm.loan_number"},
            {"pointer": "/x/1", "name": "crm.colour", "problem": "no_value"},
        ])
    );
    assert_eq!(shown["missing"], json!(["crm.loan_numbr", "crm.colour"]));
}

#[tokio::test]
async fn what_cannot_be_previewed_says_why() {
    let (world, app) = world();
    world.bot("bot", push(json!({})));
    world.bot("bare", json!({}));
    let live = world.call(|row| row.state = CallState::Answered);
    let ended = world.ended_call(|_| ());
    let too_many: serde_json::Map<String, Value> = (0..501).map(|n| (n.to_string(), json!(n))).collect();
    let check = async |bot: &str, body: Value, status: u16, kind: &str| {
        let answer = ask(&app, bot, &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.json());
        assert_eq!(answer.json()["errors"][0]["type"].as_str().unwrap_or_default(), kind, "{body}");
    };
    check("nobody", json!({}), 404, "").await;
    check("bare", json!({}), 422, "missing").await;
    check("bot", json!({"call_id": "nonsense"}), 422, "unknown_call").await;
    check("bare", json!({"call_id": ended.call_id, "key_mapper": {}}), 422, "unknown_call").await;
    check("bot", json!({"call_id": live.call_id}), 422, "call_not_ended").await;
    check("bot", json!({"key_mapper": too_many}), 422, "too_many_keys").await;
    check("bot", json!({"mapper": {}}), 422, "value_error").await;
    assert_eq!(ask(&app, "bot", "").await.status, 200, "an empty body asks for nothing in particular");
}
