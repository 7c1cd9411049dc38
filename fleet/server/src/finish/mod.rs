//! From a call's end to `call-ended`: nothing that happened may be lost, whatever dies in between.
//! It must never report a call twice as ended, and never forget one that the spool holds.

mod announce;
pub(crate) mod spool;

pub(crate) use announce::{Finishing, FinishingConfig, until_done};
