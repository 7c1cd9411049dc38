//! RTP on dedicated threads: each call's stream lives on one of them and is stepped every 20 ms.
//! It must never wait, allocate or lock in a step; whoever listens too slowly loses frames, and they are counted.
//!
//! A thread does not wait for packets (no epoll): each call is stepped once in 20 ms anyway, and one `recvmmsg` at its
//! step takes what has come since the last. That is two system calls a step instead of four, and a packet waits no
//! longer than it would in the jitter buffer.

mod batch;
mod ports;
mod thread;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use media::{Clip, FRAME_SAMPLES, FarFrame, Remote, StreamEvent, StreamStats};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use ports::{PortError, PortPool, RtpSockets};

use crate::recording::{RecordingId, Recordings};

/// Frames (20 ms each) of the far end that a call task may leave unread: one second.
const FAR_QUEUE: usize = 50;
/// Marks, digits and the like that a call task may leave unread.
const EVENT_QUEUE: usize = 256;
/// Commands that may wait for a media thread; it empties the queue every 2 ms.
const COMMAND_QUEUE: usize = 8192;

#[derive(Debug, Error)]
pub enum RtpError {
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error("a media thread can't be started: {0}")]
    Thread(std::io::Error),
}

/// 20 ms of both directions: what came in, and what was sent in the same step.
#[derive(Debug, Clone, Copy)]
pub struct Far {
    pub samples: [i16; FRAME_SAMPLES],
    pub near: [i16; FRAME_SAMPLES],
    pub kind: FarFrame,
    /// Samples since the stream was opened: frames that were dropped leave a gap in it.
    pub position: u64,
}

/// A call's end of its audio.
#[derive(Debug)]
pub struct AudioPort {
    pub far: mpsc::Receiver<Far>,
    pub events: mpsc::Receiver<StreamEvent>,
    pub media: MediaHandle,
}

impl AudioPort {
    /// A port without media: nothing comes, and nothing that is played goes anywhere.
    pub fn closed() -> Self {
        let (_, far) = mpsc::channel(1);
        let (_, events) = mpsc::channel(1);
        let (thread, _) = mpsc::channel(1);
        Self { far, events, media: MediaHandle { id: 0, thread, seed: [0; 10] } }
    }
}

pub(crate) enum Command {
    Reserve { id: u64, reserved: Box<Reserved> },
    Open { id: u64, opening: Box<Opening> },
    Update { id: u64, to: Remote },
    Play { id: u64, clip: Clip },
    Background { id: u64, clip: Option<Clip> },
    Mark { id: u64, mark: u64 },
    Clear { id: u64 },
    Dtmf { id: u64, digits: String },
    Close { id: u64, reply: oneshot::Sender<Option<StreamStats>> },
}

/// A call's sockets and queues before its stream is known.
pub(crate) struct Reserved {
    sockets: RtpSockets,
    far: mpsc::Sender<Far>,
    events: mpsc::Sender<StreamEvent>,
}

pub(crate) struct Opening {
    to: Remote,
    media_cidrs: Vec<media::Cidr>,
    recording: Option<RecordingId>,
    ssrc: u32,
    first_sequence: u16,
    first_timestamp: u32,
}

/// Steers one call's stream; commands never wait.
#[derive(Debug, Clone)]
pub struct MediaHandle {
    id: u64,
    thread: mpsc::Sender<Command>,
    /// SSRC, first sequence number and timestamp (RFC 3550 §5.1: random).
    seed: [u8; 10],
}

impl MediaHandle {
    /// Opens the stream, or opens it anew (early media that became the call). Recorded from here on where asked for.
    pub fn open(&self, to: Remote, media_cidrs: &[ipnet::IpNet], recording: Option<RecordingId>) {
        let s = self.seed;
        let opening = Opening {
            to,
            media_cidrs: media_cidrs
                .iter()
                .filter_map(|net| media::Cidr::new(net.addr(), net.prefix_len()).ok())
                .collect(),
            recording,
            ssrc: u32::from_le_bytes([s[0], s[1], s[2], s[3]]),
            first_sequence: u16::from_le_bytes([s[4], s[5]]),
            first_timestamp: u32::from_le_bytes([s[6], s[7], s[8], s[9]]),
        };
        self.send(Command::Open { id: self.id, opening: Box::new(opening) });
    }

    /// After a re-INVITE.
    pub fn update(&self, to: Remote) {
        self.send(Command::Update { id: self.id, to });
    }

    /// Queues audio behind what is queued already.
    pub fn play(&self, clip: Clip) {
        self.send(Command::Play { id: self.id, clip });
    }

    /// Loops `clip` whenever nothing else is played.
    pub fn background(&self, clip: Option<Clip>) {
        self.send(Command::Background { id: self.id, clip });
    }

    /// Asks for an event once all that is queued before it has been sent.
    pub fn mark(&self, mark: u64) {
        self.send(Command::Mark { id: self.id, mark });
    }

    /// Drops all queued audio; its marks come back as cleared.
    pub fn clear(&self) {
        self.send(Command::Clear { id: self.id });
    }

    pub fn dtmf(&self, digits: &str) {
        self.send(Command::Dtmf { id: self.id, digits: digits.to_owned() });
    }

    /// Ends the stream: its last recorded block is on its way to the writer when this returns.
    pub async fn close(&self) -> Option<StreamStats> {
        let (reply, answer) = oneshot::channel();
        self.thread.send(Command::Close { id: self.id, reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    fn send(&self, command: Command) {
        if self.thread.try_send(command).is_err() {
            metrics::counter!("ringfleet_media_commands_dropped_total").increment(1);
        }
    }
}

/// The media threads of one server.
#[derive(Debug, Clone)]
pub struct RtpEngine {
    ports: Arc<PortPool>,
    threads: Arc<[mpsc::Sender<Command>]>,
    next_thread: Arc<AtomicUsize>,
    next_id: Arc<AtomicU64>,
}

impl RtpEngine {
    /// Starts `threads` media threads; their sockets are bound to `ip`, with ports from `range`.
    ///
    /// # Errors
    /// When the range is empty or a thread can't be had.
    pub fn start(
        ip: IpAddr,
        range: &RangeInclusive<u16>,
        threads: usize,
        recordings: &Recordings,
    ) -> Result<Self, RtpError> {
        let ports = Arc::new(PortPool::new(ip, range)?);
        let mut senders = Vec::new();
        for n in 0..threads.max(1) {
            let (sender, inbox) = mpsc::channel(COMMAND_QUEUE);
            thread::spawn(n, inbox, recordings.clone()).map_err(RtpError::Thread)?;
            senders.push(sender);
        }
        Ok(Self { ports, threads: senders.into(), next_thread: Arc::default(), next_id: Arc::default() })
    }

    /// Most calls that the port range has room for.
    pub fn room(&self) -> u16 {
        self.ports.pairs()
    }

    /// Binds a pair of ports for a call; media flows once the handle is opened.
    ///
    /// # Errors
    /// When no pair is free.
    pub fn reserve(&self) -> Result<(MediaHandle, AudioPort, SocketAddr), PortError> {
        let sockets = self.ports.bind()?;
        let local = sockets.local;
        let (far, far_in) = mpsc::channel(FAR_QUEUE);
        let (events, events_in) = mpsc::channel(EVENT_QUEUE);
        let turn = self.next_thread.fetch_add(1, Ordering::Relaxed);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let media = MediaHandle { id, thread: self.threads[turn % self.threads.len()].clone(), seed: rand::random() };
        media.send(Command::Reserve { id, reserved: Box::new(Reserved { sockets, far, events }) });
        Ok((media.clone(), AudioPort { far: far_in, events: events_in, media }, local))
    }
}
