//! What the platform needs of the outside world, as traits; `infra` implements them, `functions` and `server` use them.
//! It must never name an implementation. Every write that matters is conditional, and says whether its condition held.

mod housekeeping;
mod machine;
mod sealed_rows;
mod tables;

pub use housekeeping::{Housekeeping, NumberPage};
pub use machine::Machine;
pub use sealed_rows::{NoCursor, SealedCursor, SealedPlace, SealedRow, SealedRows};
pub use tables::Tables;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

use crate::api_key::{ApiKeyRow, KeyHash};
use crate::bot::Bot;
use crate::call::{Advance, CallRow, FenceRow, Finisher, NextStep, RecordingStatus, Terminal};
use crate::call_list::CallPosition;
use crate::delivery::{AttemptRow, Channel, DeadWhy, DeliveryRow, Next};
use crate::endpoint::{EndpointId, EndpointRow};
use crate::fleet::view::{FleetView, ShardSummary};
use crate::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, FleetSummary, ServerRow};
use crate::idempotency::{self, LetGo, ScopedKey};
use crate::ids::{BotId, CallId, Epoch, Owner, ServerId, TrunkId};
use crate::money::Money;
use crate::secret::{Sealed, SecretString};
use crate::signing::FleetSecrets;
use crate::spend::{Account, Hold, Reserved};
use crate::trunk::Trunk;

/// A store, queue or bucket did not do what was asked. A condition that did not hold is never this error.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Throttled, timed out, 5xx: asking again may help. Whether a write happened is unknown.
    #[error("{what} did not answer: {cause}")]
    Unavailable { what: &'static str, cause: String },
    /// What was read is not what this version writes.
    #[error("{what} holds something unreadable: {cause}")]
    Corrupt { what: &'static str, cause: String },
    /// Credentials, missing table, malformed request: asking again does not help.
    #[error("{what} refused: {cause}")]
    Refused { what: &'static str, cause: String },
}

/// The wall clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The operating system's random source.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    /// A uniform 32-bit number.
    fn dice(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }
}

/// Mints a call id.
pub fn mint_call_id(clock: &dyn Clock, entropy: &dyn Entropy) -> CallId {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    CallId::from_parts(clock.now().as_millisecond().unsigned_abs(), random)
}

#[async_trait]
pub trait ApiKeys: Send + Sync {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError>;
    /// Stores a new key; `false` when its hash exists already.
    async fn create(&self, row: &ApiKeyRow) -> Result<bool, StoreError>;
    /// Notes a use, at most hourly: nothing happens when the stored time is younger than `not_since`.
    async fn touch(&self, hash: &KeyHash, at: Timestamp, not_since: Timestamp) -> Result<(), StoreError>;
    /// Changes name, role, bots, `active`, `expires_at` and version to those of `row`, if the stored version is
    /// `replaces` and, in the same moment, the key `by` is an active admin key: of two admins who take the role from
    /// each other, one is left.
    async fn replace(&self, row: &ApiKeyRow, replaces: u64, by: &KeyHash) -> Result<KeyChange, StoreError>;
    /// Deletes the key under the same two conditions.
    async fn delete(&self, hash: &KeyHash, version: u64, by: &KeyHash) -> Result<KeyChange, StoreError>;
    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError>;
}

/// What a change of a key found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    Done,
    /// The stored version is not the expected one, or the key is gone.
    Conflict,
    /// Whoever asks is no admin any more.
    NotAdmin,
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    Missing,
    /// The stored version is not the expected one.
    Conflict,
}

/// What a conditional replacement found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The stored version is not the expected one (or, for a creation, one exists).
    Conflict,
    /// A number already belongs to this other bot.
    NumberTaken {
        number: String,
        by: BotId,
    },
}

#[async_trait]
pub trait Bots: Send + Sync {
    /// The current version; `None` if there is none or it was deleted.
    async fn get(&self, id: &BotId) -> Result<Option<Bot>, StoreError>;
    /// One past or present version, as it was.
    async fn version(&self, id: &BotId, version: u64) -> Result<Option<Bot>, StoreError>;
    /// Versions that there ever were, newest first: at most `limit`, all of them below `before` if that is given.
    async fn versions(&self, id: &BotId, before: Option<u64>, limit: u32) -> Result<Vec<Bot>, StoreError>;
    /// Stores `bot` (its `version` already set) if the stored version is `replaces` (`None`: if there is none);
    /// claims its `numbers` and frees those it no longer has, in the same transaction.
    async fn put(&self, bot: &Bot, replaces: Option<u64>) -> Result<Put, StoreError>;
    /// Deletes the bot, if given only at this version; its versions stay for the calls that run on them.
    async fn delete(&self, id: &BotId, version: Option<u64>) -> Result<Deletion, StoreError>;
    async fn list(&self) -> Result<Vec<Bot>, StoreError>;
    /// The bot that a DID (E.164) belongs to.
    async fn by_number(&self, number: &str) -> Result<Option<BotId>, StoreError>;
}

#[async_trait]
pub trait Trunks: Send + Sync {
    async fn get(&self, id: &TrunkId) -> Result<Option<Trunk>, StoreError>;
    /// As [`Bots::put`]; never [`Put::NumberTaken`].
    async fn put(&self, trunk: &Trunk, replaces: Option<u64>) -> Result<Put, StoreError>;
    /// Deletes the trunk, if given only at this version.
    async fn delete(&self, id: &TrunkId, version: Option<u64>) -> Result<Deletion, StoreError>;
    async fn list(&self) -> Result<Vec<Trunk>, StoreError>;
}

/// What lies under a call id.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEntry {
    Call(Box<CallRow>),
    /// Refused for good.
    Fenced(FenceRow),
}

/// What a creation or a fence found.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    Claimed,
    Exists(CallEntry),
}

/// What a write by an owner found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    Written,
    /// The row is not this owner's any more, or the call is past that state.
    Lost,
}

#[async_trait]
pub trait Calls: Send + Sync {
    /// Puts the row if nothing lies under its id.
    async fn create(&self, row: &CallRow) -> Result<Claim, StoreError>;
    /// Puts a fence row if nothing lies under the id.
    async fn fence(&self, fence: &FenceRow) -> Result<Claim, StoreError>;
    /// Strongly consistent.
    async fn get(&self, id: CallId) -> Result<Option<CallEntry>, StoreError>;
    async fn advance(&self, id: CallId, owner: &Owner, step: &Advance) -> Result<Owned, StoreError>;
    /// The terminal write: once, by its owner or by `reap`; sets `next_step` = announce, due at `due_at`,
    /// `analysis_status` = pending, and takes the row off the `open_on` index.
    async fn finish(
        &self,
        id: CallId,
        by: &Finisher,
        terminal: &Terminal,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError>;
    /// Settles a recording of an ended call: from pending to `status` only.
    async fn settle_recording(&self, id: CallId, status: RecordingStatus) -> Result<Owned, StoreError>;
    /// Moves an ended call from one of `from` to `to` (`None` = all is done), due at `due_at`; resets `step_tries`.
    async fn take_step(
        &self,
        id: CallId,
        from: &[NextStep],
        to: Option<NextStep>,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError>;
    /// Puts the current step off to `due_at` and counts a try; answers the tries so far, or `None` if it is not at `step`.
    async fn defer_step(&self, id: CallId, step: NextStep, due_at: Timestamp) -> Result<Option<u32>, StoreError>;
    /// Notes the analysis; `disposition` is kept for queries.
    async fn note_analysis(
        &self,
        id: CallId,
        status: crate::call::AnalysisStatus,
        disposition: Option<&str>,
    ) -> Result<(), StoreError>;
    /// Adds warnings, up to the ceiling.
    async fn warn(&self, id: CallId, warnings: &[String]) -> Result<(), StoreError>;
    /// Live calls of a server, any epoch.
    async fn open_on(&self, server: &ServerId) -> Result<Vec<CallRow>, StoreError>;
    /// Every server id that has live calls (the `open_on` index read whole; reap only).
    async fn owners_of_open(&self) -> Result<Vec<Owner>, StoreError>;
    /// Ended calls whose step is due.
    async fn due(&self, step: NextStep, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError>;
    /// Where a bot's calls of one day (of their start, UTC) stand, newest first: those before `before`, at most
    /// `limit`. What was written a moment ago may be missing.
    async fn of_day(
        &self,
        bot: &BotId,
        date: jiff::civil::Date,
        before: &CallPosition,
        limit: u32,
    ) -> Result<Vec<CallPosition>, StoreError>;
    /// The calls under `ids`, strongly consistent and in no order; ids without one are left out.
    async fn of_ids(&self, ids: &[CallId]) -> Result<Vec<CallRow>, StoreError>;
}

/// What a claim of an idempotency key found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    Claimed,
    Exists(idempotency::Entry),
}

/// Keys of clients that must place one call only. An entry past `expires_at` may still be answered: readers judge.
#[async_trait]
pub trait Idempotency: Send + Sync {
    /// Strongly consistent.
    async fn get(&self, key: &ScopedKey) -> Result<Option<idempotency::Entry>, StoreError>;
    /// Puts `entry` if nothing lies under its key, or what lies there has the holder and the progress of `over`.
    async fn claim(
        &self,
        entry: &idempotency::Entry,
        over: Option<&idempotency::Entry>,
    ) -> Result<KeyClaim, StoreError>;
    /// Lets go of an entry in flight, if it still is its holder's; an entry that is gone needs no release.
    async fn let_go(&self, held: &idempotency::Entry, how: LetGo) -> Result<Owned, StoreError>;
}

#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Stores a new delivery; `false` when the call and channel have one.
    async fn create(&self, row: &DeliveryRow) -> Result<bool, StoreError>;
    async fn get(&self, call: CallId, channel: Channel) -> Result<Option<DeliveryRow>, StoreError>;
    /// Begins a try: if the row is pending, due by `now` and has `tries` tries, counts one and holds it until `lease_until`.
    async fn begin_try(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Owned, StoreError>;
    /// Ends try number `attempt.n`: stores the attempt and what the row becomes, if that try is still the running one.
    async fn end_try(&self, attempt: &AttemptRow, next: &Next) -> Result<Owned, StoreError>;
    /// Puts a due delivery off to `until` without counting a try, under the conditions of [`Deliveries::begin_try`].
    async fn put_off(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Owned, StoreError>;
    /// Ends a due delivery without a try, under the conditions of [`Deliveries::begin_try`].
    async fn bury(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        why: DeadWhy,
    ) -> Result<Owned, StoreError>;
    /// Begins a new round: pending, due `now`, the schedule from its start. Only if the row still has the state and the
    /// tries of `seen`, and no worker holds it at `now`; a worker that comes back later has lost its try.
    async fn resend(&self, seen: &DeliveryRow, now: Timestamp) -> Result<Owned, StoreError>;
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<(CallId, Channel)>, StoreError>;
    async fn attempts(&self, call: CallId, channel: Channel) -> Result<Vec<AttemptRow>, StoreError>;
}

/// The health of endpoints, shared by all workers.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Strongly consistent; `None` while nothing is known of it.
    async fn get(&self, bot: &BotId, endpoint: &EndpointId) -> Result<Option<EndpointRow>, StoreError>;
    /// Stores `row` (its `rev` already raised) if the stored revision is `replaces` (`None`: if there is none).
    async fn put(&self, row: &EndpointRow, replaces: Option<u64>) -> Result<bool, StoreError>;
    async fn of_bot(&self, bot: &BotId) -> Result<Vec<EndpointRow>, StoreError>;
}

#[async_trait]
pub trait Servers: Send + Sync {
    /// The next epoch of a server: strictly greater than any before.
    async fn next_epoch(&self, id: &ServerId) -> Result<Epoch, StoreError>;
    /// Puts the row, unless a newer epoch is there.
    async fn heartbeat(&self, row: &ServerRow) -> Result<Owned, StoreError>;
    /// Takes a server that ended in good order off the list, if the epoch is still its.
    async fn retire(&self, owner: &Owner) -> Result<(), StoreError>;
    /// How many shards the table has.
    fn shards(&self) -> u16;
    /// The shard in which a server's row lies.
    fn shard_of(&self, id: &ServerId) -> u16;
    /// Strongly consistent.
    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError>;
    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError>;
    /// Every row, for those who act on all servers: `reap`, and admins who look at them.
    async fn all(&self) -> Result<Vec<ServerRow>, StoreError>;
    /// Puts the sum of a shard, unless one of a later reading is there.
    async fn put_shard(&self, sum: &ShardSummary) -> Result<(), StoreError>;
    /// The sums that there are, at most one for each shard.
    async fn shard_sums(&self) -> Result<Vec<ShardSummary>, StoreError>;
    /// Puts the fleet's view in all its copies, unless a later one is there.
    async fn put_view(&self, view: &FleetView) -> Result<(), StoreError>;
    /// The copy of the view for the readers of a shard; what was written a moment ago may be missing.
    async fn view(&self, shard: u16) -> Result<Option<FleetView>, StoreError>;
    /// Puts the fleet's summary, unless a later one is there.
    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError>;
    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError>;
}

/// What bots and trunks with a ceiling have spent, by day, and what is set aside for calls under way.
#[async_trait]
pub trait Spend: Send + Sync {
    /// Adds what is reserved to every account of the hold, if none goes over its ceiling by it; all or none.
    /// A call that has a hold already keeps it.
    async fn reserve(&self, hold: &Hold) -> Result<Reserved, StoreError>;
    async fn held(&self, call: CallId) -> Result<Option<Hold>, StoreError>;
    /// Puts what the call cost in the place of what was reserved, and ends the hold; `Lost` when it is ended already.
    async fn settle(&self, hold: &Hold, cost: Money) -> Result<Owned, StoreError>;
    /// What an account has spent and set aside on its day.
    async fn spent(&self, account: &Account) -> Result<Money, StoreError>;
    /// Calls whose hold is due.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError>;
}

#[async_trait]
pub trait Objects: Send + Sync {
    async fn put(&self, key: &str, content_type: &str, body: Bytes) -> Result<(), StoreError>;
    /// Streams a file up (multipart when large).
    async fn put_file(&self, key: &str, content_type: &str, path: &std::path::Path) -> Result<(), StoreError>;
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
    async fn exists(&self, key: &str) -> Result<bool, StoreError>;
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// Every key that begins with `prefix`: a call's folder, never more.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// A URL that reads the object without credentials for `expires`.
    async fn presign(&self, key: &str, expires: Duration) -> Result<String, StoreError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueName {
    CallEnded,
    Deliveries,
}

/// A message carries ids only.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub call_id: CallId,
    /// `None` on `deliveries`: render first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

#[async_trait]
pub trait Queues: Send + Sync {
    /// `group`: the bot, so that one bot's backlog delays no other (SQS fair queue). `delay` ≤ 15 min.
    async fn send(&self, queue: QueueName, group: &BotId, job: &Job, delay: Duration) -> Result<(), StoreError>;
}

/// A request through the guarded client. Its address, headers and body may hold personal data, and don't print themselves.
#[derive(derive_more::Debug, Clone)]
pub struct OutboundRequest {
    pub method: http::Method,
    #[debug("(personal)")]
    pub url: String,
    #[debug("(personal)")]
    pub headers: http::HeaderMap,
    #[debug("({} bytes, personal)", body.len())]
    pub body: Bytes,
    pub connect_timeout: Duration,
    pub total_timeout: Duration,
    /// Bytes of the answer that are read; the rest is dropped.
    pub answer_limit: usize,
}

#[derive(derive_more::Debug, Clone)]
pub struct OutboundAnswer {
    pub status: u16,
    #[debug("(personal)")]
    pub headers: http::HeaderMap,
    #[debug("({} bytes, personal)", body.len())]
    pub body: Bytes,
}

/// Why the guarded client has no answer.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum OutboundError {
    /// The URL or an address behind it is not allowed.
    #[error("not allowed: {0}")]
    Blocked(String),
    #[error("the name does not resolve: {0}")]
    Dns(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

impl OutboundError {
    /// One word for attempt rows and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
        }
    }
}

/// Every URL that a user gave goes through this.
#[async_trait]
pub trait Outbound: Send + Sync {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError>;
}

/// What [`Outbound`] would refuse, without sending: for whoever takes URLs in.
pub trait Egress: Send + Sync {
    /// # Errors
    /// [`OutboundError::Blocked`]; what a host's name leads to is judged when it is sent to.
    fn check(&self, url: &str) -> Result<(), OutboundError>;
}

/// Why a fleet server gave no usable answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FleetError {
    /// Nothing was sent: refused or unreachable.
    #[error("server not reachable: {0}")]
    Unreachable(String),
    /// Something was sent, no answer came: whether it acted is unknown.
    #[error("server gave no answer: {0}")]
    NoAnswer(String),
    #[error("server answered {0}")]
    Unexpected(u16),
}

/// The private port of fleet servers, signed with the fleet's secret.
#[async_trait]
pub trait Fleet: Send + Sync {
    async fn dial(
        &self,
        server: &ServerRow,
        command: &DialCommand,
        timeout: Duration,
    ) -> Result<DialAnswer, FleetError>;
    /// Ends a call; `false` when the server does not have it.
    async fn hang_up(&self, server: &ServerRow, call: CallId, timeout: Duration) -> Result<bool, FleetError>;
    async fn alive(&self, server: &ServerRow, timeout: Duration) -> Result<Alive, FleetError>;
    /// Lets no further call in, or (`drain` false) lets calls in again; live calls go on. Asking twice is as good as once.
    async fn drain(&self, server: &ServerRow, drain: bool, timeout: Duration) -> Result<DrainAnswer, FleetError>;
}

/// Reads the deployment's secrets (Secrets Manager, or `DATA/secrets/`); cached shortly by the implementation.
#[async_trait]
pub trait Secrets: Send + Sync {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError>;
    /// The key of the deployment's language model, if it lies among the secrets.
    async fn llm_api_key(&self) -> Result<Option<SecretString>, StoreError> {
        Ok(None)
    }
}

/// Seals and opens secrets of entities; `entity` (e.g. `bot/my-bot`) is authenticated with the text.
pub trait Seal: Send + Sync {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed;
    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError>;
    /// Ids of the keys that open, the one that seals first; none where sealing knows no keys.
    fn keys(&self) -> Vec<String> {
        Vec::new()
    }
    /// The id of the key that `sealed` names, known or not.
    fn key_of(&self, sealed: &Sealed) -> Option<String> {
        let _ = sealed;
        None
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    #[error("a sealed secret of {0} does not open: it was sealed with another key, or for another entity")]
    Unopenable(String),
}

/// The entity name under which a bot's secrets are sealed.
pub fn bot_entity(id: &BotId) -> String {
    format!("bot/{id}")
}

/// The entity name under which a trunk's secrets are sealed.
pub fn trunk_entity(id: &TrunkId) -> String {
    format!("trunk/{id}")
}
