//! Erases a person by their number: every call with them keeps its times and its length, and nothing else of them.
//! It must never write the number down, in a log or in a row, and never touch a call that is not over: that is counted,
//! and erased when asked for again.
//!
//! A delivery still under way is stopped: what a person had erased is not sent on afterwards.

use std::sync::Arc;

use domain::call::CallRow;
use domain::ids::CallId;
use domain::phone::{E164, spellings};
use domain::ports::{CallEntry, Calls, Housekeeping, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::forget::{self, erase, is_over, pending};

/// Calls that are looked at with one read.
const PAGE: u32 = 250;
/// Most reads of one request, and calls after which it answers: API Gateway waits for 29 s.
const PAGES: u32 = 20;
const ENOUGH: u64 = 100;

/// What was found and done, of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tally {
    /// Calls in the table, of anybody.
    pub looked_at: u64,
    /// Calls with that number that were erased; on a dry run, that would be.
    pub calls: u64,
    /// Calls with that number that are not over, or whose result is not complete yet. They were left alone.
    pub unfinished: u64,
    pub objects: u64,
    /// Deliveries that were still to be tried.
    pub deliveries_stopped: u64,
}

/// What it takes to erase a person.
#[derive(Clone, derive_more::Debug)]
#[debug("erase::Desk")]
pub struct Desk {
    pub calls: Arc<dyn Calls>,
    pub housekeeping: Arc<dyn Housekeeping>,
    pub forget: forget::Desk,
}

/// Goes on from `after`; answers what it did and where to go on, `None` at the end.
///
/// # Errors
/// When a store does not answer; asked again from the same place, it does what is left.
pub async fn pass(
    desk: &Desk,
    number: &E164,
    dry_run: bool,
    after: Option<CallId>,
) -> Result<(Tally, Option<CallId>), StoreError> {
    let spellings = spellings(number);
    let mut tally = Tally::default();
    let mut after = after;
    for _ in 0..PAGES {
        let page = desk.housekeeping.with_number(&spellings, after, PAGE).await?;
        tally.looked_at += page.looked_at;
        for id in page.calls {
            let Some(CallEntry::Call(row)) = desk.calls.get(id).await? else { continue };
            if spellings.iter().any(|spelling| spelling == row.customer_number()) {
                one(desk, &row, dry_run, &mut tally).await?;
            }
        }
        after = page.next;
        if after.is_none() || tally.calls >= ENOUGH {
            break;
        }
    }
    Ok((tally, after))
}

async fn one(desk: &Desk, row: &CallRow, dry_run: bool, tally: &mut Tally) -> Result<(), StoreError> {
    if !is_over(row) {
        tally.unfinished += 1;
        return Ok(());
    }
    tally.deliveries_stopped += pending(&desk.forget, row).await?.len() as u64;
    if !dry_run {
        tally.objects += erase(&desk.forget, row).await?;
        metrics::counter!("ringfleet_calls_erased_total").increment(1);
    }
    tally.calls += 1;
    Ok(())
}

#[cfg(test)]
mod tests;
