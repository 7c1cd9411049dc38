//! The API as it is served: its routers on a socket, over the real adapters and the embedded AWS. The fleet is played and
//! the clock is set, so that every case can be had.

mod corpus;
mod idempotency;
mod lists;
mod world;
