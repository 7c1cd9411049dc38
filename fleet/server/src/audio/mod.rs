//! The audio of calls on dedicated threads: each call's stream lives on one of them and is stepped every 20 ms, whether
//! RTP or a socket carries it. A thread must never wait, allocate or lock in a step; whoever listens too slowly loses
//! frames, and they are counted.

mod call;
mod handle;
mod rtp;
mod socket;
mod thread;
mod transcode;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use media::{FRAME_SAMPLES, FarFrame, StreamEvent};
use thiserror::Error;
use tokio::sync::mpsc;

pub use handle::MediaHandle;
pub use rtp::{PortError, PortPool, RtpSockets};
pub use socket::{Heard, Said, SocketLine};
pub use transcode::{Transcoder, Unsupported};

use crate::recording::Recordings;
use call::Line;
use handle::{Command, Reserved};

/// Frames (20 ms each) of the far end that a call task may leave unread: one second.
const FAR_QUEUE: usize = 50;
/// Marks, digits and the like that a call task may leave unread.
const EVENT_QUEUE: usize = 256;
/// Commands that may wait for a media thread; it empties the queue every 2 ms.
const COMMAND_QUEUE: usize = 8192;

#[derive(Debug, Error)]
pub enum AudioError {
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
        Self { far, events, media: MediaHandle::closed() }
    }
}

/// The media threads of one server.
#[derive(Debug, Clone)]
pub struct AudioEngine {
    ports: Arc<PortPool>,
    threads: Arc<[mpsc::Sender<Command>]>,
    next_thread: Arc<AtomicUsize>,
    next_id: Arc<AtomicU64>,
}

impl AudioEngine {
    /// Starts `threads` media threads; their RTP sockets are bound to `ip`, with ports from `range`.
    ///
    /// # Errors
    /// When the range is empty or a thread can't be had.
    pub fn start(
        ip: IpAddr,
        range: &RangeInclusive<u16>,
        threads: usize,
        recordings: &Recordings,
    ) -> Result<Self, AudioError> {
        let ports = Arc::new(PortPool::new(ip, range)?);
        let mut senders = Vec::new();
        for n in 0..threads.max(1) {
            let (sender, inbox) = mpsc::channel(COMMAND_QUEUE);
            thread::spawn(n, inbox, recordings.clone()).map_err(AudioError::Thread)?;
            senders.push(sender);
        }
        Ok(Self { ports, threads: senders.into(), next_thread: Arc::default(), next_id: Arc::default() })
    }

    /// Most calls that the port range has room for.
    pub fn room(&self) -> u16 {
        self.ports.pairs()
    }

    /// Binds a pair of ports for a call by RTP; media flows once the handle is opened with [`MediaHandle::open`].
    ///
    /// # Errors
    /// When no pair is free.
    pub fn reserve_rtp(&self) -> Result<(MediaHandle, AudioPort, SocketAddr), PortError> {
        let sockets = self.ports.bind()?;
        let local = sockets.local;
        let (events, events_in) = mpsc::channel(EVENT_QUEUE);
        let (media, audio) = self.reserve(Line::Rtp(rtp::Line::new(sockets)), events, events_in);
        Ok((media, audio, local))
    }

    /// Makes room for a call whose audio a leg carries as samples; it flows once the handle is opened with
    /// [`MediaHandle::open_socket`].
    pub fn reserve_socket(&self) -> (MediaHandle, AudioPort, SocketLine) {
        let (events, events_in) = mpsc::channel(EVENT_QUEUE);
        let (line, leg) = socket::pair(events.clone());
        let (media, audio) = self.reserve(Line::Socket(line), events, events_in);
        (media, audio, leg)
    }

    fn reserve(
        &self,
        line: Line,
        events: mpsc::Sender<StreamEvent>,
        events_in: mpsc::Receiver<StreamEvent>,
    ) -> (MediaHandle, AudioPort) {
        let (far, far_in) = mpsc::channel(FAR_QUEUE);
        let turn = self.next_thread.fetch_add(1, Ordering::Relaxed);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let media = MediaHandle::new(id, self.threads[turn % self.threads.len()].clone());
        media.send(Command::Reserve { id, reserved: Box::new(Reserved { line, far, events }) });
        (media.clone(), AudioPort { far: far_in, events: events_in, media })
    }
}

#[cfg(test)]
mod tests;
