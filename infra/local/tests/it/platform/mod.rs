//! `ringfleet` and `ringfleet-fleet` as processes: what they say, keep, refuse, and how they end.

mod admin;
mod admission;
mod calls;
mod deployment;
mod fenced;
mod fleet;
mod mistakes;
mod passing;
mod process;
mod queues;
mod secrets;
mod sink;
mod start;
mod switchboard;
mod uas;
mod websocket;
