//! What a restart owes to calls of the process before it: ended ones are told, cut-off ones get their end and what was
//! recorded of them. It must run before the server takes new calls, and never dial.

use std::sync::Arc;

use domain::call::{Brought, CallRow, CallState, Finisher, RecordingStatus, Terminal};
use domain::ids::CallId;
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::CallEntry;
use domain::result::Record;
use domain::variables::Fields;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::finish::spool::{Begun, Ended, SpoolError};
use crate::finish::until_done;
use crate::node::Node;

/// Takes up everything that the spool holds.
///
/// # Errors
/// When the spool can't be read.
pub(crate) fn spool(node: &Arc<Node>) -> Result<(), SpoolError> {
    let found = node.finishing.spool().leftovers()?;
    domain::failpoint!("recover.found");
    for path in &found.unreadable {
        tracing::error!(path = %path.display(), "an unreadable file in the spool stays there; look at it by hand");
    }
    for ended in found.ended {
        let finisher = Finisher::Owner(ended.begun.owner.clone());
        node.finishing.resume(ended, finisher);
    }
    for call in found.cut_off {
        let again = node.clone();
        node.finishing.later(async move { cut_off(&again, call).await });
    }
    Ok(())
}

/// A call that was alive when the process died: it ends as `server_lost`, with the whole recording that is on disk.
async fn cut_off(node: &Arc<Node>, call: CallId) {
    // A table that is away for a while must not cost the recording that is on disk.
    let entry = until_done("cut-off call", || node.ports.calls.get(call)).await;
    let this = &node.identity;
    let earlier = |row: &CallRow| row.owner.server_id == this.server_id && row.owner.epoch < this.epoch;
    match entry {
        Some(CallEntry::Call(row)) if row.state != CallState::Ended && earlier(&row) => {
            end_without_call(node, &row, EndReason::ServerLost);
        }
        // Never accepted: nothing personal stays of a call that never was. What a dialout brought may be another
        // server's by now; the fields of a call that came in are nobody else's.
        None => {
            let key = CallObjects::of_id(call).custom();
            until_done("fields of a call that never was", || node.ports.objects.delete(&key)).await;
            node.finishing.spool().forget(call);
        }
        // Its end is written: what the reaper assembled stands.
        Some(_) => node.finishing.spool().forget(call),
    }
}

/// Ends a row of ours for which no call lives, once.
pub(crate) fn end_without_call(node: &Arc<Node>, row: &CallRow, reason: EndReason) {
    // Whoever looks for rows without a call while this one's leftovers are read must find it taken care of: a second
    // end would take the first one for somebody else's, and drop the recording.
    if !node.finishing.hold(row.call_id) {
        return;
    }
    let wav = node.finishing.spool().wav(row.call_id);
    if wav.exists()
        && let Err(error) = crate::recording::repair(&wav)
    {
        tracing::warn!(%error, call.id = %row.call_id, "a cut-off recording can't be repaired");
    }
    domain::failpoint!("recover.repaired");
    let begun = Begun {
        call_id: row.call_id,
        bot_id: row.bot_id.clone(),
        owner: row.owner.clone(),
        started_at: row.started_at,
        recorded: row.answered_at.is_some(),
    };
    // A file without sound is that of a call that was never answered.
    let recorded_ms = crate::recording::length_ms(&wav).filter(|length| *length > 0);
    let now = node.ports.clock.now();
    let talked = row.answered_at.map_or(0, |at| now.duration_since(at).as_millis().max(0));
    let mut terminal = Terminal {
        ended_at: now,
        answered_at: row.answered_at,
        end_reason: reason,
        sip_code: None,
        // The time between crash and restart was no talk: what was recorded is the best measure of it.
        duration_ms: recorded_ms.unwrap_or_else(|| u64::try_from(talked).unwrap_or(0)),
        recording_status: if recorded_ms.is_some() { RecordingStatus::Pending } else { RecordingStatus::None },
        warnings: Vec::new(),
    };
    let node = node.clone();
    let (row, owner) = (row.clone(), row.owner.clone());
    node.clone().finishing.later(async move {
        let record = last_checkpoint(&node, &row).await;
        if recorded_ms.is_none() && was_to_be_recorded(&node, &row).await {
            terminal.recording_status = RecordingStatus::Lost;
        }
        node.finishing.take(Ended { begun, terminal, record, whole: false }, Finisher::Reaper { dead: owner });
    });
}

/// Whether there should be a recording of this call; one that nobody can say it of is better missed than passed over.
async fn was_to_be_recorded(node: &Node, row: &CallRow) -> bool {
    if row.answered_at.is_none() {
        return false;
    }
    let bot = node.ports.bots.version(&row.bot_id, row.bot_version).await;
    !matches!(bot, Ok(Some(bot)) if !bot.recording.enabled)
}

/// What was said up to the last checkpoint; before the first one, what the call began with. A bucket that is away for a
/// while must not cost the call what ties it to somebody's records.
async fn last_checkpoint(node: &Node, row: &CallRow) -> Record {
    let keys = CallObjects::of(row);
    if let Some(record) = stored(node, &keys.checkpoint_record()).await {
        return record;
    }
    let in_the_row = row.brought.as_ref();
    let variables: Option<Box<RawValue>> = match in_the_row.and_then(Brought::variables) {
        Some(variables) => Some(variables),
        None => stored(node, &keys.variables()).await,
    };
    let custom: Option<Fields> = match in_the_row.and_then(Brought::custom) {
        Some(custom) => Some(custom),
        None => stored(node, &keys.custom()).await,
    };
    Record::at_start(variables, custom.unwrap_or_default())
}

/// An object; `None` if it is not there or can't be understood.
async fn stored<T: DeserializeOwned>(node: &Node, key: &str) -> Option<T> {
    let bytes = until_done("what a call left in the bucket", || node.ports.objects.get(key)).await?;
    let read = serde_json::from_slice(&bytes);
    if read.is_err() {
        tracing::warn!("a checkpoint can't be understood");
    }
    read.ok()
}
