//! The message grammar (RFC 3261 §7, §25): framing first, then headers that are typed only when somebody asks.
//!
//! It must never copy a message more than once, take time that is not linear in it, or panic on its bytes.

mod address;
mod essentials;
mod frame;
mod header;
mod method;
mod scan;
#[cfg(test)]
mod tests;
mod text;
mod uri;
mod values;
mod via;
mod write;

pub use address::NameAddr;
pub use essentials::Essentials;
pub use frame::{Message, StartLine, parse};
pub use header::{Header, HeaderName, Headers};
pub use method::Method;
pub use text::Text;
pub use uri::{DEFAULT_PORT, HostPort, Scheme, Uri};
pub use via::Via;

pub(crate) use scan::{param, quote, split, trim, unquote};
pub(crate) use values::{
    SdpBody, accepts_sdp, dtmf_body, dtmf_relay, option_tags, reason, reason_value, retry_after, sdp_body,
};
pub(crate) use via::ours as via_of_ours;
pub(crate) use write::{MessageWriter, is_header_name, is_header_value, phrase};

/// What is wrong with a message or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ParseError {
    /// Only line breaks: a keep-alive (RFC 5626 §3.5.1).
    #[error("empty datagram")]
    Empty,
    #[error("longer than allowed")]
    TooLong,
    #[error("more header lines than allowed")]
    TooManyHeaders,
    #[error("a header longer than allowed")]
    HeaderTooLong,
    #[error("no end of headers")]
    Unterminated,
    #[error("not SIP")]
    NotSip,
    #[error("bad start line")]
    StartLine,
    #[error("unknown SIP version")]
    Version,
    #[error("bad header line")]
    HeaderLine,
    #[error("bad or ambiguous Content-Length")]
    ContentLength,
    #[error("body shorter than Content-Length")]
    Truncated,
    #[error("not a URI")]
    Uri,
    #[error("not a host")]
    Host,
    #[error("bad Via")]
    Via,
    #[error("bad From")]
    From,
    #[error("bad To")]
    To,
    #[error("bad Call-ID")]
    CallId,
    #[error("bad CSeq")]
    CSeq,
    #[error("bad Max-Forwards")]
    MaxForwards,
    #[error("bad address")]
    Address,
}

impl ParseError {
    /// The status and phrase that tell the sender of such a request (RFC 3261 §16.3, §21.4.1).
    pub fn status(self) -> (u16, String) {
        match self {
            ParseError::Version => (505, phrase(505).to_owned()),
            ParseError::HeaderTooLong | ParseError::TooLong | ParseError::TooManyHeaders => {
                (513, phrase(513).to_owned())
            }
            ParseError::Empty
            | ParseError::Unterminated
            | ParseError::NotSip
            | ParseError::StartLine
            | ParseError::HeaderLine
            | ParseError::ContentLength
            | ParseError::Truncated
            | ParseError::Uri
            | ParseError::Host
            | ParseError::Via
            | ParseError::From
            | ParseError::To
            | ParseError::CallId
            | ParseError::CSeq
            | ParseError::MaxForwards
            | ParseError::Address => (400, format!("Bad Request - {self}")),
        }
    }
}
