//! `Calls`: one row for a call's whole life, or a fence in its place.
//! It must never move a call backwards, write for one who is not its owner, or end it twice.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use domain::call::{
    Advance, AnalysisStatus, CallRow, CallState, FenceRow, Finisher, MAX_WARNINGS, NextStep, RecordingStatus, Terminal,
};
use domain::call::{bot_day, open_on, step_shard};
use domain::call_list::CallPosition;
use domain::ids::{BotId, CallId, Owner, ServerId};
use domain::ports::{CallEntry, Calls, Claim, Owned, StoreError};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;

use super::item::{Item, item_of, moment, number, number_in, row_of, text, text_in, value_of};
use super::write::{Change, Condition, Conditional, key, put};
use crate::errors::{corrupt, refused, store_error, unavailable};
use crate::schema::{BY_OPEN_ON, BY_STEP, Names, TTL, Table};

mod day;
use day::DayShard;

const WHAT: &str = "Calls";
const BOT_DAY: &str = "bot_day";
const OPEN_ON: &str = "open_on";
const STEP: &str = "step";
/// A fence is tidied away after this: no server takes a command that old.
const KEEP_FENCE_SECONDS: i64 = 24 * 3600;
/// `BatchGetItem` takes no more keys.
const BATCH: usize = 100;
/// Reads of keys that a busy table left out of its answer.
const BATCH_TRIES: usize = 5;

#[derive(Debug, Clone)]
pub struct DynamoCalls {
    client: Client,
    table: String,
    shards: u16,
}

impl DynamoCalls {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::Calls), shards: names.shards.calls }
    }

    async fn claim(&self, item: Item) -> Result<Claim, StoreError> {
        match put(&self.client, WHAT, &self.table, item, Condition::when("attribute_not_exists(#call_id)")).await? {
            Conditional::Held(_) => Ok(Claim::Claimed),
            Conditional::Failed(found) => Ok(Claim::Exists(entry(found)?)),
        }
    }

    async fn change(&self, id: CallId, change: Change) -> Result<Conditional, StoreError> {
        change.send(&self.client, WHAT, &self.table, key("call_id", text(id.to_string()))).await
    }

    async fn owned(&self, id: CallId, change: Change) -> Result<Owned, StoreError> {
        Ok(if self.change(id, change).await?.held() { Owned::Written } else { Owned::Lost })
    }

    fn step(&self, id: CallId, step: NextStep) -> AttributeValue {
        text(step_shard(step, id.shard(self.shards)))
    }

    /// The rows of `ids`, strongly consistent, in no order.
    async fn rows(&self, ids: &[CallId]) -> Result<Vec<CallRow>, StoreError> {
        let mut rows = Vec::new();
        for batch in ids.chunks(BATCH) {
            let mut keys: Vec<Item> = batch.iter().map(|id| key("call_id", text(id.to_string()))).collect();
            for _ in 0..BATCH_TRIES {
                if keys.is_empty() {
                    break;
                }
                let wanted =
                    KeysAndAttributes::builder().set_keys(Some(std::mem::take(&mut keys))).consistent_read(true);
                let wanted = HashMap::from([(self.table.clone(), wanted.build().map_err(|e| refused(WHAT, e))?)]);
                let answer = self
                    .client
                    .batch_get_item()
                    .set_request_items(Some(wanted))
                    .send()
                    .await
                    .map_err(|e| store_error(WHAT, e))?;
                for item in answer.responses.and_then(|mut tables| tables.remove(&self.table)).unwrap_or_default() {
                    if let CallEntry::Call(row) = entry(item)? {
                        rows.push(*row);
                    }
                }
                let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(&self.table));
                keys = left.map(|left| left.keys).unwrap_or_default();
            }
            if !keys.is_empty() {
                return Err(unavailable(WHAT, "the table is too busy"));
            }
        }
        Ok(rows)
    }

    async fn due_in(
        &self,
        shard: u16,
        step: NextStep,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(i64, CallId)>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_STEP)
            .key_condition_expression("#step = :step AND #due_at <= :now")
            .expression_attribute_names("#step", STEP)
            .expression_attribute_names("#due_at", "due_at")
            .expression_attribute_values(":step", text(step_shard(step, shard)))
            .expression_attribute_values(":now", moment(now))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|e| store_error(WHAT, e))?;
        page.items
            .unwrap_or_default()
            .iter()
            .map(|item| Ok((number_in(WHAT, item, "due_at")?, call_id(item)?)))
            .collect()
    }
}

fn call_id(item: &Item) -> Result<CallId, StoreError> {
    CallId::parse(text_in(WHAT, item, "call_id")?).map_err(|e| corrupt(WHAT, e))
}

fn entry(item: Item) -> Result<CallEntry, StoreError> {
    if item.contains_key("refused") {
        return row_of(WHAT, item).map(CallEntry::Fenced);
    }
    let mut row: CallRow = row_of(WHAT, item)?;
    row.warnings.truncate(MAX_WARNINGS);
    Ok(CallEntry::Call(Box::new(row)))
}

/// The states that may become `next`.
fn before(next: CallState) -> impl Iterator<Item = &'static str> {
    let all = [CallState::Accepted, CallState::Dialing, CallState::Ringing, CallState::Answered, CallState::Ended];
    all.into_iter().filter(move |state| state.may_become(next)).map(CallState::as_str)
}

fn owned_by(owner: &Owner) -> Result<Condition, StoreError> {
    Ok(Condition::when("#owner = :owner").value(":owner", value_of(WHAT, owner)?))
}

fn ended() -> Condition {
    Condition::when("#state = :ended").value(":ended", text(CallState::Ended.as_str()))
}

#[async_trait]
impl Calls for DynamoCalls {
    async fn create(&self, row: &CallRow) -> Result<Claim, StoreError> {
        let mut item = item_of(WHAT, row)?;
        let shard = row.call_id.shard(self.shards);
        item.insert(BOT_DAY.to_owned(), text(bot_day(&row.bot_id, row.date(), shard)));
        if row.state != CallState::Ended {
            item.insert(OPEN_ON.to_owned(), text(open_on(&row.owner.server_id)));
        }
        if let Some(step) = row.next_step {
            item.insert(STEP.to_owned(), self.step(row.call_id, step));
        }
        self.claim(item).await
    }

    async fn fence(&self, fence: &FenceRow) -> Result<Claim, StoreError> {
        let mut item = item_of(WHAT, fence)?;
        item.insert(TTL.to_owned(), number(fence.fenced_at.as_second() + KEEP_FENCE_SECONDS));
        self.claim(item).await
    }

    async fn get(&self, id: CallId) -> Result<Option<CallEntry>, StoreError> {
        let request =
            self.client.get_item().table_name(&self.table).key("call_id", text(id.to_string())).consistent_read(true);
        request.send().await.map_err(|e| store_error(WHAT, e))?.item.map(entry).transpose()
    }

    async fn advance(&self, id: CallId, owner: &Owner, step: &Advance) -> Result<Owned, StoreError> {
        let forwards = |next: CallState| -> Result<Change, StoreError> {
            Ok(Change::when(owned_by(owner)?.and_one_of("state", before(next))).set("state", text(next.as_str())))
        };
        let change = match step {
            Advance::Dialing => forwards(CallState::Dialing)?,
            Advance::Ringing { at } => forwards(CallState::Ringing)?.set("ringing_at", moment(*at)),
            Advance::Answered { at } => forwards(CallState::Answered)?.set("answered_at", moment(*at)),
            Advance::Checkpoint { count } => {
                let condition = owned_by(owner)?
                    .and_one_of("state", before(CallState::Ended))
                    .and("#checkpoints < :count")
                    .value(":count", number(*count));
                Change::when(condition).set("checkpoints", number(*count))
            }
        };
        self.owned(id, change).await
    }

    async fn finish(
        &self,
        id: CallId,
        by: &Finisher,
        terminal: &Terminal,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError> {
        let condition = owned_by(by.owner())?.and_one_of("state", before(CallState::Ended));
        let kept = &terminal.warnings[..terminal.warnings.len().min(MAX_WARNINGS)];
        let change = Change::when(condition)
            .set("state", text(CallState::Ended.as_str()))
            .set("ended_at", moment(terminal.ended_at))
            .set_some("answered_at", terminal.answered_at.map(moment))
            .set("end_reason", text(terminal.end_reason.as_str()))
            .set_some("sip_code", terminal.sip_code.map(number))
            .set("duration_ms", number(terminal.duration_ms))
            .set("recording_status", value_of(WHAT, &terminal.recording_status)?)
            .set("analysis_status", value_of(WHAT, &AnalysisStatus::Pending)?)
            .set("next_step", text(NextStep::Announce.as_str()))
            .set(STEP, self.step(id, NextStep::Announce))
            .set("due_at", moment(due_at))
            .set("step_tries", number(0))
            .append("warnings", kept)
            .remove(OPEN_ON);
        self.owned(id, change).await
    }

    async fn settle_recording(&self, id: CallId, status: RecordingStatus) -> Result<Owned, StoreError> {
        let condition =
            ended().and("#recording_status = :pending").value(":pending", value_of(WHAT, &RecordingStatus::Pending)?);
        self.owned(id, Change::when(condition).set("recording_status", value_of(WHAT, &status)?)).await
    }

    async fn take_step(
        &self,
        id: CallId,
        from: &[NextStep],
        to: Option<NextStep>,
        due_at: Timestamp,
    ) -> Result<Owned, StoreError> {
        if from.is_empty() {
            return Ok(Owned::Lost);
        }
        let change = Change::when(ended().and_one_of("next_step", from.iter().map(|step| step.as_str())))
            .set("step_tries", number(0));
        let change = match to {
            Some(step) => change
                .set("next_step", text(step.as_str()))
                .set(STEP, self.step(id, step))
                .set("due_at", moment(due_at)),
            None => change.remove("next_step").remove(STEP).remove("due_at"),
        };
        self.owned(id, change).await
    }

    async fn defer_step(&self, id: CallId, step: NextStep, due_at: Timestamp) -> Result<Option<u32>, StoreError> {
        let condition = ended().and_one_of("next_step", [step.as_str()]);
        match self.change(id, Change::when(condition).set("due_at", moment(due_at)).count("step_tries")).await? {
            Conditional::Held(now) => number_in(WHAT, &now, "step_tries").map(Some),
            Conditional::Failed(_) => Ok(None),
        }
    }

    async fn note_analysis(
        &self,
        id: CallId,
        status: AnalysisStatus,
        disposition: Option<&str>,
    ) -> Result<(), StoreError> {
        let change = Change::when(ended())
            .set("analysis_status", value_of(WHAT, &status)?)
            .set_some("disposition", disposition.map(text));
        match self.change(id, change).await? {
            Conditional::Held(_) => Ok(()),
            Conditional::Failed(_) => Err(refused(WHAT, format!("{id} is no ended call"))),
        }
    }

    async fn warn(&self, id: CallId, warnings: &[String]) -> Result<(), StoreError> {
        let mut room = MAX_WARNINGS;
        // Each failed condition says how many there are; a second writer can only make the room smaller.
        while room > 0 && !warnings.is_empty() {
            let new = &warnings[..warnings.len().min(room)];
            let condition = Condition::when("attribute_exists(#state)")
                .and("attribute_not_exists(#warnings) OR size(#warnings) <= :kept")
                .value(":kept", number(MAX_WARNINGS - new.len()));
            match self.change(id, Change::when(condition).append("warnings", new)).await? {
                Conditional::Held(_) => return Ok(()),
                Conditional::Failed(found) if found.contains_key("state") => {
                    let kept = found.get("warnings").and_then(|list| list.as_l().ok()).map_or(0, Vec::len);
                    room = MAX_WARNINGS.saturating_sub(kept).min(new.len().saturating_sub(1));
                }
                Conditional::Failed(_) => return Err(refused(WHAT, format!("{id} is no call"))),
            }
        }
        Ok(())
    }

    async fn open_on(&self, server: &ServerId) -> Result<Vec<CallRow>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_OPEN_ON)
            .key_condition_expression("#open_on = :server")
            .expression_attribute_names("#open_on", OPEN_ON)
            .expression_attribute_values(":server", text(open_on(server)));
        let mut pages = query.into_paginator().items().send();
        let mut ids = Vec::new();
        while let Some(item) = pages.next().await {
            ids.push(call_id(&item.map_err(|e| store_error(WHAT, e))?)?);
        }
        // The index lags behind: what has ended meanwhile is left out.
        let mut rows = self.rows(&ids).await?;
        rows.retain(|row| row.state != CallState::Ended && row.owner.server_id == *server);
        Ok(rows)
    }

    async fn owners_of_open(&self) -> Result<Vec<Owner>, StoreError> {
        let mut pages =
            self.client.scan().table_name(&self.table).index_name(BY_OPEN_ON).into_paginator().items().send();
        let mut owners = HashSet::new();
        while let Some(item) = pages.next().await {
            let owner =
                item.map_err(|e| store_error(WHAT, e))?.remove("owner").ok_or_else(|| corrupt(WHAT, "no owner"))?;
            let owner: Owner = serde_dynamo::from_attribute_value(owner).map_err(|e| corrupt(WHAT, e))?;
            owners.insert(owner);
        }
        let mut owners: Vec<Owner> = owners.into_iter().collect();
        owners.sort_by(|a, b| (&a.server_id, a.epoch).cmp(&(&b.server_id, b.epoch)));
        Ok(owners)
    }

    async fn due(&self, step: NextStep, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let shards = try_join_all((0..self.shards).map(|shard| self.due_in(shard, step, now, limit))).await?;
        let mut due: Vec<(i64, CallId)> = shards.into_iter().flatten().collect();
        due.sort();
        due.truncate(limit as usize);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    async fn of_day(
        &self,
        bot: &BotId,
        date: Date,
        before: &CallPosition,
        limit: u32,
    ) -> Result<Vec<CallPosition>, StoreError> {
        let limit = limit as usize;
        let shards = (0..self.shards).map(|shard| {
            let shard = DayShard { bot_day: bot_day(bot, date, shard), before: *before, limit };
            async move { shard.read(&self.client, &self.table).await }
        });
        let mut found = try_join_all(shards).await?.concat();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(limit);
        Ok(found)
    }

    async fn of_ids(&self, ids: &[CallId]) -> Result<Vec<CallRow>, StoreError> {
        self.rows(ids).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_entered_from_earlier_ones_only() {
        let check = |next, expect: &[&str]| assert_eq!(before(next).collect::<Vec<_>>(), expect, "{next:?}");
        check(CallState::Dialing, &["accepted"]);
        check(CallState::Answered, &["accepted", "dialing", "ringing"]);
        check(CallState::Ended, &["accepted", "dialing", "ringing", "answered"]);
    }
}
