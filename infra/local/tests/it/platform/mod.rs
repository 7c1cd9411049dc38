//! `ringfleet` and `ringfleet-fleet` as processes: what they say, keep, refuse, and how they end.

mod admin;
mod admission;
mod calls;
mod fleet;
mod mistakes;
mod process;
mod sink;
mod start;
mod switchboard;
mod uas;
