//! From datagram to frame: validation, latching, sequence, jitter buffer, events.
//! Never answers a packet and never lets a stranger's reach the buffer.

use super::config::{Remote, StreamEvent, StreamStats};
use crate::cidr::Cidr;
use crate::codec::Codec;
use crate::desk::Events;
use crate::dtmf::{Event, EventReceiver, Pressed};
use crate::jitter::{FarFrame, Inserted, JitterBuffer};
use crate::latch::{Decision, Kind, Latch, Sighting};
use crate::recorder::Recorder;
use crate::rtp::{MAX_PAYLOAD, Packet, RtpError};
use crate::sequence::{SequenceTracker, Verdict};
use crate::{FRAME_SAMPLES, SAMPLE_RATE};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Silence on the wire that is reported: one-way audio must be noticed within 10 s.
const NO_MEDIA: Duration = Duration::from_secs(8);
/// The same when the far side has said by comfort noise that it will be silent.
const NO_MEDIA_IN_COMFORT_NOISE: Duration = Duration::from_secs(60);
/// Static payload type of comfort noise (RFC 3389); accepted though nobody lists it.
const COMFORT_NOISE: u8 = 13;

#[derive(Debug)]
pub(super) struct Inbound {
    remote: Remote,
    latch: Latch,
    sequence: SequenceTracker,
    jitter: JitterBuffer,
    dtmf: EventReceiver,
    liveness: Liveness,
    interarrival: Interarrival,
    counted: StreamStats,
}

#[derive(Debug)]
struct Liveness {
    heard: Instant,
    ever: bool,
    comfort_noise: bool,
    reported: bool,
}

/// What a payload is.
#[derive(Debug, Clone, Copy)]
enum Payload {
    Audio(Codec),
    Event(Event),
    ComfortNoise,
}

impl Inbound {
    pub(super) fn new(now: Instant, remote: Remote, media_cidrs: Vec<Cidr>) -> Self {
        let mut latch = Latch::new(remote.address, media_cidrs);
        latch.update(now, remote.address, !remote.direction.receives());
        Self {
            latch,
            remote,
            sequence: SequenceTracker::default(),
            jitter: JitterBuffer::default(),
            dtmf: EventReceiver::default(),
            liveness: Liveness { heard: now, ever: false, comfort_noise: false, reported: false },
            interarrival: Interarrival::default(),
            counted: StreamStats::default(),
        }
    }

    pub(super) fn destination(&self) -> SocketAddr {
        self.latch.destination()
    }

    pub(super) fn update(&mut self, now: Instant, remote: Remote) {
        self.latch.update(now, remote.address, !remote.direction.receives());
        if self.remote.direction != remote.direction {
            // Silence in hold is no one-way audio: the count starts at its end.
            self.liveness.heard = now;
        }
        self.remote = remote;
    }

    /// `arrival` is our media time.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        arrival: u64,
        source: SocketAddr,
        bytes: &[u8],
        recorder: Option<&mut Recorder>,
        events: &mut Events,
    ) {
        let Some((packet, payload)) = self.read(bytes) else {
            return;
        };
        let Some(verdict) = self.admit(now, source, &packet, payload, events) else {
            return;
        };
        match verdict {
            Verdict::Accept => {}
            Verdict::Restart => {
                self.jitter.reset();
                self.dtmf = EventReceiver::default();
                self.interarrival.restart();
            }
            Verdict::Duplicate => {
                self.counted.duplicates += 1;
                return;
            }
            Verdict::Probation => {
                self.counted.unproven += 1;
                return;
            }
        }
        match payload {
            Payload::Audio(codec) => self.audio(now, arrival, &packet, codec, recorder),
            Payload::ComfortNoise => self.jitter.quiet(now, packet.timestamp),
            Payload::Event(event) => {
                self.jitter.quiet(now, packet.timestamp);
                for pressed in self.dtmf.handle(now, packet.timestamp, event).into_iter().flatten() {
                    events.push(dtmf(pressed));
                }
            }
        }
    }

    pub(super) fn pull(&mut self, now: Instant, far: &mut [i16; FRAME_SAMPLES], events: &mut Events) -> FarFrame {
        if let Some(pressed) = self.dtmf.handle_timeout(now) {
            events.push(dtmf(pressed));
        }
        self.watch(now, events);
        self.jitter.pull(now, far)
    }

    pub(super) fn stats(&self) -> StreamStats {
        let jitter = self.jitter.stats();
        StreamStats {
            received: self.sequence.received(),
            lost: self.sequence.lost(),
            late: jitter.late,
            concealed_frames: jitter.concealed_frames,
            unproven: self.counted.unproven + jitter.stray,
            jitter_ms: self.interarrival.jitter / (SAMPLE_RATE as f32 / 1000.0),
            delay_ms: self.jitter.delay_samples() * 1000 / SAMPLE_RATE,
            ..self.counted
        }
    }

    fn read<'a>(&mut self, bytes: &'a [u8]) -> Option<(Packet<'a>, Payload)> {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(RtpError::OtherProtocol | RtpError::Rtcp) => {
                self.counted.foreign += 1;
                return None;
            }
            Err(RtpError::Truncated | RtpError::Version | RtpError::Padding | RtpError::Oversized) => {
                self.counted.malformed += 1;
                return None;
            }
        };
        let kind = packet.payload_type;
        let payload = if kind == self.remote.payload_type {
            Payload::Audio(self.remote.codec)
        } else if let Some((_, codec)) = self.remote.alternate.filter(|(other, _)| *other == kind) {
            Payload::Audio(codec)
        } else if Some(kind) == self.remote.dtmf_payload_type {
            let Some(event) = Event::parse(packet.payload) else {
                self.counted.malformed += 1;
                return None;
            };
            Payload::Event(event)
        } else if kind == COMFORT_NOISE {
            Payload::ComfortNoise
        } else {
            self.counted.unknown_payload += 1;
            return None;
        };
        Some((packet, payload))
    }

    /// Source and sequence; `None` when the source is not ours.
    fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        packet: &Packet<'_>,
        payload: Payload,
        events: &mut Events,
    ) -> Option<Verdict> {
        let comfort_noise = matches!(payload, Payload::ComfortNoise);
        let sighting = Sighting {
            source,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            kind: if comfort_noise { Kind::ComfortNoise } else { Kind::Negotiated },
        };
        let before = self.latch.destination();
        let verdict = match self.latch.observe(now, sighting) {
            Decision::Drop => {
                self.counted.wrong_source += 1;
                return None;
            }
            Decision::Accept => self.sequence.observe(packet.ssrc, packet.sequence),
            Decision::Latched => {
                self.sequence.adopt(packet.ssrc, packet.sequence);
                if self.latch.destination() != before {
                    let address = self.latch.destination();
                    events.push(StreamEvent::SourceLatched { address });
                }
                Verdict::Restart
            }
        };
        self.liveness.heard = now;
        self.liveness.comfort_noise = comfort_noise;
        if !self.liveness.ever {
            self.liveness.ever = true;
            events.push(StreamEvent::FirstPacket);
        }
        if self.liveness.reported {
            self.liveness.reported = false;
            events.push(StreamEvent::MediaResumed);
        }
        Some(verdict)
    }

    fn audio(
        &mut self,
        now: Instant,
        arrival: u64,
        packet: &Packet<'_>,
        codec: Codec,
        recorder: Option<&mut Recorder>,
    ) {
        let mut samples = [0i16; MAX_PAYLOAD];
        let samples = &mut samples[..packet.payload.len()];
        codec.decode(packet.payload, samples);
        self.interarrival.observe(arrival, packet.timestamp);
        let inserted = self.jitter.insert(now, packet.timestamp, samples);
        let Some(recorder) = recorder else {
            return;
        };
        match inserted {
            Inserted::Stray | Inserted::Duplicate => return,
            Inserted::Resynchronised => recorder.restart_customer(),
            Inserted::Buffered | Inserted::Late => {}
        }
        recorder.customer(arrival, packet.timestamp, samples);
    }

    fn watch(&mut self, now: Instant, events: &mut Events) {
        let live = &mut self.liveness;
        let limit = if live.comfort_noise { NO_MEDIA_IN_COMFORT_NOISE } else { NO_MEDIA };
        let expected = self.remote.direction.receives();
        if !live.reported && expected && now.saturating_duration_since(live.heard) >= limit {
            live.reported = true;
            events.push(StreamEvent::NoMedia { since: live.heard });
        }
    }
}

fn dtmf(pressed: Pressed) -> StreamEvent {
    StreamEvent::Dtmf { digit: pressed.digit, duration_ms: pressed.duration_ms }
}

/// RFC 3550 appendix A.8, in timestamp units.
#[derive(Debug, Default)]
struct Interarrival {
    transit: Option<u32>,
    jitter: f32,
}

impl Interarrival {
    fn observe(&mut self, arrival: u64, timestamp: u32) {
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let apart = (transit.wrapping_sub(before) as i32).unsigned_abs();
            self.jitter += (apart.min(SAMPLE_RATE) as f32 - self.jitter) / 16.0;
        }
    }

    fn restart(&mut self) {
        self.transit = None;
    }
}
