//! What is known before the first frame, and what time it is. It must never read a clock: whoever holds the socket does.

use std::time::Duration;

use jiff::Timestamp;

use crate::format::Encoding;
use crate::name::Name;

/// What the door knows of a dialler before its first frame.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `?dialect=`, else the bot's setting; `None`: found out from the first frames.
    pub dialect: Option<Name>,
    /// The sub-protocol that was agreed in the upgrade (see [`crate::SUBPROTOCOLS`]).
    pub subprotocol: Option<String>,
    /// `?codec=`, for dialects that don't say it.
    pub codec: Option<Encoding>,
    /// `?rate=` or `?sample-rate=`, Hz, for dialects that don't say it.
    pub rate: Option<u32>,
    /// How much audio a native frame has, 20 to 100 ms; what lies outside is taken for the nearest of them.
    pub chunk_ms: u32,
    /// An id of ours: names the stream in what is sent to a dialler that gave it no name.
    pub id: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dialect: None, subprotocol: None, codec: None, rate: None, chunk_ms: 20, id: String::new() }
    }
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since the socket opened; never goes back.
    pub since_open: Duration,
    /// The wall clock, for protocols that say the time of day.
    pub wall: Timestamp,
}
