//! Whether what comes in is an echo of what is being played: the bot must not interrupt itself.
//!
//! Compares the envelopes of both directions over [`WINDOW_MS`], at every delay up to
//! [`MAX_LAG_MS`]. Phase, codec and room don't matter to an envelope. Never cancels anything.

use crate::FRAME_SAMPLES;

/// Longest delay of an echo that is recognised.
pub const MAX_LAG_MS: usize = 300;
/// Span that is compared.
pub const WINDOW_MS: usize = 400;
/// Samples of one point of an envelope: 5 ms.
const POINT: usize = 40;
const PER_FRAME: usize = FRAME_SAMPLES / POINT;
const WINDOW: usize = WINDOW_MS / 5;
const LAGS: usize = MAX_LAG_MS / 5;
const HISTORY: usize = WINDOW + LAGS;

/// Follows both directions of one call.
#[derive(Debug, Clone)]
pub struct EchoComparator {
    played: [f32; HISTORY],
    heard: [f32; WINDOW],
}

impl Default for EchoComparator {
    fn default() -> Self {
        Self { played: [0.0; HISTORY], heard: [0.0; WINDOW] }
    }
}

impl EchoComparator {
    /// Takes the frames of one tick: what was sent and what came.
    pub fn push(&mut self, played: &[i16; FRAME_SAMPLES], heard: &[i16; FRAME_SAMPLES]) {
        self.played.copy_within(PER_FRAME.., 0);
        self.heard.copy_within(PER_FRAME.., 0);
        envelope(played, &mut self.played[HISTORY - PER_FRAME..]);
        envelope(heard, &mut self.heard[WINDOW - PER_FRAME..]);
    }

    /// How alike what came is to what was played some delay ago: 0 unrelated (or one of them
    /// silent), 1 the same. An echo scores above about 0.8, other speech around 0.55.
    pub fn score(&self) -> f32 {
        let Some(heard) = Centred::new(&self.heard) else {
            return 0.0;
        };
        let mut best = 0.0f32;
        for lag in 0..=LAGS {
            let from = LAGS - lag;
            if let Some(played) = Centred::new(&self.played[from..from + WINDOW]) {
                best = best.max(heard.correlation(&played));
            }
        }
        best
    }
}

/// An envelope seen from its mean.
struct Centred<'a> {
    points: &'a [f32],
    mean: f32,
    norm: f32,
}

impl<'a> Centred<'a> {
    /// `None` when there is next to nothing to hear, or no shape to compare.
    fn new(points: &'a [f32]) -> Option<Self> {
        let mean = points.iter().sum::<f32>() / points.len() as f32;
        let norm = points.iter().map(|p| (p - mean) * (p - mean)).sum::<f32>().sqrt();
        (norm > 30.0 && norm > 0.05 * mean).then_some(Self { points, mean, norm })
    }

    fn correlation(&self, other: &Self) -> f32 {
        let products = self.points.iter().zip(other.points);
        let sum: f32 = products.map(|(a, b)| (a - self.mean) * (b - other.mean)).sum();
        sum / (self.norm * other.norm)
    }
}

/// Root mean square of each 5 ms.
fn envelope(frame: &[i16; FRAME_SAMPLES], points: &mut [f32]) {
    for (point, samples) in points.iter_mut().zip(frame.chunks_exact(POINT)) {
        let sum: f32 = samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
        *point = (sum / POINT as f32).sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Seeded, noise};

    /// Noise in syllables of random length and loudness, as speech is to an envelope.
    fn babble(seed: u64, samples: usize) -> Vec<i16> {
        let mut seeded = Seeded(seed);
        let mut out = Vec::new();
        while out.len() < samples {
            let length = 500 + seeded.below(1500) as usize;
            let loud = if seeded.chance(0.3) { 0.0 } else { 1000.0 + 9000.0 * seeded.unit() };
            out.extend(noise(seeded.next(), length, 1.0f64.max(loud)).iter().enumerate().map(|(n, s)| {
                let bow = (std::f64::consts::PI * n as f64 / length as f64).sin();
                (f64::from(*s) * bow) as i16
            }));
        }
        out.truncate(samples);
        out
    }

    /// Mean score over some seconds.
    fn score(played: &[i16], heard: &[i16]) -> f32 {
        let mut comparator = EchoComparator::default();
        let mut scores = Vec::new();
        for (n, (p, h)) in played.chunks_exact(160).zip(heard.chunks_exact(160)).enumerate() {
            comparator.push(p.try_into().unwrap(), h.try_into().unwrap());
            if n > 50 {
                scores.push(comparator.score());
            }
        }
        scores.iter().sum::<f32>() / scores.len() as f32
    }

    #[test]
    fn an_echo_scores_high_at_any_delay() {
        let played = babble(1, 40_000);
        for delay_ms in [0, 20, 97, 180, 290] {
            let mut heard = vec![0; delay_ms * 8];
            heard.extend(played.iter().map(|s| s / 8));
            let room = noise(2, heard.len(), 60.0);
            heard.iter_mut().zip(room).for_each(|(h, n)| *h += n);
            let score = score(&played, &heard);
            assert!(score > 0.85, "{delay_ms} ms: {score}");
        }
    }

    #[test]
    fn other_speech_scores_low() {
        for seed in 10..20 {
            let score = score(&babble(1, 40_000), &babble(seed, 40_000));
            assert!(score < 0.7, "{seed}: {score}");
        }
    }

    #[test]
    fn silence_on_either_side_scores_nothing() {
        let speech = babble(1, 40_000);
        let silence = vec![0; 40_000];
        assert_eq!(score(&silence, &speech), 0.0);
        assert_eq!(score(&speech, &silence), 0.0);
        assert_eq!(score(&speech, &noise(3, 40_000, 10.0)), 0.0);
    }
}
