//! The SIP shell: one task that owns the socket and the sans-IO endpoint, and passes each call's events to its leg.
//! It must never decide anything about a call, and never wait for a slow leg.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sip::digest::Algorithm;
use sip::{
    AuthOutcome, CallHandle, CommandError, Endpoint, Event, IncomingInvite, InviteError, InviteRequest, Reason, Source,
    Transport,
};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

/// Events that a leg may leave unread; a call makes a handful in its whole life, so a full queue means a stuck leg.
const LEG_QUEUE: usize = 64;
const COMMAND_QUEUE: usize = 1024;
/// Datagrams read before timers and commands get their turn.
const READ_BURST: usize = 64;
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum SignallingError {
    #[error("the SIP port {address} can't be used: {cause}")]
    Bind { address: SocketAddr, cause: io::Error },
    #[error("the SIP task has ended")]
    Gone,
    #[error("the INVITE was not sent: {0}")]
    Invite(#[from] InviteError),
    #[error("the call can't do that: {0}")]
    Command(#[from] CommandError),
}

/// Whose requests are answered: whoever it says no to gets no sign of life.
pub type Gate = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// A call that came in, before anybody has decided about it.
#[derive(Debug)]
pub struct Incoming {
    pub call: CallHandle,
    pub request: Box<IncomingInvite>,
    pub events: mpsc::Receiver<Event>,
}

enum Command {
    Invite {
        request: Box<InviteRequest>,
        reply: oneshot::Sender<Result<(CallHandle, mpsc::Receiver<Event>), InviteError>>,
    },
    Act {
        call: CallHandle,
        act: Act,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    Verify {
        call: CallHandle,
        username: String,
        password: String,
        reply: oneshot::Sender<Result<AuthOutcome, CommandError>>,
    },
}

/// What a leg can have done to its call.
#[derive(Debug)]
pub enum Act {
    Ring {
        code: u16,
        sdp: Option<Bytes>,
    },
    Accept {
        sdp: Bytes,
    },
    Reject {
        code: u16,
        headers: Vec<(String, String)>,
    },
    HangUp {
        reason: Option<Reason>,
    },
    AnswerReinvite {
        sdp: Bytes,
    },
    RejectReinvite {
        code: u16,
    },
    /// Ask for digest credentials (UAS).
    Challenge {
        realm: String,
    },
}

/// A handle on the SIP task.
#[derive(Debug, Clone)]
pub struct Signalling {
    commands: mpsc::Sender<Command>,
    pub local: SocketAddr,
}

impl Signalling {
    /// Binds `address` and runs the endpoint on the current runtime until every handle is dropped.
    /// `advertised`: what Via and Contact say where it differs from the bound address. Without a `gate` everybody is
    /// answered.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn start(
        address: SocketAddr,
        advertised: Option<SocketAddr>,
        max_calls: usize,
        seed: u64,
        incoming: mpsc::Sender<Incoming>,
        gate: Option<Gate>,
    ) -> Result<Self, SignallingError> {
        let socket = bind(address).map_err(|cause| SignallingError::Bind { address, cause })?;
        let local = socket.local_addr().map_err(|cause| SignallingError::Bind { address, cause })?;
        let endpoint = Endpoint::new(
            sip::EndpointConfig {
                local,
                advertised: advertised.unwrap_or(local),
                user_agent: concat!("Ringfleet/", env!("CARGO_PKG_VERSION")).to_owned(),
                limits: sip::Limits::default(),
                max_calls,
            },
            seed,
        );
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let task = Task { socket, local, endpoint, legs: HashMap::new(), incoming, gate };
        tokio::spawn(task.run(inbox));
        Ok(Self { commands, local })
    }

    /// Sends an INVITE; its events come on the channel, the last of them terminal.
    pub async fn invite(&self, request: InviteRequest) -> Result<(CallHandle, mpsc::Receiver<Event>), SignallingError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Invite { request: Box::new(request), reply };
        self.commands.send(command).await.map_err(|_| SignallingError::Gone)?;
        Ok(answer.await.map_err(|_| SignallingError::Gone)??)
    }

    pub async fn act(&self, call: CallHandle, act: Act) -> Result<(), SignallingError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Act { call, act, reply }).await.map_err(|_| SignallingError::Gone)?;
        Ok(answer.await.map_err(|_| SignallingError::Gone)??)
    }

    /// Judges the credentials of a call that came in.
    pub async fn verify(
        &self,
        call: CallHandle,
        username: &str,
        password: &str,
    ) -> Result<AuthOutcome, SignallingError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Verify { call, username: username.to_owned(), password: password.to_owned(), reply };
        self.commands.send(command).await.map_err(|_| SignallingError::Gone)?;
        Ok(answer.await.map_err(|_| SignallingError::Gone)??)
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    // Best effort: the kernel may cap it; a smaller buffer only means more retransmissions under a burst.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

struct Task {
    socket: UdpSocket,
    local: SocketAddr,
    endpoint: Endpoint,
    legs: HashMap<CallHandle, mpsc::Sender<Event>>,
    incoming: mpsc::Sender<Incoming>,
    gate: Option<Gate>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut buffer = vec![0_u8; 65_535];
        loop {
            self.drain().await;
            let wake = self.endpoint.poll_timeout();
            tokio::select! {
                ready = self.socket.readable() => {
                    if ready.is_ok() {
                        self.read(&mut buffer).await;
                    }
                }
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = sleep_until(wake) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..READ_BURST {
            match self.socket.try_recv_from(buffer) {
                Ok((length, remote)) => {
                    let source = Source { transport: Transport::Udp, local: self.local, remote };
                    self.take(source, &buffer[..length]);
                    self.drain().await;
                }
                // WouldBlock, or an ICMP error about an earlier datagram: the endpoint's timers deal with silence.
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, source: Source, datagram: &[u8]) {
        let known = self.gate.as_ref().is_none_or(|gate| gate(source.remote.ip()));
        if known {
            self.endpoint.handle_datagram(Instant::now(), source, datagram);
            return;
        }
        let ignored = self.endpoint.stats().ignored;
        self.endpoint.handle_stranger(Instant::now(), source, datagram);
        if self.endpoint.stats().ignored > ignored {
            metrics::counter!("ringfleet_sip_strangers_total").increment(1);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Invite { request, reply } => {
                let outcome = self.endpoint.invite(now, *request).map(|call| {
                    let (events, inbox) = mpsc::channel(LEG_QUEUE);
                    self.legs.insert(call, events);
                    (call, inbox)
                });
                let _ = reply.send(outcome);
            }
            Command::Act { call, act, reply } => {
                let _ = reply.send(self.act(now, call, act));
            }
            Command::Verify { call, username, password, reply } => {
                let _ = reply.send(self.endpoint.verify(now, call, &username, &password));
            }
        }
    }

    fn act(&mut self, now: Instant, call: CallHandle, act: Act) -> Result<(), CommandError> {
        match act {
            Act::Ring { code, sdp } => self.endpoint.ring(now, call, code, sdp),
            Act::Accept { sdp } => self.endpoint.accept(now, call, sdp),
            Act::Reject { code, headers } => self.endpoint.reject(now, call, code, headers),
            Act::HangUp { reason } => self.endpoint.hang_up(now, call, reason),
            Act::AnswerReinvite { sdp } => self.endpoint.answer_reinvite(now, call, sdp),
            Act::RejectReinvite { code } => self.endpoint.reject_reinvite(now, call, code),
            Act::Challenge { realm } => {
                // Many a PBX knows the old one only, and looks at the first challenge only.
                self.endpoint.challenge(now, call, &realm, &[Algorithm::Md5, Algorithm::Sha256])
            }
        }
    }

    /// Sends and delivers all that the last mutation left.
    async fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            // Otherwise a datagram that can't be sent is a lost one: retransmission timers cover it.
            if let Err(error) = self.socket.send_to(&transmit.bytes, transmit.remote).await {
                tracing::debug!(%error, "SIP datagram not sent");
                self.endpoint.handle_send_error(Instant::now(), &transmit);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.deliver(event);
        }
    }

    fn deliver(&mut self, event: Event) {
        let call = event.call();
        if let Event::Incoming { request, .. } = event {
            self.announce(call, request);
            return;
        }
        let terminal = event.is_terminal();
        if let Some(leg) = self.legs.get(&call)
            && leg.try_send(event).is_err()
        {
            // Gone or stuck: nobody will ever end this call, so it ends here.
            metrics::counter!("ringfleet_sip_leg_overflow_total").increment(1);
            if !terminal {
                let _ = self.endpoint.hang_up(Instant::now(), call, None);
            }
        }
        if terminal {
            self.legs.remove(&call);
        }
    }

    fn announce(&mut self, call: CallHandle, request: Box<IncomingInvite>) {
        let (events, inbox) = mpsc::channel(LEG_QUEUE);
        if self.incoming.try_send(Incoming { call, request, events: inbox }).is_ok() {
            self.legs.insert(call, events);
        } else {
            let _ = self.endpoint.reject(Instant::now(), call, 503, vec![("Retry-After".to_owned(), "10".to_owned())]);
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
