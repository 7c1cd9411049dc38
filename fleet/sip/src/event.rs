//! What an endpoint tells its owner; it must never carry raw protocol state.

use std::time::Duration;

use bytes::Bytes;

use crate::Source;
use crate::message::{NameAddr, Uri, split};

/// Names one INVITE session, ours or theirs, for as long as it lives; never reused by an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallHandle(pub(crate) u64);

/// Something the owner must know.
///
/// **Invariant**: each handle gets exactly one of [`Event::Failed`], [`Event::Cancelled`] and [`Event::Ended`], and
/// nothing after it.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new call for us; a 100 has been sent. Answer with `ring`, `accept`, `reject` or `challenge`.
    Incoming { call: CallHandle, request: Box<IncomingInvite> },
    /// A provisional response other than 100 to our INVITE; SDP in it means early media.
    Provisional { call: CallHandle, code: u16, sdp: Option<Bytes> },
    /// Our INVITE was answered and the ACK is queued. The SDP is that of the 2xx, or of the last provisional where
    /// the 2xx had none.
    Answered {
        call: CallHandle,
        sdp: Option<Bytes>,
        /// The headers of the 2xx that are not the protocol's own.
        #[debug("(personal)")]
        headers: Vec<(String, String)>,
    },
    /// The ACK for our 2xx arrived, with SDP where our 2xx carried the offer. After a re-INVITE it is reported only
    /// where the ACK carried SDP.
    Confirmed { call: CallHandle, sdp: Option<Bytes> },
    /// Our INVITE did not lead to a call. Terminal.
    Failed { call: CallHandle, cause: Failure },
    /// The caller gave up before we answered. Terminal.
    Cancelled { call: CallHandle },
    /// The peer changes the session (RFC 3261 §14); answer with `answer_reinvite` or `reject_reinvite`. No SDP: it
    /// wants our offer.
    Reinvite { call: CallHandle, sdp: Option<Bytes> },
    /// A digit by SIP INFO.
    Dtmf {
        call: CallHandle,
        #[debug("(personal)")]
        digit: char,
        duration_ms: u32,
    },
    /// The call is over. Terminal.
    Ended { call: CallHandle, by: EndedBy, reason: Option<Reason> },
}

impl Event {
    /// The call the event belongs to.
    pub fn call(&self) -> CallHandle {
        match self {
            Event::Incoming { call, .. }
            | Event::Provisional { call, .. }
            | Event::Answered { call, .. }
            | Event::Confirmed { call, .. }
            | Event::Failed { call, .. }
            | Event::Cancelled { call }
            | Event::Reinvite { call, .. }
            | Event::Dtmf { call, .. }
            | Event::Ended { call, .. } => *call,
        }
    }

    /// Whether this is the last event of its call.
    pub fn is_terminal(&self) -> bool {
        match self {
            Event::Failed { .. } | Event::Cancelled { .. } | Event::Ended { .. } => true,
            Event::Incoming { .. }
            | Event::Provisional { .. }
            | Event::Answered { .. }
            | Event::Confirmed { .. }
            | Event::Reinvite { .. }
            | Event::Dtmf { .. } => false,
        }
    }
}

/// An INVITE that starts a call for us.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct IncomingInvite {
    pub source: Source,
    #[debug("(personal)")]
    pub request_uri: String,
    pub from: Party,
    pub to: Party,
    pub call_id: String,
    /// The user name of its credentials, before anything is proven.
    pub claims: Option<String>,
    /// Headers that are not the protocol's own, in their order.
    #[debug("(personal)")]
    pub headers: Vec<(String, String)>,
    /// The offer; `None` means that our 2xx must carry one.
    pub sdp: Option<Bytes>,
}

impl IncomingInvite {
    /// The addresses of a list header such as `P-Asserted-Identity` or `Diversion` (RFC 3325 §9.1, RFC 5806 §3), over all
    /// its lines, with each one's header parameters. What is no address is passed over.
    pub fn addresses(&self, name: &str) -> Vec<(Party, String)> {
        let lines = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let values = lines.flat_map(|(_, value)| split(value, b','));
        let read = |value| NameAddr::parse(value).ok();
        values
            .filter_map(read)
            .map(|address| {
                let party = Party { uri: address.uri.text.to_owned(), display: address.display_name() };
                (party, address.params.to_owned())
            })
            .collect()
    }

    /// The value of a header's first line.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// One side of a call as From or To names it.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Party {
    #[debug("(personal)")]
    pub uri: String,
    /// The display name, unquoted and unescaped.
    #[debug("(personal)")]
    pub display: Option<String>,
}

impl Party {
    /// The user part of a `sip:` or `sips:` URI, or the number of a `tel:` one, with escapes undone once.
    pub fn user(&self) -> Option<String> {
        Uri::parse(&self.uri).ok()?.user_unescaped()
    }
}

/// Why our INVITE did not lead to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A final response other than 2xx. A 3xx is not followed.
    Status { code: u16, phrase: String, reason: Option<Reason>, retry_after: Option<Duration> },
    /// Nothing came back at all (Timer B).
    Timeout,
    /// The transport could not deliver the request.
    Unreachable,
    /// Challenged, and we have no fitting credentials or they were refused.
    AuthRejected,
    /// We hung up before the answer.
    Cancelled,
    /// It was answered with something that is no answer; the call was acknowledged and ended.
    BadAnswer(AnswerFault),
}

/// What was wrong with a 2xx to our offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFault {
    /// Neither the 2xx nor a provisional response before it had SDP.
    NoSdp,
    /// The body is not SDP.
    ContentType,
    /// The response lacks what a dialog needs (tag, Contact).
    NoDialog,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The peer's BYE.
    Remote,
    /// Our own hang-up or rejection.
    Local,
    /// The peer fell silent: no ACK for our 2xx, or no answer to our BYE (Timer F).
    Timeout,
}

/// A Reason header (RFC 3326).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `Q.850`, `SIP`, …
    pub protocol: String,
    pub cause: Option<u16>,
    pub text: Option<String>,
}

/// How the credentials of an incoming INVITE fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOutcome {
    /// None that we could use: challenge it.
    Missing,
    /// The right user and password, with a fresh nonce.
    Accepted,
    /// The right user and password, with a nonce that is too old or was replayed: challenge it, `stale` is set.
    Stale,
    /// The wrong user or password.
    Rejected,
}
