//! Takes a call that came in, over whatever leg: its id is minted here, its row is put, and only then its leg is told that
//! it may ring or answer. It must never let a caller hear a word before the row is this server's, and never leave a caller
//! without an answer: a leg that is not taken learns it at once.

use std::sync::Arc;

use domain::bot::Bot;
use domain::call::{CallRow, Direction, FenceRow};
use domain::fleet::Refusal;
use domain::ids::{CallId, KeyId};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{CallEntry, Claim};
use domain::secret::Personal;
use domain::trunk::Trunk;
use domain::variables::Fields;

use super::kept;
use super::row::{self, Beginning};
use crate::admission::Permit;
use crate::finish::until_done;
use crate::legs::Leg;
use crate::node::Node;
use crate::talk::{self, Accepted, Reach};

/// A call that came in and has its slot. The permit was taken before the far side was told anything.
#[derive(derive_more::Debug)]
pub(crate) struct Arrival {
    pub bot: Arc<Bot>,
    /// Over which it came; a WebSocket has none.
    pub trunk: Option<Arc<Trunk>>,
    /// Inbound, unless the far side placed the call itself and says so.
    pub direction: Direction,
    /// The calling number: E.164, or as the far side gave it.
    #[debug("(personal)")]
    pub from: String,
    /// The called number.
    #[debug("(personal)")]
    pub to: String,
    /// Custom `call.*` fields, and the lowest layer of `crm.*`.
    pub fields: Fields,
    /// The key that a WebSocket was opened with.
    pub key_id: Option<KeyId>,
    pub permit: Permit,
}

/// Writes the row and starts the call on `leg`, which then learns that it was taken ([`crate::legs::Taken`]). The leg
/// reports its ringing, its answer and its end as one that was dialled does.
///
/// # Errors
/// When the row can't be put: the leg is dropped, and nothing is left of the call.
pub(crate) async fn arrive(node: &Arc<Node>, arrival: Arrival, leg: Leg) -> Result<CallId, Refusal> {
    domain::failpoint!("arrive.permit");
    let mut row = beginning(node, &arrival);
    let call_id = row.call_id;
    let Arrival { bot, fields, permit, .. } = arrival;
    let (guard, control) = node.live.enter(call_id);
    if bot.recording.enabled || !fields.is_empty() {
        row::note(node, &row, &bot);
    }
    domain::failpoint!("arrive.begun");
    kept::custom(node, &mut row, &fields).await;
    if let Err(refusal) = row::claim(node, &row).await {
        tracing::warn!(call.id = %call_id, ?refusal, "a call that came in was not taken");
        let again = node.clone();
        node.finishing.later(async move { settle(&again, row).await });
        return Err(refusal);
    }
    domain::failpoint!("arrive.claimed");
    tracing::info!(call.id = %call_id, bot.id = %row.bot_id, direction = ?row.direction, "call taken");
    let accepted =
        Accepted { row, bot, reach: Reach::Here(leg), variables: None, custom: fields, permit, guard, control };
    node.calls.spawn(talk::run(node.clone(), accepted));
    domain::failpoint!("arrive.started");
    Ok(call_id)
}

fn beginning(node: &Node, arrival: &Arrival) -> CallRow {
    // One moment for both: the call's folder can be told from its id alone.
    let at = node.ports.clock.now();
    let mut random = [0; 10];
    node.ports.entropy.fill(&mut random);
    let call = Beginning {
        call_id: CallId::from_parts(at.as_millisecond().unsigned_abs(), random),
        at,
        bot: &arrival.bot,
        trunk_id: arrival.trunk.as_ref().map(|trunk| trunk.trunk_id.clone()),
        direction: arrival.direction,
        to: Personal(arrival.to.clone()),
        from: Personal(arrival.from.clone()),
        key_id: arrival.key_id.clone(),
        ring_seconds: call::ring_limit(arrival.direction, &arrival.bot).as_secs().try_into().unwrap_or(u32::MAX),
        warnings: Vec::new(),
    };
    row::of(node, call)
}

/// Nobody asks again for a call that came in: whether its row was put after all is found out here. A fence says that it
/// was not, and then what was kept of it goes; a row that stands gets its end.
async fn settle(node: &Arc<Node>, row: CallRow) {
    let fence = FenceRow { call_id: row.call_id, refused: true, fenced_at: node.ports.clock.now() };
    match until_done("fence of a refused call", || node.ports.calls.fence(&fence)).await {
        Claim::Exists(CallEntry::Call(found)) if found.owner == row.owner => {
            crate::recover::end_without_call(node, &row, EndReason::Internal);
        }
        Claim::Claimed | Claim::Exists(_) => {
            let key = CallObjects::of(&row).custom();
            until_done("fields of a refused call", || node.ports.objects.delete(&key)).await;
            node.finishing.spool().forget(row.call_id);
        }
    }
}
