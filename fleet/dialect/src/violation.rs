//! Why a peer is cut off, and what a dialect cannot do. Reasons must never hold what the peer sent: they end up in logs.

use std::borrow::Cow;

use thiserror::Error;

use crate::name::Name;

/// Longest reason of a close frame, bytes (RFC 6455 §5.5: 125 with the code).
const MAX_REASON: usize = 123;

/// Why the peer is cut off: the close code, and a reason that tells an engineer what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {reason}")]
pub struct Violation {
    /// 1003, 1007, 1008 or 1009.
    pub code: u16,
    /// At most 123 bytes, without personal data.
    pub reason: Cow<'static, str>,
}

impl Violation {
    /// The peer broke its protocol: 1008.
    pub fn protocol(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(1008, reason)
    }

    /// A binary frame where the protocol has only text, or the reverse: 1003.
    pub fn kind(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(1003, reason)
    }

    /// More than we take: 1009.
    pub fn too_big(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(1009, reason)
    }

    fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > MAX_REASON {
            let end = (0..=MAX_REASON).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
            reason = Cow::Owned(reason[..end].to_owned());
        }
        Self { code, reason }
    }
}

/// A command that the protocol has no words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{command} is not part of the {dialect} protocol")]
pub struct Unsupported {
    pub command: &'static str,
    pub dialect: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_a_close_frame() {
        assert_eq!(Violation::protocol("x".repeat(500)).reason.len(), 123);
        assert_eq!(Violation::protocol("é".repeat(500)).reason.len(), 122);
        assert_eq!(Violation::kind("short").reason, "short");
    }
}
