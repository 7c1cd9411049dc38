//! The malformed and hostile datagrams of `data/rtp`, one file a case: what a stream makes of each.

#![expect(clippy::unwrap_used, reason = "a test stops at what it doesn't expect")]

use media::codec::Codec;
use media::{FRAME, FRAME_SAMPLES, FarFrame, MAX_PACKET, Remote, Stream, StreamConfig, StreamStats};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

const SDP: &str = "192.0.2.1:4000";
const OTHER: &str = "203.0.113.66:4000";

struct Call {
    stream: Stream,
    now: Instant,
    far: [i16; FRAME_SAMPLES],
}

#[expect(clippy::disallowed_methods, reason = "an Instant can't be made otherwise; its value is never used")]
fn epoch() -> Instant {
    Instant::now()
}

impl Call {
    fn new() -> Self {
        let now = epoch();
        let config = StreamConfig {
            remote: Remote::new(SDP.parse().unwrap(), Codec::Pcmu),
            media_cidrs: Vec::new(),
            ssrc: 1,
            first_sequence: 1,
            first_timestamp: 1,
            record: true,
        };
        Self { stream: Stream::new(now, config), now, far: [0; FRAME_SAMPLES] }
    }

    fn receive(&mut self, source: &str, bytes: &[u8]) {
        self.stream.handle_rtp(self.now, source.parse().unwrap(), bytes);
    }

    fn tick(&mut self) -> (FarFrame, SocketAddr) {
        let mut packet = [0; MAX_PACKET];
        let tick = self.stream.tick(self.now, &mut self.far, &mut packet);
        self.now += FRAME;
        (tick.far, tick.send.expect("always sending").1)
    }

    /// Packets `first..` of a call in progress with the corpus's SSRC.
    fn talk(&mut self, first: u16, count: u16) {
        for n in 0..count {
            let sequence = first.wrapping_add(n);
            let mut packet = vec![0x80, 0];
            packet.extend(sequence.to_be_bytes());
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend(0x1122_3344u32.to_be_bytes());
            packet.extend([0x20; 160]);
            self.receive(SDP, &packet);
            self.tick();
        }
    }
}

fn case(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rtp").join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn index() -> Vec<(String, String)> {
    let text = include_str!("data/rtp/index.tsv");
    let rows = text.lines().skip(1).map(|line| {
        let mut columns = line.split('\t');
        (columns.next().unwrap().to_owned(), columns.next().unwrap().to_owned())
    });
    rows.collect()
}

fn dropped(stats: &StreamStats) -> u64 {
    stats.malformed + stats.foreign + stats.unknown_payload + stats.wrong_source
}

#[test]
fn every_case_is_taken_or_dropped_and_counted() {
    let mut seen = 0;
    for (name, expect) in index() {
        let mut call = Call::new();
        call.receive(SDP, &case(&name));
        let stats = call.stream.stats();
        match expect.as_str() {
            "accept" => assert_eq!((stats.received, dropped(&stats)), (1, 0), "{name}"),
            "drop" => assert_eq!((stats.received, dropped(&stats)), (0, 1), "{name}"),
            "policy" | "drop-by-source" => {}
            other => panic!("{name}: what is {other}?"),
        }
        seen += 1;
    }
    assert_eq!(seen, 22);
}

#[test]
fn lengths_are_read_right() {
    for (name, samples) in [("ok_pcmu_odd", 137), ("ok_csrc15", 160), ("ok_ext", 160), ("ok_pad4", 160)] {
        let bytes = case(name);
        let packet = media::rtp::Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload.len(), samples, "{name}");
    }
}

#[test]
fn a_wrap_of_the_sequence_is_no_gap() {
    let mut call = Call::new();
    call.talk(65_530, 6);
    call.receive(SDP, &case("ok_seq_wrap"));
    let stats = call.stream.stats();
    assert_eq!((stats.received, stats.lost), (7, 0));
}

#[test]
fn a_new_ssrc_is_taken_at_its_second_packet() {
    let mut call = Call::new();
    call.talk(1, 10);
    let first = case("atk_new_ssrc");
    call.receive(SDP, &first);
    assert_eq!((call.stream.stats().received, call.stream.stats().unproven), (10, 1));
    let mut second = first.clone();
    let next = u16::from_be_bytes([first[2], first[3]]) + 1;
    second[2..4].copy_from_slice(&next.to_be_bytes());
    call.receive(SDP, &second);
    assert_eq!(call.stream.stats().received, 11);
}

#[test]
fn a_jump_of_the_sequence_is_taken_at_its_second_packet() {
    let mut call = Call::new();
    call.talk(1, 10);
    let first = case("atk_seq_jump");
    call.receive(SDP, &first);
    assert_eq!(call.stream.stats().received, 10);
    let mut second = first.clone();
    second[2..4].copy_from_slice(&40_001u16.to_be_bytes());
    call.receive(SDP, &second);
    assert_eq!((call.stream.stats().received, call.stream.stats().lost), (11, 0));
}

#[test]
fn a_jump_of_the_timestamp_makes_no_hours_of_silence() {
    let mut call = Call::new();
    call.talk(0, 1);
    call.receive(SDP, &case("atk_ts_jump"));
    call.talk(2, 100);
    call.stream.desk.finish();
    let stats = call.stream.stats();
    assert_eq!(stats.unproven, 1);
    assert_eq!(stats.recorded_frames, 101 * 160);
    let blocks = std::iter::from_fn(|| call.stream.desk.poll_recording()).count();
    assert_eq!(blocks, 3);
}

#[test]
fn another_source_neither_is_heard_nor_draws_our_media() {
    let mut call = Call::new();
    call.talk(0, 1);
    let mut packet = case("atk_other_source");
    for n in 1..200u16 {
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        call.receive(OTHER, &packet);
        call.talk(n, 1);
        assert_eq!(call.tick().1, SDP.parse().unwrap());
    }
    assert_eq!(call.stream.stats().wrong_source, 199);
}

#[test]
fn random_bytes_are_survived() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let cases: Vec<Vec<u8>> = index().iter().map(|(name, _)| case(name)).filter(|c| !c.is_empty()).collect();
    let mut call = Call::new();
    for _ in 0..200_000 {
        let mut bytes = cases[random() as usize % cases.len()].clone();
        for _ in 0..random() % 6 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() as usize % (bytes.len() + 1));
        call.receive(SDP, &bytes);
        if random() % 4 == 0 {
            call.tick();
        }
        while call.stream.desk.poll_recording().is_some() {}
        while call.stream.desk.poll_event().is_some() {}
    }
}
