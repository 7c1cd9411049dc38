//! Two whole streams talk over a simulated, seeded network: loss, jitter, reordering, duplicates and
//! clock drift. What the recording and the events say is held against what truly happened.

#![expect(clippy::unwrap_used, reason = "a test stops at what it doesn't expect")]

use media::codec::Codec;
use media::{FRAME_SAMPLES, FarFrame, MAX_PACKET, Remote, Stream, StreamConfig, StreamEvent, StreamStats};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const US: &str = "192.0.2.10:5000";
const THEM: &str = "198.51.100.20:6000";
const CLICK: i16 = 20_000;

#[derive(Clone, Copy)]
struct Network {
    loss: f64,
    /// Microseconds.
    delay: u64,
    jitter: u64,
    duplicates: f64,
    /// How much slower the far clock runs.
    ppm: i64,
}

const GOOD: Network = Network { loss: 0.0, delay: 10_000, jitter: 1_000, duplicates: 0.0, ppm: 0 };

/// SplitMix64.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }

    fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= probability - f64::EPSILON
    }
}

/// What our side ends up with.
struct Heard {
    /// Customer and bot, in step.
    recording: Vec<(i16, i16)>,
    keys: String,
    kinds: Vec<FarFrame>,
    stats: StreamStats,
    /// True times, in our microseconds, at which the far side sent its clicks.
    far_clicks: Vec<u64>,
}

fn config(remote: &str, seed: u64, record: bool) -> StreamConfig {
    StreamConfig {
        remote: Remote::new(remote.parse().unwrap(), Codec::Pcma),
        media_cidrs: Vec::new(),
        ssrc: seed as u32,
        first_sequence: (seed >> 7) as u16,
        first_timestamp: (seed >> 13) as u32,
        record,
    }
}

#[expect(clippy::disallowed_methods, reason = "an Instant can't be made otherwise; its value is never used")]
fn epoch() -> Instant {
    Instant::now()
}

/// Both sides tick on their own clocks; the far one's packets cross the network to ours.
fn run(seconds: u64, network: Network, seed: u64, digits: &str) -> Heard {
    let start = epoch();
    let mut random = Seeded(seed);
    let mut ours = Stream::new(start, config(THEM, random.next(), true));
    let mut theirs = Stream::new(start, config(US, random.next(), false));
    let source: SocketAddr = THEM.parse().unwrap();
    let mut on_the_way: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut heard = Heard {
        recording: Vec::new(),
        keys: String::new(),
        kinds: Vec::new(),
        stats: StreamStats::default(),
        far_clicks: Vec::new(),
    };
    let mut far = [0; FRAME_SAMPLES];
    let mut packet = [0; MAX_PACKET];
    let mut waiting = digits.chars();
    let (mut our_tick, mut their_tick, mut order) = (0u64, 0u64, 0u64);
    loop {
        let at_ours = our_tick * 20_000;
        let at_theirs = their_tick * 20_000 * (1_000_000 + network.ppm).unsigned_abs() / 1_000_000 + 7_000;
        if at_ours.min(at_theirs) >= seconds * 1_000_000 {
            break;
        }
        if at_theirs <= at_ours {
            let mut frame = [0i16; FRAME_SAMPLES];
            if their_tick.is_multiple_of(50) {
                frame[80] = CLICK;
                heard.far_clicks.push(at_theirs);
            }
            theirs.desk.play(&frame);
            if their_tick % 25 == 24 && their_tick > 50 {
                theirs.desk.send_dtmf(waiting.next().map(String::from).as_deref().unwrap_or(""));
            }
            let now = start + Duration::from_micros(their_tick * 20_000);
            let tick = theirs.tick(now, &mut far, &mut packet);
            if let Some((length, to)) = tick.send
                && (their_tick == 0 || !random.chance(network.loss))
            {
                assert_eq!(to, US.parse().unwrap());
                let copies = 1 + u64::from(random.chance(network.duplicates));
                for _ in 0..copies {
                    let arrives = at_theirs + network.delay + random.below(network.jitter);
                    order += 1;
                    on_the_way.push(Reverse((arrives, order, packet[..length].to_vec())));
                }
            }
            their_tick += 1;
            continue;
        }
        while on_the_way.peek().is_some_and(|Reverse((arrives, ..))| *arrives <= at_ours) {
            let Reverse((arrives, _, bytes)) = on_the_way.pop().unwrap();
            ours.handle_rtp(start + Duration::from_micros(arrives), source, &bytes);
        }
        let mut frame = [0i16; FRAME_SAMPLES];
        if our_tick.is_multiple_of(50) {
            frame[80] = CLICK;
        }
        ours.desk.play(&frame);
        let tick = ours.tick(start + Duration::from_micros(at_ours), &mut far, &mut packet);
        heard.kinds.push(tick.far);
        our_tick += 1;
        collect(&mut ours, &mut heard);
    }
    ours.desk.finish();
    collect(&mut ours, &mut heard);
    heard.stats = ours.stats();
    heard
}

fn collect(stream: &mut Stream, heard: &mut Heard) {
    while let Some(block) = stream.desk.poll_recording() {
        assert_eq!(block.first_frame, heard.recording.len() as u64);
        heard.recording.extend(
            block.bytes().chunks_exact(4).map(|f| (i16::from_le_bytes([f[0], f[1]]), i16::from_le_bytes([f[2], f[3]]))),
        );
        stream.desk.recycle_recording(block);
    }
    while let Some(event) = stream.desk.poll_event() {
        if let StreamEvent::Dtmf { digit, .. } = event {
            heard.keys.push(digit.as_char());
        }
    }
}

/// Frames at which a channel clicks.
fn clicks(recording: &[(i16, i16)], channel: impl Fn(&(i16, i16)) -> i16) -> Vec<usize> {
    let loud = |n: &usize| channel(&recording[*n]) > CLICK / 2;
    (0..recording.len()).filter(loud).collect()
}

/// Greatest distance, in samples, between where a customer's click lies on the recording and where
/// it was sent, apart from what all have in common; the first seconds left out.
fn spread(heard: &Heard) -> (i64, usize) {
    let expected: Vec<i64> = heard.far_clicks.iter().map(|at| (at / 125) as i64).collect();
    let mut off = Vec::new();
    for at in clicks(&heard.recording, |f| f.0) {
        let at = at as i64;
        let nearest = expected.iter().map(|e| at - e).min_by_key(|d| d.abs()).unwrap();
        if at > 3 * 8000 {
            off.push(nearest);
        }
    }
    let (least, most) = (off.iter().min().unwrap(), off.iter().max().unwrap());
    (most - least, off.len())
}

#[test]
fn an_hour_with_drift_and_loss_keeps_the_channels_in_step() {
    for (ppm, seed) in [(200, 1), (-200, 2)] {
        let network = Network { loss: 0.05, delay: 30_000, jitter: 30_000, duplicates: 0.02, ppm };
        let heard = run(3600, network, seed, "");
        // The bot's clicks lie on the second, all of them.
        let bot = clicks(&heard.recording, |f| f.1);
        assert_eq!(bot, (0..3600).map(|n| n * 8000 + 80).collect::<Vec<_>>());
        let (spread, count) = spread(&heard);
        assert!((3300..3520).contains(&count), "{ppm} ppm: {count} clicks");
        assert!(spread <= FRAME_SAMPLES as i64, "{ppm} ppm: {spread} samples");
        let frames = heard.kinds.len() as f64;
        let concealed = heard.stats.concealed_frames as f64 / frames;
        assert!((0.03..0.15).contains(&concealed), "{ppm} ppm: {concealed}");
        let lost = heard.stats.lost as f64 / frames;
        assert!((0.045..0.055).contains(&lost), "{ppm} ppm: {lost}");
    }
}

#[test]
fn a_good_network_loses_nothing() {
    let heard = run(120, GOOD, 3, "");
    let stats = heard.stats;
    assert_eq!((stats.lost, stats.late, stats.concealed_frames, stats.duplicates), (0, 0, 0, 0));
    assert!(heard.kinds[5..].iter().all(|k| *k == FarFrame::Speech));
    assert!(stats.jitter_ms < 1.0 && stats.delay_ms < 60, "{stats:?}");
    assert_eq!(clicks(&heard.recording, |f| f.0).len(), 120);
}

#[test]
fn keys_are_counted_once_each_on_a_bad_network() {
    let digits = "1234567890*#1122334455";
    for seed in 0..20 {
        let network = Network { loss: 0.15, jitter: 60_000, duplicates: 0.2, ..GOOD };
        let heard = run(20, network, seed, digits);
        assert_eq!(heard.keys, digits, "seed {seed}");
    }
}

#[test]
fn duplicates_are_dropped_and_counted() {
    let heard = run(60, Network { duplicates: 0.5, ..GOOD }, 4, "");
    assert!((1300..1700).contains(&heard.stats.duplicates), "{:?}", heard.stats);
    assert_eq!((heard.stats.late, heard.stats.concealed_frames), (0, 0));
}

#[test]
fn a_bad_start_is_got_over() {
    for jitter in [40_000, 80_000, 120_000, 170_000] {
        let heard = run(60, Network { jitter, ..GOOD }, 5, "");
        let settled = &heard.kinds[1500..];
        let concealed = settled.iter().filter(|k| **k != FarFrame::Speech).count();
        assert!(concealed * 100 <= settled.len() * 5, "{jitter}: {concealed} of {}", settled.len());
    }
}
