//! Whole sessions from outside: fixtures as scripts, detection, the rules that hold whatever a dialler sends.

#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod detection;
mod faults;
mod play;
mod random;
mod scripts;
