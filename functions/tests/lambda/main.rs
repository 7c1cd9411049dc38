//! The functions as AWS runs them: the very binaries, started against a Runtime API of ours and given events as API Gateway,
//! SQS and EventBridge write them. It must never call a handler itself.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod bench;
mod cloud;
mod runtime;

use std::path::Path;

use aws_sdk_dynamodb::types::AttributeValue;
use cloud::{ADMIN_KEY, CLIENT_KEY, Cloud, DEPLOYMENT};
use infra::schema::Table;
use runtime::Function;
use serde_json::{Value, json};

/// An event as it was recorded, numbers and names aside.
fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lambda/events").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A request without authorizer, through the stage's own URL.
fn request(method: &str, path: &str, key: Option<&str>) -> Value {
    let mut event = event("proxy_stage.json");
    event["httpMethod"] = method.into();
    event["path"] = path.into();
    event["body"] = Value::Null;
    let context = &mut event["requestContext"];
    (context["httpMethod"], context["path"]) = (method.into(), format!("/prod{path}").into());
    context.as_object_mut().unwrap().remove("authorizer");
    for headers in ["headers", "multiValueHeaders"] {
        event[headers].as_object_mut().unwrap().remove("X-API-Key");
    }
    if let Some(key) = key {
        event["headers"]["X-API-Key"] = key.into();
        event["multiValueHeaders"]["X-API-Key"] = json!([key]);
    }
    event
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null)
}

/// The EMF line that has this metric.
async fn metric(function: &mut Function, name: &str) -> Value {
    let line = function.says(|line| line["_aws"].is_object() && !line[name].is_null()).await;
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&directive["Namespace"], &line["Deployment"]), (&json!("Ringfleet"), &json!(DEPLOYMENT)));
    line[name].clone()
}

macro_rules! start {
    ($cloud:expr, $name:literal) => {{
        let mut function =
            Function::start(Path::new(env!(concat!("CARGO_BIN_EXE_", $name))), &$cloud.environment()).await;
        function.asks(1).await;
        function
    }};
}

async fn cloud() -> (tempfile::TempDir, Cloud) {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path()).await;
    (folder, cloud)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authorizer_opens_the_stage_or_says_exactly_unauthorized() {
    let (_folder, cloud) = cloud().await;
    let mut auth = start!(cloud, "auth");
    let allowed = auth.invoke(&event("authorizer.json")).await.unwrap();
    let statement = &allowed["policyDocument"]["Statement"][0];
    let stage = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/prod/*";
    assert_eq!((&statement["Effect"], &statement["Resource"]), (&json!("Allow"), &json!(stage)));
    assert_eq!(allowed["context"]["key_id"], allowed["principalId"]);
    assert_eq!((&allowed["context"]["role"], &allowed["context"]["bots"]), (&json!("client"), &json!("*")));
    for key in [Some("sk_test_nobody"), None] {
        let mut stranger = event("authorizer.json");
        match key {
            Some(key) => stranger["headers"]["x-api-key"] = key.into(),
            None => drop(stranger["headers"].as_object_mut().unwrap().remove("x-api-key")),
        }
        let refused = auth.invoke(&stranger).await.unwrap_err();
        assert_eq!(refused["errorMessage"], "Unauthorized", "API Gateway answers 401 to this word alone");
    }
    assert_eq!(metric(&mut auth, "AuthFailures").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialout_is_placed_by_both_forms_of_the_url() {
    let (_folder, cloud) = cloud().await;
    cloud.open_server().await;
    let mut dialout = start!(cloud, "dialout");
    for form in ["proxy_stage.json", "proxy_domain.json"] {
        let answer = dialout.invoke(&event(form)).await.unwrap();
        assert_eq!(answer["statusCode"], 200, "{form}: {answer}");
        assert_eq!(body(&answer)["status"], "ok");
    }
    assert_eq!(metric(&mut dialout, "Dialout").await, 1);

    let encoded = |text: &[u8]| {
        use base64::Engine;
        let mut event = event("proxy_stage.json");
        event["body"] = base64::engine::general_purpose::STANDARD.encode(text).into();
        event["isBase64Encoded"] = true.into();
        event
    };
    let answer = dialout.invoke(&encoded(br#"{"bot_id":"bot-1","to_number":"+919876543210"}"#)).await.unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let broken = dialout.invoke(&encoded(&[0xff, 0xfe])).await.unwrap();
    assert_eq!((&broken["statusCode"], &body(&broken)["code"]), (&json!(422), &json!("invalid")), "{broken}");

    // Who was let in by the authorizer for other bots gets no further, though the key itself would.
    let mut scoped = event("proxy_stage.json");
    scoped["requestContext"]["authorizer"]["bots"] = "bot-2".into();
    assert_eq!(dialout.invoke(&scoped).await.unwrap()["statusCode"], 404);
    // Without an authorizer's word the key itself counts.
    let mut alone = event("proxy_stage.json");
    alone["requestContext"].as_object_mut().unwrap().remove("authorizer");
    assert_eq!(dialout.invoke(&alone).await.unwrap()["statusCode"], 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_to_anyone_and_who_guesses_is_known_by_the_address() {
    let (_folder, cloud) = cloud().await;
    cloud.open_server().await;
    let mut health = start!(cloud, "fleet_health");
    let anyone = health.invoke(&request("GET", "/health/fleet", None)).await.unwrap();
    assert_eq!(body(&anyone)["fleet_available"], 6, "{anyone}");
    assert!(body(&anyone)["workers"].is_null());
    let known = health.invoke(&request("GET", "/health/fleet", Some(CLIENT_KEY))).await.unwrap();
    assert_eq!(body(&known)["workers"][0]["id"], "server-1");
    let mut told = Value::Null;
    for _ in 0..12 {
        let refused = health.invoke(&request("GET", "/health/fleet", Some("sk_test_guess"))).await.unwrap();
        assert_eq!((&refused["statusCode"], &body(&refused)["code"]), (&json!(401), &json!("unauthorized")));
        told = refused["multiValueHeaders"]["retry-after"].clone();
    }
    assert!(told.is_array(), "the address stands in the request's context, and is slowed down");
    let nowhere = health.invoke(&request("GET", "/nowhere", None)).await.unwrap();
    assert_eq!((&nowhere["statusCode"], &body(&nowhere)["code"]), (&json!(404), &json!("not_found")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_docs_and_the_admin_api_answer() {
    let (_folder, cloud) = cloud().await;
    let mut calls = start!(cloud, "calls");
    for path in
        ["/api/v1/calls/0190a5f0-0000-7000-8000-000000000001", "/api/v1/calls/a b%2Fc", "/api/v1/recordings/x.wav"]
    {
        let answer = calls.invoke(&request("GET", path, Some(CLIENT_KEY))).await.unwrap();
        assert_eq!((&answer["statusCode"], &body(&answer)["code"]), (&json!(404), &json!("not_found")), "{path}");
    }
    let mut page = request("GET", "/api/v1/calls", Some(CLIENT_KEY));
    page["queryStringParameters"] = json!({"bot_id": "bot-1", "limit": "5"});
    page["multiValueQueryStringParameters"] = json!({"bot_id": ["bot-1"], "limit": ["5"]});
    assert_eq!(body(&calls.invoke(&page).await.unwrap())["items"], json!([]));

    let mut docs = start!(cloud, "docs");
    let description = docs.invoke(&request("GET", "/openapi.json", None)).await.unwrap();
    assert!(body(&description)["paths"]["/api/v1/dialout"].is_object());
    let moved = docs.invoke(&request("GET", "/docs", None)).await.unwrap();
    // From /prod/docs to /prod/docs/index.html.
    assert_eq!(moved["multiValueHeaders"]["location"], json!(["docs/index.html"]), "{moved}");
    for page in ["/docs/", "/docs/index.html"] {
        assert_eq!(docs.invoke(&request("GET", page, None)).await.unwrap()["statusCode"], 200, "{page}");
    }

    let mut admin = start!(cloud, "admin");
    let mut bot = request("POST", "/api/v1/admin/bots", Some(ADMIN_KEY));
    bot["body"] =
        json!({"bot_id": "b2", "name": "b", "webhook": {"url": "https://crm.example.com/x", "secret": "s3cret"}})
            .to_string()
            .into();
    let made = admin.invoke(&bot).await.unwrap();
    assert_eq!(made["statusCode"], 201, "{made}");
    // From /prod/api/v1/admin/bots.
    assert_eq!(made["multiValueHeaders"]["location"], json!(["bots/b2"]), "{made}");
    assert!(!made["body"].as_str().unwrap().contains("s3cret"));
    let refused = admin.invoke(&request("GET", "/api/v1/admin/bots", Some(CLIENT_KEY))).await.unwrap();
    assert_eq!(refused["statusCode"], 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_batch_only_what_failed_comes_again() {
    let (_folder, cloud) = cloud().await;
    // A row that nobody can read: the second message's call.
    let row = [("call_id", "0190a5f0-0000-7000-8000-000000000002"), ("state", "nonsense")];
    let mut put = cloud.clients.dynamodb.put_item().table_name(cloud.names.table(Table::Calls));
    for (name, value) in row {
        put = put.item(name, AttributeValue::S(value.to_owned()));
    }
    put.send().await.unwrap();
    for mut function in [start!(cloud, "analyze"), start!(cloud, "push")] {
        let answer = function.invoke(&event("sqs.json")).await.unwrap();
        let failed = json!({"batchItemFailures": [{"itemIdentifier": "00000000-0000-4000-8000-000000000002"}]});
        assert_eq!(answer, failed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_do_their_passes_and_reap_tells_how_the_fleet_is() {
    let (_folder, cloud) = cloud().await;
    cloud.open_server().await;
    let mut reap = start!(cloud, "reap");
    for mut function in [start!(cloud, "sweep"), start!(cloud, "retain")] {
        assert_eq!(function.invoke(&event("schedule.json")).await.unwrap(), Value::Null);
        assert_eq!(function.invoke(&event("schedule.json")).await.unwrap(), Value::Null, "and again");
    }
    assert_eq!(reap.invoke(&event("schedule.json")).await.unwrap(), Value::Null);
    let whole = reap.says(|line| line["BusyPercent"].is_number() && line["ServerGroup"].is_null()).await;
    assert_eq!((&whole["BusyPercent"], &whole["FreeSlots"]), (&json!(40.0), &json!(6.0)));
    assert_eq!((&whole["HealthyServers"], &whole["Deployment"]), (&json!(1.0), &json!(DEPLOYMENT)));
    let group = reap.says(|line| line["ServerGroup"] == "mumbai").await;
    assert_eq!(group["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Deployment", "ServerGroup"]]));
}
