//! Tests of the local platform from outside, over loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod demo;
mod embedded;
mod platform;
