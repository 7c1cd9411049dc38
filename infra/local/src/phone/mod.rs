//! The built-in test phone: a real SIP user agent that is called, asks for digest, rings, answers and talks as a
//! scripted customer. It must never be part of a platform that serves real customers, nor know anything of the
//! platform that calls it but what comes over SIP and RTP.

mod call;
mod listening;
mod persona;
mod talk;
mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use server::audio::{AudioEngine, AudioError};
use server::provider::{Speech, VoiceSpec};
use server::recording::{Recordings, WriterError};
use server::signalling::{Incoming, Signalling, SignallingError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use listening::{Heard, Listening};
pub use persona::{Conversation, Line, Persona, PersonaError, Reply};
pub use words::{error_rate, name_heard};

/// INVITEs that may wait to be looked at.
const INCOMING_QUEUE: usize = 16;
/// Events that the owner may leave unread; further ones are dropped and counted.
const EVENT_QUEUE: usize = 1024;
const MAX_CALLS: usize = 64;

/// Who may call the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub username: String,
    pub password: String,
    pub realm: String,
}

/// Settings of a phone.
#[derive(Debug, Clone)]
pub struct PhoneConfig {
    /// Where SIP is bound; port 0 takes a free one. Media uses the same IP address.
    pub address: SocketAddr,
    pub rtp_ports: RangeInclusive<u16>,
    /// Asked for by digest; none: anybody may call.
    pub account: Option<Account>,
    /// How long it rings before the customer picks up.
    pub ring: Duration,
    pub persona: Persona,
    /// In order of preference; the first that is installed speaks.
    pub voices: Vec<VoiceSpec>,
    /// What the recogniser listens for, BCP 47.
    pub language: String,
    /// Silence after which the caller is thought to have finished. The recogniser adds its own.
    pub patience: Duration,
}

impl PhoneConfig {
    /// A phone on a free port of this machine, in English.
    pub fn new(persona: Persona, voices: Vec<VoiceSpec>) -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            rtp_ports: 40_000..=49_999,
            account: None,
            ring: Duration::from_millis(1500),
            persona,
            voices,
            language: "en-US".to_owned(),
            patience: Duration::from_millis(450),
        }
    }
}

/// Something the phone saw, heard or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneEvent {
    /// Counts the calls of this phone from 1; an INVITE that is only challenged is none yet.
    pub call: u32,
    /// Since the answer; zero before it.
    pub at: Duration,
    pub what: Happening,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// An INVITE without usable credentials was asked for some.
    Challenged,
    /// An INVITE had the wrong user or password.
    WrongPassword,
    /// An INVITE was refused with this status, as there is no way to talk.
    Refused {
        code: u16,
    },
    /// It rings; who calls, as From says.
    Ringing {
        from: String,
    },
    Answered,
    /// What the caller said in one go, as the phone's recogniser understood it.
    Heard(Heard),
    /// The customer begins to say this.
    Says {
        text: String,
    },
    /// The customer can't speak or hear; the call goes on without.
    Handicapped {
        what: &'static str,
    },
    /// The call is over.
    Ended(Ending),
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The caller gave up before the answer.
    Cancelled,
    /// The caller hung up.
    Caller,
    /// The customer hung up.
    Customer,
    /// The caller fell silent on SIP.
    Lost,
}

#[derive(Debug, Error)]
pub enum PhoneError {
    #[error("the test phone: {0}")]
    Signalling(#[from] SignallingError),
    #[error("the test phone: {0}")]
    Media(#[from] AudioError),
    #[error("the test phone: {0}")]
    Recording(#[from] WriterError),
}

/// A running phone; dropping it refuses further calls, live ones go on to their end.
#[derive(Debug)]
pub struct Phone {
    /// Where it is called.
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl Phone {
    /// Starts a phone on the current runtime; the channel tells what happens on all of its calls.
    ///
    /// # Errors
    /// When its port or a thread can't be had.
    pub fn start(config: PhoneConfig, speech: Arc<Speech>) -> Result<(Self, mpsc::Receiver<PhoneEvent>), PhoneError> {
        let (incoming, inbox) = mpsc::channel(INCOMING_QUEUE);
        let signalling = Signalling::start(config.address, None, MAX_CALLS, rand::random(), incoming, None)?;
        let rtp = AudioEngine::start(signalling.local.ip(), &config.rtp_ports, 1, &Recordings::start()?)?;
        let (events, told) = mpsc::channel(EVENT_QUEUE);
        let address = signalling.local;
        let stop = CancellationToken::new();
        let line = Arc::new(PhoneLine {
            signalling,
            rtp,
            speech,
            persona: Arc::new(config.persona.clone()),
            config,
            calls: AtomicU32::new(0),
            events,
        });
        talk::rehearse(&line);
        tokio::spawn(serve(line, inbox, stop.clone()));
        Ok((Self { address, _stop: stop.drop_guard() }, told))
    }
}

async fn serve(line: Arc<PhoneLine>, mut inbox: mpsc::Receiver<Incoming>, stop: CancellationToken) {
    loop {
        tokio::select! {
            incoming = inbox.recv() => match incoming {
                Some(incoming) => {
                    tokio::spawn(call::take(line.clone(), incoming));
                }
                None => return,
            },
            () = stop.cancelled() => return,
        }
    }
}

/// What all calls of a phone share.
#[derive(Debug)]
struct PhoneLine {
    signalling: Signalling,
    rtp: AudioEngine,
    speech: Arc<Speech>,
    persona: Arc<Persona>,
    config: PhoneConfig,
    calls: AtomicU32,
    events: mpsc::Sender<PhoneEvent>,
}

impl PhoneLine {
    fn next_call(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the owner, if it listens.
    fn tell(&self, call: u32, at: Duration, what: Happening) {
        if self.events.try_send(PhoneEvent { call, at, what }).is_err() {
            metrics::counter!("ringfleet_phone_events_dropped_total").increment(1);
        }
    }
}

#[cfg(test)]
mod tests;
