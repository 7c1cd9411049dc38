//! The tables in memory. Each write keeps the condition that its port names, and says whether it held.
//! It must never succeed where DynamoDB would refuse.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use domain::api_key::{ApiKeyRow, KeyHash};
use domain::bot::Bot;
use domain::call::{
    Advance, AnalysisStatus, CallRow, CallState, FenceRow, Finisher, MAX_WARNINGS, NextStep, RecordingStatus, Terminal,
};
use domain::delivery::{AttemptRow, Channel, DeliveryRow, DeliveryState};
use domain::fleet::ServerRow;
use domain::ids::{BotId, CallId, Epoch, Owner, ServerId, TrunkId};
use domain::ports::{ApiKeys, Bots, CallEntry, Calls, Claim, Deliveries, Owned, Put, Servers, StoreError, Trunks};
use domain::trunk::Trunk;
use jiff::Timestamp;

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
    pub(crate) servers: BTreeMap<ServerId, ServerRow>,
    /// Every port answers `Unavailable` while set.
    pub(crate) down: bool,
}

impl Rows {
    fn call(&mut self, id: CallId) -> Option<&mut CallRow> {
        match self.calls.get_mut(&id) {
            Some(CallEntry::Call(row)) => Some(row),
            Some(CallEntry::Fenced(_)) | None => None,
        }
    }

    fn live(&self) -> impl Iterator<Item = &CallRow> {
        self.calls.values().filter_map(|entry| match entry {
            CallEntry::Call(row) if row.state != CallState::Ended => Some(&**row),
            _ => None,
        })
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
    fn rows(&self) -> Result<std::sync::MutexGuard<'_, Rows>, StoreError> {
        let rows = self.0.lock();
        if rows.down { Err(StoreError::Unavailable { what: "tables", cause: "switched off".into() }) } else { Ok(rows) }
    }
}

fn owned(holds: bool) -> Owned {
    if holds { Owned::Written } else { Owned::Lost }
}

#[async_trait]
impl ApiKeys for Tables {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError> {
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

    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        Ok(self.rows()?.keys.values().cloned().collect())
    }
}

#[async_trait]
impl Bots for Tables {
    async fn get(&self, id: &BotId) -> Result<Option<Bot>, StoreError> {
        Ok(self.rows()?.bots.get(id).cloned())
    }

    async fn version(&self, id: &BotId, version: u64) -> Result<Option<Bot>, StoreError> {
        Ok(self.rows()?.bot_versions.get(&(id.clone(), version)).cloned())
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

    async fn delete(&self, id: &BotId) -> Result<bool, StoreError> {
        Ok(self.rows()?.bots.remove(id).is_some())
    }

    async fn list(&self) -> Result<Vec<Bot>, StoreError> {
        Ok(self.rows()?.bots.values().cloned().collect())
    }

    async fn by_number(&self, number: &str) -> Result<Option<BotId>, StoreError> {
        let rows = self.rows()?;
        Ok(rows.bots.values().find(|bot| bot.numbers.iter().any(|did| did == number)).map(|bot| bot.bot_id.clone()))
    }
}

#[async_trait]
impl Trunks for Tables {
    async fn get(&self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
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

    async fn delete(&self, id: &TrunkId) -> Result<bool, StoreError> {
        Ok(self.rows()?.trunks.remove(id).is_some())
    }

    async fn list(&self) -> Result<Vec<Trunk>, StoreError> {
        Ok(self.rows()?.trunks.values().cloned().collect())
    }
}

#[async_trait]
impl Calls for Tables {
    async fn create(&self, row: &CallRow) -> Result<Claim, StoreError> {
        Ok(self.rows()?.claim(row.call_id, CallEntry::Call(Box::new(row.clone()))))
    }

    async fn fence(&self, fence: &FenceRow) -> Result<Claim, StoreError> {
        Ok(self.rows()?.claim(fence.call_id, CallEntry::Fenced(fence.clone())))
    }

    async fn get(&self, id: CallId) -> Result<Option<CallEntry>, StoreError> {
        Ok(self.rows()?.calls.get(&id).cloned())
    }

    async fn advance(&self, id: CallId, owner: &Owner, step: &Advance) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let Some(row) = rows.call(id).filter(|row| row.owner == *owner && row.state != CallState::Ended) else {
            return Ok(Owned::Lost);
        };
        let (state, at) = match step {
            Advance::Dialing => (CallState::Dialing, None),
            Advance::Ringing { at } => (CallState::Ringing, Some(*at)),
            Advance::Answered { at } => (CallState::Answered, Some(*at)),
            Advance::Checkpoint { count } => {
                row.checkpoints = *count;
                return Ok(Owned::Written);
            }
        };
        if !row.state.may_become(state) {
            return Ok(Owned::Lost);
        }
        row.state = state;
        match state {
            CallState::Ringing => row.ringing_at = at,
            CallState::Answered => row.answered_at = at,
            _ => {}
        }
        Ok(Owned::Written)
    }

    async fn finish(
        &self,
        id: CallId,
        by: &Finisher,
        terminal: &Terminal,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let Some(row) = rows.call(id).filter(|row| row.owner == *by.owner() && row.state != CallState::Ended) else {
            return Ok(Owned::Lost);
        };
        row.state = CallState::Ended;
        row.ended_at = Some(terminal.ended_at);
        row.answered_at = terminal.answered_at;
        row.end_reason = Some(terminal.end_reason);
        row.sip_code = terminal.sip_code;
        row.duration_ms = terminal.duration_ms;
        row.recording_status = terminal.recording_status;
        row.analysis_status = AnalysisStatus::Pending;
        row.next_step = Some(NextStep::Announce);
        row.due_at = Some(due_at);
        row.step_tries = 0;
        Ok(Owned::Written)
    }

    async fn settle_recording(&self, id: CallId, status: RecordingStatus) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows
            .call(id)
            .filter(|row| row.state == CallState::Ended && row.recording_status == RecordingStatus::Pending);
        let holds = row.is_some();
        if let Some(row) = row {
            row.recording_status = status;
        }
        Ok(owned(holds))
    }

    async fn take_step(
        &self,
        id: CallId,
        from: &[NextStep],
        to: Option<NextStep>,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows.call(id).filter(|row| row.next_step.is_some_and(|step| from.contains(&step)));
        let holds = row.is_some();
        if let Some(row) = row {
            row.next_step = to;
            row.due_at = to.map(|_| due_at);
            row.step_tries = 0;
        }
        Ok(owned(holds))
    }

    async fn defer_step(&self, id: CallId, step: NextStep, due_at: Timestamp) -> Result<Option<u32>, StoreError> {
        let mut rows = self.rows()?;
        Ok(rows.call(id).filter(|row| row.next_step == Some(step)).map(|row| {
            row.due_at = Some(due_at);
            row.step_tries += 1;
            row.step_tries
        }))
    }

    async fn note_analysis(
        &self,
        id: CallId,
        status: AnalysisStatus,
        disposition: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some(row) = self.rows()?.call(id) {
            row.analysis_status = status;
            row.disposition = disposition.map(str::to_owned);
        }
        Ok(())
    }

    async fn warn(&self, id: CallId, warnings: &[String]) -> Result<(), StoreError> {
        if let Some(row) = self.rows()?.call(id) {
            row.warnings.extend(warnings.iter().cloned());
            row.warnings.truncate(MAX_WARNINGS);
        }
        Ok(())
    }

    async fn open_on(&self, server: &ServerId) -> Result<Vec<CallRow>, StoreError> {
        Ok(self.rows()?.live().filter(|row| row.owner.server_id == *server).cloned().collect())
    }

    async fn owners_of_open(&self) -> Result<Vec<Owner>, StoreError> {
        Ok(self.rows()?.live().map(|row| row.owner.clone()).collect())
    }

    async fn due(&self, step: NextStep, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let rows = self.rows()?;
        let due = rows.calls.values().filter_map(|entry| match entry {
            CallEntry::Call(row) if row.next_step == Some(step) && row.due_at.is_some_and(|due| due <= now) => {
                Some(row.call_id)
            }
            _ => None,
        });
        Ok(due.take(limit as usize).collect())
    }
}

#[async_trait]
impl Deliveries for Tables {
    async fn create(&self, row: &DeliveryRow) -> Result<bool, StoreError> {
        let mut rows = self.rows()?;
        let key = (row.call_id, row.channel);
        let new = !rows.deliveries.contains_key(&key);
        rows.deliveries.entry(key).or_insert_with(|| row.clone());
        Ok(new)
    }

    async fn get(&self, call: CallId, channel: Channel) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(self.rows()?.deliveries.get(&(call, channel)).cloned())
    }

    async fn begin_try(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows.deliveries.get_mut(&(call, channel));
        let row = row.filter(|row| row.state == DeliveryState::Pending && row.due_at <= now && row.tries == tries);
        let holds = row.is_some();
        if let Some(row) = row {
            row.tries += 1;
            row.due_at = lease_until;
        }
        Ok(owned(holds))
    }

    async fn end_try(
        &self,
        attempt: &AttemptRow,
        state: DeliveryState,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows.deliveries.get_mut(&(attempt.call_id, attempt.channel));
        let Some(row) = row.filter(|row| row.state == DeliveryState::Pending && row.tries == attempt.n) else {
            return Ok(Owned::Lost);
        };
        row.state = state;
        row.due_at = due_at;
        row.last_status = attempt.status;
        row.delivered_at = (state == DeliveryState::Delivered).then_some(due_at);
        rows.attempts.push(attempt.clone());
        Ok(Owned::Written)
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<(CallId, Channel)>, StoreError> {
        let rows = self.rows()?;
        let due = rows.deliveries.iter().filter(|(_, row)| row.state == DeliveryState::Pending && row.due_at <= now);
        Ok(due.map(|(key, _)| *key).take(limit as usize).collect())
    }

    async fn attempts(&self, call: CallId, channel: Channel) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = self.rows()?;
        Ok(rows
            .attempts
            .iter()
            .filter(|attempt| attempt.call_id == call && attempt.channel == channel)
            .cloned()
            .collect())
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
        4
    }

    /// By the id's first byte, so that a test knows who lies where.
    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError> {
        let rows = self.rows()?;
        let of = |server: &&ServerRow| u16::from(server.server_id.as_str().as_bytes()[0]) % 4 == shard;
        Ok(rows.servers.values().filter(of).cloned().collect())
    }

    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError> {
        Ok(self.rows()?.servers.get(id).cloned())
    }

    async fn all(&self) -> Result<Vec<ServerRow>, StoreError> {
        Ok(self.rows()?.servers.values().cloned().collect())
    }
}
