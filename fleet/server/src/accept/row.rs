//! The row of a call that begins: what stands in it, and how it is put.
//! It must never overwrite anything: the row is put only where nothing lies.

use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::fleet::Refusal;
use domain::ids::{CallId, KeyId, TrunkId};
use domain::ports::{CallEntry, Claim};
use domain::secret::Personal;
use jiff::{SignedDuration, Timestamp};

use crate::finish::spool::Begun;
use crate::node::Node;

/// Tries of the row's write when the table does not answer; a write that did happen is recognised as ours.
const CREATE_TRIES: u32 = 2;
/// Beyond ring timeout and maximum duration, before the control plane may end the call by itself.
const DEADLINE_MARGIN_SECONDS: i64 = 120;

/// What is known of a call when it begins.
pub(super) struct Beginning<'a> {
    pub call_id: CallId,
    pub at: Timestamp,
    pub bot: &'a Bot,
    pub trunk_id: Option<TrunkId>,
    pub direction: Direction,
    pub to: Personal<String>,
    pub from: Personal<String>,
    pub key_id: Option<KeyId>,
    /// How long it may take until the answer, seconds.
    pub ring_seconds: u32,
    pub warnings: Vec<String>,
}

pub(super) fn of(node: &Node, call: Beginning<'_>) -> CallRow {
    let now = call.at;
    let longest =
        i64::from(call.ring_seconds) + i64::from(call.bot.max_call_duration_seconds) + DEADLINE_MARGIN_SECONDS;
    CallRow {
        call_id: call.call_id,
        bot_id: call.bot.bot_id.clone(),
        bot_version: call.bot.version,
        trunk_id: call.trunk_id,
        direction: call.direction,
        to_number: call.to,
        from_number: call.from,
        key_id: call.key_id,
        state: CallState::Accepted,
        owner: node.identity.owner(),
        started_at: now,
        deadline: after(now, longest),
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        end_reason: None,
        sip_code: None,
        duration_ms: 0,
        recording_status: RecordingStatus::None,
        recording_token: token(node),
        checkpoints: 0,
        analysis_status: AnalysisStatus::Pending,
        disposition: None,
        next_step: None,
        due_at: None,
        step_tries: 0,
        warnings: call.warnings,
        expired: Default::default(),
        erased_at: None,
        brought: None,
    }
}

/// Notes on disk that a call lives here: a restart has a recording or something personal to find.
pub(super) fn note(node: &Node, row: &CallRow, bot: &Bot) {
    if let Err(error) = node.finishing.spool().note_begun(&Begun::of(row, bot)) {
        tracing::warn!(%error, call.id = %row.call_id, "a crash now would cost this call's last seconds of recording");
    }
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
}

fn token(node: &Node) -> String {
    let mut bytes = [0; 16];
    node.ports.entropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts the row; a row that is there already is ours if it names us: then an earlier try got through unheard.
pub(super) async fn claim(node: &Node, row: &CallRow) -> Result<(), Refusal> {
    for _ in 0..CREATE_TRIES {
        match node.ports.calls.create(row).await {
            Ok(Claim::Claimed) => {
                domain::failpoint!("accept.row");
                return Ok(());
            }
            Ok(Claim::Exists(CallEntry::Call(found)))
                if found.owner == row.owner && found.state == CallState::Accepted =>
            {
                return Ok(());
            }
            Ok(Claim::Exists(CallEntry::Call(_))) => return Err(Refusal::WrongServer),
            Ok(Claim::Exists(CallEntry::Fenced(_))) => return Err(Refusal::Fenced),
            Err(error) => tracing::warn!(%error, call.id = %row.call_id, "call row not written"),
        }
    }
    Err(Refusal::Unsettled)
}
