//! Diallers against the platform's WebSocket: the socket itself, the caller at the far end of it, and the protocols of
//! the vendors. It must never know more of a protocol than its vendor's documentation says.

pub mod caller;
pub mod carrier;
pub mod line;
pub mod pcm;
pub mod proxy;
pub mod socket;
pub mod tls;
