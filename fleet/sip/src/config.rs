//! What an endpoint and an outgoing call are told by their owner; it must never hold protocol state.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

/// The fixed settings of an [`Endpoint`](crate::Endpoint).
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The address the socket is bound to.
    pub local: SocketAddr,
    /// The address written into Via and Contact: what peers can reach.
    pub advertised: SocketAddr,
    /// Sent as User-Agent and Server.
    pub user_agent: String,
    pub limits: Limits,
    /// Calls that may be live at once; further incoming INVITEs get a 503.
    pub max_calls: usize,
}

/// Bounds that are checked before a message is looked at closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest datagram in bytes.
    pub max_message: usize,
    /// Most header lines in a message.
    pub max_headers: usize,
    /// Longest single header field in bytes.
    pub max_header: usize,
    /// Most transactions held at once; beyond it new requests get a stateless 503.
    pub max_transactions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_message: 65_535, max_headers: 128, max_header: 4_096, max_transactions: 200_000 }
    }
}

/// An outgoing call.
#[derive(derive_more::Debug, Clone)]
pub struct InviteRequest {
    /// The Request-URI, `sip:user@host[:port]`.
    #[debug("(personal)")]
    pub target: String,
    /// The resolved next hop; also used in the dialog where a host name stands for the peer.
    pub remote: SocketAddr,
    /// URI of the From header, without a tag.
    #[debug("(personal)")]
    pub from_uri: String,
    /// Display name of the From header, unquoted.
    #[debug("(personal)")]
    pub from_display: Option<String>,
    /// URI of the To header.
    #[debug("(personal)")]
    pub to_uri: String,
    /// A Call-ID of the caller's own choice; otherwise one is made from the seed.
    pub call_id: Option<String>,
    /// Further headers such as `P-Asserted-Identity`; the ones the protocol itself writes are refused.
    #[debug("(personal)")]
    pub headers: Vec<(String, String)>,
    /// The SDP offer.
    pub sdp: Bytes,
    /// Answers to digest challenges (401 and 407).
    pub credentials: Option<Credentials>,
}

/// A user name and a password for digest authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// Only challenges of this realm are answered; `None` answers every realm.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .field("realm", &self.realm)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials { username: "alice".into(), password: "hunter2".into(), realm: None };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
