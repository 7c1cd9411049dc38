//! What a call by RTP has on its media thread: its sockets and its stream.
//!
//! A thread does not wait for packets (no epoll): each call is stepped once in 20 ms anyway, and one `recvmmsg` at its
//! step takes what has come since the last. That is two system calls a step instead of four, and a packet waits no
//! longer than it would in the jitter buffer.

mod batch;
mod ports;

use std::fmt;
use std::net::UdpSocket;
use std::time::Instant;

use media::{FRAME_SAMPLES, MAX_PACKET, Remote, Stream, StreamConfig};

use batch::Batch;
pub use ports::{PortError, PortPool, RtpSockets};

use super::call::Stepped;
use super::handle::Opening;

/// Buffers that all calls of a thread share.
pub(super) struct Scratch {
    batch: Batch,
    packet: [u8; MAX_PACKET],
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { batch: Batch::new(), packet: [0; MAX_PACKET] }
    }
}

/// One call's sockets and stream.
pub(super) struct Line {
    socket: UdpSocket,
    /// Held for its port only.
    _rtcp: UdpSocket,
    stream: Option<Stream>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("rtp::Line").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(sockets: RtpSockets) -> Self {
        Self { socket: sockets.rtp, _rtcp: sockets.rtcp, stream: None }
    }

    /// Opens the stream; true when it was open. Early media that became the call goes on with the same SSRC and sequence.
    pub(super) fn open(&mut self, now: Instant, opening: &Opening) -> bool {
        let record = opening.recording.is_some();
        if let Some(stream) = &mut self.stream {
            stream.update_remote(now, opening.to.clone());
            if record {
                stream.desk.start_recording();
            }
            return true;
        }
        let config = StreamConfig {
            remote: opening.to.clone(),
            media_cidrs: opening.media_cidrs.clone(),
            ssrc: opening.ssrc,
            first_sequence: opening.first_sequence,
            first_timestamp: opening.first_timestamp,
            record,
        };
        self.stream = Some(Stream::new(now, config));
        false
    }

    pub(super) fn stream(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()
    }

    pub(super) fn update(&mut self, now: Instant, to: Remote) {
        if let Some(stream) = &mut self.stream {
            stream.update_remote(now, to);
        }
    }

    /// One step: takes the packets that have come, sends the one that is due.
    pub(super) fn step(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
        far: &mut [i16; FRAME_SAMPLES],
    ) -> Option<Stepped> {
        let stream = self.stream.as_mut()?;
        let received = scratch.batch.receive(&self.socket, |source, bytes| stream.handle_rtp(now, source, bytes));
        if let Err(error) = received {
            tracing::debug!(%error, "RTP socket");
        }
        let tick = stream.tick(now, far, &mut scratch.packet);
        if let Some((length, to)) = tick.send {
            // A packet that does not go out is a lost packet.
            let _ = self.socket.send_to(&scratch.packet[..length], to);
        }
        Some(Stepped { kind: tick.far, position: tick.position, near: *stream.desk.near_frame() })
    }
}
