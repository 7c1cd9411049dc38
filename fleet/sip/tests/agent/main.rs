//! The user agent as its owner sees it: one endpoint against a scripted peer, and endpoints against each other over a
//! bad network on simulated time.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod auth;
mod calls_in;
mod calls_out;
mod corpus;
mod dialogs;
mod differential;
mod harness;
mod refusals;
mod simulation;
mod strangers;
