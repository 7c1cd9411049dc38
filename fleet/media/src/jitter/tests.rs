//! The buffer against a simulated, seeded network.

use super::*;
use crate::test_support::{Seeded, energy, epoch, voiced};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn pull(buffer: &mut JitterBuffer, now: Instant) -> (FarFrame, [i16; FRAME_SAMPLES]) {
    let mut out = [0; FRAME_SAMPLES];
    let frame = buffer.pull(now, &mut out);
    (frame, out)
}

/// One packet on its way: when it arrives, its timestamp, its samples.
#[derive(Clone)]
struct Flight {
    at: Duration,
    timestamp: u32,
    samples: Vec<i16>,
}

/// Plays all flights, pulling every 20 ms; returns the frames from the first packet on.
fn play(
    buffer: &mut JitterBuffer,
    mut flights: Vec<Flight>,
    length: Duration,
) -> Vec<(FarFrame, [i16; FRAME_SAMPLES])> {
    flights.sort_by_key(|f| f.at);
    let start = epoch();
    let mut flights = flights.into_iter().peekable();
    let mut out = Vec::new();
    let mut at = Duration::ZERO;
    while at < length {
        while let Some(flight) = flights.next_if(|f| f.at < at) {
            buffer.insert(start + flight.at, flight.timestamp, &flight.samples);
        }
        out.push(pull(buffer, start + at));
        at += FRAME;
    }
    out
}

/// A packet every `ptime` samples, each of which takes `delay(n)` ms; `None` is lost.
fn flights(
    audio: &[i16],
    ptime: usize,
    first_timestamp: u32,
    mut delay: impl FnMut(usize) -> Option<f64>,
) -> Vec<Flight> {
    audio
        .chunks_exact(ptime)
        .enumerate()
        .filter_map(|(n, samples)| {
            let sent = (n + 1) as f64 * ptime as f64 / 8.0;
            Some(Flight {
                at: Duration::from_secs_f64((sent + delay(n)?) / 1000.0),
                timestamp: first_timestamp.wrapping_add((n * ptime) as u32),
                samples: samples.to_vec(),
            })
        })
        .collect()
}

/// A click in the middle of each packet, so that each can be counted in what is played.
fn clicks(packets: usize, ptime: usize) -> Vec<i16> {
    (0..packets * ptime).map(|n| if n % ptime == ptime / 2 { 20_000 } else { 0 }).collect()
}

/// Clicks of received audio; concealment repeats what was heard, so its frames don't count.
fn count_clicks(frames: &[(FarFrame, [i16; FRAME_SAMPLES])]) -> usize {
    let received = frames.iter().filter(|(kind, _)| *kind == FarFrame::Speech);
    received.flat_map(|(_, f)| f).filter(|s| **s == 20_000).count()
}

#[test]
fn nothing_then_silence_then_speech() {
    let mut buffer = JitterBuffer::default();
    let now = epoch();
    assert_eq!(pull(&mut buffer, now).0, FarFrame::Nothing);
    assert_eq!(buffer.insert(now, 0, &[5; 160]), Inserted::Resynchronised);
    assert_eq!(buffer.insert(now, 160, &[6; 160]), Inserted::Buffered);
    let kinds: Vec<FarFrame> = (1..5).map(|n| pull(&mut buffer, now + ms(20 * n)).0).collect();
    use FarFrame::{Silence, Speech};
    assert_eq!(kinds, [Silence, Speech, Speech, FarFrame::Concealed]);
}

#[test]
fn every_ptime_comes_out_whole_and_in_order() {
    for ptime in [80, 137, 160, 240, 320, 400, 480] {
        for first in [0, 0xFFFF_FF00, 0x7FFF_FFF0] {
            let audio: Vec<i16> = (0..ptime * 60).map(|n| (n % 30_000) as i16 + 1).collect();
            let mut buffer = JitterBuffer::default();
            let length = Duration::from_secs_f64(audio.len() as f64 / 8000.0 + 0.2);
            let out = play(&mut buffer, flights(&audio, ptime, first, |_| Some(1.0)), length);
            let heard: Vec<i16> = out
                .iter()
                .filter(|(kind, _)| *kind == FarFrame::Speech)
                .flat_map(|(_, frame)| *frame)
                .skip_while(|s| *s == 0)
                .collect();
            let stats = buffer.stats();
            assert_eq!(stats.late, 0, "ptime {ptime}");
            if stats.inserted_samples + stats.removed_samples == 0 {
                let whole = heard.len().min(audio.len());
                assert!(whole + 160 >= audio.len(), "ptime {ptime}: {whole} of {}", audio.len());
                assert_eq!(heard[..whole], audio[..whole], "ptime {ptime} first {first:#x}");
            }
        }
    }
}

#[test]
fn under_loss_reordering_and_duplicates_each_packet_is_played_once() {
    for seed in 0..20 {
        // Jitter that the first delay of 40 ms is just right for.
        for (ptime, spread) in [(80, 15.0), (160, 25.0), (240, 15.0)] {
            let mut seeded = Seeded(seed);
            let mut sent = 0;
            let mut all = flights(&clicks(800, ptime), ptime, 0xFFFF_0000, |n| {
                // The first packet sets the delay: it takes the fast way, as in most calls.
                let lost = n > 0 && seeded.chance(0.05);
                let jitter = if n == 0 { 0.0 } else { seeded.unit() * spread };
                sent += usize::from(!lost);
                (!lost).then_some(jitter)
            });
            let mut repeats = Vec::new();
            for flight in &all {
                if seeded.chance(0.3) {
                    let at = flight.at + ms(seeded.below(8));
                    repeats.push(Flight { at, ..flight.clone() });
                }
            }
            all.extend(repeats);
            let mut buffer = JitterBuffer::default();
            let length = ms(800 * ptime as u64 / 8 + 500);
            let out = play(&mut buffer, all, length);
            let stats = buffer.stats();
            assert_eq!(stats.stray, 0);
            // A stretch may repeat a click: none was needed here.
            assert_eq!(stats.inserted_samples + stats.removed_samples, 0, "seed {seed} ptime {ptime}");
            let heard = count_clicks(&out);
            assert!(heard <= sent, "seed {seed} ptime {ptime}: {heard} of {sent}, {stats:?}");
            let beside_losses = 2 * stats.concealed_frames as usize;
            assert!(heard + beside_losses >= sent, "seed {seed} ptime {ptime}: {heard} of {sent}, {stats:?}");
        }
    }
}

#[test]
fn reordered_and_repeated_packets_come_out_in_order() {
    let now = epoch();
    let mut buffer = JitterBuffer::default();
    let packet = |n: u32| -> Vec<i16> { (0..160).map(|k| (n * 160 + k) as i16 + 1).collect() };
    assert_eq!(buffer.insert(now, 0, &packet(0)), Inserted::Resynchronised);
    for (n, expect) in [
        (3, Inserted::Buffered),
        (1, Inserted::Buffered),
        (3, Inserted::Duplicate),
        (0, Inserted::Duplicate),
        (2, Inserted::Buffered),
    ] {
        assert_eq!(buffer.insert(now, n * 160, &packet(n)), expect);
    }
    let mut heard = Vec::new();
    for n in 0..6 {
        heard.extend(pull(&mut buffer, now + ms(20 * n)).1);
    }
    assert_eq!(heard[320..960], (1..=640).collect::<Vec<i16>>());
    assert_eq!(buffer.insert(now + ms(110), 160, &packet(1)), Inserted::Late);
}

#[test]
fn the_delay_grows_with_jitter_and_shrinks_after_it() {
    let mut seeded = Seeded(7);
    let audio = voiced(120.0, 8000 * 40, 8000.0);
    // 10 s calm, 15 s of up to 90 ms jitter, 15 s calm.
    let flights = flights(&audio, 160, 1, |n| {
        Some(if (500..1250).contains(&n) { seeded.unit() * 90.0 } else { seeded.unit() * 2.0 })
    });
    let mut buffer = JitterBuffer::default();
    let start = epoch();
    let mut sorted = flights;
    sorted.sort_by_key(|f| f.at);
    let mut pending = sorted.into_iter().peekable();
    let mut delays = Vec::new();
    let mut concealed_late_in_jitter = 0;
    for tick in 0..2000u64 {
        let at = ms(tick * 20);
        while let Some(f) = pending.next_if(|f| f.at < at) {
            buffer.insert(start + f.at, f.timestamp, &f.samples);
        }
        let (kind, _) = pull(&mut buffer, start + at);
        concealed_late_in_jitter += u64::from(kind == FarFrame::Concealed && (700..1240).contains(&tick));
        delays.push(buffer.delay_samples() / 8);
    }
    assert!((15..60).contains(&delays[450]), "calm: {}", delays[450]);
    assert!((80..140).contains(&delays[1200]), "jitter: {}", delays[1200]);
    assert!((15..60).contains(&delays[1990]), "calm again: {}", delays[1990]);
    assert!(delays.iter().all(|d| *d <= 220), "{:?}", delays.iter().max());
    // Once adapted, at most the worst few per cent are late.
    assert!(concealed_late_in_jitter < 30, "{concealed_late_in_jitter}");
}

#[test]
fn clock_drift_is_followed_for_an_hour() {
    for ppm in [-200.0, 200.0] {
        let mut buffer = JitterBuffer::default();
        let start = epoch();
        let mut seeded = Seeded(3);
        let frame = voiced(100.0, 160, 6000.0);
        let mut late = 0;
        let (mut sent, mut concealed) = (0u64, 0u64);
        for tick in 0..180_000u64 {
            let at = ms(tick * 20);
            loop {
                let due = Duration::from_secs_f64((sent + 1) as f64 * 0.02 * (1.0 + ppm / 1e6));
                if due > at {
                    break;
                }
                let arrived = due + Duration::from_micros(seeded.below(4000)).min(at - due);
                late += u64::from(buffer.insert(start + arrived, sent as u32 * 160, &frame) == Inserted::Late);
                sent += 1;
            }
            concealed += u64::from(pull(&mut buffer, start + at).0 == FarFrame::Concealed);
            assert!(buffer.delay_samples() < 1600, "{ppm} ppm, tick {tick}");
        }
        let stats = buffer.stats();
        // 200 ppm of an hour are 720 ms.
        let followed = stats.inserted_samples as i64 - stats.removed_samples as i64;
        let expect = ppm * 3600.0 * 8000.0 / 1e6;
        assert!((followed as f64 - expect).abs() < 800.0, "{ppm} ppm: {followed} of {expect}, {stats:?}");
        assert!(late + concealed < 10, "{ppm} ppm: {late} late, {concealed} concealed");
    }
}

#[test]
fn comfort_noise_and_events_are_silence_and_not_loss() {
    let mut buffer = JitterBuffer::default();
    let now = epoch();
    let audio = voiced(120.0, 160, 8000.0);
    for n in 0..5u64 {
        buffer.insert(now + ms(20 * n), n as u32 * 160, &audio);
        pull(&mut buffer, now + ms(20 * n));
    }
    buffer.quiet(now + ms(100), 800);
    let kinds: Vec<FarFrame> = (5..30).map(|n| pull(&mut buffer, now + ms(20 * n)).0).collect();
    assert!(kinds.iter().all(|k| *k != FarFrame::Concealed), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&FarFrame::Silence));
    // Speech comes again, its second packet first.
    for (at, n) in [(605, 31u64), (606, 30), (620, 32)] {
        assert_eq!(buffer.insert(now + ms(at), n as u32 * 160, &audio), Inserted::Buffered);
    }
    let kinds: Vec<FarFrame> = (31..37).map(|n| pull(&mut buffer, now + ms(20 * n)).0).collect();
    let concealed = kinds.iter().position(|k| *k == FarFrame::Concealed);
    let speech = kinds.iter().filter(|k| **k == FarFrame::Speech).count();
    assert!(speech >= 3 && concealed.is_none_or(|at| at >= 3), "{kinds:?}");
    assert_eq!(buffer.stats().late, 0);
}

#[test]
fn one_mad_timestamp_changes_nothing() {
    for jump in [1 << 31, 1 << 20, 0xF000_0000u32] {
        let mut buffer = JitterBuffer::default();
        let now = epoch();
        for n in 0..10u64 {
            buffer.insert(now + ms(20 * n), n as u32 * 160, &[7; 160]);
            pull(&mut buffer, now + ms(20 * n));
        }
        assert_eq!(buffer.insert(now + ms(200), jump, &[9; 160]), Inserted::Stray, "{jump:#x}");
        assert_eq!(buffer.insert(now + ms(200), 1600, &[7; 160]), Inserted::Buffered);
        assert_eq!(pull(&mut buffer, now + ms(201)).0, FarFrame::Speech);
    }
}

#[test]
fn a_lasting_jump_is_followed_within_a_few_packets() {
    for jump in [1u32 << 31, 80_000, 0xFFFF_0000, 0u32.wrapping_sub(4000)] {
        let mut buffer = JitterBuffer::default();
        let now = epoch();
        let mut heard = Vec::new();
        for n in 0..40u64 {
            let jumped = if n >= 10 { jump } else { 0 };
            let value = if n >= 10 { 9 } else { 7 };
            buffer.insert(now + ms(20 * n), (n as u32 * 160).wrapping_add(jumped), &[value; 160]);
            heard.push(pull(&mut buffer, now + ms(20 * n)).1[159]);
        }
        assert_eq!(heard[39], 9, "{jump:#x}: {heard:?}");
        assert!(heard.iter().filter(|s| **s == 9).count() >= 22, "{jump:#x}: {heard:?}");
    }
}

#[test]
fn a_stall_of_the_network_is_caught_up() {
    let audio = voiced(120.0, 8000 * 30, 8000.0);
    // From 5 s to 5.5 s nothing passes; then all of it comes at once.
    let flights = flights(&audio, 160, 0, |n| {
        let sent = (n + 1) as f64 * 20.0;
        Some(if (5000.0..5500.0).contains(&sent) { 5500.0 - sent } else { 1.0 })
    });
    let mut buffer = JitterBuffer::default();
    let out = play(&mut buffer, flights, ms(29_900));
    let speech = out[300..].iter().filter(|(k, _)| *k == FarFrame::Speech).count();
    assert!(speech * 100 >= (out.len() - 300) * 98, "{speech}");
    assert!(buffer.delay_samples() < 600, "{}", buffer.delay_samples());
}

#[test]
fn a_lost_packet_is_concealed_with_sound() {
    let audio = voiced(120.0, 8000, 8000.0);
    let mut buffer = JitterBuffer::default();
    let out = play(&mut buffer, flights(&audio, 160, 0, |n| (n != 20).then_some(1.0)), ms(900));
    let concealed: Vec<_> = out.iter().filter(|(k, _)| *k == FarFrame::Concealed).collect();
    assert!(matches!(concealed.len(), 1..=2), "{}", concealed.len());
    assert!(concealed.iter().all(|(_, f)| energy(f) > energy(&audio) / 4.0));
}

#[test]
fn any_garbage_is_survived() {
    let mut seeded = Seeded(99);
    let mut buffer = JitterBuffer::default();
    let mut now = epoch();
    for _ in 0..200_000 {
        let samples = [1i16; 960];
        let length = seeded.below(961) as usize;
        let timestamp = match seeded.below(4) {
            0 => seeded.next() as u32,
            1 => 0u32.wrapping_sub(seeded.below(20_000) as u32),
            _ => seeded.below(40_000) as u32,
        };
        buffer.insert(now, timestamp, &samples[..length]);
        if seeded.chance(0.1) {
            buffer.quiet(now, timestamp);
        }
        if seeded.chance(0.5) {
            pull(&mut buffer, now);
            now += ms(seeded.below(40));
        }
        assert!(buffer.valid.len() == CAPACITY / 64);
    }
}
