//! Where a message came from and where it goes; it must never hold a socket.

use std::net::SocketAddr;

use bytes::Bytes;

/// How SIP messages travel. Closed on purpose: a new transport must be thought through in every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: unreliable, one message a datagram.
    Udp,
}

impl Transport {
    /// Whether the transport itself repeats what is lost; the transaction timers depend on it (RFC 3261 §17).
    pub const fn reliable(self) -> bool {
        match self {
            Transport::Udp => false,
        }
    }

    /// The name in a Via header's sent-protocol.
    pub const fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
        }
    }
}

/// The path on which a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    pub transport: Transport,
    /// Our address that received it.
    pub local: SocketAddr,
    /// The address that really sent it, whatever its headers say.
    pub remote: SocketAddr,
}

/// One message to be sent.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The whole message; retransmissions share the same allocation.
    #[debug("({} bytes, personal)", bytes.len())]
    pub bytes: Bytes,
}
