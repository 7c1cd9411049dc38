//! Steering a call's stream from outside its media thread. It must never wait for the thread, except to close.

use media::{Clip, Remote, StreamEvent, StreamStats};
use tokio::sync::{mpsc, oneshot};

use super::Far;
use super::call::Line;
use crate::recording::RecordingId;

pub(super) enum Command {
    Reserve { id: u64, reserved: Box<Reserved> },
    Open { id: u64, opening: Box<Opening> },
    OpenSocket { id: u64, recording: Option<RecordingId> },
    Update { id: u64, to: Remote },
    Pause { id: u64, paused: bool },
    Play { id: u64, clip: Clip },
    Background { id: u64, clip: Option<Clip> },
    Mark { id: u64, mark: u64 },
    Clear { id: u64 },
    Dtmf { id: u64, digits: String },
    Close { id: u64, reply: oneshot::Sender<Option<StreamStats>> },
}

/// What carries a call and its queues before its stream is known.
pub(super) struct Reserved {
    pub line: Line,
    pub far: mpsc::Sender<Far>,
    pub events: mpsc::Sender<StreamEvent>,
}

/// How an RTP stream starts.
pub(super) struct Opening {
    pub to: Remote,
    pub media_cidrs: Vec<media::Cidr>,
    pub recording: Option<RecordingId>,
    pub ssrc: u32,
    pub first_sequence: u16,
    pub first_timestamp: u32,
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
    pub(super) fn new(id: u64, thread: mpsc::Sender<Command>) -> Self {
        Self { id, thread, seed: rand::random() }
    }

    pub(super) fn closed() -> Self {
        let (thread, _) = mpsc::channel(1);
        Self { id: 0, thread, seed: [0; 10] }
    }

    /// Opens a stream by RTP, or opens it anew (early media that became the call). Recorded from here on where asked for.
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

    /// Opens the stream of a socket, or, opened already, lets the call begin here: positions count from now on, and it
    /// is recorded from here on where asked for.
    pub fn open_socket(&self, recording: Option<RecordingId>) {
        self.send(Command::OpenSocket { id: self.id, recording });
    }

    /// After a re-INVITE.
    pub fn update(&self, to: Remote) {
        self.send(Command::Update { id: self.id, to });
    }

    /// While a socket's far side wants nothing (hold, a full queue): what is queued waits instead of being sent.
    pub fn pause(&self, paused: bool) {
        self.send(Command::Pause { id: self.id, paused });
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

    /// Queues keys: as RFC 4733 events, or, on a socket and where events were not agreed on, as tones.
    pub fn dtmf(&self, digits: &str) {
        self.send(Command::Dtmf { id: self.id, digits: digits.to_owned() });
    }

    /// Ends the stream: its last recorded block is on its way to the writer when this returns.
    pub async fn close(&self) -> Option<StreamStats> {
        let (reply, answer) = oneshot::channel();
        self.thread.send(Command::Close { id: self.id, reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    pub(super) fn send(&self, command: Command) {
        if self.thread.try_send(command).is_err() {
            metrics::counter!("ringfleet_media_commands_dropped_total").increment(1);
        }
    }
}
