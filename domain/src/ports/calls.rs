//! The rows of calls, from the claim of an id to the last step behind the end. It must never put a call back to an earlier
//! state, nor let one write that is not the owner any more.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Owned, StoreError};
use crate::call::{Advance, CallRow, FenceRow, Finisher, NextStep, RecordingStatus, Terminal};
use crate::call_list::CallPosition;
use crate::ids::{BotId, CallId, Owner, ServerId};

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
