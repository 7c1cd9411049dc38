//! Why a socket ends: what its call hears of it, how the dialler is told, and the word for logs and metrics.

use std::borrow::Cow;

use call::io::{LegEnd, LegEvent};

use super::codes::{self, Close};
use super::wire::Gone;
use crate::audio::Unsupported;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub word: &'static str,
    /// The leg's last event.
    pub last: LegEvent,
    /// For the call's warnings.
    pub remark: Option<String>,
    /// How we close; none where nobody is left to be told.
    pub close: Option<Close>,
}

const HUNG_UP: LegEvent = LegEvent::Ended { by_remote: true, cause: LegEnd::Normal };
const LOST: LegEvent = LegEvent::Ended { by_remote: true, cause: LegEnd::SocketLost };
const OURS: LegEvent = LegEvent::Ended { by_remote: false, cause: LegEnd::Normal };

impl End {
    fn new(word: &'static str, last: LegEvent, close: Option<Close>) -> Self {
        Self { word, last, remark: None, close }
    }

    /// The far side is gone, or is cut off.
    pub(super) fn of(gone: Gone) -> Self {
        match gone {
            // Our answer to its close frame is on the way already; only the rest of the handshake is waited for.
            Gone::Closed { code } if codes::is_orderly(code) => {
                Self::new("closed", HUNG_UP, Some(Close::new(codes::NORMAL, "")))
            }
            Gone::Closed { code } => {
                let end = Self::new("closed_in_error", LOST, Some(Close::new(codes::NORMAL, "")));
                end.with(format!("the dialler closed its WebSocket with code {code}"))
            }
            Gone::Broken => Self::new("broken", LOST, None),
            Gone::Silent => Self::new("silent", LOST, Some(Close::new(codes::POLICY, "no sign of life"))),
            Gone::Stuck => Self::new("stuck", LOST, Some(Close::new(codes::POLICY, "nothing is read"))),
            Gone::Violation(violation) => {
                let remark = format!("the dialler was cut off with code {}: {}", violation.code, violation.reason);
                Self::new("violation", LOST, Some(violation.into())).with(remark)
            }
        }
    }

    /// The dialler said that the call is over.
    pub(super) fn hung_up() -> Self {
        Self::new("hung_up", HUNG_UP, Some(Close::new(codes::NORMAL, "the call is over")))
    }

    /// The same stream came again on another socket.
    pub(super) fn replaced() -> Self {
        let close = Close::new(codes::NORMAL, "this stream has connected again");
        Self::new("replaced", LOST, Some(close)).with("the dialler opened the same stream again".to_owned())
    }

    /// Our side hung up.
    pub(super) fn ours(going_away: bool) -> Self {
        let close =
            if going_away { Self::going_away().close } else { Some(Close::new(codes::NORMAL, "the call is over")) };
        Self::new("bot_hung_up", OURS, close)
    }

    /// The server ends.
    pub(super) fn going_away() -> Self {
        Self::new("going_away", OURS, Some(Close::new(codes::GOING_AWAY, "the server ends; connect again")))
    }

    /// Something failed on our side.
    pub(super) fn fault(word: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(word, OURS, Some(Close { code: codes::FAULT, reason: reason.into() }))
    }

    /// The dialler's audio can't be read, or the bot's not be written as it wants.
    pub(super) fn unspoken(format: Unsupported) -> Self {
        Self::new("unspoken", OURS, Some(codes::violation(codes::NOT_ACCEPTED, format.to_string()).into()))
    }

    fn with(mut self, remark: String) -> Self {
        self.remark = Some(remark);
        self
    }
}
