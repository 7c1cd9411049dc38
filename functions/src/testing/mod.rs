//! A world for tests: the ports in memory, with the conditions that the real tables keep, and a clock that is set.
//! It must never be kinder than the adapters: what is conditional there is conditional here.

mod addresses;
mod calls;
mod deliveries;
mod housekeeping;
mod outside;
mod sealed_rows;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use domain::api_key::{ApiKey, ApiKeyRow, BotScope, Role};
use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::delivery::{Channel, DeliveryRow, Target};
use domain::fleet::ServerRow;
use domain::ids::{BotId, CallId, Epoch, KeyId, Owner, ServerId, TrunkId};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{CallEntry, Entropy, Job, OutboundAnswer, OutboundError, OutboundRequest, QueueName};
use domain::secret::Personal;
use domain::trunk::Trunk;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) use addresses::{ADDRESSES, resolved};
pub(crate) use outside::Act;

use crate::memory::{Memory, Staleness};
use crate::platform::{Outside, Platform, Settings, Tables};

/// A lock whose poison is of no interest.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(value)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All there is.
pub(crate) struct World {
    pub(crate) tables: Arc<Shared<tables::Rows>>,
    pub(crate) outside: Arc<Shared<outside::State>>,
    settings: Mutex<Settings>,
    staleness: Mutex<Staleness>,
    minted: Mutex<u8>,
}

/// Monday, 2026-01-05 12:00:00 UTC.
const START: i64 = 1_767_614_400;

impl World {
    pub(crate) fn new() -> Self {
        let start = Timestamp::from_second(START).unwrap();
        Self {
            tables: Shared::new(tables::Rows::default()),
            outside: Shared::new(outside::State::new(start)),
            settings: Mutex::new(Settings::new("https://api.example.com/")),
            // Tests change what lies in the tables between two requests.
            staleness: Mutex::new(Staleness::NONE),
            minted: Mutex::new(0),
        }
    }

    pub(crate) fn platform(&self) -> Platform {
        let tables = Arc::new(tables::Tables(self.tables.clone()));
        let outside = Arc::new(outside::Outside { state: self.outside.clone(), rows: self.tables.clone() });
        Platform {
            tables: Tables {
                api_keys: tables.clone(),
                bots: tables.clone(),
                trunks: tables.clone(),
                calls: tables.clone(),
                deliveries: tables.clone(),
                endpoints: tables.clone(),
                housekeeping: tables.clone(),
                idempotency: tables.clone(),
                sealed_rows: tables.clone(),
                servers: tables.clone(),
                spend: tables,
            },
            outside: Outside {
                clock: outside.clone(),
                entropy: outside.clone(),
                objects: outside.clone(),
                queues: outside.clone(),
                egress: outside.clone(),
                outbound: outside.clone(),
                fleet: outside.clone(),
                secrets: outside.clone(),
                seal: outside,
            },
            settings: Arc::new(self.settings.lock().unwrap().clone()),
            doorman: Arc::default(),
            turns: Arc::default(),
            memory: Arc::new(Memory::new(*self.staleness.lock().unwrap())),
        }
    }

    /// What one function is given of it.
    pub(crate) fn desk<T: for<'a> From<&'a Platform>>(&self) -> T {
        T::from(&self.platform())
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().unwrap());
    }

    /// How old what the next platform goes by may be.
    pub(crate) fn remember(&self, staleness: Staleness) {
        *self.staleness.lock().unwrap() = staleness;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.outside.lock().now
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut outside = self.outside.lock();
        outside.now += by;
    }

    pub(crate) fn key(&self, text: &str, change: impl FnOnce(&mut ApiKeyRow)) -> ApiKeyRow {
        let key = ApiKey::parse(text).unwrap();
        let mut row = ApiKeyRow {
            key_hash: key.hash(),
            key_id: KeyId::parse(format!("key_{}", &key.hash().as_str()[..16])).unwrap(),
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
        self.tables.lock().keys.insert(row.key_hash.clone(), row.clone());
        row
    }

    /// A bot of the least there may be, changed as JSON.
    pub(crate) fn bot(&self, id: &str, more: Value) -> Bot {
        let mut value = json!({"bot_id": id, "version": 1, "name": id});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bot: Bot = serde_json::from_value(value).unwrap();
        let mut rows = self.tables.lock();
        rows.bot_versions.insert((bot.bot_id.clone(), bot.version), bot.clone());
        rows.bots.insert(bot.bot_id.clone(), bot.clone());
        bot
    }

    pub(crate) fn trunk(&self, id: &str, more: Value) -> Trunk {
        let mut value = json!({"trunk_id": id, "version": 1, "name": id, "host": "sip.example.com",
            "default_number": "+911234567890", "numbers": ["+911234567890"]});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let trunk: Trunk = serde_json::from_value(value).unwrap();
        self.tables.lock().trunks.insert(trunk.trunk_id.clone(), trunk.clone());
        trunk
    }

    pub(crate) fn server(&self, id: &str, change: impl FnOnce(&mut ServerRow)) -> ServerRow {
        let mut row = ServerRow {
            server_id: ServerId::parse(id).unwrap(),
            epoch: Epoch(1),
            address: "10.0.0.1:9000".into(),
            ws_url: String::new(),
            sip: String::new(),
            group: None,
            calls: 0,
            max: 10,
            free: 10,
            trunk_calls: BTreeMap::new(),
            draining: false,
            version: "0".into(),
            heartbeat_at: self.now(),
        };
        change(&mut row);
        self.tables.lock().servers.insert(row.server_id.clone(), row.clone());
        row
    }

    /// A live call of bot `bot` on server `a`, epoch 1.
    pub(crate) fn call(&self, change: impl FnOnce(&mut CallRow)) -> CallRow {
        let number = {
            let mut minted = self.minted.lock().unwrap();
            *minted = minted.wrapping_add(1);
            *minted
        };
        let now = self.now();
        let mut row = CallRow {
            call_id: CallId::from_parts(now.as_millisecond().unsigned_abs(), [number; 10]),
            bot_id: BotId::parse("bot").unwrap(),
            bot_version: 1,
            trunk_id: Some(TrunkId::parse("trunk").unwrap()),
            direction: Direction::Outbound,
            to_number: Personal("+919876543210".into()),
            from_number: Personal("+911234567890".into()),
            key_id: None,
            state: CallState::Accepted,
            owner: Owner { server_id: ServerId::parse("a").unwrap(), epoch: Epoch(1) },
            started_at: now,
            deadline: now + Duration::from_secs(700),
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
        };
        change(&mut row);
        self.tables.lock().calls.insert(row.call_id, CallEntry::Call(Box::new(row.clone())));
        row
    }

    /// An ended call that was answered and talked for 12.5 s.
    pub(crate) fn ended_call(&self, change: impl FnOnce(&mut CallRow)) -> CallRow {
        self.call(|row| {
            row.state = CallState::Ended;
            row.answered_at = Some(row.started_at);
            row.ended_at = Some(row.started_at);
            row.end_reason = Some(EndReason::BotHangup);
            row.duration_ms = 12_500;
            change(row);
        })
    }

    pub(crate) fn row(&self, id: CallId) -> CallRow {
        match self.tables.lock().calls.get(&id) {
            Some(CallEntry::Call(row)) => (**row).clone(),
            other => panic!("no call but {other:?}"),
        }
    }

    /// Stores a record in which the customer spoke.
    pub(crate) fn record(&self, row: &CallRow, more: Value) {
        let mut value = json!({"transcript": [
            {"speaker": "bot", "text": "Hello, am I speaking with Asha?", "timestamp": 0.2},
            {"speaker": "customer", "text": "Yes, I will pay on Friday.", "timestamp": 3.1},
        ]});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.object(&CallObjects::of(row).record(), value.to_string().as_bytes());
    }

    pub(crate) fn delivery(
        &self,
        call: &CallRow,
        channel: Channel,
        change: impl FnOnce(&mut DeliveryRow),
    ) -> DeliveryRow {
        let to = Target { url: "https://crm.example.com/hook".into(), method: "POST".into() };
        let mut row = DeliveryRow::new(call.call_id, channel, call.bot_id.clone(), to, "body".into(), self.now());
        change(&mut row);
        self.tables.lock().deliveries.insert((call.call_id, channel), row.clone());
        row
    }

    pub(crate) fn delivery_row(&self, call: CallId, channel: Channel) -> Option<DeliveryRow> {
        self.tables.lock().deliveries.get(&(call, channel)).cloned()
    }

    pub(crate) fn object(&self, key: &str, bytes: &[u8]) {
        self.outside.lock().objects.insert(key.to_owned(), bytes.to_vec());
    }

    pub(crate) fn read_object(&self, key: &str) -> Option<Vec<u8>> {
        self.outside.lock().objects.get(key).cloned()
    }

    /// What was sent to a queue, and forgets it.
    pub(crate) fn sent(&self, queue: QueueName) -> Vec<Job> {
        self.sent_with_delay(queue).into_iter().map(|(job, _)| job).collect()
    }

    pub(crate) fn sent_with_delay(&self, queue: QueueName) -> Vec<(Job, Duration)> {
        self.outside.lock().sent.remove(&queue).unwrap_or_default()
    }

    pub(crate) fn break_queues(&self, broken: bool) {
        self.outside.lock().queues_broken = broken;
    }

    /// Scripts the next answers to outbound requests; without a script they time out.
    pub(crate) fn outbound(&self, answers: impl IntoIterator<Item = Result<OutboundAnswer, OutboundError>>) {
        self.outside.lock().answers.extend(answers);
    }

    pub(crate) fn requests(&self) -> Vec<OutboundRequest> {
        std::mem::take(&mut self.outside.lock().requests)
    }

    /// Scripts what a server does with the next calls offered to it; without a script it accepts.
    pub(crate) fn script(&self, server: &str, acts: &[Act]) {
        self.outside.lock().acts.entry(server.to_owned()).or_default().extend(acts.iter().copied());
    }

    /// Servers that were asked to dial, in order.
    pub(crate) fn dialled(&self) -> Vec<String> {
        self.outside.lock().dialled.clone()
    }

    /// Calls that any server took.
    pub(crate) fn accepted(&self) -> usize {
        self.tables.lock().calls.values().filter(|entry| matches!(entry, CallEntry::Call(_))).count()
    }
}

pub(crate) fn status(code: u16) -> Result<OutboundAnswer, OutboundError> {
    answer(code, &[], b"thanks")
}

pub(crate) fn answer(
    code: u16,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Result<OutboundAnswer, OutboundError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Ok(OutboundAnswer { status: code, headers: map, body: bytes::Bytes::copy_from_slice(body) })
}

/// An HTTP answer, read whole.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

pub(crate) async fn request(
    app: &Router,
    method: &str,
    path: &str,
    key: Option<&str>,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> HttpAnswer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("x-api-key", http::HeaderValue::from_bytes(key.as_bytes()).unwrap());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    HttpAnswer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// Bytes that differ with each draw, and are the same in each run.
pub(crate) struct Counting(pub(crate) Mutex<u8>);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in bytes {
            *next = next.wrapping_mul(73).wrapping_add(41);
            *byte = *next;
        }
    }
}
