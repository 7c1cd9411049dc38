//! Placement, windows, bounds, and an hour of a bad network.

use super::*;
use crate::test_support::Seeded;

/// All samples of the recording: customer and bot.
fn collect(recorder: &mut Recorder) -> (Vec<i16>, Vec<i16>) {
    let (mut customer, mut bot) = (Vec::new(), Vec::new());
    while let Some(block) = recorder.poll_block() {
        assert_eq!(block.first_frame, customer.len() as u64);
        for frame in block.bytes().chunks_exact(4) {
            customer.push(i16::from_le_bytes([frame[0], frame[1]]));
            bot.push(i16::from_le_bytes([frame[2], frame[3]]));
        }
        recorder.recycle(block);
    }
    (customer, bot)
}

#[test]
fn each_on_its_own_channel() {
    let mut recorder = Recorder::new(1600);
    for n in 0..10u64 {
        recorder.customer(1600 + 160 * (n + 1), 77_000 + n as u32 * 160, &[3; 160]);
        recorder.bot(1600 + 160 * n, &[-4; 160]);
    }
    recorder.finish();
    let (customer, bot) = collect(&mut recorder);
    assert_eq!(customer, vec![3; 1600]);
    assert_eq!(bot, vec![-4; 1600]);
}

#[test]
fn gaps_are_silence_and_late_packets_find_their_place() {
    let mut recorder = Recorder::new(0);
    for n in 0..150u64 {
        recorder.bot(160 * n, &[1; 160]);
        if !(10..20).contains(&n) {
            recorder.customer(160 * (n + 1), n as u32 * 160, &[n as i16 + 1; 160]);
        }
        if n == 50 {
            // 0.8 s late: long after it was concealed.
            recorder.customer(160 * (n + 1), 12 * 160, &[13; 160]);
        }
    }
    recorder.finish();
    let (customer, _) = collect(&mut recorder);
    let at = |n: usize| (customer[n * 160], customer[n * 160 + 159]);
    assert_eq!(at(9), (10, 10));
    assert_eq!(at(11), (0, 0));
    assert_eq!(at(12), (13, 13));
    assert_eq!(at(13), (0, 0));
    assert_eq!(at(20), (21, 21));
    assert_eq!(customer.len(), 150 * 160);
}

#[test]
fn blocks_are_bounded_and_say_where_they_belong() {
    let mut recorder = Recorder::new(0);
    for n in 0..50 * 30u64 {
        recorder.bot(160 * n, &[1; 160]);
    }
    recorder.finish();
    assert_eq!(recorder.stats().dropped_blocks, 20);
    let first: Vec<u64> = std::iter::from_fn(|| recorder.poll_block()).map(|b| b.first_frame).collect();
    assert_eq!(first, (20..30).map(|n| n * 8000).collect::<Vec<u64>>());
}

#[test]
fn a_jump_of_our_own_clock_is_silence() {
    let mut recorder = Recorder::new(0);
    recorder.bot(0, &[1; 160]);
    recorder.bot(8000 * 5, &[2; 160]);
    recorder.finish();
    let (_, bot) = collect(&mut recorder);
    assert_eq!(bot.len(), 8000 * 5 + 160);
    assert_eq!((bot[159], bot[160], bot[8000 * 5]), (1, 0, 2));
}

#[test]
fn mad_timestamps_allocate_nothing() {
    let mut recorder = Recorder::new(0);
    let mut seeded = Seeded(5);
    recorder.customer(160, 0, &[1; 160]);
    for n in 0..1000u64 {
        recorder.customer(160 * n, seeded.next() as u32, &[9; 160]);
        recorder.bot(160 * n, &[1; 160]);
        while let Some(block) = recorder.poll_block() {
            recorder.recycle(block);
        }
        assert!(recorder.open.len() == OPEN_BLOCKS);
    }
    assert_eq!(recorder.frames(), 160_000);
}

/// Every second the customer's audio holds one click. Where it lies in the recording must be where
/// it truly sounded, for an hour.
#[test]
fn an_hour_of_drift_loss_and_jitter_stays_within_a_frame() {
    for (ppm, jitter_ms, seed) in [(200.0, 40.0, 1), (-200.0, 40.0, 2), (200.0, 0.0, 3), (-200.0, 80.0, 4)] {
        let (worst, clicks) = hour(ppm, jitter_ms, seed);
        assert!(clicks > 3300, "{ppm} ppm: {clicks} clicks");
        assert!(worst <= 160, "{ppm} ppm, {jitter_ms} ms jitter: {worst} samples apart");
    }
}

fn hour(ppm: f64, jitter_ms: f64, seed: u64) -> (i64, usize) {
    let mut recorder = Recorder::new(0);
    let mut seeded = Seeded(seed);
    // One sample of the customer's clock takes this many of ours.
    let pace = 1.0 + ppm / 1e6;
    let base_delay = 20.0 * 8.0;
    let mut on_the_way: Vec<(u64, u64)> = Vec::new();
    let mut sent = 0u64;
    let (mut worst, mut clicks, mut frame_at) = (0i64, 0, 0u64);
    for tick in 0..180_000u64 {
        let now = tick * 160;
        while ((sent + 1) * 160) as f64 * pace < now as f64 {
            let left = ((sent + 1) * 160) as f64 * pace;
            if sent == 0 || !seeded.chance(0.05) {
                let delay = base_delay + seeded.unit() * jitter_ms * 8.0;
                on_the_way.push(((left + delay) as u64, sent));
            }
            sent += 1;
        }
        on_the_way.retain(|(arrival, packet)| {
            let here = *arrival <= now;
            if here {
                let mut samples = [0; 160];
                if packet % 50 == 0 {
                    samples[80] = 9999;
                }
                recorder.customer(*arrival, 0xFFF0_0000u32.wrapping_add(*packet as u32 * 160), &samples);
            }
            !here
        });
        recorder.bot(now, &[1; 160]);
        while let Some(block) = recorder.poll_block() {
            for frame in block.bytes().chunks_exact(4) {
                if i16::from_le_bytes([frame[0], frame[1]]) == 9999 && frame_at > 16_000 {
                    // Where it truly sounded, plus the constant delay of the path.
                    let near = (frame_at as f64 - base_delay - 80.0) / pace / 8000.0;
                    let truth = (near.round() * 8000.0 + 80.0) * pace + base_delay;
                    worst = worst.max((frame_at as i64 - truth as i64).abs());
                    clicks += 1;
                }
                frame_at += 1;
            }
            recorder.recycle(block);
        }
    }
    (worst, clicks)
}
