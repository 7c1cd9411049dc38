//! Signals, seeds and a time origin for the unit tests. Never compiled into the library.

use std::time::Instant;

/// Some instant. Tests only ever add to it.
#[expect(clippy::disallowed_methods, reason = "an Instant can't be made otherwise; its value is never used")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// SplitMix64: a seeded source, so that a failure can be replayed.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

pub(crate) fn sine(hz: f64, samples: usize, amplitude: f64) -> Vec<i16> {
    sine_at(8000.0, hz, samples, amplitude)
}

pub(crate) fn sine_at(rate: f64, hz: f64, samples: usize, amplitude: f64) -> Vec<i16> {
    (0..samples).map(|n| (amplitude * (std::f64::consts::TAU * hz * n as f64 / rate).sin()) as i16).collect()
}

/// Harmonics of a pitch falling by 6 dB an octave: a vowel as far as pitch search is concerned.
pub(crate) fn voiced(pitch: f64, samples: usize, amplitude: f64) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let t = std::f64::consts::TAU * pitch * n as f64 / 8000.0;
            let sum: f64 = (1..=10).map(|k| (t * f64::from(k) + f64::from(k * k)).sin() / f64::from(k)).sum();
            (amplitude * sum / 2.0) as i16
        })
        .collect()
}

pub(crate) fn noise(seed: u64, samples: usize, amplitude: f64) -> Vec<i16> {
    let mut seeded = Seeded(seed);
    (0..samples).map(|_| (amplitude * (2.0 * seeded.unit() - 1.0)) as i16).collect()
}

/// Mean square.
pub(crate) fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}
