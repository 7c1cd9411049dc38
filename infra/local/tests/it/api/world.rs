//! A platform without a fleet server: real tables, a played server, a clock that is set.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::api_key::{ApiKey, ApiKeyRow, BotScope, Role};
use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, Refusal, ServerRow};
use domain::ids::{BotId, CallId, Epoch, KeyId, Owner, ServerId};
use domain::ports::{CallEntry, Claim, Clock, Fleet, FleetError, Owned, Put, Seal, SealError, Secrets, StoreError};
use domain::secret::{ExposeSecret, Personal, Sealed, SecretString};
use domain::signing::FleetSecrets;
use domain::trunk::Trunk;
use functions::platform::{Outside, Platform, Settings, Tables};
use infra::aws::{Clients, connect};
use infra::clock::OsEntropy;
use infra::config::{AwsConfig, EgressConfig, NamesConfig};
use infra::dynamodb::stores;
use infra::guarded::GuardedClient;
use infra::s3::S3Objects;
use infra::schema::{Names, ensure};
use infra::sqs::SqsQueues;
use jiff::Timestamp;
use local::embedded::{Embedded, start};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::embedded::config;

/// Monday noon. In the future, so that what the tables tidy away by the machine's clock stays.
pub(super) const START: &str = "2031-05-05T12:00:00Z";

#[derive(Debug)]
pub(super) struct SetClock(Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A server that takes what it is offered, after `pause`, or refuses as scripted; it puts the row as a real one does.
#[derive(Debug)]
pub(super) struct PlayedFleet {
    stores: Tables,
    clock: Arc<SetClock>,
    pub(super) asked: Mutex<usize>,
    pub(super) refusals: Mutex<VecDeque<Refusal>>,
    pub(super) pause: Mutex<Duration>,
}

#[async_trait]
impl Fleet for PlayedFleet {
    async fn dial(&self, server: &ServerRow, command: &DialCommand, _: Duration) -> Result<DialAnswer, FleetError> {
        *self.asked.lock().unwrap() += 1;
        let refusal = self.refusals.lock().unwrap().pop_front();
        if let Some(why) = refusal {
            return Ok(DialAnswer::Refused(why));
        }
        let pause = *self.pause.lock().unwrap();
        tokio::time::sleep(pause).await;
        let row = CallRow {
            to_number: command.to.clone(),
            from_number: command.from.clone(),
            key_id: Some(command.key_id.clone()),
            owner: server.owner(),
            ..row(command.call_id, &command.bot_id, self.clock.now())
        };
        match self.stores.calls.create(&row).await {
            Ok(Claim::Claimed) => Ok(DialAnswer::Accepted),
            Ok(Claim::Exists(CallEntry::Call(there))) if there.owner == row.owner => Ok(DialAnswer::Accepted),
            Ok(Claim::Exists(CallEntry::Call(_))) => Ok(DialAnswer::Refused(Refusal::WrongServer)),
            Ok(Claim::Exists(CallEntry::Fenced(_))) => Ok(DialAnswer::Refused(Refusal::Fenced)),
            Err(cause) => Err(FleetError::NoAnswer(cause.to_string())),
        }
    }

    async fn hang_up(&self, _: &ServerRow, _: CallId, _: Duration) -> Result<bool, FleetError> {
        Ok(true)
    }

    async fn alive(&self, server: &ServerRow, _: Duration) -> Result<Alive, FleetError> {
        let (server_id, epoch) = (server.server_id.clone(), server.epoch);
        Ok(Alive { server_id, epoch, calls: server.calls, draining: server.draining })
    }

    async fn drain(&self, _: &ServerRow, _: bool, _: Duration) -> Result<DrainAnswer, FleetError> {
        Err(FleetError::Unreachable("a played fleet is never drained".into()))
    }
}

/// Seals nothing of these tests.
struct NoSeal;

/// A deployment's secrets that nobody changes.
struct OneSecret;

#[async_trait]
impl Secrets for OneSecret {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        Ok(FleetSecrets::single("k1", SecretString::from("the fleet's secret")))
    }
}

impl Seal for NoSeal {
    fn seal(&self, _: &str, secret: &SecretString) -> Sealed {
        Sealed(STANDARD.encode(secret.expose_secret()))
    }

    fn open(&self, entity: &str, _: &Sealed) -> Result<SecretString, SealError> {
        Err(SealError::Unopenable(entity.to_owned()))
    }
}

/// A live call of a bot.
pub(super) fn row(call_id: CallId, bot: &BotId, started_at: Timestamp) -> CallRow {
    CallRow {
        call_id,
        bot_id: bot.clone(),
        bot_version: 1,
        trunk_id: None,
        direction: Direction::Outbound,
        to_number: Personal("+919876543210".into()),
        from_number: Personal("+911234567890".into()),
        key_id: None,
        state: CallState::Accepted,
        owner: Owner { server_id: ServerId::parse("a").unwrap(), epoch: Epoch(1) },
        started_at,
        deadline: started_at + Duration::from_secs(900),
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        end_reason: None,
        sip_code: None,
        duration_ms: 0,
        recording_status: RecordingStatus::None,
        recording_token: "00112233445566778899aabbccddeeff".into(),
        checkpoints: 0,
        analysis_status: AnalysisStatus::Pending,
        disposition: None,
        next_step: None,
        due_at: None,
        step_tries: 0,
        warnings: Vec::new(),
        expired: BTreeSet::new(),
        erased_at: None,
        brought: None,
    }
}

pub(super) struct World {
    pub(super) stores: Tables,
    pub(super) clients: Clients,
    pub(super) names: Names,
    pub(super) clock: Arc<SetClock>,
    pub(super) fleet: Arc<PlayedFleet>,
    /// Where the API is served.
    pub(super) url: String,
    pub(super) http: reqwest::Client,
    _aws: Embedded,
    _data: TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

/// The same tables, waited for: a disk that stands still for some seconds is no answer of theirs.
fn patient(client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
    let minute = Duration::from_secs(60);
    let timeouts = TimeoutConfig::builder().connect_timeout(minute).operation_attempt_timeout(minute);
    let timeouts = timeouts.operation_timeout(minute * 2).build();
    aws_sdk_dynamodb::Client::from_conf(client.config().to_builder().timeout_config(timeouts).build())
}

impl World {
    /// Tables, bucket and queues, one server `a`, trunk `trunk`, and the API on a socket.
    pub(super) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let embedded = config(data.path());
        let (access, secret) = (embedded.access_key.clone(), embedded.secret_key.clone());
        let aws = start(embedded).await.unwrap();
        let mut clients = connect(&AwsConfig {
            endpoint: Some(aws.endpoint.clone()),
            region: Some("eu-west-1".into()),
            access_key_id: Some(access),
            secret_access_key: Some(secret.into()),
        })
        .await;
        clients.dynamodb = patient(&clients.dynamodb);
        let names = Names::new(&NamesConfig::default());
        ensure(&clients, &names).await.unwrap();
        let stores = stores(&clients, &names);
        let clock = Arc::new(SetClock(Mutex::new(START.parse().unwrap())));
        let fleet = Arc::new(PlayedFleet {
            stores: stores.clone(),
            clock: clock.clone(),
            asked: Mutex::default(),
            refusals: Mutex::default(),
            pause: Mutex::default(),
        });
        let mut world = Self {
            stores,
            clients,
            names,
            clock,
            fleet,
            url: String::new(),
            http: reqwest::Client::new(),
            _aws: aws,
            _data: data,
        };
        world.url = world.serve(world.stores.clone()).await;
        world.beat(|_| ()).await;
        world.trunk().await;
        world
    }

    /// Serves the API over these tables; it ends with the test's runtime.
    pub(super) async fn serve(&self, stores: Tables) -> String {
        let (clients, names) = (self.clients.clone(), &self.names);
        let platform = Platform {
            tables: stores,
            outside: Outside {
                clock: self.clock.clone(),
                entropy: Arc::new(OsEntropy),
                objects: Arc::new(S3Objects::new(clients.s3, names)),
                queues: Arc::new(SqsQueues::new(clients.sqs, names)),
                egress: Arc::new(infra::guarded::EgressPolicy::default()),
                outbound: Arc::new(GuardedClient::new(EgressConfig::default().into())),
                fleet: self.fleet.clone(),
                secrets: Arc::new(OneSecret),
                seal: Arc::new(NoSeal),
            },
            settings: Arc::new(Settings::new("https://api.example.com")),
            doorman: Arc::default(),
            turns: Arc::default(),
            // Tests change what lies in the tables between two requests.
            memory: Arc::new(functions::memory::Memory::new(functions::memory::Staleness::NONE)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, functions::router::api(&platform)).await.unwrap() });
        url
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sets the clock, and the server's heart beats.
    pub(super) async fn set_now(&self, now: Timestamp) {
        *self.clock.0.lock().unwrap() = now;
        self.beat(|_| ()).await;
    }

    /// A heartbeat of a new incarnation of server `a`.
    pub(super) async fn beat(&self, change: impl FnOnce(&mut ServerRow)) {
        let server_id = ServerId::parse("a").unwrap();
        let mut row = ServerRow {
            epoch: self.stores.servers.next_epoch(&server_id).await.unwrap(),
            server_id,
            address: "127.0.0.1:9".into(),
            ws_url: String::new(),
            sip: String::new(),
            group: None,
            calls: 0,
            max: 200,
            free: 200,
            trunk_calls: BTreeMap::new(),
            draining: false,
            version: "0".into(),
            heartbeat_at: self.now(),
        };
        change(&mut row);
        assert_eq!(self.stores.servers.heartbeat(&row).await.unwrap(), Owned::Written);
    }

    pub(super) async fn retire(&self) {
        for server in self.stores.servers.all().await.unwrap() {
            self.stores.servers.retire(&server.owner()).await.unwrap();
        }
    }

    pub(super) async fn key(&self, text: &str, change: impl FnOnce(&mut ApiKeyRow)) -> KeyId {
        let key = ApiKey::parse(text).unwrap();
        let mut row = ApiKeyRow {
            key_id: KeyId::parse(&key.hash().as_str()[..16]).unwrap(),
            key_hash: key.hash(),
            version: 1,
            prefix: key.prefix(),
            name: "test".into(),
            role: Role::Client,
            bots: BotScope::All,
            active: true,
            expires_at: None,
            created_at: self.now(),
            last_used_at: None,
        };
        change(&mut row);
        assert!(self.stores.api_keys.create(&row).await.unwrap());
        row.key_id
    }

    async fn trunk(&self) {
        let trunk: Trunk = serde_json::from_value(json!({
            "trunk_id": "trunk", "version": 1, "name": "T", "host": "sip.example.com", "default_country": "IN",
            "default_number": "+911234567890", "numbers": ["+911234567890"]
        }))
        .unwrap();
        assert_eq!(self.stores.trunks.put(&trunk, None).await.unwrap(), Put::Stored);
    }

    /// The next version of a bot.
    pub(super) async fn bot(&self, id: &str, more: Value) {
        let id = BotId::parse(id).unwrap();
        let old = self.stores.bots.get(&id).await.unwrap().map(|bot| bot.version);
        let mut value = json!({"bot_id": id, "version": old.unwrap_or(0) + 1, "name": id, "trunk_ids": ["trunk"]});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bot: Bot = serde_json::from_value(value).unwrap();
        assert_eq!(self.stores.bots.put(&bot, old).await.unwrap(), Put::Stored);
    }

    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let sent = async {
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, body: answer.bytes().await.unwrap() }
        };
        tokio::time::timeout(Duration::from_secs(120), sent).await.expect("it takes too long")
    }

    /// The ids of a bot's calls of today.
    pub(super) async fn call_ids(&self, bot: &str) -> Vec<CallId> {
        let today = self.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let end = domain::call_list::CallPosition::start_of_day(today.tomorrow().unwrap());
        let found = self.stores.calls.of_day(&BotId::parse(bot).unwrap(), today, &end, 1000).await.unwrap();
        found.into_iter().map(|position| position.call_id).collect()
    }
}
