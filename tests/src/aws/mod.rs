//! AWS without an account: emulators that others wrote, and what AWS's own tools make of our templates.
//! It must never listen beyond this machine, and never leave a process behind.

mod emulator;
mod server;
mod stack;
mod tools;
mod watch;

pub use emulator::{Emulator, Kind, Place, REGION};
pub use server::Server;
pub use stack::{Stack, built_template};
pub use tools::Tools;
pub use watch::Watch;
