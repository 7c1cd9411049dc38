//! A WebSocket message as the codecs see it. It must never know how it travelled.

use bytes::Bytes;

/// One whole WebSocket message, either way. Pings, pongs and closes stay with the socket.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    #[debug("Text({} bytes)", _0.len())]
    Text(String),
    #[debug("Binary({} bytes)", _0.len())]
    Binary(Bytes),
}

impl Frame {
    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
