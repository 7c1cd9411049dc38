//! The user agent: one UDP address, many calls; it must never block, read a clock or look at all calls at once.

mod auth;
mod call;
mod in_dialog;
mod receive;
mod uac;
mod uas;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::digest::Nonces;
use crate::message::{HeaderName, ParseError, Text, is_header_name, is_header_value};
use crate::tokens::Tokens;
use crate::{CallHandle, EndpointConfig, Event, Source, Transmit};
use call::{Call, State};
use wire::{CallTimer, Effects, Owner, TxId, Wake, Wire};

/// Why an INVITE was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// [`EndpointConfig::max_calls`] or the transaction limit is reached.
    #[error("too many calls")]
    TooManyCalls,
    /// [`InviteRequest::target`](crate::InviteRequest::target) is no SIP URI.
    #[error("the Request-URI is not a SIP URI")]
    Target,
    /// [`InviteRequest::from_uri`](crate::InviteRequest::from_uri) is no URI.
    #[error("the From URI is not a URI")]
    From,
    /// [`InviteRequest::to_uri`](crate::InviteRequest::to_uri) is no URI.
    #[error("the To URI is not a URI")]
    To,
    /// [`InviteRequest::call_id`](crate::InviteRequest::call_id) is no Call-ID.
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
    /// Messages that could not be read, by what was wrong with them.
    pub parse_errors: BTreeMap<ParseError, u64>,
    /// Datagrams and messages that were neither answered nor used, those of `parse_errors` included.
    pub dropped: u64,
    /// Messages sent again by a timer or on a repeated request.
    pub retransmissions: u64,
    /// Responses and ACKs that belong to nothing we know.
    pub strays: u64,
    /// Requests of strangers that were not answered.
    pub ignored: u64,
    /// Requests refused because a limit was reached.
    pub refused: u64,
    pub transactions_live: usize,
    /// Sessions remembered, ended ones that may still get a repeated 2xx included.
    pub dialogs_live: usize,
    /// Calls without a terminal event.
    pub calls_live: usize,
}

/// A SIP user agent, client and server.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    tokens: Tokens,
    nonces: Nonces,
    wire: Wire,
    events: VecDeque<Event>,
    calls: HashMap<CallHandle, Call>,
    /// By our own tag, which no two calls share.
    by_tag: HashMap<Text, CallHandle>,
    next_call: u64,
    /// The To tag of answers that leave no state behind: the same for every repetition (RFC 3261 §8.2.7).
    stateless_tag: Text,
}

impl Endpoint {
    /// Makes an endpoint; `seed` feeds its tags, branches and nonces and must be unpredictable in production.
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        let mut tokens = Tokens::new(seed);
        Endpoint {
            nonces: Nonces::new(tokens.secret()),
            stateless_tag: tokens.tag(),
            wire: Wire::new(config.limits),
            config,
            tokens,
            events: VecDeque::new(),
            calls: HashMap::new(),
            by_tag: HashMap::new(),
            next_call: 0,
        }
    }

    /// Takes one datagram.
    pub fn handle_datagram(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        self.receive(now, source, bytes, false);
        self.count();
    }

    /// Takes one datagram from an address that nobody knows. What goes on with a call or a request of ours counts as ever;
    /// whatever would begin something, or is faulty, is dropped: no answer says that anybody is here, and nothing is
    /// remembered of it.
    pub fn handle_stranger(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        self.receive(now, source, bytes, true);
        self.count();
    }

    /// Does what is due; call it at [`Endpoint::poll_timeout`] or any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(wake) = self.wire.pop_timer(now) {
            match wake {
                Wake::Transaction(id, timer) => {
                    let (effects, owner) = self.wire.on_timer(now, id, timer);
                    self.after(now, id, owner, effects);
                }
                Wake::Call(call, timer) => self.on_call_timer(now, call, timer),
            }
        }
        self.count();
    }

    /// Tells that the socket could not send a message, so that a call need not wait for Timer B (§17.1.4).
    pub fn handle_send_error(&mut self, now: Instant, transmit: &Transmit) {
        self.on_send_error(now, transmit);
        self.count();
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.wire.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Endpoint::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wire.next_deadline()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> &Stats {
        &self.wire.stats
    }

    fn count(&mut self) {
        self.wire.stats.dialogs_live = self.calls.len();
        self.wire.stats.transactions_live = self.wire.live();
    }

    /// Whether one more call may start.
    fn has_room(&self) -> bool {
        self.wire.stats.calls_live < self.config.max_calls && self.wire.has_room()
    }

    fn add_call(&mut self, call: Call) -> CallHandle {
        self.next_call += 1;
        let handle = CallHandle(self.next_call);
        self.by_tag.insert(call.local_tag.clone(), handle);
        self.calls.insert(handle, call);
        self.wire.stats.calls_live += 1;
        handle
    }

    /// The call of a command; one that is over is unknown.
    fn live(&mut self, handle: CallHandle) -> Result<&mut Call, CommandError> {
        self.calls.get_mut(&handle).filter(|call| call.state != State::Over).ok_or(CommandError::UnknownCall)
    }

    /// Gives a call its terminal event, the first time only, and forgets what is no longer needed.
    fn finish(&mut self, now: Instant, handle: CallHandle, event: Event) {
        debug_assert!(event.is_terminal() && event.call() == handle);
        let Some(call) = self.calls.get_mut(&handle).filter(|call| call.state != State::Over) else {
            return;
        };
        call.state = State::Over;
        call.unacknowledged = None;
        if let Some(reinvite) = call.reinvite.take() {
            // Whatever is pending in an ended dialog is terminated (§15.1.2).
            let bytes = reinvite.request.reply(487, "").finish();
            self.wire.respond(now, reinvite.tx, 487, reinvite.request.transmit(bytes));
        }
        self.wire.disarm_all_of(handle);
        self.wire.stats.calls_live -= 1;
        self.events.push_back(event);
        // Only an INVITE that was answered with a 2xx can be answered with another one.
        if let Some(uac) = &mut call.uac
            && uac.forks.is_empty()
        {
            uac.tx = None;
        }
        self.forget_if_done(handle);
    }

    fn forget_if_done(&mut self, handle: CallHandle) {
        let done = self
            .calls
            .get(&handle)
            .is_some_and(|call| call.state == State::Over && call.uac.as_ref().is_none_or(|uac| uac.tx.is_none()));
        if done && let Some(call) = self.calls.remove(&handle) {
            self.by_tag.remove(&call.local_tag);
        }
    }

    /// Tells the owner of a transaction what became of it, apart from messages.
    fn after(&mut self, now: Instant, id: TxId, owner: Owner, effects: Effects) {
        if effects.timed_out {
            self.on_timed_out(now, id, owner);
        }
        if effects.gone
            && let Owner::Invite(handle) = owner
            && let Some(uac) = self.calls.get_mut(&handle).and_then(|call| call.uac.as_mut())
            && uac.tx == Some(id)
        {
            uac.tx = None;
            self.forget_if_done(handle);
        }
    }

    fn on_timed_out(&mut self, now: Instant, id: TxId, owner: Owner) {
        match owner {
            Owner::Invite(handle) => self.on_invite_failed(now, handle, id, crate::Failure::Timeout),
            Owner::Bye(call) => {
                let by = crate::EndedBy::Timeout;
                self.finish(now, call, Event::Ended { call, by, reason: None });
            }
            // A failure response without an ACK (Timer H) changes nothing; a lost INFO is a lost digit.
            Owner::Info(_) | Owner::Incoming(_) | Owner::Reinvite(_) | Owner::Nobody => {}
        }
    }

    fn on_call_timer(&mut self, now: Instant, handle: CallHandle, timer: CallTimer) {
        match timer {
            CallTimer::Repeat2xx => self.repeat_2xx(now, handle),
            CallTimer::NoAck => self.on_no_ack(now, handle),
            CallTimer::CancelLimit => self.on_cancel_limit(now, handle),
            CallTimer::KeepRinging => self.keep_ringing(now, handle),
        }
    }

    /// The host and port that peers reach us at.
    fn advertised(&self) -> SocketAddr {
        self.config.advertised
    }

    /// A Contact with the user part of `uri`.
    fn contact_for(&self, uri: &str) -> String {
        let address = self.advertised();
        match crate::message::Uri::parse(uri).ok().and_then(|uri| uri.user) {
            Some(user) => format!("<sip:{user}@{address}>"),
            None => format!("<sip:{address}>"),
        }
    }
}

/// Whether the owner of a call may set a header.
fn may_set(name: &str, value: &str) -> bool {
    is_header_name(name) && is_header_value(value) && !HeaderName::parse(name).is_protocol()
}
