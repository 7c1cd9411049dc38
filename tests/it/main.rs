//! End to end, over real sockets, with the product's own binaries.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod conversation;
mod crm;
mod demo;
mod mistakes;
mod sipp;
mod soak;
mod survival;
