//! The guarded client against an Internet on loopback: every address a user must not reach, every way an endpoint can
//! misbehave, and what deliveries make of that. Names and addresses are the real ones for the policy; only where a judged
//! address is dialled is the test's. No packet leaves the machine.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod crm_faults;
mod dead_letters;
mod internet;
mod plant;
mod pool;
mod ssrf;
