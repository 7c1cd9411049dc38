//! What diallers say over a WebSocket, and how they want to be answered: one pure codec for each protocol ("dialect").
//! It must never do I/O, read a clock, draw randomness, or change a sample: it knows frames, not sockets, and bytes of
//! audio, not what they sound like.
//!
//! ```text
//! frames in ──▶ Session::receive ──▶ Out::events ──▶ the leg
//! the leg ──▶ Session::command ──▶ Out::frames ──▶ the socket
//! ```
//! Whoever holds a [`Session`] drains both queues of its [`Out`] after every call, asks [`Session::poll_timeout`] when to
//! come back without a frame, and closes the socket with the code and reason of a [`Violation`].

mod asterisk;
mod carrier;
mod cut;
mod detect;
mod dialect;
mod event;
mod exotel;
mod format;
mod frame;
mod freeswitch;
mod genesys;
mod intake;
mod jambonz;
mod json;
mod marks;
mod name;
mod native;
mod opening;
mod order;
mod payload;
mod plivo;
mod raw;
mod session;
mod settings;
mod telnyx;
mod twilio;
mod violation;
mod vonage;
mod words;

pub use dialect::Abilities;
pub use event::{Command, Dropped, Ending, Event, HangUp, Loss, Opening, Out};
pub use format::{Encoding, Format};
pub use frame::Frame;
pub use name::{Name, UnknownDialect};
pub use session::{MAX_MESSAGE, OPENING_TIMEOUT, SUBPROTOCOLS, Session};
pub use settings::{Moment, Settings};
pub use violation::{Unsupported, Violation};
