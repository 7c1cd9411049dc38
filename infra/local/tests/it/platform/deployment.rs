//! `ringfleet deployment`: after the template was deployed everything is there, and the rest is one command, which can be
//! run again. The embedded services play what the template makes; Secrets Manager and KMS are a few lines.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::process::{Running, Said, World, run};

/// One secret and one KMS key of the stack `rf`.
#[derive(Default)]
struct Safe {
    /// Its versions; the last one is the current one.
    versions: Vec<Value>,
    wrapped: Vec<Value>,
    broken: bool,
}

type Shared = Arc<Mutex<Safe>>;

async fn answer(State(safe): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut safe = safe.lock().unwrap();
    let refuse = |code: &str| (StatusCode::BAD_REQUEST, Json(json!({"__type": code, "message": "m"})));
    let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let named = body["SecretId"].as_str().or(body["KeyId"].as_str()).unwrap();
    if !["rf/deployment", "alias/rf"].contains(&named) {
        return refuse(if body["KeyId"].is_null() { "ResourceNotFoundException" } else { "NotFoundException" });
    }
    let said = match operation.as_str() {
        "DescribeSecret" => json!({"Name": named}),
        "GetSecretValue" => match safe.versions.last() {
            Some(text) => json!({"SecretString": text, "VersionId": format!("v{}", safe.versions.len())}),
            None => return refuse("ResourceNotFoundException"),
        },
        // Each version becomes the current one at once: nobody else is here.
        "PutSecretValue" => {
            safe.versions.push(body["SecretString"].clone());
            json!({"VersionId": format!("v{}", safe.versions.len())})
        }
        "UpdateSecretVersionStage" => json!({"Name": named}),
        "Encrypt" if !safe.broken => {
            safe.wrapped.push(json!([body["EncryptionContext"], body["Plaintext"]]));
            json!({"CiphertextBlob": STANDARD.encode((safe.wrapped.len() - 1).to_string())})
        }
        "Decrypt" if !safe.broken => {
            let at = STANDARD.decode(body["CiphertextBlob"].as_str().unwrap()).unwrap();
            let at: usize = String::from_utf8(at).unwrap().parse().unwrap();
            match &safe.wrapped[at] {
                kept if kept[0] == body["EncryptionContext"] => json!({"Plaintext": kept[1]}),
                _ => return refuse("InvalidCiphertextException"),
            }
        }
        _ => return refuse("DisabledException"),
    };
    (StatusCode::OK, Json(said))
}

async fn safe() -> (Shared, String) {
    let safe = Shared::default();
    let router = Router::new().route("/", post(answer)).with_state(safe.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (safe, url)
}

/// A platform whose tables are called as those of the stack `rf`.
struct Stack {
    world: World,
    running: Running,
    safe: Shared,
    safe_url: String,
}

impl Stack {
    async fn deployed() -> Self {
        let world = World::new();
        let credentials = ["--set=aws.access_key_id=test", "--set=aws.secret_access_key=test"];
        let names = ["--set=names.prefix=rf-", "--set=names.bucket=rf-calls-000000000000"];
        let running = world.up(&[&credentials[..], &names].concat()).await;
        let (safe, safe_url) = safe().await;
        Self { world, running, safe, safe_url }
    }

    async fn ringfleet(&self, arguments: &[&str]) -> Said {
        let mut command = self.world.command(arguments);
        command.env("AWS_ENDPOINT_URL", self.running.ready["aws"]["endpoint"].as_str().unwrap());
        command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.safe_url).env("AWS_ENDPOINT_URL_KMS", &self.safe_url);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        run(command).await
    }

    async fn json(&self, arguments: &[&str], code: i32) -> Value {
        let said = self.ringfleet(&[arguments, &["--json"]].concat()).await;
        assert_eq!(said.code, Some(code), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    fn secret(&self) -> Value {
        let safe = self.safe.lock().unwrap();
        serde_json::from_str(safe.versions.last().unwrap().as_str().unwrap()).unwrap()
    }
}

fn failed(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "fail");
    checks.map(|check| format!("{}: {} → {}", check["name"], check["detail"], check["fix"])).collect()
}

#[tokio::test]
async fn a_deployed_stack_is_filled_once_and_its_secrets_rotate() {
    let stack = Stack::deployed().await;
    let init = ["deployment", "init", "--stack", "rf"];

    // What is missing is named, and nothing is changed meanwhile.
    let other = stack.json(&["deployment", "init", "--stack", "nobodys"], 1).await;
    let missing = failed(&other);
    assert!(missing.iter().any(|line| line.contains("nobodys-calls: there is none")), "{missing:?}");
    assert!(missing.iter().any(|line| line.contains("nobodys-deliveries-dead: there is none")), "{missing:?}");
    assert!(missing.iter().any(|line| line.contains("no key alias/nobodys")), "{missing:?}");
    assert!(missing.iter().all(|line| !line.ends_with("→ \"\"")), "each says what to do: {missing:?}");
    stack.safe.lock().unwrap().broken = true;
    let broken = stack.json(&init, 1).await;
    assert!(failed(&broken).join("\n").contains("is disabled: enable it"), "{broken}");
    stack.safe.lock().unwrap().broken = false;
    assert!(stack.safe.lock().unwrap().versions.is_empty());
    let empty = stack.json(&["deployment", "check", "--stack", "rf"], 1).await;
    assert!(failed(&empty).join("\n").contains("ringfleet deployment init --stack rf"), "{empty}");

    // The platform that plays the tables has made an admin key: another one is asked for.
    let first = stack.json(&init, 0).await;
    assert_eq!((&first["filled"], &first["admin_key"], &first["ok"]), (&json!(true), &Value::Null, &json!(true)));
    let secret = stack.secret();
    assert!(secret["data_keys"][0]["wrapped"].as_str().unwrap().starts_with("kms:"), "{secret}");
    let again = stack.json(&init, 0).await;
    assert_eq!((&again["filled"], stack.secret()), (&json!(false), secret.clone()), "{again}");
    let said = stack.ringfleet(&[&init[..], &["--another-admin-key"]].concat()).await;
    let key = said.stdout.trim().to_owned();
    assert!(said.code == Some(0) && key.starts_with("rf_"), "{said:?}");
    assert_eq!(stack.running.client(&key).get("/api/v1/admin/bots").await.0, 200);
    let check = stack.json(&["deployment", "check", "--stack", "rf"], 0).await;
    assert_eq!(failed(&check), Vec::<String>::new());

    // The signing secret is changed in Secrets Manager as in a file.
    let rotated = stack.json(&["secrets", "rotate-signing", "--stack", "rf", "--settle", "0"], 0).await;
    assert_eq!(rotated, json!({"signing": "s2", "added": true, "dropped": ["s1"]}));
    let after = stack.secret();
    assert_eq!((&after["current"]["kid"], &after["previous"]), (&json!("s2"), &Value::Null));
    assert_ne!(after["current"]["secret"], secret["current"]["secret"]);
    assert_eq!(after["data_keys"], secret["data_keys"]);

    let file = stack.world.path("key");
    std::fs::write(&file, "sk-1\n").unwrap();
    let said = stack.ringfleet(&["secrets", "llm-key", file.to_str().unwrap(), "--stack", "rf"]).await;
    assert_eq!((said.code, stack.secret()["llm_api_key"].as_str()), (Some(0), Some("sk-1")), "{said:?}");
    let said = stack.ringfleet(&["secrets", "llm-key", "--remove", "--stack", "rf"]).await;
    assert_eq!((said.code, &stack.secret()["llm_api_key"]), (Some(0), &Value::Null), "{said:?}");

    // The data keys too; the platform knows its own ones only, and says so.
    let mut command = ["secrets", "rotate", "--stack", "rf", "--settle", "0"].map(str::to_owned).to_vec();
    command.extend(["--url".to_owned(), stack.running.text("http"), "--key".to_owned(), key]);
    let said = stack.ringfleet(&command.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(said.code == Some(1) && said.stderr.contains("does not know k2 yet"), "{said:?}");
    let ids: Vec<Value> = stack.secret()["data_keys"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [json!("k1"), json!("k2")]);
}
