//! What deleting asks of the tables: calls by day and by number, and writes that take data away.
//! It must never be used to change what a call still needs: whoever calls has seen that nothing is under way.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{Owned, StoreError};
use crate::delivery::Channel;
use crate::ids::{BotId, CallId};
use crate::retention::{Kind, Place, Progress};

/// One page of a look at every call there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberPage {
    /// Calls that name one of the numbers.
    pub calls: Vec<CallId>,
    /// How many were looked at.
    pub looked_at: u64,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<CallId>,
}

#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Into how many shards a bot's day is spread.
    fn day_shards(&self) -> u16;
    /// Notes a bot that has no calls before `since`; what was noted first stands.
    async fn note_bot(&self, bot: &BotId, since: Date) -> Result<(), StoreError>;
    /// Every bot that was ever noted and since when, deleted ones too.
    async fn noted_bots(&self) -> Result<Vec<(BotId, Date)>, StoreError>;
    async fn progress(&self, bot: &BotId, kind: Kind) -> Result<Option<Progress>, StoreError>;
    /// Stores `progress` under the next revision, if what is stored still has its.
    async fn keep_progress(&self, bot: &BotId, kind: Kind, progress: &Progress) -> Result<Owned, StoreError>;
    /// Calls of a bot that began on `day` (UTC), in one shard, oldest first, after `after`. The index may lag behind.
    async fn calls_of_day(
        &self,
        bot: &BotId,
        day: Date,
        shard: u16,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<Place>, StoreError>;
    /// Adds to the classes that are gone of an ended call.
    async fn mark_expired(&self, call: CallId, kinds: &BTreeSet<Kind>) -> Result<(), StoreError>;
    /// Empties what endpoints answered to a call's attempts.
    async fn blank_answers(&self, call: CallId, channel: Channel) -> Result<(), StoreError>;
    /// Deletes a delivery, its attempts first.
    async fn forget_delivery(&self, call: CallId, channel: Channel) -> Result<(), StoreError>;
    /// Deletes the row of an ended call with nothing left to do.
    async fn forget_call(&self, call: CallId) -> Result<(), StoreError>;
    /// One page of all calls whose called or calling number is written in one of `spellings`.
    async fn with_number(
        &self,
        spellings: &[String],
        after: Option<CallId>,
        limit: u32,
    ) -> Result<NumberPage, StoreError>;
    /// Takes the person out of an ended call's row: the customer's number becomes [`crate::call::ERASED`]; the recording's token, the
    /// disposition and the warnings go; what is left says when and how long somebody was called.
    async fn anonymise(&self, call: CallId, at: Timestamp) -> Result<Owned, StoreError>;
}
