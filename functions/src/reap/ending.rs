//! The end of one lost call: what is left of it is read, the end is written, and only who has written it stores what was
//! left and announces the call. It must never store anything of a call that its server may still end itself: the whole
//! recording of a server that came back would be overwritten by pieces.

use std::time::Duration;

use domain::call::{CallRow, Finisher, RecordingStatus, Terminal};
use domain::outcome::EndReason;
use domain::ports::{Job, Owned, QueueName, StoreError};
use jiff::Timestamp;

use super::Desk;
use crate::salvage::{Leftovers, Salvaged, find};

/// Ends the call; `false` when someone else has. `last_seen`: the last heartbeat of the incarnation that held it.
pub(super) async fn end(desk: &Desk, row: &CallRow, last_seen: Option<Timestamp>) -> Result<bool, StoreError> {
    let left = find(&desk.salvage, row).await?;
    let now = desk.clock.now();
    let terminal = terminal(row, last_seen, left.found, now);
    let again = now + desk.reap.announce_again;
    let by = Finisher::Reaper { dead: row.owner.clone() };
    if desk.calls.finish(row.call_id, &by, &terminal, again).await? == Owned::Lost {
        return Ok(false);
    }
    domain::failpoint!("reap.ended");
    tracing::warn!(call.id = %row.call_id, server.id = %row.owner.server_id, recording = ?left.found.recording, "a call's server was lost; ended");
    metrics::counter!("ringfleet_reap_calls_ended_total").increment(1);
    if let Err(cause) = save(desk, row, left).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "what is left of the call is not stored yet; analysis or push will");
    }
    let job = Job { call_id: row.call_id, channel: None };
    if let Err(cause) = desk.queues.send(QueueName::CallEnded, &row.bot_id, &job, Duration::ZERO).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "not announced; sweep will");
    }
    domain::failpoint!("reap.announced");
    Ok(true)
}

async fn save(desk: &Desk, row: &CallRow, left: Leftovers) -> Result<(), StoreError> {
    let saved = left.save(&desk.salvage, row).await?;
    desk.calls.settle_recording(row.call_id, saved.recording).await?;
    domain::failpoint!("reap.settled");
    Ok(())
}

/// The call ended when it was last known to live: the later of the heartbeat and the end of the saved audio.
fn terminal(row: &CallRow, last_seen: Option<Timestamp>, saved: Salvaged, now: Timestamp) -> Terminal {
    let heard = row.answered_at.map(|answered| answered + Duration::from_millis(saved.audio_ms));
    let signs = [Some(row.started_at), row.ringing_at, heard, last_seen];
    let ended_at = signs.into_iter().flatten().max().unwrap_or(now).min(now);
    let talked = row.answered_at.map_or(0, |answered| ended_at.duration_since(answered).as_millis());
    Terminal {
        ended_at,
        answered_at: row.answered_at,
        end_reason: EndReason::ServerLost,
        sip_code: row.sip_code,
        duration_ms: u64::try_from(talked).unwrap_or(0),
        // Not stored yet: a reader that comes now is told so.
        recording_status: match saved.recording {
            RecordingStatus::Partial | RecordingStatus::Complete => RecordingStatus::Pending,
            none @ (RecordingStatus::None | RecordingStatus::Lost | RecordingStatus::Pending) => none,
        },
        warnings: Vec::new(),
    }
}
