//! What every implementation of the stores, queues and objects must do. Runs against `AWS_ENDPOINT_URL` if that is set, else
//! against the embedded services; tables of its own prefix, so that runs don't meet.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bots;
mod call_lists;
mod calls;
mod deliveries;
mod endpoints;
mod housekeeping;
mod idempotency;
mod keys;
mod lost_answers;
mod objects;
mod queues;
mod sealed_rows;
mod servers;
mod spend;
mod world;
