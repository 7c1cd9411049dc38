//! End to end, over real sockets, with the product's own binaries.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod aws;
mod chaos;
mod contract;
mod conversation;
mod crm;
mod demo;
mod deployment;
mod failpoints;
mod inbound_sip;
mod lifecycle;
mod mistakes;
mod operations;
mod oracle;
mod prefetch;
mod privacy;
mod rolling;
mod sipp;
mod soak;
mod survival;
mod websocket;
mod windows;
