//! Deletes what bots don't keep any longer: each bot's calls are walked by day, one class of data at a time, up to the
//! first day that its current version keeps. It must never look at a day twice without need, never read a table whole
//! but those of bots, and never delete what an unfinished delivery still needs: such a call is passed over and noted.
//!
//! Crashed anywhere, the next pass does the last few calls again; every step of it can be repeated.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use domain::bot::Bot;
use domain::call::CallRow;
use domain::ids::{BotId, CallId};
use domain::ports::{Bots, CallEntry, Calls, Clock, Entropy, Housekeeping, Owned, StoreError};
use domain::retention::{FIRST_DAY, Kind, MAX_LEFT, Progress};
use jiff::civil::Date;

use crate::admin::last_bot_version;
use crate::forget::{self, forget, forget_call, is_over, pending};
use crate::platform::RetainLimits;

/// Calls of one page of the index by day.
const PAGE: u32 = 25;
/// Empty pages after which progress is written down all the same.
const KEEP_EVERY: u32 = 100;

/// What it takes to delete what is past its period.
#[derive(Clone, derive_more::Debug)]
#[debug("retain::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub bots: Arc<dyn Bots>,
    pub calls: Arc<dyn Calls>,
    pub housekeeping: Arc<dyn Housekeeping>,
    pub forget: forget::Desk,
    pub retain: RetainLimits,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls of which something was deleted, once for each class.
    pub calls: u64,
    pub objects: u64,
    /// Calls that wait until what is under way of them is done.
    pub left: u64,
}

/// How much a bot may still take of this pass.
struct Budget {
    calls: u32,
    pages: u32,
}

/// One pass over all bots, those that were deleted too. What one bot's share does not suffice for, the next pass does.
///
/// # Errors
/// When the bots can't be read; what fails for one bot is logged, and the next pass tries it again.
pub async fn pass(desk: &Desk) -> Result<Report, StoreError> {
    let bots = every_bot(desk).await?;
    let mut report = Report::default();
    // Whoever comes first takes from the whole; so it is not always the same one.
    let first = usize::try_from(desk.entropy.dice()).unwrap_or_default() % bots.len().max(1);
    let limits = &desk.retain;
    let mut calls = limits.calls;
    for (bot, since) in bots[first..].iter().chain(&bots[..first]) {
        let share = calls.min(limits.calls_per_bot);
        let mut budget = Budget { calls: share, pages: limits.pages_per_bot };
        if let Err(cause) = of_bot(desk, bot, *since, &mut budget, &mut report).await {
            tracing::warn!(bot.id = %bot, error = %cause, "retention of a bot's data was interrupted; the next pass goes on");
        }
        calls -= share - budget.calls;
        if calls == 0 {
            break;
        }
    }
    metrics::gauge!("ringfleet_retention_left").set(report.left as f64);
    if report.calls > 0 {
        tracing::info!(
            calls = report.calls,
            objects = report.objects,
            left = report.left,
            "data past its period deleted"
        );
    }
    Ok(report)
}

/// Every bot that there is or was, and the day before which it has no calls.
async fn every_bot(desk: &Desk) -> Result<Vec<(BotId, Date)>, StoreError> {
    let house = &desk.housekeeping;
    let mut bots: BTreeMap<BotId, Date> = house.noted_bots().await?.into_iter().collect();
    for bot in desk.bots.list().await? {
        if let Entry::Vacant(unknown) = bots.entry(bot.bot_id) {
            house.note_bot(unknown.key(), FIRST_DAY).await?;
            unknown.insert(FIRST_DAY);
        }
    }
    Ok(bots.into_iter().collect())
}

async fn of_bot(
    desk: &Desk,
    id: &BotId,
    since: Date,
    budget: &mut Budget,
    report: &mut Report,
) -> Result<(), StoreError> {
    let Some(bot) = current_or_last(desk, id).await? else { return Ok(()) };
    let now = desk.clock.now();
    for kind in Kind::ALL {
        if let Some(before) = bot.retention.kept_from(*kind, now) {
            let walk = Walk { desk, bot: id, kind: *kind, before };
            walk.go(since, budget, report).await?;
        }
    }
    Ok(())
}

/// The rule is the bot's current one, so that a shortened period counts for past calls; a deleted bot's is its last.
async fn current_or_last(desk: &Desk, id: &BotId) -> Result<Option<Bot>, StoreError> {
    if let Some(bot) = desk.bots.get(id).await? {
        return Ok(Some(bot));
    }
    match last_bot_version(&*desk.bots, id).await? {
        0 => Ok(None),
        last => desk.bots.version(id, last).await,
    }
}

/// What became of a call on the way.
enum Fate {
    /// There is none under that id (any more).
    Gone,
    Deleted {
        objects: u64,
    },
    /// Something of it is under way, or it is not due after all.
    Waits,
}

/// The way through one class of one bot's data.
struct Walk<'a> {
    desk: &'a Desk,
    bot: &'a BotId,
    kind: Kind,
    /// The first day that is kept.
    before: Date,
}

impl Walk<'_> {
    async fn go(&self, since: Date, budget: &mut Budget, report: &mut Report) -> Result<(), StoreError> {
        let house = &self.desk.housekeeping;
        let mut kept = house.progress(self.bot, self.kind).await?;
        let mut progress = kept.clone().unwrap_or_else(|| Progress::starting(since));
        for id in progress.left.clone() {
            if budget.calls == 0 {
                break;
            }
            budget.calls -= 1;
            self.settle(id, &mut progress, report).await?;
        }
        let mut unkept = 0;
        while progress.day < self.before && budget.pages > 0 && budget.calls > 0 {
            if progress.left.len() >= MAX_LEFT {
                tracing::error!(bot.id = %self.bot, kind = self.kind.as_str(), alarm = "retention_stuck", "too many calls wait to be deleted; look why their deliveries don't end");
                break;
            }
            budget.pages -= 1;
            let after = progress.after;
            let page = house.calls_of_day(self.bot, progress.day, progress.shard, after.as_ref(), PAGE).await?;
            let calls = u32::try_from(page.len()).unwrap_or(PAGE);
            for place in page {
                self.settle(place.call_id, &mut progress, report).await?;
                progress.after = Some(place);
            }
            budget.calls = budget.calls.saturating_sub(calls);
            if calls < PAGE {
                progress.next_shard(house.day_shards());
            }
            unkept += 1;
            if calls > 0 || unkept >= KEEP_EVERY {
                unkept = 0;
                if self.keep(&mut progress).await? == Owned::Lost {
                    return Ok(());
                }
                kept = Some(progress.clone());
            }
        }
        report.left += progress.left.len() as u64;
        if kept.as_ref() != Some(&progress) {
            self.keep(&mut progress).await?;
        }
        Ok(())
    }

    /// [`Owned::Lost`]: another pass walks here, and goes on.
    async fn keep(&self, progress: &mut Progress) -> Result<Owned, StoreError> {
        let written = self.desk.housekeeping.keep_progress(self.bot, self.kind, progress).await?;
        progress.revision += 1;
        Ok(written)
    }

    async fn settle(&self, id: CallId, progress: &mut Progress, report: &mut Report) -> Result<(), StoreError> {
        match self.one(id).await {
            Ok(Fate::Gone) => {
                progress.left.remove(&id);
            }
            Ok(Fate::Deleted { objects }) => {
                progress.left.remove(&id);
                report.calls += 1;
                report.objects += objects;
                metrics::counter!("ringfleet_retention_deleted_total", "kind" => self.kind.as_str()).increment(1);
            }
            Ok(Fate::Waits) => {
                progress.left.insert(id);
            }
            Err(cause @ StoreError::Unavailable { .. }) => return Err(cause),
            Err(cause) => {
                tracing::error!(call.id = %id, kind = self.kind.as_str(), error = %cause, "data past its period can't be deleted");
                progress.left.insert(id);
            }
        }
        Ok(())
    }

    async fn one(&self, id: CallId) -> Result<Fate, StoreError> {
        let Some(CallEntry::Call(row)) = self.desk.calls.get(id).await? else { return Ok(Fate::Gone) };
        if !self.may_go(&row).await? {
            return Ok(Fate::Waits);
        }
        let objects = match self.kind {
            Kind::Call => forget_call(&self.desk.forget, &row).await?,
            kind => forget(&self.desk.forget, &row, &[kind].into()).await?,
        };
        Ok(Fate::Deleted { objects })
    }

    async fn may_go(&self, row: &CallRow) -> Result<bool, StoreError> {
        let due = row.date() < self.before;
        Ok(due && is_over(row) && pending(&self.desk.forget, row).await?.is_empty())
    }
}

#[cfg(test)]
mod tests;
