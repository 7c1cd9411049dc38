//! Clock, dice, bucket, queues, outbound client, seal and fleet for tests, scripted and recorded.
//! A fake server keeps the rule that matters: it dials only after its row was put on a free id.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, Refusal, ServerRow};
use domain::ids::{BotId, CallId, ServerId};
use domain::ports::{
    CallEntry, Claim, Clock, Egress, Entropy, Fleet, FleetError, Job, Objects, Outbound, OutboundAnswer, OutboundError,
    OutboundRequest, QueueName, Queues, Seal, SealError, Secrets, StoreError,
};
use domain::secret::{ExposeSecret, Sealed, SecretString};
use domain::signing::FleetSecrets;
use jiff::Timestamp;

use super::tables::Rows;
use super::{Counting, Shared};

/// What a server does with a call that is offered to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Accept,
    Refuse(Refusal),
    Unreachable,
    /// Takes the call, and its answer is lost.
    TakeSilently,
    /// Neither takes the call nor answers.
    Silent,
    /// Answers this status.
    Status(u16),
}

pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) objects: HashMap<String, Vec<u8>>,
    pub(crate) sent: HashMap<QueueName, Vec<(Job, Duration)>>,
    pub(crate) queues_broken: bool,
    pub(crate) objects_broken: bool,
    /// How long the bucket takes to give an object.
    pub(crate) objects_take: Duration,
    pub(crate) answers: VecDeque<Result<OutboundAnswer, OutboundError>>,
    pub(crate) requests: Vec<OutboundRequest>,
    pub(crate) acts: HashMap<String, VecDeque<Act>>,
    pub(crate) dialled: Vec<String>,
    pub(crate) commands: Vec<DialCommand>,
    /// Commands that servers have received and neither taken nor refused: they may take them yet.
    pub(crate) pending: Vec<(ServerRow, DialCommand)>,
    /// Servers that answer a knock.
    pub(crate) alive: Vec<ServerRow>,
    pub(crate) hung_up: Vec<CallId>,
    /// What servers say when they are told to hang up; `None` = not reachable.
    pub(crate) knows_call: Option<bool>,
    /// Servers whose process is ending: they let nobody in again.
    pub(crate) ending: Vec<ServerId>,
    dice: Arc<Counting>,
}

impl State {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            objects: HashMap::new(),
            sent: HashMap::new(),
            queues_broken: false,
            objects_broken: false,
            objects_take: Duration::ZERO,
            answers: VecDeque::new(),
            requests: Vec::new(),
            acts: HashMap::new(),
            dialled: Vec::new(),
            commands: Vec::new(),
            pending: Vec::new(),
            alive: Vec::new(),
            hung_up: Vec::new(),
            knows_call: Some(true),
            ending: Vec::new(),
            dice: Arc::new(Counting(Mutex::new(7))),
        }
    }
}

pub(super) struct Outside {
    pub(super) state: Arc<Shared<State>>,
    pub(super) rows: Arc<Shared<Rows>>,
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        self.state.lock().now
    }
}

impl Entropy for Outside {
    fn fill(&self, bytes: &mut [u8]) {
        let dice = self.state.lock().dice.clone();
        dice.fill(bytes);
    }
}

#[async_trait]
impl Objects for Outside {
    async fn put(&self, key: &str, _: &str, body: Bytes) -> Result<(), StoreError> {
        self.state.lock().objects.insert(key.to_owned(), body.to_vec());
        Ok(())
    }

    async fn put_file(&self, key: &str, _: &str, path: &Path) -> Result<(), StoreError> {
        let bytes = std::fs::read(path).unwrap();
        self.state.lock().objects.insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let mut state = self.state.lock();
        let take = state.objects_take;
        state.now += take;
        if state.objects_broken {
            return Err(StoreError::Unavailable { what: "bucket", cause: "switched off".into() });
        }
        Ok(state.objects.get(key).cloned().map(Bytes::from))
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.state.lock().objects.contains_key(key))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.state.lock().objects.remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut keys: Vec<String> =
            self.state.lock().objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.sort();
        Ok(keys)
    }

    async fn presign(&self, key: &str, expires: Duration) -> Result<String, StoreError> {
        Ok(format!("https://bucket.example.com/{key}?expires={}", expires.as_secs()))
    }
}

#[async_trait]
impl Queues for Outside {
    async fn send(&self, queue: QueueName, _: &BotId, job: &Job, delay: Duration) -> Result<(), StoreError> {
        assert!(delay <= domain::delivery::QUEUE_DELAY_MAX, "SQS refuses longer delays");
        let mut state = self.state.lock();
        if state.queues_broken {
            return Err(StoreError::Unavailable { what: "queue", cause: "switched off".into() });
        }
        state.sent.entry(queue).or_default().push((job.clone(), delay));
        Ok(())
    }
}

#[async_trait]
impl Outbound for Outside {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        self.check(&request.url)?;
        let mut state = self.state.lock();
        state.requests.push(request);
        state.answers.pop_front().unwrap_or(Err(OutboundError::Timeout))
    }
}

impl Egress for Outside {
    fn check(&self, url: &str) -> Result<(), OutboundError> {
        if url.starts_with("https://") && !url.contains("169.254.") {
            Ok(())
        } else {
            Err(OutboundError::Blocked("test policy".into()))
        }
    }
}

/// Text that says whom it was sealed for; base64, so that a plain secret is never in it.
impl Seal for Outside {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed {
        Sealed(format!("sealed:{entity}:{}", STANDARD.encode(secret.expose_secret())))
    }

    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        let unopenable = || SealError::Unopenable(entity.to_owned());
        let text = sealed.0.strip_prefix(&format!("sealed:{entity}:")).ok_or_else(unopenable)?;
        let bytes = STANDARD.decode(text).map_err(|_| unopenable())?;
        Ok(SecretString::from(String::from_utf8(bytes).map_err(|_| unopenable())?))
    }
}

#[async_trait]
impl Secrets for Outside {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        Ok(FleetSecrets::single("k1", SecretString::from("the fleet's secret")))
    }

    async fn llm_api_key(&self) -> Result<Option<SecretString>, StoreError> {
        Ok(Some(SecretString::from("the model's key")))
    }
}

#[async_trait]
impl Fleet for Outside {
    async fn dial(
        &self,
        server: &ServerRow,
        command: &DialCommand,
        timeout: Duration,
    ) -> Result<DialAnswer, FleetError> {
        let latency = self.rows.lock().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let act = {
            let mut state = self.state.lock();
            state.dialled.push(server.server_id.to_string());
            state.commands.push(command.clone());
            state.acts.get_mut(server.server_id.as_str()).and_then(VecDeque::pop_front).unwrap_or(Act::Accept)
        };
        match act {
            Act::Accept => Ok(take(&self.rows, command)),
            Act::Refuse(why) => Ok(DialAnswer::Refused(why)),
            Act::Unreachable => Err(FleetError::Unreachable("refused".into())),
            Act::Status(code) => Err(FleetError::Unexpected(code)),
            Act::TakeSilently => {
                take(&self.rows, command);
                tokio::time::sleep(timeout).await;
                Err(FleetError::NoAnswer("timeout".into()))
            }
            Act::Silent => {
                self.state.lock().pending.push((server.clone(), command.clone()));
                tokio::time::sleep(timeout).await;
                Err(FleetError::NoAnswer("timeout".into()))
            }
        }
    }

    async fn hang_up(&self, _: &ServerRow, call: CallId, _: Duration) -> Result<bool, FleetError> {
        let mut state = self.state.lock();
        state.hung_up.push(call);
        state.knows_call.ok_or_else(|| FleetError::Unreachable("down".into()))
    }

    async fn alive(&self, server: &ServerRow, _: Duration) -> Result<Alive, FleetError> {
        let state = self.state.lock();
        let there = state.alive.iter().find(|alive| alive.server_id == server.server_id);
        let there = there.ok_or_else(|| FleetError::Unreachable("down".into()))?;
        Ok(Alive {
            server_id: there.server_id.clone(),
            epoch: there.epoch,
            calls: there.calls,
            draining: there.draining,
        })
    }

    /// The server that knocks reach; it advertises what it was told in its next heartbeat, that is at once.
    async fn drain(&self, server: &ServerRow, drain: bool, _: Duration) -> Result<DrainAnswer, FleetError> {
        let mut state = self.state.lock();
        let ending = state.ending.contains(&server.server_id);
        let there = state.alive.iter_mut().find(|alive| alive.server_id == server.server_id);
        let there = there.ok_or_else(|| FleetError::Unreachable("down".into()))?;
        if there.epoch != server.epoch {
            return Ok(DrainAnswer::WrongServer);
        }
        if ending && !drain {
            return Ok(DrainAnswer::Ending);
        }
        there.draining = drain;
        if let Some(row) = self.rows.lock().servers.get_mut(&there.server_id) {
            row.draining = drain;
        }
        Ok(DrainAnswer::Done(Alive {
            server_id: there.server_id.clone(),
            epoch: there.epoch,
            calls: there.calls,
            draining: drain,
        }))
    }
}

/// Puts the row if the id is free; idempotent for the same owner.
fn take(rows: &Arc<Shared<Rows>>, command: &DialCommand) -> DialAnswer {
    let row = CallRow {
        call_id: command.call_id,
        bot_id: command.bot_id.clone(),
        bot_version: command.bot_version,
        trunk_id: Some(command.trunk_id.clone()),
        direction: Direction::Outbound,
        to_number: command.to.clone(),
        from_number: command.from.clone(),
        key_id: Some(command.key_id.clone()),
        state: CallState::Accepted,
        owner: domain::ids::Owner { server_id: command.server_id.clone(), epoch: command.epoch },
        started_at: command.deadline,
        deadline: command.deadline,
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        end_reason: None,
        sip_code: None,
        duration_ms: 0,
        recording_status: RecordingStatus::None,
        recording_token: "t".into(),
        checkpoints: 0,
        analysis_status: AnalysisStatus::Pending,
        disposition: None,
        next_step: None,
        due_at: None,
        step_tries: 0,
        warnings: command.warnings.clone(),
        expired: BTreeSet::new(),
        erased_at: None,
        brought: None,
    };
    match rows.lock().claim(command.call_id, CallEntry::Call(Box::new(row.clone()))) {
        Claim::Claimed => DialAnswer::Accepted,
        Claim::Exists(CallEntry::Call(there)) if there.owner == row.owner => DialAnswer::Accepted,
        Claim::Exists(CallEntry::Call(_)) => DialAnswer::Refused(Refusal::WrongServer),
        Claim::Exists(CallEntry::Fenced(_)) => DialAnswer::Refused(Refusal::Fenced),
    }
}
