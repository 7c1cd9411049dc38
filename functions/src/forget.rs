//! Takes data of one ended call away, for its period's end and for a person who asked for it.
//! It must never touch a call of which something is still under way, and never leave a call that shows what is gone:
//! the row is marked first, so that a crash in between leaves only objects that the next try deletes.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::call::{CallRow, CallState, RecordingStatus};
use domain::delivery::{Channel, DeliveryState};
use domain::objects::CallObjects;
use domain::ports::{Clock, Deliveries, Housekeeping, Objects, Owned, StoreError};
use domain::result::Record;
use domain::retention::{Kind, Part};
use futures_util::future::try_join_all;

use crate::result::{read_json, write_json};

/// Objects of one call that are deleted at once.
const AT_ONCE: usize = 16;

/// What it takes to take data away.
#[derive(Clone, derive_more::Debug)]
#[debug("forget::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub deliveries: Arc<dyn Deliveries>,
    pub housekeeping: Arc<dyn Housekeeping>,
    pub objects: Arc<dyn Objects>,
}

/// Whether the call is over and nothing of it is still to be stored, analysed or rendered.
pub(crate) fn is_over(row: &CallRow) -> bool {
    row.state == CallState::Ended && row.next_step.is_none() && row.recording_status != RecordingStatus::Pending
}

/// Channels whose delivery has neither got through nor been given up.
pub(crate) async fn pending(desk: &Desk, row: &CallRow) -> Result<Vec<Channel>, StoreError> {
    let mut pending = Vec::new();
    for channel in Channel::ALL {
        let delivery = desk.deliveries.get(row.call_id, *channel).await?;
        if delivery.is_some_and(|delivery| delivery.state == DeliveryState::Pending) {
            pending.push(*channel);
        }
    }
    Ok(pending)
}

/// Deletes classes of a call's data (never [`Kind::Call`]); answers how many objects went. Done twice, it does the same.
///
/// # Errors
/// When a store does not answer: what is left then goes with the next try.
pub(crate) async fn forget(desk: &Desk, row: &CallRow, kinds: &BTreeSet<Kind>) -> Result<u64, StoreError> {
    if !kinds.is_subset(&row.expired) {
        desk.housekeeping.mark_expired(row.call_id, kinds).await?;
    }
    let gone: BTreeSet<Kind> = row.expired.union(kinds).copied().collect();
    let said_or_brought = [Kind::Transcript, Kind::Variables].iter().any(|kind| gone.contains(kind));
    let folder = CallObjects::of(row).folder();
    let mut doomed = Vec::new();
    for key in desk.objects.list(&folder).await? {
        let part = Part::of(key.strip_prefix(&folder).unwrap_or_default());
        if part.goes_with(&gone) || (part == Part::Record && said_or_brought && !cut(desk, row, &key, &gone).await?) {
            doomed.push(key);
        }
    }
    delete(desk, &doomed).await?;
    if said_or_brought {
        for channel in Channel::ALL {
            desk.housekeeping.blank_answers(row.call_id, *channel).await?;
        }
    }
    Ok(doomed.len() as u64)
}

/// Leaves of a record what is not due; `false` if it can't be read, and can't stay for that.
async fn cut(desk: &Desk, row: &CallRow, key: &str, gone: &BTreeSet<Kind>) -> Result<bool, StoreError> {
    match read_json::<Record>(&*desk.objects, key).await {
        Ok(Some(record)) => {
            let left = record.clone().without(gone);
            if left != record {
                write_json(&*desk.objects, key, &left).await?;
            }
            Ok(true)
        }
        Ok(None) => Ok(true),
        Err(StoreError::Corrupt { cause, .. }) => {
            tracing::warn!(call.id = %row.call_id, error = %cause, "an unreadable record is deleted whole");
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

/// Deletes a call with everything of it; the row goes last, so that what is left after a crash is found again.
///
/// # Errors
/// When a store does not answer, or the call is not over.
pub(crate) async fn forget_call(desk: &Desk, row: &CallRow) -> Result<u64, StoreError> {
    let objects = empty_folder(desk, row).await?;
    for channel in Channel::ALL {
        desk.housekeeping.forget_delivery(row.call_id, *channel).await?;
    }
    desk.housekeeping.forget_call(row.call_id).await?;
    Ok(objects)
}

/// Takes the person out of a call: everything but a row that says when and how long somebody was called. The number
/// goes last: until then a call that was not finished is found by it again.
///
/// # Errors
/// When a store does not answer.
pub(crate) async fn erase(desk: &Desk, row: &CallRow) -> Result<u64, StoreError> {
    let kinds = BTreeSet::from([Kind::Recording, Kind::Transcript, Kind::Variables]);
    desk.housekeeping.mark_expired(row.call_id, &kinds).await?;
    let objects = empty_folder(desk, row).await?;
    for channel in Channel::ALL {
        desk.housekeeping.forget_delivery(row.call_id, *channel).await?;
    }
    match desk.housekeeping.anonymise(row.call_id, desk.clock.now()).await? {
        Owned::Written => Ok(objects),
        Owned::Lost => {
            Err(StoreError::Unavailable { what: "calls", cause: format!("call {} changed meanwhile", row.call_id) })
        }
    }
}

async fn empty_folder(desk: &Desk, row: &CallRow) -> Result<u64, StoreError> {
    let keys = desk.objects.list(&CallObjects::of(row).folder()).await?;
    delete(desk, &keys).await?;
    Ok(keys.len() as u64)
}

async fn delete(desk: &Desk, keys: &[String]) -> Result<(), StoreError> {
    for some in keys.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|key| desk.objects.delete(key))).await?;
    }
    Ok(())
}
