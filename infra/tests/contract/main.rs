//! What every implementation of the stores, queues and objects must do. Runs against `AWS_ENDPOINT_URL` if that is set, else
//! against the embedded services; tables of its own prefix, so that runs don't meet. `emulators` starts those of others and
//! runs all this against each of them; what one can't do stands in `gaps`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bots;
mod call_lists;
mod calls;
mod deliveries;
mod docker;
mod emulators;
mod endpoints;
mod gaps;
mod housekeeping;
mod idempotency;
mod keys;
mod lost_answers;
mod objects;
mod queues;
mod sealed_rows;
mod secrets;
mod servers;
mod spend;
mod world;
