//! One task owns one call: it feeds the call core from leg, ear, mouth, brain and control, and does what the core wants.
//! It must never decide anything itself: what a call does stands in the `call` crate.

mod brain;
mod ear;
mod mouth;
mod plan;
mod progress;
mod rehearse;
mod task;

use std::sync::Arc;
use std::time::Duration;

use call::io::{Control, Outcome};
use domain::bot::Bot;
use domain::call::{CallRow, Finisher, RecordingStatus, Terminal};
use domain::result::Record;
use domain::trunk::Trunk;
use domain::variables::Fields;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::admission::Permit;
use crate::finish::spool::{Begun, Ended};
use crate::legs::Leg;
use crate::live::LiveGuard;
use crate::node::Node;
use crate::recording::Saved;

/// How long the end of a call waits for its stages to be written.
const STAGES_LIMIT: Duration = Duration::from_secs(5);

/// A call that is ours: everything its task needs, and the permit that it holds.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub row: CallRow,
    pub bot: Arc<Bot>,
    pub reach: Reach,
    /// What a dialout brought.
    pub variables: Option<Box<RawValue>>,
    /// What the far side of a call that came in sent along: custom `call.*` fields.
    pub custom: Fields,
    pub permit: Permit,
    pub guard: LiveGuard,
    pub control: mpsc::Receiver<Control>,
}

/// How the far side is reached.
#[derive(Debug)]
pub(crate) enum Reach {
    /// By an INVITE over this trunk.
    Dial(Arc<Trunk>),
    /// It has come in.
    Here(Leg),
}

/// Holds an accepted call until its end is in the spool; a call whose task fails still gets an end.
pub(crate) async fn run(node: Arc<Node>, accepted: Accepted) {
    let row = accepted.row.clone();
    let call = tokio::spawn(hold(node.clone(), accepted));
    if let Err(error) = call.await {
        // Its text may quote what was said; the panic itself was told where it happened.
        tracing::error!(panicked = error.is_panic(), call.id = %row.call_id, "a call task failed");
        crate::recover::end_without_call(&node, &row, domain::outcome::EndReason::Internal);
    }
}

async fn hold(node: Arc<Node>, accepted: Accepted) {
    let Accepted { row, bot, reach, variables, custom, permit, guard, control } = accepted;
    let begun = Begun::of(&row, &bot);
    let wav = node.finishing.spool().wav(row.call_id);
    let recording = if bot.recording.enabled {
        match node.recordings.open(wav.clone()).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::error!(%error, call.id = %row.call_id, "this call is not recorded");
                None
            }
        }
    } else {
        None
    };
    let facts = task::Facts {
        row: &row,
        bot: &bot,
        variables: variables.as_deref(),
        custom: &custom,
        recording: recording.map(|id| (id, wav.clone())),
    };
    let (outcome, warnings) = task::talk(&node, facts, reach, control).await;

    let saved = match recording {
        Some(id) => node.recordings.close(id).await,
        None => None,
    };
    if !outcome.answered && recording.is_some() {
        // The file of a call that never was answered holds nothing.
        let _ = std::fs::remove_file(&wav);
    }
    domain::failpoint!("finish.recorded");
    let brought = Brought { variables, custom };
    let ended = ended(&node, begun, outcome, saved, warnings, brought);
    tracing::info!(
        call.id = %row.call_id, bot.id = %row.bot_id, end_reason = ended.terminal.end_reason.as_str(),
        duration_ms = ended.terminal.duration_ms, "call ended"
    );
    metrics::counter!("ringfleet_calls_ended_total", "reason" => ended.terminal.end_reason.as_str()).increment(1);
    node.finishing.take(ended, Finisher::Owner(row.owner.clone()));
    drop(guard);
    drop(permit);
}

/// What the end says of a recording: one that was wanted and has no sound on disk is lost, and not "none".
fn recording_status(wanted: bool, saved: Option<Saved>) -> RecordingStatus {
    match saved {
        _ if !wanted => RecordingStatus::None,
        Some(saved) if saved.data > 0 || saved.whole => RecordingStatus::Pending,
        Some(_) | None => RecordingStatus::Lost,
    }
}

/// What a call began with, for its record.
struct Brought {
    variables: Option<Box<RawValue>>,
    custom: Fields,
}

fn ended(
    node: &Node,
    begun: Begun,
    outcome: Outcome,
    saved: Option<Saved>,
    warnings: Vec<String>,
    brought: Brought,
) -> Ended {
    let now = node.ports.clock.now();
    let talked = jiff::SignedDuration::try_from(outcome.talked).unwrap_or_default();
    let terminal = Terminal {
        ended_at: now,
        answered_at: if outcome.answered { now.checked_sub(talked).ok() } else { None },
        end_reason: outcome.end_reason,
        sip_code: outcome.sip_code,
        duration_ms: u64::try_from(outcome.talked.as_millis()).unwrap_or(u64::MAX),
        recording_status: recording_status(begun.recorded && outcome.answered, saved),
        warnings,
    };
    let record = Record {
        transcript: outcome.transcript,
        variables: brought.variables,
        crm: outcome.crm,
        custom: brought.custom,
        collected: outcome.collected,
        latency: outcome.latency,
    };
    Ended { begun, terminal, record, whole: saved.is_none_or(|saved| saved.whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_that_could_not_be_made_is_lost() {
        let check = |wanted: bool, saved: Option<(u64, bool)>, expect: RecordingStatus| {
            let saved = saved.map(|(data, whole)| Saved { data, whole });
            assert_eq!(recording_status(wanted, saved), expect, "{wanted} {saved:?}");
        };
        check(false, None, RecordingStatus::None);
        check(false, Some((32_000, true)), RecordingStatus::None);
        check(true, Some((32_000, true)), RecordingStatus::Pending);
        check(true, Some((32_000, false)), RecordingStatus::Pending);
        // Hung up at once: there was nothing to record.
        check(true, Some((0, true)), RecordingStatus::Pending);
        // The disk was full from the first second on, or when the file was to be made.
        check(true, Some((0, false)), RecordingStatus::Lost);
        check(true, None, RecordingStatus::Lost);
    }
}
