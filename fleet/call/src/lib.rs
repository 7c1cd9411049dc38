//! The life of one call, whoever carries it: turn-taking, silence, limits, transcript, outcome.
//! It must never await, read a clock, draw randomness, or know SIP, RTP, a vendor or a table.

pub mod io;

mod barge_in;
mod brain;
mod call;
mod conversation;
mod goodbye;
mod hearing;
mod limits;
mod line;
mod machine;
mod model;
mod mouth;
mod outcome;
mod phrasing;
mod plan;
mod replies;
mod script;
mod silence;
mod state;
mod timings;
mod transcript;
mod transfer;
mod turn;
mod understand;
mod voicemail;

pub use call::Call;
pub use model::{END_CALL, end_call_parameters};
pub use plan::{BrainChoice, Plan, ring_limit};
pub use transfer::{TRANSFER_CALL, transfer_call_parameters};

#[cfg(test)]
mod tests;
