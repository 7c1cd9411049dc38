//! The user agent: one UDP address, many calls; it must never block, read a clock or look at all calls at once.

use std::time::Instant;

use bytes::Bytes;

use crate::digest::Algorithm;
use crate::{
    AuthOutcome, CallHandle, EndpointConfig, Event, InviteRequest, Reason, Source, Transmit,
};

/// Why an INVITE was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// [`EndpointConfig::max_calls`] are live.
    #[error("too many calls")]
    TooManyCalls,
    /// [`InviteRequest::target`] is no SIP URI.
    #[error("the Request-URI is not a SIP URI")]
    Target,
    /// [`InviteRequest::from_uri`] is no URI.
    #[error("the From URI is not a URI")]
    From,
    /// [`InviteRequest::to_uri`] is no URI.
    #[error("the To URI is not a URI")]
    To,
    /// [`InviteRequest::call_id`] is no Call-ID.
    #[error("not a Call-ID")]
    CallId,
    /// An extra header is the protocol's own, or its name or value is none.
    #[error("header {0} can't be set")]
    Header(String),
}

/// Why a command had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such call, or it has had its terminal event.
    #[error("no such call")]
    UnknownCall,
    /// The call is not in a state for this command.
    #[error("not possible in the call's state")]
    InvalidState,
    /// The status code is none for this command.
    #[error("status code out of range")]
    Code,
    /// A header is the protocol's own, or its name or value is none.
    #[error("header can't be set")]
    Header,
    /// Not a DTMF digit.
    #[error("not a DTMF digit")]
    Digit,
}

/// Counters since the start, and what is live now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams that held no message we could read or answer.
    pub dropped: u64,
    /// Messages sent again by a timer or on a repeated request.
    pub retransmissions: u64,
    /// Responses and ACKs that belong to nothing we know.
    pub strays: u64,
    /// Requests refused because a limit was reached.
    pub refused: u64,
    pub transactions_live: usize,
    pub dialogs_live: usize,
    pub calls_live: usize,
}

/// A SIP user agent, client and server.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    stats: Stats,
}

impl Endpoint {
    /// Makes an endpoint; `seed` feeds its tags, branches and nonces and must be unpredictable in production.
    pub fn new(config: EndpointConfig, _seed: u64) -> Self {
        Endpoint {
            config,
            stats: Stats::default(),
        }
    }
    pub fn handle_datagram(&mut self, _now: Instant, _source: Source, _bytes: &[u8]) {
        self.stats.dropped += 1;
    }
    pub fn handle_timeout(&mut self, _now: Instant) {}
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
    /// Starts a call.
    ///
    /// # Errors
    /// [`InviteError`]; no handle exists then and no event follows.
    pub fn invite(
        &mut self,
        _now: Instant,
        _request: InviteRequest,
    ) -> Result<CallHandle, InviteError> {
        if self.config.max_calls == 0 {
            return Err(InviteError::TooManyCalls);
        }
        Err(InviteError::Target)
    }
    /// Sends a 180 or 183 to an incoming call.
    pub fn ring(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _code: u16,
        _sdp: Option<Bytes>,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Answers an incoming call with a 200.
    pub fn accept(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _sdp: Bytes,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Refuses an incoming call; `Ended { by: Local }` follows.
    pub fn reject(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _code: u16,
        _headers: Vec<(String, String)>,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Challenges an incoming call with a 401 and ends its handle (`Ended { by: Local }`); the caller's next INVITE is a new call.
    pub fn challenge(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _realm: &str,
        _algorithm: Algorithm,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Checks the credentials of an incoming call; `&mut` because each nonce count is good only once.
    pub fn verify(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _username: &str,
        _password: &str,
    ) -> Result<AuthOutcome, CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Ends the call: CANCEL before the answer (deferred until a provisional came), BYE after. Idempotent.
    pub fn hang_up(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _reason: Option<Reason>,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Answers a re-INVITE with a 200.
    pub fn answer_reinvite(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _sdp: Bytes,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Refuses a re-INVITE (488 and the like); the session stays as it was.
    pub fn reject_reinvite(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _code: u16,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
    /// Sends a digit by SIP INFO.
    pub fn info_dtmf(
        &mut self,
        _now: Instant,
        _call: CallHandle,
        _digit: char,
        _duration_ms: u32,
    ) -> Result<(), CommandError> {
        Err(CommandError::UnknownCall)
    }
}
