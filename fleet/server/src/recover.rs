//! What a restart owes to calls of the process before it: ended ones are told, cut-off ones get their end and what was
//! recorded of them. It must run before the server takes new calls, and never dial.

use std::sync::Arc;

use domain::call::{CallRow, CallState, Finisher, RecordingStatus, Terminal};
use domain::outcome::EndReason;
use domain::ports::CallEntry;
use domain::result::Record;
use domain::variables::Fields;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::finish::spool::{Begun, Ended, SpoolError};
use crate::node::Node;

/// Takes up everything that the spool holds.
///
/// # Errors
/// When the spool can't be read.
pub(crate) async fn spool(node: &Arc<Node>) -> Result<(), SpoolError> {
    let found = node.finishing.spool().leftovers()?;
    for path in &found.unreadable {
        tracing::error!(path = %path.display(), "an unreadable file in the spool stays there; look at it by hand");
    }
    for ended in found.ended {
        let finisher = Finisher::Owner(ended.begun.owner.clone());
        node.finishing.resume(ended, finisher);
    }
    for begun in found.cut_off {
        cut_off(node, begun).await;
    }
    Ok(())
}

/// A call that was alive when the process died: it ends as `server_lost`, with the whole recording that is on disk.
async fn cut_off(node: &Arc<Node>, begun: Begun) {
    match node.ports.calls.get(begun.call_id).await {
        Ok(Some(CallEntry::Call(row))) if row.state != CallState::Ended && row.owner == begun.owner => {
            if let Err(error) = crate::recording::repair(&node.finishing.spool().wav(begun.call_id)) {
                tracing::warn!(%error, call.id = %begun.call_id, "a cut-off recording can't be repaired");
            }
            end_without_call(node, &row, EndReason::ServerLost);
        }
        // Never accepted, or its end is written: what the reaper assembled stands.
        Ok(_) => node.finishing.spool().forget(begun.call_id),
        Err(error) => {
            tracing::warn!(%error, call.id = %begun.call_id, "a cut-off call waits for the next start or the reaper")
        }
    }
}

/// Ends a row of ours for which no call lives.
pub(crate) fn end_without_call(node: &Arc<Node>, row: &CallRow, reason: EndReason) {
    let begun = Begun {
        call_id: row.call_id,
        bot_id: row.bot_id.clone(),
        owner: row.owner.clone(),
        started_at: row.started_at,
        recorded: row.answered_at.is_some(),
    };
    // A file without sound is that of a call that was never answered.
    let recorded_ms =
        crate::recording::length_ms(&node.finishing.spool().wav(row.call_id)).filter(|length| *length > 0);
    let now = node.ports.clock.now();
    let talked = row.answered_at.map_or(0, |at| now.duration_since(at).as_millis().max(0));
    let terminal = Terminal {
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
    let owner = row.owner.clone();
    tokio::spawn(async move {
        let record = last_checkpoint(&node, &begun).await;
        node.finishing.take(Ended { begun, terminal, record, whole: false }, Finisher::Reaper { dead: owner });
    });
}

/// What was said up to the last checkpoint; before the first one, what the dialout brought.
async fn last_checkpoint(node: &Node, begun: &Begun) -> Record {
    let keys = begun.objects();
    if let Some(record) = stored(node, &keys.checkpoint_record()).await {
        return record;
    }
    let variables: Option<Box<RawValue>> = stored(node, &keys.variables()).await;
    let crm = variables.as_deref().and_then(|raw| Fields::of_object(raw.get())).unwrap_or_default();
    Record { variables, crm, ..Record::default() }
}

async fn stored<T: DeserializeOwned>(node: &Node, key: &str) -> Option<T> {
    match node.ports.objects.get(key).await {
        Ok(bytes) => serde_json::from_slice(&bytes?).ok(),
        Err(error) => {
            tracing::warn!(%error, "a checkpoint can't be read");
            None
        }
    }
}
