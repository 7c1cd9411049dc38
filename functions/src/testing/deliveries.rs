//! Deliveries and endpoints in memory, with the conditions of the real tables.

use async_trait::async_trait;
use domain::delivery::{AttemptRow, Channel, DeadWhy, DeliveryRow, DeliveryState, Next};
use domain::endpoint::{EndpointId, EndpointRow};
use domain::ids::{BotId, CallId};
use domain::ports::{Deliveries, Endpoints, Owned, StoreError};
use jiff::Timestamp;

use super::tables::Tables;

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
        let Some(row) = rows.due_delivery(call, channel, tries, now) else { return Ok(Owned::Lost) };
        row.tries += 1;
        row.running = Some(row.tries);
        row.due_at = lease_until;
        Ok(Owned::Written)
    }

    async fn end_try(&self, attempt: &AttemptRow, next: &Next) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows.deliveries.get_mut(&(attempt.call_id, attempt.channel));
        let Some(row) = row.filter(|row| row.state == DeliveryState::Pending && row.running == Some(attempt.n)) else {
            return Ok(Owned::Lost);
        };
        row.state = next.state();
        row.running = None;
        row.last_status = attempt.status.or(row.last_status);
        match next {
            Next::Again { due_at } => row.due_at = *due_at,
            Next::Delivered => row.delivered_at = Some(attempt.at),
            Next::Dead(why) => row.why = Some(*why),
        }
        rows.attempts.push(attempt.clone());
        Ok(Owned::Written)
    }

    async fn put_off(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let Some(row) = rows.due_delivery(call, channel, tries, now) else { return Ok(Owned::Lost) };
        (row.due_at, row.running) = (until, None);
        Ok(Owned::Written)
    }

    async fn bury(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        why: DeadWhy,
    ) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let Some(row) = rows.due_delivery(call, channel, tries, now) else { return Ok(Owned::Lost) };
        (row.state, row.why, row.running) = (DeliveryState::Dead, Some(why), None);
        Ok(Owned::Written)
    }

    async fn resend(&self, seen: &DeliveryRow, now: Timestamp) -> Result<Owned, StoreError> {
        let mut rows = self.rows()?;
        let row = rows.deliveries.get_mut(&(seen.call_id, seen.channel));
        let row = row.filter(|row| row.state == seen.state && row.tries == seen.tries && row.held_until(now).is_none());
        let Some(row) = row else { return Ok(Owned::Lost) };
        row.state = DeliveryState::Pending;
        row.tries_before = row.tries;
        (row.due_at, row.resent_at) = (now, Some(now));
        (row.running, row.why) = (None, None);
        Ok(Owned::Written)
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<(CallId, Channel)>, StoreError> {
        let rows = self.rows()?;
        let due = rows.deliveries.values().filter(|row| row.state == DeliveryState::Pending && row.due_at <= now);
        let mut due: Vec<_> = due.map(|row| (row.due_at, row.call_id, row.channel)).collect();
        due.sort();
        due.truncate(limit as usize);
        Ok(due.into_iter().map(|(_, call, channel)| (call, channel)).collect())
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
impl Endpoints for Tables {
    async fn get(&self, bot: &BotId, endpoint: &EndpointId) -> Result<Option<EndpointRow>, StoreError> {
        Ok(self.rows()?.endpoints.get(&(bot.clone(), endpoint.clone())).cloned())
    }

    async fn put(&self, row: &EndpointRow, replaces: Option<u64>) -> Result<bool, StoreError> {
        let mut rows = self.rows()?;
        let key = (row.bot_id.clone(), row.endpoint.clone());
        let holds = rows.endpoints.get(&key).map(|old| old.rev) == replaces;
        if holds {
            rows.endpoints.insert(key, row.clone());
        }
        Ok(holds)
    }

    async fn of_bot(&self, bot: &BotId) -> Result<Vec<EndpointRow>, StoreError> {
        Ok(self.rows()?.endpoints.values().filter(|row| row.bot_id == *bot).cloned().collect())
    }
}
