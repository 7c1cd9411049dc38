//! Takes calls or says why not: permit, then the row on condition that none exists, and only then anything that the far
//! side notices: "accepted" to whoever offered the call, a ring or an answer to whoever calls.
//! It must never let an INVITE or an answer out before the row is this server's.

pub(crate) mod inbound;
mod kept;
mod outbound;
mod reconcile;
mod row;

pub(crate) use outbound::offer;
pub(crate) use reconcile::{hang_up, reconcile};
