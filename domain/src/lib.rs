//! The words and rules of the platform: what a bot, a trunk, a call and a result are, and what may happen to them.
//! It must never do I/O, read a clock, draw randomness, or know AWS, HTTP frameworks or an async runtime.

pub mod active_hours;
pub mod analysis;
pub mod api_key;
pub mod bot;
pub mod call;
pub mod call_list;
pub mod delivery;
pub mod dialout;
pub mod endpoint;
pub mod failpoint;
pub mod field_error;
pub mod fleet;
pub mod idempotency;
pub mod ids;
pub mod lint;
pub mod near;
pub mod objects;
pub mod outcome;
pub mod phone;
pub mod ports;
pub mod push;
pub mod result;
pub mod retention;
pub mod secret;
pub mod share;
pub mod signing;
pub mod spend;
pub mod strict_json;
pub mod template;
pub mod trunk;
pub mod validate;
pub mod variables;
