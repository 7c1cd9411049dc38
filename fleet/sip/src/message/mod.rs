//! The message grammar (RFC 3261 §7, §25): framing first, then headers that are typed only when somebody asks.
//!
//! It must never copy a message more than once, take time that is not linear in it, or panic on its bytes.

mod scan;
mod uri;

pub use uri::{DEFAULT_PORT, HostPort, Scheme, Uri};

/// What is wrong with a message or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    #[error("not a URI")]
    Uri,
    #[error("not a host")]
    Host,
}
