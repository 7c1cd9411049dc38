//! The pitch period of voice: the lag at which a stretch of audio resembles another most. Shared by
//! concealment and time stretching. Never allocates; a search costs about a microsecond.

/// Shortest period searched: 200 Hz at 8 kHz.
pub(crate) const LAG_MIN: usize = 40;
/// Longest period searched: 66 Hz.
pub(crate) const LAG_MAX: usize = 120;
/// Most samples that a search looks at.
const LONGEST: usize = 400;

/// Where the other stretch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    Past,
    Future,
}

/// The lag at which `samples[at..at + length]` is most like what lies that far towards the past or
/// the future. At most 400 samples; `at` and `length` even; both stretches must lie within.
pub(crate) fn best_lag(samples: &[i16], at: usize, length: usize, toward: Toward) -> usize {
    let mut whole = [0.0f32; LONGEST];
    let mut halved = [0.0f32; LONGEST / 2];
    for (n, sample) in samples.iter().take(LONGEST).enumerate() {
        whole[n] = f32::from(*sample);
    }
    for (half, pair) in halved.iter_mut().zip(whole.as_chunks::<2>().0) {
        *half = pair[0] + pair[1];
    }
    let other = |at: usize, lag: usize| match toward {
        Toward::Past => at - lag,
        Toward::Future => at + lag,
    };
    // Coarse at half the rate, then fine around the best.
    let coarse = strongest(LAG_MIN / 2..=LAG_MAX / 2, |lag| {
        let from = other(at / 2, lag);
        likeness(&halved[at / 2..(at + length) / 2], &halved[from..from + length / 2])
    });
    let around = (2 * coarse - 1).max(LAG_MIN)..=(2 * coarse + 1).min(LAG_MAX);
    strongest(around, |lag| {
        let from = other(at, lag);
        likeness(&whole[at..at + length], &whole[from..from + length])
    })
}

fn strongest(lags: impl Iterator<Item = usize>, score: impl Fn(usize) -> f32) -> usize {
    let mut best = (LAG_MAX, f32::MIN);
    for lag in lags {
        let score = score(lag);
        if score > best.1 {
            best = (lag, score);
        }
    }
    best.0
}

/// Correlation, normalised by the energy of `b`; that of `a` is the same for all lags.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    // Separate sums let the compiler use vector registers.
    let (mut cross, mut energy) = ([0.0f32; LANES], [0.0f32; LANES]);
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for n in 0..LANES {
            cross[n] += a[n] * b[n];
            energy[n] += b[n] * b[n];
        }
    }
    cross.iter().sum::<f32>() / (1.0 + energy.iter().sum::<f32>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::voiced;

    #[test]
    fn finds_the_period_of_a_voice() {
        for period in [42, 55, 64, 80, 97, 118] {
            let audio = voiced(8000.0 / period as f64, LONGEST, 8000.0);
            for (at, length, toward) in [(240, 160, Toward::Past), (40, 80, Toward::Future), (160, 80, Toward::Past)] {
                let lag = best_lag(&audio, at, length, toward);
                // A multiple of the period repeats as well as the period.
                let off = (lag + 1) % period;
                assert!(off <= 2, "period {period}, {toward:?}: {lag}");
            }
        }
    }

    #[test]
    fn silence_has_some_period_too() {
        assert!((LAG_MIN..=LAG_MAX).contains(&best_lag(&[0; LONGEST], 240, 160, Toward::Past)));
    }
}
