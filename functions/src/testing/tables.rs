//! The tables in memory. Each write keeps the condition that its port names, and says whether it held.
//! It must never succeed where DynamoDB would refuse.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use domain::api_key::{ApiKeyRow, KeyHash, Role};
use domain::bot::Bot;
use domain::call::{CallRow, CallState};
use domain::delivery::{AttemptRow, Channel, DeliveryRow, DeliveryState};
use domain::endpoint::{EndpointId, EndpointRow};
use domain::fleet::view::{FleetView, ShardSummary};
use domain::fleet::{FleetSummary, ServerRow};
use domain::idempotency::{Entry, LetGo, Progress, ScopedKey};
use domain::ids::{BotId, CallId, Epoch, Owner, ServerId, TrunkId};
use domain::money::Money;
use domain::ports::{
    ApiKeys, Bots, CallEntry, Claim, Deletion, Idempotency, KeyChange, KeyClaim, Owned, Put, Servers, Spend,
    StoreError, Trunks,
};
use domain::retention::{self, Kind};
use domain::spend::{Account, Hold, Reserved};
use domain::trunk::Trunk;
use jiff::Timestamp;
use jiff::civil::Date;

use super::Shared;

#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) keys: HashMap<KeyHash, ApiKeyRow>,
    pub(crate) bots: BTreeMap<BotId, Bot>,
    pub(crate) bot_versions: BTreeMap<(BotId, u64), Bot>,
    pub(crate) trunks: BTreeMap<TrunkId, Trunk>,
    pub(crate) calls: BTreeMap<CallId, CallEntry>,
    pub(crate) deliveries: BTreeMap<(CallId, Channel), DeliveryRow>,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) idempotency: BTreeMap<ScopedKey, Entry>,
    pub(crate) endpoints: BTreeMap<(BotId, EndpointId), EndpointRow>,
    pub(crate) servers: BTreeMap<ServerId, ServerRow>,
    /// Bots' days that were listed.
    pub(crate) days_read: usize,
    /// Operations that take as long as the SDK has patience, by their names here.
    pub(crate) slow: Vec<&'static str>,
    /// Operations that answer `Unavailable`, by their names here.
    pub(crate) broken: Vec<&'static str>,
    pub(crate) summary: Option<FleetSummary>,
    pub(crate) sums: BTreeMap<u16, ShardSummary>,
    pub(crate) view: Option<FleetView>,
    /// Of the servers' table; 4 if this is 0.
    pub(crate) shards: u16,
    /// What was asked of tables, in order.
    pub(crate) trips: Vec<&'static str>,
    /// How long each answer takes.
    pub(crate) latency: std::time::Duration,
    /// Micro-units, by account.
    pub(crate) spent: BTreeMap<String, u64>,
    pub(crate) holds: BTreeMap<CallId, Hold>,
    pub(crate) noted: BTreeMap<BotId, Date>,
    pub(crate) progress: BTreeMap<(BotId, Kind), retention::Progress>,
    /// Every port answers `Unavailable` while set.
    pub(crate) down: bool,
}

impl Rows {
    pub(super) fn call(&mut self, id: CallId) -> Option<&mut CallRow> {
        match self.calls.get_mut(&id) {
            Some(CallEntry::Call(row)) => Some(row),
            Some(CallEntry::Fenced(_)) | None => None,
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &CallRow> {
        self.calls.values().filter_map(|entry| match entry {
            CallEntry::Call(row) if row.state != CallState::Ended => Some(&**row),
            _ => None,
        })
    }

    fn has_admin(&self, hash: &KeyHash) -> bool {
        self.keys.get(hash).is_some_and(|key| key.role == Role::Admin && key.active)
    }

    /// The delivery if it is pending, due by `now`, and has `tries` tries.
    pub(super) fn due_delivery(
        &mut self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
    ) -> Option<&mut DeliveryRow> {
        let row = self.deliveries.get_mut(&(call, channel));
        row.filter(|row| row.state == DeliveryState::Pending && row.due_at <= now && row.tries == tries)
    }

    pub(super) fn claim(&mut self, id: CallId, entry: CallEntry) -> Claim {
        match self.calls.get(&id) {
            Some(there) => Claim::Exists(there.clone()),
            None => {
                self.calls.insert(id, entry);
                Claim::Claimed
            }
        }
    }
}

pub(super) struct Tables(pub(super) Arc<Shared<Rows>>);

impl Tables {
    pub(super) fn rows(&self) -> Result<std::sync::MutexGuard<'_, Rows>, StoreError> {
        let rows = self.0.lock();
        if rows.down { Err(StoreError::Unavailable { what: "tables", cause: "switched off".into() }) } else { Ok(rows) }
    }

    /// One way to the table and back.
    pub(super) async fn stall(&self, operation: &'static str) {
        let wait = {
            let mut rows = self.0.lock();
            rows.trips.push(operation);
            if rows.slow.contains(&operation) { std::time::Duration::from_secs(5) } else { rows.latency }
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// The rows for an operation that may be broken by itself.
    pub(super) fn rows_for(&self, operation: &'static str) -> Result<std::sync::MutexGuard<'_, Rows>, StoreError> {
        let rows = self.rows()?;
        if rows.broken.contains(&operation) {
            return Err(StoreError::Unavailable { what: operation, cause: "switched off".into() });
        }
        Ok(rows)
    }
}

fn deletion(stored: Option<u64>, wanted: Option<u64>) -> Deletion {
    match stored {
        None => Deletion::Missing,
        Some(stored) if wanted.is_some_and(|wanted| wanted != stored) => Deletion::Conflict,
        Some(_) => Deletion::Deleted,
    }
}

pub(super) fn owned(holds: bool) -> Owned {
    if holds { Owned::Written } else { Owned::Lost }
}

#[async_trait]
impl ApiKeys for Tables {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError> {
        self.stall("key").await;
        Ok(self.rows()?.keys.get(hash).cloned())
    }

    async fn create(&self, row: &ApiKeyRow) -> Result<bool, StoreError> {
        let mut rows = self.rows()?;
        let new = !rows.keys.contains_key(&row.key_hash);
        rows.keys.entry(row.key_hash.clone()).or_insert_with(|| row.clone());
        Ok(new)
    }

    async fn touch(&self, hash: &KeyHash, at: Timestamp, not_since: Timestamp) -> Result<(), StoreError> {
        if let Some(row) =
            self.rows()?.keys.get_mut(hash).filter(|row| row.last_used_at.is_none_or(|last| last < not_since))
        {
            row.last_used_at = Some(at);
        }
        Ok(())
    }

    async fn replace(&self, row: &ApiKeyRow, replaces: u64, by: &KeyHash) -> Result<KeyChange, StoreError> {
        let mut rows = self.rows()?;
        if !rows.has_admin(by) {
            return Ok(KeyChange::NotAdmin);
        }
        let Some(old) = rows.keys.get_mut(&row.key_hash).filter(|old| old.version == replaces) else {
            return Ok(KeyChange::Conflict);
        };
        *old = ApiKeyRow { last_used_at: old.last_used_at, ..row.clone() };
        Ok(KeyChange::Done)
    }

    async fn delete(&self, hash: &KeyHash, version: u64, by: &KeyHash) -> Result<KeyChange, StoreError> {
        let mut rows = self.rows()?;
        if !rows.has_admin(by) {
            return Ok(KeyChange::NotAdmin);
        }
        if rows.keys.get(hash).is_none_or(|old| old.version != version) {
            return Ok(KeyChange::Conflict);
        }
        rows.keys.remove(hash);
        Ok(KeyChange::Done)
    }

    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        Ok(self.rows()?.keys.values().cloned().collect())
    }
}

#[async_trait]
impl Bots for Tables {
    async fn get(&self, id: &BotId) -> Result<Option<Bot>, StoreError> {
        self.stall("bot").await;
        Ok(self.rows()?.bots.get(id).cloned())
    }

    async fn version(&self, id: &BotId, version: u64) -> Result<Option<Bot>, StoreError> {
        Ok(self.rows()?.bot_versions.get(&(id.clone(), version)).cloned())
    }

    async fn versions(&self, id: &BotId, before: Option<u64>, limit: u32) -> Result<Vec<Bot>, StoreError> {
        let rows = self.rows()?;
        let all = rows
            .bot_versions
            .iter()
            .rev()
            .filter(|((bot, version), _)| bot == id && before.is_none_or(|before| *version < before));
        Ok(all.map(|(_, bot)| bot.clone()).take(limit as usize).collect())
    }

    async fn put(&self, bot: &Bot, replaces: Option<u64>) -> Result<Put, StoreError> {
        let mut rows = self.rows()?;
        if rows.bots.get(&bot.bot_id).map(|old| old.version) != replaces {
            return Ok(Put::Conflict);
        }
        let taken = rows.bots.values().filter(|other| other.bot_id != bot.bot_id);
        let taken = taken.flat_map(|other| other.numbers.iter().map(|number| (number.clone(), other.bot_id.clone())));
        if let Some((number, by)) = taken.into_iter().find(|(number, _)| bot.numbers.contains(number)) {
            return Ok(Put::NumberTaken { number, by });
        }
        rows.bot_versions.insert((bot.bot_id.clone(), bot.version), bot.clone());
        rows.bots.insert(bot.bot_id.clone(), bot.clone());
        Ok(Put::Stored)
    }

    async fn delete(&self, id: &BotId, version: Option<u64>) -> Result<Deletion, StoreError> {
        let mut rows = self.rows()?;
        let found = deletion(rows.bots.get(id).map(|bot| bot.version), version);
        if found == Deletion::Deleted {
            rows.bots.remove(id);
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<Bot>, StoreError> {
        Ok(self.rows()?.bots.values().cloned().collect())
    }

    async fn by_number(&self, number: &str) -> Result<Option<BotId>, StoreError> {
        self.stall("number").await;
        let rows = self.rows()?;
        Ok(rows.bots.values().find(|bot| bot.numbers.iter().any(|did| did == number)).map(|bot| bot.bot_id.clone()))
    }
}

#[async_trait]
impl Trunks for Tables {
    async fn get(&self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        self.stall("trunk").await;
        Ok(self.rows()?.trunks.get(id).cloned())
    }

    async fn put(&self, trunk: &Trunk, replaces: Option<u64>) -> Result<Put, StoreError> {
        let mut rows = self.rows()?;
        if rows.trunks.get(&trunk.trunk_id).map(|old| old.version) != replaces {
            return Ok(Put::Conflict);
        }
        rows.trunks.insert(trunk.trunk_id.clone(), trunk.clone());
        Ok(Put::Stored)
    }

    async fn delete(&self, id: &TrunkId, version: Option<u64>) -> Result<Deletion, StoreError> {
        let mut rows = self.rows()?;
        let found = deletion(rows.trunks.get(id).map(|trunk| trunk.version), version);
        if found == Deletion::Deleted {
            rows.trunks.remove(id);
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<Trunk>, StoreError> {
        Ok(self.rows()?.trunks.values().cloned().collect())
    }
}

#[async_trait]
impl Idempotency for Tables {
    async fn get(&self, key: &ScopedKey) -> Result<Option<Entry>, StoreError> {
        Ok(self.rows()?.idempotency.get(key).cloned())
    }

    async fn claim(&self, entry: &Entry, over: Option<&Entry>) -> Result<KeyClaim, StoreError> {
        self.stall("claim").await;
        let mut rows = self.rows()?;
        if let Some(there) = rows.idempotency.get(&entry.key) {
            let is_as_read = over.is_some_and(|over| there.is_held_as(over) && there.progress == over.progress);
            if !is_as_read {
                return Ok(KeyClaim::Exists(there.clone()));
            }
        }
        rows.idempotency.insert(entry.key.clone(), entry.clone());
        Ok(KeyClaim::Claimed)
    }

    async fn let_go(&self, held: &Entry, how: LetGo) -> Result<Owned, StoreError> {
        self.stall("let_go").await;
        let mut rows = self.rows_for("let_go")?;
        let Some(there) = rows.idempotency.get(&held.key).cloned() else {
            return Ok(owned(how == LetGo::Release));
        };
        if !(there.is_held_as(held) && there.progress == Progress::InFlight) {
            return Ok(Owned::Lost);
        }
        match there.let_go(how) {
            Some(entry) => rows.idempotency.insert(held.key.clone(), entry),
            None => rows.idempotency.remove(&held.key),
        };
        Ok(Owned::Written)
    }
}

#[async_trait]
impl Servers for Tables {
    async fn next_epoch(&self, id: &ServerId) -> Result<Epoch, StoreError> {
        Ok(Epoch(self.rows()?.servers.get(id).map_or(1, |server| server.epoch.0 + 1)))
    }

    async fn heartbeat(&self, row: &ServerRow) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let holds = rows.servers.get(&row.server_id).is_none_or(|old| old.epoch <= row.epoch);
        if holds {
            rows.servers.insert(row.server_id.clone(), row.clone());
        }
        Ok(owned(holds))
    }

    async fn retire(&self, owner: &Owner) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        if rows.servers.get(&owner.server_id).is_some_and(|server| server.epoch == owner.epoch) {
            rows.servers.remove(&owner.server_id);
        }
        Ok(())
    }

    fn shards(&self) -> u16 {
        match self.0.lock().shards {
            0 => 4,
            shards => shards,
        }
    }

    /// By the id's first byte, so that a test knows who lies where.
    fn shard_of(&self, id: &ServerId) -> u16 {
        u16::from(id.as_str().as_bytes()[0]) % self.shards()
    }

    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError> {
        self.stall("servers").await;
        if self.0.lock().slow.contains(&"servers") {
            return Err(StoreError::Unavailable { what: "servers", cause: "too slow".into() });
        }
        let servers: Vec<ServerRow> = self.rows()?.servers.values().cloned().collect();
        Ok(servers.into_iter().filter(|server| self.shard_of(&server.server_id) == shard).collect())
    }

    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError> {
        Ok(self.rows()?.servers.get(id).cloned())
    }

    async fn all(&self) -> Result<Vec<ServerRow>, StoreError> {
        Ok(self.rows()?.servers.values().cloned().collect())
    }

    async fn put_shard(&self, sum: &ShardSummary) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        if rows.sums.get(&sum.shard).is_none_or(|old| old.summed_at <= sum.summed_at) {
            rows.sums.insert(sum.shard, sum.clone());
        }
        Ok(())
    }

    async fn shard_sums(&self) -> Result<Vec<ShardSummary>, StoreError> {
        Ok(self.rows()?.sums.values().cloned().collect())
    }

    async fn put_view(&self, view: &FleetView) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        if rows.view.as_ref().is_none_or(|old| old.summed_at <= view.summed_at) {
            rows.view = Some(view.clone());
        }
        Ok(())
    }

    async fn view(&self, _: u16) -> Result<Option<FleetView>, StoreError> {
        self.stall("view").await;
        Ok(self.rows()?.view.clone())
    }

    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        if rows.summary.as_ref().is_none_or(|old| old.summed_at <= summary.summed_at) {
            rows.summary = Some(summary.clone());
        }
        Ok(())
    }

    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError> {
        Ok(self.rows()?.summary.clone())
    }
}

#[async_trait]
impl Spend for Tables {
    async fn reserve(&self, hold: &Hold) -> Result<Reserved, StoreError> {
        self.stall("reserve").await;
        let mut rows = self.rows()?;
        if rows.holds.contains_key(&hold.call_id) {
            return Ok(Reserved::Held);
        }
        let spent = |account: &Account| rows.spent.get(&account.key()).copied().unwrap_or(0);
        let over = |account: &&Account| spent(account) + hold.reserved.as_micros() > account.ceiling.as_micros();
        if let Some(over) = hold.accounts.iter().find(over) {
            return Ok(Reserved::Over(over.clone()));
        }
        for account in &hold.accounts {
            *rows.spent.entry(account.key()).or_default() += hold.reserved.as_micros();
        }
        rows.holds.insert(hold.call_id, hold.clone());
        Ok(Reserved::Held)
    }

    async fn held(&self, call: CallId) -> Result<Option<Hold>, StoreError> {
        Ok(self.rows()?.holds.get(&call).cloned())
    }

    async fn settle(&self, hold: &Hold, cost: Money) -> Result<Owned, StoreError> {
        self.stall("settle").await;
        let mut rows = self.rows_for("settle")?;
        if rows.holds.remove(&hold.call_id).is_none() {
            return Ok(Owned::Lost);
        }
        for account in &hold.accounts {
            let spent = rows.spent.entry(account.key()).or_default();
            *spent = *spent + cost.as_micros() - hold.reserved.as_micros();
        }
        Ok(Owned::Written)
    }

    async fn spent(&self, account: &Account) -> Result<Money, StoreError> {
        Ok(Money::micros(self.rows()?.spent.get(&account.key()).copied().unwrap_or(0)))
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let rows = self.rows()?;
        let due = rows.holds.values().filter(|hold| hold.due_at <= now).map(|hold| hold.call_id);
        Ok(due.take(limit as usize).collect())
    }
}
