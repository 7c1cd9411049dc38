//! Brings the calls that live here and their rows together, and ends a call by its id.
//! It must never end a row whose call lives here, nor touch one that is just being accepted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use call::io::Control;
use domain::call::{CallRow, CallState};
use domain::ids::CallId;
use domain::ports::CallEntry;

use crate::node::Node;

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
