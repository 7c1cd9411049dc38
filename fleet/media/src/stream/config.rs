//! The types at a stream's border. Never logic.

use crate::cidr::Cidr;
use crate::codec::Codec;
use crate::dtmf::Digit;
use crate::jitter::FarFrame;
use std::net::SocketAddr;
use std::time::Instant;

/// Which way media flows, as we see it (the answer's `a=` attribute of RFC 3264).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// We play, they hold.
    SendOnly,
    /// They play (music on hold), we are silent.
    RecvOnly,
    /// Nothing flows.
    Inactive,
}

impl Direction {
    /// Whether we send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether media is expected from the far side.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What an offer/answer exchange settled about the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Address and port of its SDP.
    pub address: SocketAddr,
    /// The codec we send.
    pub codec: Codec,
    /// Its payload type, both ways.
    pub payload_type: u8,
    /// Another codec that was agreed on too: the far side may change to it at any packet.
    pub alternate: Option<(u8, Codec)>,
    /// The payload type of `telephone-event`, if agreed on.
    pub dtmf_payload_type: Option<u8>,
    /// Milliseconds of audio in each packet we send: 20, 40 or 60; anything else means 20. What the
    /// far side sends may have any length.
    pub ptime_ms: u32,
    /// Which way media flows.
    pub direction: Direction,
}

impl Remote {
    /// G.711 with its static payload type, 20 ms, both ways, events as payload type 101.
    pub fn new(address: SocketAddr, codec: Codec) -> Self {
        Self {
            address,
            codec,
            payload_type: codec.static_payload_type(),
            alternate: None,
            dtmf_payload_type: Some(101),
            ptime_ms: 20,
            direction: Direction::SendRecv,
        }
    }
}

/// What a stream starts with.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// The far side.
    pub remote: Remote,
    /// Address blocks that the trunk sends media from.
    pub media_cidrs: Vec<Cidr>,
    /// Our synchronisation source; random.
    pub ssrc: u32,
    /// Our first sequence number; random.
    pub first_sequence: u16,
    /// Our first timestamp; random.
    pub first_timestamp: u32,
    /// Whether to record from the start. [`crate::desk::Desk::start_recording`] starts it later.
    pub record: bool,
}

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Length of the packet to send and where to.
    pub send: Option<(usize, SocketAddr)>,
    /// What the far frame holds.
    pub far: FarFrame,
    /// Media time of this frame: samples since the stream's start, skipped ones included.
    pub position: u64,
    /// Frames that media time jumped over before this one, after a stall.
    pub skipped: u64,
}

/// What a call task gets to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// The first packet of the call's media was accepted.
    FirstPacket,
    /// Media is taken from and sent to this address from now on.
    SourceLatched {
        /// The source.
        address: SocketAddr,
    },
    /// A key was pressed.
    Dtmf {
        /// Which.
        digit: Digit,
        /// How long, in milliseconds.
        duration_ms: u32,
    },
    /// All audio before the mark was sent.
    MarkPlayed {
        /// The mark.
        id: u64,
        /// Samples of queued audio sent by then, since the start.
        at_sample: u64,
    },
    /// Audio before the mark was dropped.
    MarkCleared {
        /// The mark.
        id: u64,
        /// Samples of queued audio sent by then, since the start.
        at_sample: u64,
    },
    /// Nothing has come for a while though it should: one-way audio or a lost far side.
    NoMedia {
        /// When something last came; the stream's start if never.
        since: Instant,
    },
    /// Media has come again after [`StreamEvent::NoMedia`].
    MediaResumed,
}

/// Counters of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StreamStats {
    /// Packets accepted from the taken source, duplicates left out.
    pub received: u64,
    /// Packets that by their numbers were sent and never came.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after their place was played.
    pub late: u64,
    /// Frames that were concealed, in whole or in part.
    pub concealed_frames: u64,
    /// Interarrival jitter of RFC 3550 section 6.4.1, in milliseconds.
    pub jitter_ms: f32,
    /// How long the fastest recent packet waits in the jitter buffer, in milliseconds.
    pub delay_ms: u32,
    /// Datagrams that are no valid RTP.
    pub malformed: u64,
    /// STUN, DTLS and RTCP on the RTP port.
    pub foreign: u64,
    /// Packets of a payload type that was not agreed on.
    pub unknown_payload: u64,
    /// Packets from an address that is not the taken source.
    pub wrong_source: u64,
    /// Packets of a new SSRC or sequence that had yet to prove itself, or with a mad timestamp.
    pub unproven: u64,
    /// Packets sent; on a socket, frames that sounded.
    pub sent: u64,
    /// Samples of a socket that came so much faster than they are played that they found no room.
    pub overrun: u64,
    /// Frames that media time jumped over after stalls.
    pub skipped_frames: u64,
    /// Events dropped because nobody polled.
    pub dropped_events: u64,
    /// Stereo frames recorded.
    pub recorded_frames: u64,
    /// Packets that came too late even for the recording.
    pub recording_misplaced: u64,
    /// Seconds of recording dropped because nobody polled.
    pub recording_dropped_blocks: u64,
}
