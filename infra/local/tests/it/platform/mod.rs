//! `ringfleet` and `ringfleet-fleet` as processes: what they say, keep, refuse, and how they end.

mod admin;
mod admission;
mod calls;
mod fenced;
mod fleet;
mod mistakes;
mod passing;
mod process;
mod secrets;
mod sink;
mod start;
mod switchboard;
mod uas;
mod websocket;
