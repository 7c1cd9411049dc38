//! The close codes that we give (RFC 6455 §7.4.1), each with words for the dialler's engineer.
//! It must never put anything into a reason that the far side or its caller said.

use std::borrow::Cow;

use dialect::Violation;

pub(super) const NORMAL: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const PROTOCOL: u16 = 1002;
pub(super) const NOT_ACCEPTED: u16 = 1003;
pub(super) const NO_STATUS: u16 = 1005;
pub(super) const NOT_TEXT: u16 = 1007;
pub(super) const POLICY: u16 = 1008;
pub(super) const TOO_BIG: u16 = 1009;
pub(super) const FAULT: u16 = 1011;

/// How we close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub code: u16,
    /// At most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    pub(super) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Self {
        Self { code: violation.code, reason: violation.reason }
    }
}

/// A violation of a rule that is not a dialect's.
pub(super) fn violation(code: u16, reason: impl Into<Cow<'static, str>>) -> Violation {
    Violation { code, ..Violation::protocol(reason) }
}

/// Whether a dialler that closed with this code meant to: its caller hung up, or it is done. Codes above 3000 are a
/// dialler's own words for that.
pub(super) fn is_orderly(code: u16) -> bool {
    matches!(code, NORMAL | GOING_AWAY | NO_STATUS | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_meant_or_an_accident() {
        let check = |code, expect| assert_eq!(is_orderly(code), expect, "{code}");
        for code in [1000, 1001, 1005, 3000, 4001, 4999] {
            check(code, true);
        }
        for code in [1002, 1003, 1006, 1007, 1008, 1009, 1011, 1012, 1015] {
            check(code, false);
        }
    }

    #[test]
    fn reasons_fit_a_close_frame() {
        assert_eq!(violation(TOO_BIG, "x".repeat(400)).reason.len(), 123);
    }
}
