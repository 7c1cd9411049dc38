//! A whole stream: frames, packets, events, hold, stalls, recording.

use super::*;
use crate::FRAME;
use crate::codec::Codec;
use crate::desk::MAX_EVENTS;
use crate::dtmf::Digit;
use crate::jitter::FarFrame;
use crate::rtp::{HEADER, Header, Packet};
use crate::test_support::{epoch, sine};
use std::time::Duration;

const SDP: &str = "192.0.2.1:4000";
const NAT: &str = "198.51.100.7:31000";

/// A stream on simulated time, and a far side that sends to it.
struct Call {
    stream: Stream,
    start: Instant,
    ticks: u64,
    far_sequence: u16,
    far_timestamp: u32,
    last: [i16; FRAME_SAMPLES],
}

/// What a tick sent, read back.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    to: SocketAddr,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

fn remote() -> Remote {
    Remote::new(SDP.parse().unwrap(), Codec::Pcmu)
}

fn config(remote: Remote) -> StreamConfig {
    StreamConfig {
        remote,
        media_cidrs: Vec::new(),
        ssrc: 77,
        first_sequence: 65_534,
        first_timestamp: u32::MAX - 300,
        record: true,
    }
}

impl Call {
    fn new(remote: Remote) -> Self {
        let start = epoch();
        Self {
            stream: Stream::new(start, config(remote)),
            start,
            ticks: 0,
            far_sequence: 65_530,
            far_timestamp: u32::MAX - 1000,
            last: [0; FRAME_SAMPLES],
        }
    }

    fn now(&self) -> Instant {
        self.start + FRAME * self.ticks as u32
    }

    fn send(&mut self, source: &str, payload_type: u8, marker: bool, payload: &[u8]) {
        let mut packet = [0; MAX_PACKET];
        let header =
            Header { marker, payload_type, sequence: self.far_sequence, timestamp: self.far_timestamp, ssrc: 5 };
        header.write(&mut packet);
        packet[HEADER..HEADER + payload.len()].copy_from_slice(payload);
        self.far_sequence = self.far_sequence.wrapping_add(1);
        let now = self.now();
        self.stream.handle_rtp(now, source.parse().unwrap(), &packet[..HEADER + payload.len()]);
    }

    fn send_voice(&mut self, source: &str, sample: i16) {
        let mut payload = [0; FRAME_SAMPLES];
        Codec::Pcmu.encode(&[sample; FRAME_SAMPLES], &mut payload);
        self.send(source, 0, false, &payload);
        self.far_timestamp = self.far_timestamp.wrapping_add(160);
    }

    fn tick(&mut self) -> (Tick, Option<Sent>) {
        let mut packet = [0; MAX_PACKET];
        let now = self.now();
        let tick = self.stream.tick(now, &mut self.last, &mut packet);
        self.ticks += 1;
        let sent = tick.send.map(|(length, to)| {
            let packet = Packet::parse(&packet[..length]).unwrap();
            assert_eq!(packet.ssrc, 77);
            Sent {
                to,
                marker: packet.marker,
                payload_type: packet.payload_type,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                payload: packet.payload.to_vec(),
            }
        });
        (tick, sent)
    }

    fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.stream.desk.poll_event()).collect()
    }
}

#[test]
fn silence_goes_out_before_anything_is_said() {
    let mut call = Call::new(remote());
    let (tick, first) = call.tick();
    assert_eq!(tick.far, FarFrame::Nothing);
    let expect = Sent {
        to: SDP.parse().unwrap(),
        marker: true,
        payload_type: 0,
        sequence: 65_534,
        timestamp: u32::MAX - 300,
        payload: vec![0xFF; 160],
    };
    assert_eq!(first, Some(expect.clone()));
    call.tick();
    let third = call.tick().1.unwrap();
    assert_eq!((third.marker, third.sequence, third.timestamp), (false, 0, 19));
    assert_eq!(third.payload, expect.payload);
}

#[test]
fn what_is_said_is_sent_and_marked() {
    let mut call = Call::new(remote());
    let audio = sine(440.0, 400, 9000.0);
    assert_eq!(call.stream.desk.play(&audio), 400);
    assert!(call.stream.desk.mark(42));
    let mut heard = Vec::new();
    for tick in 0..4 {
        let payload = call.tick().1.unwrap().payload;
        let mut samples = [0; 160];
        Codec::Pcmu.decode(&payload, &mut samples);
        heard.extend(samples);
        let events = call.events();
        if tick == 2 {
            assert_eq!(events, [StreamEvent::MarkPlayed { id: 42, at_sample: 400 }]);
        } else {
            assert_eq!(events, []);
        }
    }
    let mut expect = vec![0; 640];
    expect[..400].copy_from_slice(&audio);
    let mut bytes = vec![0; 640];
    Codec::Pcmu.encode(&expect, &mut bytes);
    Codec::Pcmu.decode(&bytes, &mut expect);
    assert_eq!(heard, expect);
    assert_eq!(call.stream.desk.played_samples(), 400);
}

#[test]
fn barge_in_drops_what_was_not_said() {
    let mut call = Call::new(remote());
    call.stream.desk.play(&[1000; 1600]);
    call.stream.desk.mark(1);
    call.tick();
    assert_eq!(call.stream.clear(), 1400);
    assert_eq!(call.events(), [StreamEvent::MarkCleared { id: 1, at_sample: 160 }]);
    call.tick();
    assert_eq!(call.stream.desk.queued_samples(), 0);
    assert_eq!(call.tick().1.unwrap().payload, vec![0xFF; 160]);
}

#[test]
fn the_far_end_is_heard_and_announced_once() {
    let mut call = Call::new(remote());
    let mut kinds = Vec::new();
    let mut heard = Vec::new();
    for _ in 0..20 {
        call.send_voice(SDP, 5000);
        kinds.push(call.tick().0.far);
        heard.extend(call.last);
    }
    assert_eq!(call.events(), [StreamEvent::FirstPacket]);
    assert!(kinds[4..].iter().all(|k| *k == FarFrame::Speech), "{kinds:?}");
    let level = i32::from(heard[3199]);
    assert!((4850..5150).contains(&level), "{level}");
    let stats = call.stream.stats();
    assert_eq!((stats.received, stats.lost, stats.sent), (20, 0, 20));
}

#[test]
fn media_follows_a_nat_after_five_packets() {
    let mut call = Call::new(remote());
    for _ in 0..5 {
        assert_eq!(call.tick().1.unwrap().to, SDP.parse().unwrap());
        call.send_voice(NAT, 1);
    }
    let address = NAT.parse().unwrap();
    assert_eq!(call.tick().1.unwrap().to, address);
    let events = call.events();
    assert_eq!(events, [StreamEvent::SourceLatched { address }, StreamEvent::FirstPacket]);
    assert_eq!(call.stream.stats().wrong_source, 4);
}

#[test]
fn the_far_side_may_use_the_other_codec_it_agreed_on() {
    let mut call = Call::new(Remote { alternate: Some((8, Codec::Pcma)), ..remote() });
    let mut payload = [0; 160];
    Codec::Pcma.encode(&[3000; 160], &mut payload);
    for _ in 0..10 {
        call.send(SDP, 8, false, &payload);
        call.far_timestamp = call.far_timestamp.wrapping_add(160);
        call.tick();
    }
    assert!((2900..3100).contains(&call.last[80]), "{}", call.last[80]);
    call.send(SDP, 9, false, &payload);
    assert_eq!(call.stream.stats().unknown_payload, 1);
}

#[test]
fn keys_go_out_as_events_while_audio_waits() {
    let mut call = Call::new(remote());
    call.tick();
    call.stream.desk.play(&[1000; 320]);
    assert_eq!(call.stream.desk.send_dtmf("7"), 1);
    let sent: Vec<Sent> = (0..13).map(|_| call.tick().1.unwrap()).collect();
    let start = (u32::MAX - 300).wrapping_add(160);
    for (n, packet) in sent[..7].iter().enumerate() {
        assert_eq!((packet.payload_type, packet.marker, packet.timestamp), (101, n == 0, start), "{n}");
        let duration = 160 * (n as u16 + 1).min(5);
        assert_eq!(packet.payload, [7, if n >= 4 { 0x8A } else { 10 }, (duration >> 8) as u8, duration as u8]);
    }
    assert!(sent.windows(2).all(|w| w[1].sequence == w[0].sequence.wrapping_add(1)));
    assert_eq!((sent[7].payload_type, sent[7].marker), (0, true));
    assert_eq!(sent[7].timestamp, start.wrapping_add(7 * 160));
    assert_eq!(sent[10].payload, vec![0xFF; 160]);
    assert_ne!(sent[11].payload, vec![0xFF; 160]);
    assert_eq!(call.stream.desk.played_samples(), 320);
}

#[test]
fn keys_go_out_as_tones_without_events() {
    let mut call = Call::new(Remote { dtmf_payload_type: None, ..remote() });
    call.stream.desk.send_dtmf("4");
    let mut detector = crate::dtmf::InbandDetector::default();
    let mut heard = Vec::new();
    for _ in 0..9 {
        let sent = call.tick().1.unwrap();
        assert_eq!(sent.payload_type, 0);
        let mut samples = [0; 160];
        Codec::Pcmu.decode(&sent.payload, &mut samples);
        heard.extend(detector.push(&samples));
    }
    assert_eq!(heard, [Digit::from_char('4').unwrap()]);
}

#[test]
fn keys_that_come_are_events_whether_or_not_marked_or_ended() {
    let mut call = Call::new(remote());
    for _ in 0..5 {
        call.send_voice(SDP, 100);
        call.tick();
    }
    // No marker, end packets lost; then only a single end packet.
    for (digit, flags) in [(1u8, [10u8, 10, 10]), (2, [0x8A, 0x8A, 0x8A])] {
        for flag in flags {
            call.send(SDP, 101, false, &[digit, flag, 1, 0x40]);
            call.tick();
        }
        call.far_timestamp = call.far_timestamp.wrapping_add(1600);
    }
    let keys: Vec<StreamEvent> = call.events().into_iter().skip(1).collect();
    let key = |c| StreamEvent::Dtmf { digit: Digit::from_char(c).unwrap(), duration_ms: 40 };
    assert_eq!(keys, [key('1'), key('2')]);
    call.send(SDP, 101, false, &[5, 10, 0]);
    assert_eq!(call.stream.stats().malformed, 1);
}

#[test]
fn longer_packets_are_collected() {
    let mut call = Call::new(Remote { ptime_ms: 60, ..remote() });
    call.stream.desk.play(&(0..960).collect::<Vec<i16>>());
    call.stream.desk.send_dtmf("");
    let sent: Vec<Option<Sent>> = (0..6).map(|_| call.tick().1).collect();
    assert!(sent[0].is_none() && sent[1].is_none() && sent[3].is_none() && sent[4].is_none());
    let (a, b) = (sent[2].clone().unwrap(), sent[5].clone().unwrap());
    assert_eq!((a.payload.len(), b.payload.len()), (480, 480));
    assert_eq!(a.timestamp, u32::MAX - 300);
    assert_eq!(b.timestamp.wrapping_sub(a.timestamp), 480);
}

#[test]
fn hold_stops_and_resumes() {
    let mut call = Call::new(remote());
    call.tick();
    call.stream.desk.play(&[1000; 160]);
    let now = call.now();
    call.stream.update_remote(now, Remote { direction: Direction::Inactive, ..remote() });
    for _ in 0..600 {
        assert_eq!(call.tick().1, None);
    }
    assert_eq!(call.events(), [], "silence in hold is not reported");
    assert_eq!(call.stream.desk.played_samples(), 0);
    let now = call.now();
    call.stream.update_remote(now, remote());
    let sent = call.tick().1.unwrap();
    assert!(sent.marker);
    assert_eq!(sent.timestamp, (u32::MAX - 300).wrapping_add(601 * 160));
    assert_eq!(call.stream.desk.played_samples(), 160);
}

#[test]
fn one_way_audio_is_noticed_and_its_end_too() {
    let mut call = Call::new(remote());
    let start = call.now();
    for _ in 0..600 {
        call.tick();
    }
    assert_eq!(call.events(), [StreamEvent::NoMedia { since: start }]);
    call.send_voice(SDP, 1);
    assert_eq!(call.events(), [StreamEvent::FirstPacket, StreamEvent::MediaResumed]);
    call.send(SDP, 13, false, &[40]);
    for _ in 0..2000 {
        call.tick();
    }
    assert_eq!(call.events(), [], "comfort noise means silence");
}

#[test]
fn after_a_stall_media_time_jumps() {
    let mut call = Call::new(remote());
    call.stream.desk.play(&[1000; 1600]);
    let first = call.tick().1.unwrap();
    call.ticks += 49;
    let (tick, sent) = call.tick();
    let sent = sent.unwrap();
    assert_eq!(tick.skipped, 46);
    assert!(sent.marker);
    assert_eq!(sent.timestamp.wrapping_sub(first.timestamp), 47 * 160);
    assert_eq!(sent.sequence, first.sequence.wrapping_add(1));
    // Nothing of what the bot says is lost.
    assert_eq!(call.stream.desk.played_samples(), 320);
}

#[test]
fn both_sides_are_recorded_on_their_channels() {
    let mut call = Call::new(remote());
    let mut frames = Vec::new();
    let mut drain = |stream: &mut Stream| {
        while let Some(block) = stream.desk.poll_recording() {
            frames.extend(
                block
                    .bytes()
                    .chunks_exact(4)
                    .map(|f| (i16::from_le_bytes([f[0], f[1]]), i16::from_le_bytes([f[2], f[3]]))),
            );
            stream.desk.recycle_recording(block);
        }
    };
    call.stream.desk.play(&[-8031; 80_000]);
    for n in 0..500 {
        if !(200..210).contains(&n) {
            call.send_voice(SDP, 4000);
        } else {
            call.far_timestamp = call.far_timestamp.wrapping_add(160);
            call.far_sequence = call.far_sequence.wrapping_add(1);
        }
        call.tick();
        drain(&mut call.stream);
    }
    call.stream.desk.finish();
    drain(&mut call.stream);
    assert_eq!(frames.len(), 80_000);
    assert!(frames.iter().all(|(_, bot)| *bot == -8031));
    let silent = frames.iter().skip(160).filter(|(customer, _)| *customer == 0).count();
    assert!((1600..=1760).contains(&silent), "{silent}");
    assert!(frames.iter().all(|(c, _)| *c == 0 || (3900..4100).contains(c)));
}

#[test]
fn events_are_bounded() {
    let mut call = Call::new(remote());
    for n in 0..1000 {
        call.stream.desk.mark(n);
        call.tick();
    }
    assert_eq!(call.events().len(), MAX_EVENTS);
    assert_eq!(call.stream.stats().dropped_events, 1001 - MAX_EVENTS as u64, "marks and one NoMedia");
}

#[test]
fn a_stream_is_small_enough_for_thousands() {
    // Heap beside it: jitter ring 17 kB, recording blocks 96 kB.
    assert!(size_of::<Stream>() < 8192, "{}", size_of::<Stream>());
    assert_eq!(Duration::from_millis(20), FRAME);
}
