//! One call's audio path: datagrams in, a frame of the far end and a packet out every 20 ms.
//!
//! The order of a media thread's turn: [`Stream::handle_rtp`] for what has come,
//! [`Stream::tick`] at the deadline, then drain [`Desk::poll_event`] and
//! [`Desk::poll_recording`]. Never blocks, never fails on input (it counts), and allocates
//! nothing per packet once a call's recording blocks come back by [`Desk::recycle_recording`].

mod config;
mod inbound;
mod outbound;

pub use config::{Direction, Remote, StreamConfig, StreamEvent, StreamStats, Tick};

use crate::desk::Desk;
use crate::{FRAME_SAMPLES, MAX_PACKET};
use inbound::Inbound;
use outbound::Outbound;
use std::net::SocketAddr;
use std::time::Instant;

/// The audio of one call by RTP.
#[derive(Debug)]
pub struct Stream {
    /// What the call steers: what is said, keys, recording, events.
    pub desk: Desk,
    inbound: Inbound,
    outbound: Outbound,
}

impl Stream {
    /// Starts a call's audio; the first tick is expected within 20 ms.
    pub fn new(now: Instant, config: StreamConfig) -> Self {
        let mut desk = Desk::new(now);
        if config.record {
            desk.start_recording();
        }
        Self { desk, outbound: Outbound::new(&config), inbound: Inbound::new(now, config.remote, config.media_cidrs) }
    }

    /// Takes a datagram from the call's RTP port. What is no valid packet of the call is counted.
    pub fn handle_rtp(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let desk = &mut self.desk;
        let arrival = desk.clock.at(now);
        self.inbound.handle(now, arrival, source, bytes, desk.recorder.as_mut(), &mut desk.events);
    }

    /// One 20 ms step: fills `far` with the next frame of the far end and `packet` with the next
    /// packet to send. After a stall longer than the pacer makes up for, media time jumps.
    pub fn tick(&mut self, now: Instant, far: &mut [i16; FRAME_SAMPLES], packet: &mut [u8; MAX_PACKET]) -> Tick {
        let desk = &mut self.desk;
        let skipped = desk.clock.follow(now);
        if skipped > 0 {
            self.outbound.interrupted();
        }
        let position = desk.clock.position();
        let frame = self.inbound.pull(now, far, &mut desk.events);
        let length = self.outbound.step(position, desk, packet);
        if let Some(recorder) = &mut desk.recorder {
            recorder.bot(position, &desk.near);
        }
        desk.ticked();
        Tick { send: length.map(|length| (length, self.inbound.destination())), far: frame, position, skipped }
    }

    /// Barge-in: drops the queued audio with a fade of 5 ms, reports waiting marks as
    /// [`StreamEvent::MarkCleared`], and returns how many samples were dropped.
    pub fn clear(&mut self) -> usize {
        let Desk { playout, events, .. } = &mut self.desk;
        playout.clear(|mark| Desk::cleared(events, mark))
    }

    /// Applies a new SDP of the far side (re-INVITE, early media to answer).
    pub fn update_remote(&mut self, now: Instant, remote: Remote) {
        self.outbound.update(&remote);
        self.inbound.update(now, remote);
    }

    /// Where media is sent to now.
    pub fn destination(&self) -> SocketAddr {
        self.inbound.destination()
    }

    /// Counters since the start.
    pub fn stats(&self) -> StreamStats {
        let mut stats = self.inbound.stats();
        stats.sent = self.outbound.sent();
        self.desk.count(&mut stats);
        stats
    }
}

#[cfg(test)]
mod tests;
