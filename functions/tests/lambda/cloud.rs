//! The AWS that the functions of these tests know: the embedded services, and a Secrets Manager and a KMS that hold what one
//! deployment has. It must never answer a request that the real ones would refuse for its context.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::api_key::{ApiKey, ApiKeyRow, BotScope, Role};
use domain::fleet::ServerRow;
use domain::ids::{Epoch, KeyId, ServerId};
use domain::ports::Tables;
use infra::aws::{Clients, connect};
use infra::config::{AwsConfig, NamesConfig};
use infra::dynamodb::stores;
use infra::schema::{Names, ensure};
use jiff::Timestamp;
use local::embedded::{Embedded, EmbeddedConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The name of its tables, without the last dash.
pub(crate) const DEPLOYMENT: &str = "acme";
pub(crate) const CLIENT_KEY: &str = "sk_test_client_key";
pub(crate) const ADMIN_KEY: &str = "sk_test_admin_key";
const KMS_KEY: &str = "alias/acme";
const REGION: &str = "eu-west-1";

/// One deployment.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) tables: Tables,
    pub(crate) clients: Clients,
    pub(crate) names: Names,
    endpoint: String,
    vault: String,
    _embedded: Embedded,
}

impl Cloud {
    /// Starts one in an empty folder, with a bot, a trunk and two keys.
    pub(crate) async fn start(folder: &Path) -> Self {
        let embedded = local::embedded::start(EmbeddedConfig {
            data: folder.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            access_key: "test".into(),
            secret_key: "test".into(),
        })
        .await
        .unwrap();
        let aws = AwsConfig {
            endpoint: Some(embedded.endpoint.clone()),
            region: Some(REGION.into()),
            access_key_id: Some("test".into()),
            secret_access_key: Some("test".into()),
        };
        let clients = connect(&aws).await;
        let prefix = format!("{DEPLOYMENT}-");
        let names = Names::new(&NamesConfig { prefix, ..NamesConfig::default() });
        ensure(&clients, &names).await.unwrap();
        let tables = stores(&clients, &names);
        let vault = vault().await;
        let cloud = Self { tables, clients, names, endpoint: embedded.endpoint.clone(), vault, _embedded: embedded };
        cloud.furnish().await;
        cloud
    }

    /// The environment in which Lambda starts a function of this deployment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.vault),
            ("AWS_ENDPOINT_URL_KMS", &self.vault),
            ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
            ("RINGFLEET_PUBLIC_URL", "https://api.example.com/prod"),
            ("RINGFLEET_SECRETS_ID", "acme/deployment"),
            ("RINGFLEET_KMS_KEY_ID", KMS_KEY),
            ("RINGFLEET_NAMES_PREFIX", "acme-"),
            ("RINGFLEET_NAMES_BUCKET", self.names.bucket()),
            // One pass an event.
            ("RINGFLEET_PERIODS_REAP", "55s"),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    async fn furnish(&self) {
        let now = Timestamp::now();
        for (text, role) in [(CLIENT_KEY, Role::Client), (ADMIN_KEY, Role::Admin)] {
            let key = ApiKey::parse(text).unwrap();
            let row = ApiKeyRow {
                key_id: KeyId::parse(format!("key_{}", &key.hash().as_str()[..16])).unwrap(),
                key_hash: key.hash(),
                version: 1,
                prefix: key.prefix(),
                name: "test".into(),
                role,
                bots: BotScope::All,
                active: true,
                expires_at: None,
                created_at: now,
                last_used_at: None,
            };
            assert!(self.tables.api_keys.create(&row).await.unwrap());
        }
        let bot = json!({"bot_id": "bot-1", "version": 1, "name": "b", "trunk_ids": ["trunk"]});
        self.tables.bots.put(&serde_json::from_value(bot).unwrap(), None).await.unwrap();
        let trunk = json!({"trunk_id": "trunk", "version": 1, "name": "t", "host": "sip.example.com",
            "default_number": "+911234567890", "numbers": ["+911234567890"]});
        self.tables.trunks.put(&serde_json::from_value(trunk).unwrap(), None).await.unwrap();
    }

    /// A fleet server with ten slots, four of them taken, that accepts every call. Its heart beats for as long as the test:
    /// however slow that is, nobody takes the server for a silent one.
    pub(crate) async fn open_server(&self) {
        let api = Router::new().route("/calls", post(async || Json(json!({"answer": "accepted"}))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, api).await.unwrap() });
        let row = json!({"server_id": ServerId::parse("server-1").unwrap(), "epoch": Epoch(1), "address": address.to_string(),
            "ws_url": "", "sip": "", "group": "mumbai", "calls": 4, "max": 10, "free": 6, "trunk_calls": {},
            "draining": false, "version": "0", "heartbeat_at": Timestamp::now()});
        let mut row: ServerRow = serde_json::from_value(row).unwrap();
        self.tables.servers.heartbeat(&row).await.unwrap();
        let servers = self.tables.servers.clone();
        tokio::spawn(async move {
            let mut beats = tokio::time::interval(Duration::from_secs(1));
            loop {
                beats.tick().await;
                row.heartbeat_at = Timestamp::now();
                // The next one comes soon, or the tables have ended with the test.
                let _ = servers.heartbeat(&row).await;
            }
        });
    }
}

/// Serves `GetSecretValue` and `Decrypt`.
async fn vault() -> String {
    let document = json!({
        "current": {"kid": "1", "secret": STANDARD.encode([1; 32])},
        "data_keys": [{"id": "k1", "wrapped": format!("kms:{}", STANDARD.encode("wrapped"))}],
    });
    let api = Router::new().route("/", post(answer)).with_state(Arc::new(document));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, api).await.unwrap() });
    format!("http://{address}")
}

async fn answer(State(document): State<Arc<Value>>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_str(&body).unwrap();
    let refuse = |code: &str| (StatusCode::BAD_REQUEST, Json(json!({"__type": code})));
    match headers["x-amz-target"].to_str().unwrap() {
        "secretsmanager.GetSecretValue" if body["SecretId"] == "acme/deployment" => {
            (StatusCode::OK, Json(json!({"Name": "acme/deployment", "SecretString": document.to_string()})))
        }
        "TrentService.Decrypt"
            if body["KeyId"] == KMS_KEY && body["EncryptionContext"] == json!({"ringfleet:data-key": "k1"}) =>
        {
            (StatusCode::OK, Json(json!({"Plaintext": STANDARD.encode([7; 32]), "KeyId": KMS_KEY})))
        }
        _ => refuse("AccessDeniedException"),
    }
}
