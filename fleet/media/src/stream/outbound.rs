//! From queued audio and keys to packets. Never sends faster than a frame a tick, and its
//! timestamps are media time, whatever was skipped.

use super::config::{Remote, StreamConfig};
use crate::codec::Codec;
use crate::desk::Desk;
use crate::dtmf::Outgoing;
use crate::rtp::{HEADER, Header, MAX_PACKET};
use crate::{FRAME_SAMPLES, SAMPLE_RATE};

/// The most frames in one packet: 60 ms.
const MAX_FRAMES: usize = 3;

#[derive(Debug)]
pub(super) struct Outbound {
    wire: Wire,
    packetizer: Packetizer,
    sends: bool,
}

/// What identifies our packets.
#[derive(Debug)]
struct Wire {
    ssrc: u32,
    sequence: u16,
    first_timestamp: u32,
    codec: Codec,
    payload_type: u8,
    dtmf_payload_type: Option<u8>,
    /// The next audio packet begins a talk spurt.
    marker: bool,
    sent: u64,
}

/// Collects frames until a packet is full.
#[derive(Debug)]
struct Packetizer {
    payload: [u8; MAX_FRAMES * FRAME_SAMPLES],
    filled: usize,
    wanted: usize,
    timestamp: u32,
    event_timestamp: u32,
}

impl Outbound {
    pub(super) fn new(config: &StreamConfig) -> Self {
        let mut outbound = Self {
            wire: Wire {
                ssrc: config.ssrc,
                sequence: config.first_sequence,
                first_timestamp: config.first_timestamp,
                codec: config.remote.codec,
                payload_type: config.remote.payload_type,
                dtmf_payload_type: config.remote.dtmf_payload_type,
                marker: true,
                sent: 0,
            },
            packetizer: Packetizer {
                payload: [0; MAX_FRAMES * FRAME_SAMPLES],
                filled: 0,
                wanted: FRAME_SAMPLES,
                timestamp: 0,
                event_timestamp: 0,
            },
            sends: true,
        };
        outbound.update(&config.remote);
        outbound
    }

    pub(super) fn update(&mut self, remote: &Remote) {
        self.wire.codec = remote.codec;
        self.wire.payload_type = remote.payload_type;
        self.wire.dtmf_payload_type = remote.dtmf_payload_type;
        self.sends = remote.direction.sends();
        self.packetizer.filled = 0;
        self.packetizer.wanted = match remote.ptime_ms {
            40 => 2 * FRAME_SAMPLES,
            60 => 3 * FRAME_SAMPLES,
            _ => FRAME_SAMPLES,
        };
    }

    /// Media time has jumped: what was collected no longer joins what follows.
    pub(super) fn interrupted(&mut self) {
        self.packetizer.filled = 0;
        self.wire.marker = true;
    }

    /// Builds what goes out in this frame; the length of the packet, if one is due.
    pub(super) fn step(&mut self, position: u64, desk: &mut Desk, packet: &mut [u8; MAX_PACKET]) -> Option<usize> {
        if !self.sends {
            desk.near.fill(0);
            self.interrupted();
            return None;
        }
        let now = self.wire.first_timestamp.wrapping_add(position as u32);
        let filled = self.packetizer.filled;
        if filled == 0 {
            self.packetizer.timestamp = now;
        }
        let payload = &mut self.packetizer.payload[filled..filled + FRAME_SAMPLES];
        // A key starts between packets only, so that none is cut short.
        let key = if filled == 0 {
            desk.dtmf.next_frame(self.wire.dtmf_payload_type.is_some(), &mut desk.near)
        } else {
            None
        };
        match key {
            None => {
                desk.playout.next_frame(self.wire.codec, &mut desk.near, payload);
            }
            Some(Outgoing::Tone) => self.wire.codec.encode(&desk.near, payload),
            Some(Outgoing::Pause) => {
                desk.near.fill(0);
                payload.fill(self.wire.codec.silence());
            }
            Some(Outgoing::Event { event, first }) => {
                desk.near.fill(0);
                if first {
                    self.packetizer.event_timestamp = now;
                }
                packet[HEADER..HEADER + 4].copy_from_slice(&event.to_bytes());
                let timestamp = self.packetizer.event_timestamp;
                let payload_type = self.wire.dtmf_payload_type.unwrap_or_default();
                self.wire.header(first, payload_type, timestamp).write(packet);
                self.wire.marker = true;
                return Some(HEADER + 4);
            }
        }
        self.packetizer.filled += FRAME_SAMPLES;
        // Keys as tones, and pauses, are sent frame by frame.
        if self.packetizer.filled < self.packetizer.wanted && key.is_none() {
            return None;
        }
        Some(self.send_audio(packet))
    }

    pub(super) fn sent(&self) -> u64 {
        self.wire.sent
    }

    fn send_audio(&mut self, packet: &mut [u8; MAX_PACKET]) -> usize {
        let filled = std::mem::take(&mut self.packetizer.filled);
        let length = HEADER + filled;
        packet[HEADER..length].copy_from_slice(&self.packetizer.payload[..filled]);
        let marker = std::mem::take(&mut self.wire.marker);
        let timestamp = self.packetizer.timestamp;
        self.wire.header(marker, self.wire.payload_type, timestamp).write(packet);
        length
    }
}

impl Wire {
    fn header(&mut self, marker: bool, payload_type: u8, timestamp: u32) -> Header {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.sent += 1;
        Header { marker, payload_type, sequence, timestamp, ssrc: self.ssrc }
    }
}

const _: () = assert!(MAX_PACKET == HEADER + MAX_FRAMES * FRAME_SAMPLES && SAMPLE_RATE == 8000);
