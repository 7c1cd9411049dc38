//! The end of one lost call: objects first, then the terminal write, then the announcement.
//! It must never write the end before the recording it speaks of is stored.

use std::time::Duration;

use domain::call::{CallRow, Finisher, Terminal};
use domain::outcome::EndReason;
use domain::ports::{Job, Owned, QueueName, StoreError};
use jiff::Timestamp;

use crate::platform::Platform;
use crate::salvage::{Salvaged, salvage};

/// Ends the call; `false` when someone else has. `last_seen`: the last heartbeat of the incarnation that held it.
pub(super) async fn end(platform: &Platform, row: &CallRow, last_seen: Option<Timestamp>) -> Result<bool, StoreError> {
    let saved = salvage(platform, row).await?;
    let now = platform.outside.clock.now();
    let terminal = terminal(row, last_seen, saved, now);
    let again = now + platform.settings.reap.announce_again;
    let by = Finisher::Reaper { dead: row.owner.clone() };
    if platform.tables.calls.finish(row.call_id, &by, &terminal, again).await? == Owned::Lost {
        return Ok(false);
    }
    tracing::warn!(call.id = %row.call_id, server.id = %row.owner.server_id, recording = ?saved.recording, "a call's server was lost; ended");
    metrics::counter!("ringfleet_reap_calls_ended_total").increment(1);
    let job = Job { call_id: row.call_id, channel: None };
    if let Err(cause) = platform.outside.queues.send(QueueName::CallEnded, &row.bot_id, &job, Duration::ZERO).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "not announced; sweep will");
    }
    Ok(true)
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
        recording_status: saved.recording,
        warnings: Vec::new(),
    }
}
