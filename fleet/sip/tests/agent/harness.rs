//! One endpoint, a peer that is written by hand, and a clock that only moves when it is told to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{
    CallHandle, Credentials, Endpoint, EndpointConfig, Event, IncomingInvite, InviteRequest, Limits, Source, Transport,
};

/// A point in time to count from.
#[expect(clippy::disallowed_methods, reason = "the core takes any instant; the test never looks at it again")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}

pub(crate) const LOCAL: &str = "192.0.2.1:5060";
pub(crate) const PEER: &str = "192.0.2.99:5060";
pub(crate) const OFFER: &[u8] = b"v=0\r\nours\r\n";
pub(crate) const ANSWER: &str = "v=0\r\ntheirs\r\n";
/// 64*T1
pub(crate) const LONG: Duration = Duration::from_secs(32);

pub(crate) struct Agent {
    pub(crate) endpoint: Endpoint,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) last_remote: Option<SocketAddr>,
}

pub(crate) fn config(local: &str, max_calls: usize) -> EndpointConfig {
    EndpointConfig {
        local: local.parse().unwrap(),
        advertised: local.parse().unwrap(),
        user_agent: "test".into(),
        limits: Limits::default(),
        max_calls,
    }
}

pub(crate) fn invite_request() -> InviteRequest {
    InviteRequest {
        target: "sip:bob@192.0.2.99".into(),
        remote: PEER.parse().unwrap(),
        from_uri: "sip:alice@example.com".into(),
        from_display: None,
        to_uri: "sip:bob@example.com".into(),
        call_id: Some("call-1".into()),
        headers: vec![],
        sdp: Bytes::from_static(OFFER),
        credentials: None,
    }
}

pub(crate) fn credentials() -> Option<Credentials> {
    Some(Credentials { username: "alice".into(), password: "secret".into(), realm: None })
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self::with_max_calls(10)
    }

    pub(crate) fn with_max_calls(max_calls: usize) -> Self {
        let now = some_instant();
        Agent { endpoint: Endpoint::new(config(LOCAL, max_calls), 1), start: now, now, last_remote: None }
    }

    /// Takes a message from the peer; `\n` in it is a line break.
    pub(crate) fn receive(&mut self, message: &str) {
        self.receive_from(PEER, message);
    }

    pub(crate) fn receive_from(&mut self, remote: &str, message: &str) {
        let source =
            Source { transport: Transport::Udp, local: LOCAL.parse().unwrap(), remote: remote.parse().unwrap() };
        let message = message.replace("\r\n", "\n").replace('\n', "\r\n");
        self.endpoint.handle_datagram(self.now, source, message.as_bytes());
    }

    /// Takes a message from an address that nobody knows.
    pub(crate) fn receive_from_stranger(&mut self, message: &str) {
        let source = Source { transport: Transport::Udp, local: LOCAL.parse().unwrap(), remote: PEER.parse().unwrap() };
        let message = message.replace("\r\n", "\n").replace('\n', "\r\n");
        self.endpoint.handle_stranger(self.now, source, message.as_bytes());
    }

    /// Everything that was sent since the last look.
    pub(crate) fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.endpoint.poll_transmit())
            .map(|transmit| {
                self.last_remote = Some(transmit.remote);
                String::from_utf8(transmit.bytes.to_vec()).unwrap()
            })
            .collect()
    }

    /// The one message that was sent since the last look.
    #[track_caller]
    pub(crate) fn one(&mut self) -> String {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    /// The one message that was sent, which must begin like this.
    #[track_caller]
    pub(crate) fn expect(&mut self, start: &str) -> String {
        let message = self.one();
        assert!(message.starts_with(start), "{message}");
        message
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }

    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        assert_eq!((self.sent(), self.events()), (vec![], vec![]));
    }

    /// Lets time pass, stopping at each deadline; gives the start lines that were sent with their milliseconds.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<(u64, String)> {
        let end = self.now + duration;
        let mut sent = Vec::new();
        while let Some(next) = self.endpoint.poll_timeout().filter(|next| *next <= end) {
            self.now = next;
            self.endpoint.handle_timeout(self.now);
            let at = u64::try_from((self.now - self.start).as_millis()).unwrap();
            sent.extend(self.sent().into_iter().map(|m| (at, start_line(&m))));
        }
        self.now = end;
        sent
    }

    /// Lets every timer run out and checks that nothing is left behind.
    #[track_caller]
    pub(crate) fn assert_clean(&mut self) {
        self.pass(LONG * 4);
        let stats = self.endpoint.stats();
        assert_eq!((stats.transactions_live, stats.dialogs_live, stats.calls_live), (0, 0, 0));
        assert_eq!(self.endpoint.poll_timeout(), None);
    }

    /// Starts a call and gives its INVITE.
    pub(crate) fn invite(&mut self, request: InviteRequest) -> (CallHandle, String) {
        let call = self.endpoint.invite(self.now, request).unwrap();
        (call, self.one())
    }

    /// A call of ours that was answered with tag `b1`; gives the INVITE as well.
    pub(crate) fn established(&mut self, request: InviteRequest) -> (CallHandle, String) {
        let (call, invite) = self.invite(request);
        self.receive(&response(&invite, "200 OK", "b1", CONTACT, Some(ANSWER)));
        self.expect("ACK ");
        assert!(matches!(self.event(), Event::Answered { .. }));
        (call, invite)
    }

    /// An incoming call; gives what it said.
    pub(crate) fn incoming(&mut self, invite: &str) -> (CallHandle, IncomingInvite) {
        self.receive(invite);
        self.expect("SIP/2.0 100 ");
        match self.event() {
            Event::Incoming { call, request } => (call, *request),
            other => panic!("{other:?}"),
        }
    }

    /// An incoming call that was answered and confirmed; gives the tag we took.
    pub(crate) fn accepted(&mut self) -> (CallHandle, String) {
        let (call, _) = self.incoming(&incoming_invite(Some(ANSWER)));
        self.endpoint.accept(self.now, call, Bytes::from_static(OFFER)).unwrap();
        let tag = to_tag(&self.expect("SIP/2.0 200 "));
        self.receive(&peer_request("ACK", 1, &tag, "ack", "", None));
        assert_eq!(self.event(), Event::Confirmed { call, sdp: None });
        (call, tag)
    }
}

pub(crate) const CONTACT: &str = "Contact: <sip:bob@192.0.2.99:5060>\n";

pub(crate) fn start_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// The value of a header of one of our messages.
#[track_caller]
pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    headers(message, name).first().copied().unwrap_or_else(|| panic!("no {name} in {message}"))
}

pub(crate) fn headers<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    message
        .split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .collect()
}

pub(crate) fn to_tag(message: &str) -> String {
    header(message, "To").rsplit_once("tag=").unwrap().1.to_owned()
}

pub(crate) fn from_tag(message: &str) -> String {
    header(message, "From").rsplit_once("tag=").unwrap().1.to_owned()
}

pub(crate) fn branch(message: &str) -> &str {
    let via = header(message, "Via");
    via.split("branch=").nth(1).unwrap().split(';').next().unwrap()
}

fn with_body(mut head: String, body: Option<&str>) -> String {
    let body = body.unwrap_or_default();
    if !body.is_empty() {
        head += "Content-Type: application/sdp\n";
    }
    format!("{head}Content-Length: {}\n\n{body}", body.len())
}

/// The peer's response to a request of ours.
pub(crate) fn response(request: &str, status: &str, tag: &str, extra: &str, body: Option<&str>) -> String {
    let to = header(request, "To");
    let to = match tag {
        "" => to.to_owned(),
        _ if to.contains(";tag=") => to.to_owned(),
        _ => format!("{to};tag={tag}"),
    };
    with_body(
        format!(
            "SIP/2.0 {status}\nVia: {};received=192.0.2.1\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n{extra}",
            header(request, "Via"),
            header(request, "From"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
        ),
        body,
    )
}

/// A request of the peer in the dialog of a call of ours (our INVITE is `invite`, their tag is `b1`).
pub(crate) fn callee_request(invite: &str, method: &str, cseq: u32, extra: &str, body: Option<&str>) -> String {
    with_body(
        format!(
            "{method} sip:alice@192.0.2.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK{method}{cseq}\n\
             From: {};tag=b1\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nMax-Forwards: 70\n{extra}",
            header(invite, "To"),
            header(invite, "From"),
            header(invite, "Call-ID"),
        ),
        body,
    )
}

/// The INVITE of the peer with which a call for us starts.
pub(crate) fn incoming_invite(body: Option<&str>) -> String {
    incoming_with("INVITE", "inv", "", body)
}

/// A request of the peer outside a dialog.
pub(crate) fn incoming_with(method: &str, branch: &str, extra: &str, body: Option<&str>) -> String {
    with_body(
        format!(
            "{method} sip:bot@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK{branch}\n\
             From: \"Carol\" <sip:carol@192.0.2.99>;tag=c1\nTo: <sip:bot@192.0.2.1>\nCall-ID: in-1\nCSeq: 1 {method}\n\
             Contact: <sip:carol@192.0.2.99:5060>\nMax-Forwards: 70\n{extra}"
        ),
        body,
    )
}

/// A request of the peer in the dialog of a call for us.
pub(crate) fn peer_request(
    method: &str,
    cseq: u32,
    our_tag: &str,
    branch: &str,
    extra: &str,
    body: Option<&str>,
) -> String {
    with_body(
        format!(
            "{method} sip:bot@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK{branch}\n\
             From: \"Carol\" <sip:carol@192.0.2.99>;tag=c1\nTo: <sip:bot@192.0.2.1>;tag={our_tag}\nCall-ID: in-1\n\
             CSeq: {cseq} {method}\nMax-Forwards: 70\n{extra}"
        ),
        body,
    )
}
