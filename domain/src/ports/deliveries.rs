//! What goes to CRMs: deliveries with their tries, and the health of the endpoints that take them.
//! It must never count a try that did not begin, nor let two workers try one delivery.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Owned, StoreError};
use crate::delivery::{AttemptRow, Channel, DeadWhy, DeliveryRow, Next};
use crate::endpoint::{EndpointId, EndpointRow};
use crate::ids::{BotId, CallId};

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
