//! What deleting asks of the tables, in memory, with the conditions of the real ones.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::call::{CallRow, CallState, Direction, ERASED};
use domain::delivery::Channel;
use domain::ids::{BotId, CallId};
use domain::ports::{CallEntry, Housekeeping, NumberPage, Owned, StoreError};
use domain::retention::{Kind, Place, Progress};
use jiff::Timestamp;
use jiff::civil::Date;

use super::tables::{Rows, Tables, owned};

const SHARDS: u16 = 2;

fn calls(rows: &Rows) -> impl Iterator<Item = &CallRow> {
    rows.calls.values().filter_map(|entry| match entry {
        CallEntry::Call(row) => Some(&**row),
        CallEntry::Fenced(_) => None,
    })
}

fn refused(id: CallId) -> StoreError {
    StoreError::Refused { what: "calls", cause: format!("{id} is not over") }
}

#[async_trait]
impl Housekeeping for Tables {
    fn day_shards(&self) -> u16 {
        SHARDS
    }

    async fn note_bot(&self, bot: &BotId, since: Date) -> Result<(), StoreError> {
        self.rows()?.noted.entry(bot.clone()).or_insert(since);
        Ok(())
    }

    async fn noted_bots(&self) -> Result<Vec<(BotId, Date)>, StoreError> {
        Ok(self.rows()?.noted.clone().into_iter().collect())
    }

    async fn progress(&self, bot: &BotId, kind: Kind) -> Result<Option<Progress>, StoreError> {
        Ok(self.rows()?.progress.get(&(bot.clone(), kind)).cloned())
    }

    async fn keep_progress(&self, bot: &BotId, kind: Kind, progress: &Progress) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let key = (bot.clone(), kind);
        let holds = rows.progress.get(&key).map_or(0, |old| old.revision) == progress.revision;
        if holds {
            rows.progress.insert(key, Progress { revision: progress.revision + 1, ..progress.clone() });
        }
        Ok(owned(holds))
    }

    async fn calls_of_day(
        &self,
        bot: &BotId,
        day: Date,
        shard: u16,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<Place>, StoreError> {
        let rows = self.rows()?;
        let mut found: Vec<Place> = calls(&rows)
            .filter(|row| row.bot_id == *bot && row.date() == day && row.call_id.shard(SHARDS) == shard)
            .map(|row| Place { started_at: row.started_at, call_id: row.call_id })
            .collect();
        let key = |place: &Place| (place.started_at, place.call_id);
        found.sort_by_key(key);
        found.retain(|place| after.is_none_or(|after| key(place) > key(after)));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn mark_expired(&self, call: CallId, kinds: &BTreeSet<Kind>) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        let row = rows.call(call).filter(|row| row.state == CallState::Ended).ok_or_else(|| refused(call))?;
        row.expired.extend(kinds);
        if kinds.contains(&Kind::Variables) || kinds.contains(&Kind::Call) {
            row.brought = None;
        }
        Ok(())
    }

    async fn blank_answers(&self, call: CallId, channel: Channel) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        for attempt in rows.attempts.iter_mut().filter(|row| row.call_id == call && row.channel == channel) {
            attempt.answer.clear();
        }
        Ok(())
    }

    async fn forget_delivery(&self, call: CallId, channel: Channel) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        rows.attempts.retain(|row| !(row.call_id == call && row.channel == channel));
        rows.deliveries.remove(&(call, channel));
        Ok(())
    }

    async fn forget_call(&self, call: CallId) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        if rows.call(call).is_some_and(|row| row.state != CallState::Ended || row.next_step.is_some()) {
            return Err(refused(call));
        }
        rows.calls.remove(&call);
        Ok(())
    }

    async fn with_number(
        &self,
        spellings: &[String],
        after: Option<CallId>,
        limit: u32,
    ) -> Result<NumberPage, StoreError> {
        let rows = self.rows()?;
        let all: Vec<&CallRow> = calls(&rows).filter(|row| after.is_none_or(|after| row.call_id > after)).collect();
        let page = &all[..all.len().min(limit as usize)];
        let has = |row: &&&CallRow| spellings.contains(&row.to_number.0) || spellings.contains(&row.from_number.0);
        Ok(NumberPage {
            calls: page.iter().filter(has).map(|row| row.call_id).collect(),
            looked_at: page.len() as u64,
            next: page.last().filter(|_| page.len() < all.len()).map(|row| row.call_id),
        })
    }

    async fn anonymise(&self, call: CallId, at: Timestamp) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let Some(row) = rows.call(call).filter(|row| row.state == CallState::Ended && row.next_step.is_none()) else {
            return Ok(Owned::Lost);
        };
        match row.direction {
            Direction::Outbound => row.to_number.0 = ERASED.into(),
            Direction::Inbound => row.from_number.0 = ERASED.into(),
        }
        row.recording_token.clear();
        row.disposition = None;
        row.warnings.clear();
        row.erased_at = Some(at);
        Ok(Owned::Written)
    }
}
