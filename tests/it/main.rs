//! End to end, over real sockets, with the product's own binaries.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod chaos;
mod contract;
mod conversation;
mod crm;
mod demo;
mod failpoints;
mod inbound_sip;
mod mistakes;
mod oracle;
mod prefetch;
mod privacy;
mod sipp;
mod soak;
mod survival;
mod websocket;
mod windows;
