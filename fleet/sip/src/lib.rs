//! A SIP user agent (RFC 3261) without sockets, clocks or threads: bytes and time go in, datagrams and events come out.
//!
//! Mutate once ([`Endpoint::handle_datagram`], [`Endpoint::handle_timeout`] or a command), then drain
//! [`Endpoint::poll_transmit`] and [`Endpoint::poll_event`], arm a timer at [`Endpoint::poll_timeout`], and mutate again.
//!
//! It must never open a socket, read a clock, ask the system for randomness, resolve a name, or panic on input.
#![forbid(unsafe_code)]

mod config;
mod dialog;
pub mod digest;
mod endpoint;
mod event;
pub mod message;
mod reply;
pub mod sdp;
mod timers;
mod tokens;
mod transaction;
mod transport;

pub use config::{Credentials, EndpointConfig, InviteRequest, Limits};
pub use endpoint::{CommandError, Endpoint, InviteError, Stats};
pub use event::{AnswerFault, AuthOutcome, CallHandle, EndedBy, Event, Failure, IncomingInvite, Party, Reason};
pub use transport::{Source, Transmit, Transport};
