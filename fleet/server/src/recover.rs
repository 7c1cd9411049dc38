//! What a restart owes to calls of the process before it: ended ones are told, cut-off ones get their end and what was
//! recorded of them. It must run before the server takes new calls, and never dial.

use std::sync::Arc;

use domain::call::{CallRow, CallState, Finisher, RecordingStatus, Terminal};
use domain::outcome::EndReason;
use domain::ports::CallEntry;
use domain::result::Record;

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
        Err(error) => tracing::warn!(%error, call.id = %begun.call_id, "a cut-off call waits for the next start or the reaper"),
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
    let has_recording = node.finishing.spool().wav(row.call_id).exists();
    let now = node.ports.clock.now();
    let talked = row.answered_at.map_or(0, |at| now.duration_since(at).as_millis().max(0));
    let recorded_ms = if has_recording { crate::recording::length_ms(&node.finishing.spool().wav(row.call_id)) } else { None };
    let terminal = Terminal {
        ended_at: now,
        answered_at: row.answered_at,
        end_reason: reason,
        sip_code: None,
        // The time between crash and restart was no talk: what was recorded is the best measure of it.
        duration_ms: recorded_ms.unwrap_or_else(|| u64::try_from(talked).unwrap_or(0)),
        recording_status: if has_recording { RecordingStatus::Pending } else { RecordingStatus::None },
        warnings: Vec::new(),
    };
    let node = node.clone();
    let owner = row.owner.clone();
    tokio::spawn(async move {
        let record = last_checkpoint(&node, &begun).await;
        node.finishing.take(Ended { begun, terminal, record, whole: false }, Finisher::Reaper { dead: owner });
    });
}

/// What was said up to the last checkpoint, where there is one.
async fn last_checkpoint(node: &Node, begun: &Begun) -> Record {
    match node.ports.objects.get(&begun.objects().checkpoint_record()).await {
        Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Ok(None) => Record::default(),
        Err(error) => {
            tracing::warn!(%error, call.id = %begun.call_id, "the checkpoint's transcript can't be read");
            Record::default()
        }
    }
}
