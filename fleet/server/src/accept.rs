//! Takes an offered call or says why not: permit, then the row on condition that none exists, and only then "accepted".
//! It must never let an INVITE out before the row is this server's, and never answer twice differently for one call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::io::Control;
use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::fleet::{DialAnswer, DialCommand, Refusal};
use domain::ids::CallId;
use domain::objects::CallObjects;
use domain::ports::{CallEntry, Claim};
use domain::share::Over;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use crate::finish::spool::Begun;
use crate::node::Node;
use crate::talk::{self, Accepted};

/// Tries of the row's write when the table does not answer; a write that did happen is recognised as ours.
const CREATE_TRIES: u32 = 2;
/// How long the variables' copy may hold up the acceptance.
const VARIABLES_LIMIT: Duration = Duration::from_millis(700);
/// Beyond ring timeout and maximum duration, before the control plane may end the call by itself.
const DEADLINE_MARGIN_SECONDS: i64 = 120;

/// Answers an offer; the same offer again waits for and gets the same answer. An accepted call starts at once.
pub(crate) async fn offer(node: &Arc<Node>, command: DialCommand) -> DialAnswer {
    if command.server_id != node.identity.server_id || command.epoch != node.identity.epoch {
        return DialAnswer::Refused(Refusal::WrongServer);
    }
    let cell = node.live.offer(command.call_id, &command.trunk_id);
    match cell.get_or_try_init(|| decide(node, command)).await {
        Ok(answer) => *answer,
        Err(unsettled) => DialAnswer::Refused(unsettled.0),
    }
}

/// What is not kept as the answer: the same offer, made again, is decided again.
struct NotDecided(Refusal);

async fn decide(node: &Arc<Node>, command: DialCommand) -> Result<DialAnswer, NotDecided> {
    let call_id = command.call_id;
    match accept(node, command).await {
        Ok(accepted) => {
            tracing::info!(call.id = %call_id, bot.id = %accepted.row.bot_id, "call accepted");
            let node = node.clone();
            node.clone().calls.spawn(talk::run(node, accepted));
            domain::failpoint!("accept.started");
            Ok(DialAnswer::Accepted)
        }
        Err(refusal) => {
            tracing::info!(call.id = %call_id, ?refusal, "call refused");
            metrics::counter!("ringfleet_offers_refused_total", "reason" => format!("{refusal:?}")).increment(1);
            if refusal == Refusal::Unsettled { Err(NotDecided(refusal)) } else { Ok(DialAnswer::Refused(refusal)) }
        }
    }
}

async fn accept(node: &Arc<Node>, command: DialCommand) -> Result<Accepted, Refusal> {
    if node.ports.clock.now() > command.deadline {
        return Err(Refusal::TooLate);
    }
    let (bot, trunk) = tokio::join!(
        node.ports.bots.version(&command.bot_id, command.bot_version),
        node.ports.trunks.get(&command.trunk_id)
    );
    let (Ok(Some(bot)), Ok(Some(trunk))) = (bot, trunk) else {
        return Err(Refusal::Unreadable);
    };
    let permit = node.admission.take(Some(&Over::of(&trunk)))?;
    domain::failpoint!("accept.permit");
    let row = row(node, &command, &bot);
    let (guard, control) = node.live.enter(row.call_id);
    if bot.recording.enabled
        && let Err(error) = node.finishing.spool().note_begun(&Begun::of(&row, &bot))
    {
        tracing::warn!(%error, call.id = %row.call_id, "a crash now would cost this call's last seconds of recording");
    }
    domain::failpoint!("accept.begun");
    // Before the row: from then on the call has a result, and it is the variables that tie it to somebody's records.
    keep_variables(node, &row, command.variables.as_deref()).await;
    if let Err(refusal) = claim(node, &row).await {
        node.finishing.spool().forget(row.call_id);
        if refusal == Refusal::Fenced {
            forget_variables(node, &row).await;
        }
        return Err(refusal);
    }
    domain::failpoint!("accept.claimed");
    Ok(Accepted {
        row,
        bot: Arc::new(bot),
        trunk: Arc::new(trunk),
        variables: command.variables,
        permit,
        guard,
        control,
    })
}

/// Stores what the dialout brought, so that a server lost before its first checkpoint does not take it along.
/// A bucket that is slow does not hold up the acceptance for long.
async fn keep_variables(node: &Node, row: &CallRow, variables: Option<&RawValue>) {
    let Some(variables) = variables else { return };
    let key = CallObjects::of(row).variables();
    let body = Bytes::copy_from_slice(variables.get().as_bytes());
    let put = node.ports.objects.put(&key, "application/json", body);
    if !matches!(tokio::time::timeout(VARIABLES_LIMIT, put).await, Ok(Ok(()))) {
        tracing::warn!(call.id = %row.call_id, "the variables are not in the bucket before the first checkpoint");
    }
    domain::failpoint!("accept.variables");
}

/// Of a call that never was, nothing personal stays. (Another server's row has the same variables under the same key.)
async fn forget_variables(node: &Node, row: &CallRow) {
    let key = CallObjects::of(row).variables();
    let gone = tokio::time::timeout(VARIABLES_LIMIT, node.ports.objects.delete(&key)).await;
    if !matches!(gone, Ok(Ok(()))) {
        tracing::warn!(call.id = %row.call_id, "the variables of a call that was refused are still in the bucket");
    }
}

/// Puts the row; a row that is there already is ours if it names us: then an earlier try got through unheard.
async fn claim(node: &Node, row: &CallRow) -> Result<(), Refusal> {
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
    // Whoever offered the call asks again, and puts a fence if that does not settle it; a row that stands all the same
    // is an orphan.
    Err(Refusal::Unsettled)
}

fn row(node: &Node, command: &DialCommand, bot: &Bot) -> CallRow {
    let now = node.ports.clock.now();
    let longest =
        i64::from(bot.ring_timeout_seconds) + i64::from(bot.max_call_duration_seconds) + DEADLINE_MARGIN_SECONDS;
    CallRow {
        call_id: command.call_id,
        bot_id: command.bot_id.clone(),
        bot_version: command.bot_version,
        trunk_id: Some(command.trunk_id.clone()),
        direction: Direction::Outbound,
        to_number: command.to.clone(),
        from_number: command.from.clone(),
        key_id: Some(command.key_id.clone()),
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
        warnings: command.warnings.clone(),
        expired: Default::default(),
        erased_at: None,
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

/// Ends a call by its id; false when it does not live here.
pub(crate) fn hang_up(node: &Node, call: CallId) -> bool {
    node.live.control(call, Control::HangUp)
}

/// Brings what lives here and what the table says together, both ways.
pub(crate) async fn reconcile(node: &Arc<Node>, younger_than: Duration) {
    let Ok(rows) = node.ports.calls.open_on(&node.identity.server_id).await else { return };
    let open: HashSet<CallId> = rows.iter().map(|row| row.call_id).collect();
    end_orphans(node, rows, younger_than);
    for call in node.live.ids().into_iter().filter(|call| !open.contains(call)) {
        let_go_of_lost(node, call).await;
    }
}

/// Hangs up a call that was ended for us, or given to another, while nothing was heard of this server.
async fn let_go_of_lost(node: &Node, call: CallId) {
    // The index lags behind: the row itself decides. One that is not there yet is just being accepted.
    if let Ok(Some(CallEntry::Call(row))) = node.ports.calls.get(call).await
        && (row.state == CallState::Ended || row.owner != node.identity.owner())
    {
        tracing::warn!(call.id = %call, "this call was ended while this server seemed lost; hanging up");
        node.live.control(call, Control::HangUp);
    }
}

/// Ends rows that name this incarnation as their owner though no call of that id lives here: a write whose answer was
/// lost after the offer was refused. `younger_than` protects calls that are just being accepted.
fn end_orphans(node: &Arc<Node>, rows: Vec<CallRow>, younger_than: Duration) {
    let now = node.ports.clock.now();
    for row in rows {
        let age = Duration::try_from(now.duration_since(row.started_at)).unwrap_or(Duration::ZERO);
        if row.owner == node.identity.owner()
            && age > younger_than
            && !node.live.contains(row.call_id)
            && !node.finishing.holds(row.call_id)
        {
            tracing::error!(call.id = %row.call_id, "a row of ours without a call; ending it");
            crate::recover::end_without_call(node, &row, domain::outcome::EndReason::Internal);
        }
    }
}
