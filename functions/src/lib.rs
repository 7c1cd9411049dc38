//! The control plane: handlers of HTTP requests, queue messages and schedules, over the ports of `domain`.
//! It must never name an adapter (only `src/bin/*` does), keep state between two events that anything depends on, or
//! sleep for a retry: what has to happen later is written down, and `sweep` or `reap` finds it.

#![forbid(unsafe_code)]

pub mod admin;
pub mod analyze;
pub mod auth;
pub mod body;
pub mod calls;
pub mod dialout;
pub mod erase;
pub mod event;
pub mod fleet_health;
pub mod forget;
pub mod lambda;
pub mod memory;
pub mod openapi;
pub mod platform;
pub mod problem;
pub mod push;
pub mod reap;
pub mod reseal;
pub mod result;
pub mod retain;
pub mod router;
pub mod salvage;
pub mod spend;
pub mod sweep;
pub mod turns;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod testing;
