//! Calls in memory, with the conditions of the real table.

use async_trait::async_trait;
use domain::call::{
    Advance, AnalysisStatus, CallRow, CallState, FenceRow, Finisher, MAX_WARNINGS, NextStep, RecordingStatus, Terminal,
};
use domain::call_list::CallPosition;
use domain::ids::{BotId, CallId, Owner, ServerId};
use domain::ports::{CallEntry, Calls, Claim, Owned, StoreError};
use jiff::Timestamp;

use super::tables::{Tables, owned};

#[async_trait]
impl Calls for Tables {
    async fn create(&self, row: &CallRow) -> Result<Claim, StoreError> {
        Ok(self.rows()?.claim(row.call_id, CallEntry::Call(Box::new(row.clone()))))
    }

    async fn fence(&self, fence: &FenceRow) -> Result<Claim, StoreError> {
        self.stall("fence").await;
        Ok(self.rows_for("fence")?.claim(fence.call_id, CallEntry::Fenced(fence.clone())))
    }

    async fn get(&self, id: CallId) -> Result<Option<CallEntry>, StoreError> {
        Ok(self.rows_for("call")?.calls.get(&id).cloned())
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

    async fn of_day(
        &self,
        bot: &BotId,
        date: jiff::civil::Date,
        before: &CallPosition,
        limit: u32,
    ) -> Result<Vec<CallPosition>, StoreError> {
        let mut rows = self.rows()?;
        rows.days_read += 1;
        let mut found: Vec<CallPosition> = rows
            .calls
            .values()
            .filter_map(|entry| match entry {
                CallEntry::Call(row) if row.bot_id == *bot && row.date() == date => Some(CallPosition::of(row)),
                _ => None,
            })
            .filter(|position| position < before)
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn of_ids(&self, ids: &[CallId]) -> Result<Vec<CallRow>, StoreError> {
        let mut rows = self.rows()?;
        Ok(ids.iter().filter_map(|id| rows.call(*id).cloned()).collect())
    }
}
