//! The control plane's delivery side as it runs: real handlers over the real adapters and the embedded services; only the
//! clock is set, and the guarded client's Internet is a test's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use domain::bot::Bot;
use domain::call::{CallRow, Finisher, NextStep, Terminal};
use domain::delivery::{Channel, DeliveryRow};
use domain::ids::{BotId, CallId};
use domain::objects::CallObjects;
use domain::ports::{Clock, Entropy, Job, Outbound, Owned, Put};
use domain::secret::SecretString;
use functions::platform::{Outside, Platform, Settings};
use infra::aws::{Clients, connect};
use infra::clock::OsEntropy;
use infra::config::{AwsConfig, NamesConfig};
use infra::dynamodb::stores;
use infra::fleet_client::FleetClient;
use infra::guarded::EgressPolicy;
use infra::s3::S3Objects;
use infra::schema::{Names, ensure};
use infra::seal::{AesSeal, LocalKeyFile};
use infra::secrets::{DeploymentSecrets, create_if_absent};
use infra::sqs::SqsQueues;
use jiff::Timestamp;
use local::embedded::{Embedded, EmbeddedConfig};
use serde_json::json;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const TOKEN: &str = "Bearer t0ken";
/// A try's time where it is to run out, in place of the 15 s of a real deployment.
pub(crate) const SHORT: Duration = Duration::from_secs(2);
/// Where it must not, on a machine that stands still for some seconds.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A clock that stands still unless it is moved.
struct SetClock(Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Plant {
    pub(crate) platform: Platform,
    pub(crate) queues: SqsQueues,
    pub(crate) clients: Clients,
    pub(crate) names: Names,
    clock: Arc<SetClock>,
    _embedded: Embedded,
    _folder: tempfile::TempDir,
}

/// The same tables, waited for: a disk that stands still for some seconds is no answer of theirs.
fn patient(client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
    let minute = Duration::from_secs(60);
    let timeouts = TimeoutConfig::builder().connect_timeout(minute).operation_attempt_timeout(minute);
    let timeouts = timeouts.operation_timeout(minute * 2).build();
    aws_sdk_dynamodb::Client::from_conf(client.config().to_builder().timeout_config(timeouts).build())
}

impl Plant {
    pub(crate) async fn start(outbound: Arc<dyn Outbound>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig {
            data: folder.path().join("aws"),
            listen: "127.0.0.1:0".parse().unwrap(),
            access_key: "test".into(),
            secret_key: "test".into(),
        };
        let embedded = local::embedded::start(config).await.unwrap();
        let aws = AwsConfig {
            endpoint: Some(embedded.endpoint.clone()),
            region: Some("eu-central-1".into()),
            access_key_id: Some("test".into()),
            secret_access_key: Some(SecretString::from("test")),
        };
        let (mut clients, names) = (connect(&aws).await, Names::new(&NamesConfig::default()));
        clients.dynamodb = patient(&clients.dynamodb);
        ensure(&clients, &names).await.unwrap();
        let secrets_file = folder.path().join("fleet.json");
        create_if_absent(&secrets_file, &OsEntropy).unwrap();
        let secrets = Arc::new(DeploymentSecrets::file(&secrets_file));
        let seal = AesSeal::load(&secrets, &LocalKeyFile::beside(&secrets_file)).await.unwrap();
        // Not in the past: the embedded tables tidy by the machine's clock.
        let clock = Arc::new(SetClock(Mutex::new(Timestamp::from_second(Timestamp::now().as_second()).unwrap())));
        let queues = SqsQueues::new(clients.sqs.clone(), &names);
        let stores = stores(&clients, &names);
        let mut settings = Settings::new("https://api.example.com");
        settings.delivery.total = LONG;
        let platform = Platform {
            tables: stores,
            outside: Outside {
                clock: clock.clone(),
                entropy: Arc::new(OsEntropy),
                objects: Arc::new(S3Objects::new(clients.s3.clone(), &names)),
                queues: Arc::new(queues.clone()),
                egress: Arc::new(EgressPolicy::default()),
                outbound,
                fleet: Arc::new(FleetClient::new(secrets.clone(), clock.clone()).unwrap()),
                secrets,
                seal: Arc::new(seal),
            },
            settings: Arc::new(settings),
            doorman: Arc::default(),
            turns: Arc::default(),
            memory: Arc::default(),
        };
        Self { platform, queues, clients, names, clock, _embedded: embedded, _folder: folder }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn set(&self, at: Timestamp) {
        *self.clock.0.lock().unwrap() = at;
    }

    /// A bot that pushes to `url`.
    pub(crate) async fn bot(&self, url: &str) -> Bot {
        let id = format!("bot-{:08x}", OsEntropy.dice());
        let seal = |text: &str| self.platform.outside.seal.seal(&format!("bot/{id}"), &SecretString::from(text)).0;
        let bot: Bot = serde_json::from_value(json!({
            "bot_id": id, "version": 1, "name": "CRM",
            "push": {
                "url": url, "token": seal(TOKEN), "secret": seal(SECRET),
                "key_mapper": {"SESSION": "{{call.id}}", "DISPOSITION": "{{result.disposition}}"},
            },
        }))
        .unwrap();
        assert_eq!(self.platform.tables.bots.put(&bot, None).await.unwrap(), Put::Stored);
        bot
    }

    /// A call of `bot` that nobody answered, rendered and ready to be delivered.
    pub(crate) async fn rendered(&self, bot: &BotId) -> CallId {
        let mut random = [0; 10];
        OsEntropy.fill(&mut random);
        let now = self.now();
        let id = CallId::from_parts(now.as_millisecond().unsigned_abs(), random);
        let row: CallRow = serde_json::from_value(json!({
            "call_id": id, "bot_id": bot, "bot_version": 1, "direction": "outbound",
            "to_number": "+911234567890", "from_number": "+911234567891", "state": "accepted",
            "owner": {"server_id": "s", "epoch": 1}, "started_at": now, "deadline": now,
            "recording_status": "none", "recording_token": "t", "analysis_status": "pending",
        }))
        .unwrap();
        let calls = &self.platform.tables.calls;
        calls.create(&row).await.unwrap();
        let terminal: Terminal = serde_json::from_value(json!({
            "ended_at": now, "end_reason": "no_answer", "sip_code": 480, "duration_ms": 0,
            "recording_status": "none", "warnings": [],
        }))
        .unwrap();
        let by = Finisher::Owner(row.owner.clone());
        assert_eq!(calls.finish(id, &by, &terminal, now).await.unwrap(), Owned::Written);
        calls.take_step(id, &[NextStep::Announce], Some(NextStep::Push), now).await.unwrap();
        let record = CallObjects::of(&row).record();
        self.platform.outside.objects.put(&record, "application/json", "{}".into()).await.unwrap();
        functions::push::handle(&(&self.platform).into(), &Job { call_id: id, channel: None }).await.unwrap();
        id
    }

    /// What a try may last from now on.
    pub(crate) fn give(&mut self, total: Duration) {
        let mut settings = Settings::clone(&self.platform.settings);
        settings.delivery.total = total;
        self.platform.settings = Arc::new(settings);
    }

    /// One message of the queue for this delivery.
    pub(crate) async fn deliver(&self, call: CallId) {
        let job = Job { call_id: call, channel: Some(Channel::Push) };
        functions::push::handle(&(&self.platform).into(), &job).await.unwrap();
    }

    pub(crate) async fn delivery(&self, call: CallId) -> DeliveryRow {
        self.platform.tables.deliveries.get(call, Channel::Push).await.unwrap().unwrap()
    }
}
