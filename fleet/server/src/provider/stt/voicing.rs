//! Whether audio holds a voice at all: vocal folds leave a period, noise does not.
//!
//! On noise that the detector took for speech a recogniser makes up phrases. This must never be
//! used to find speech: it only says that there is none, and takes whispering for noise.

/// Window and hop at the decimated rate of 8 kHz.
const WINDOW: usize = 256;
const HOP: usize = 128;

/// Periods of voices from 400 Hz down to 80 Hz.
const PERIODS: std::ops::RangeInclusive<usize> = 20..=100;

/// Likeness to itself one period later that makes a window voiced; noise stays below 0.3.
const LIKENESS: f32 = 0.55;

/// Energy of a window below which there is nothing: some -70 dBFS.
const SILENCE: f32 = 1e-7 * WINDOW as f32;

/// Voiced windows that make a voice.
const ENOUGH: usize = 4;

/// Whether enough of 16 kHz `audio` is voiced; stops looking as soon as it is.
pub(super) fn has_voice(audio: &[f32]) -> bool {
    let decimated: Vec<f32> = audio.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let windows = decimated.windows(WINDOW + PERIODS.end()).step_by(HOP);
    windows.filter(|window| is_voiced(window)).take(ENOUGH).count() == ENOUGH
}

fn is_voiced(window: &[f32]) -> bool {
    let now = &window[..WINDOW];
    let energy = dot(now, now);
    // Digital silence has no period, and would divide by zero.
    energy > SILENCE
        && PERIODS.into_iter().any(|period| {
            let later = &window[period..period + WINDOW];
            let product = dot(now, later);
            product > 0.0 && product * product > LIKENESS * LIKENESS * energy * dot(later, later)
        })
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    /// Seconds of `level` × a signal of (time in s, noise in −1..1).
    fn audio(seconds: f32, signal: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut seed = 1u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..(seconds * 16_000.0) as usize).map(|n| signal(n as f32 / 16_000.0, noise())).collect()
    }

    /// A voice of `pitch` Hz without its fundamental, as a telephone lets it through.
    fn voice(pitch: f32, t: f32) -> f32 {
        (3..12).map(|harmonic| (TAU * pitch * harmonic as f32 * t).sin() / harmonic as f32).sum::<f32>() * 0.1
    }

    #[test]
    fn voices() {
        for pitch in [90.0, 120.0, 220.0, 350.0] {
            assert!(has_voice(&audio(0.3, |t, _| voice(pitch, t))), "{pitch} Hz");
            assert!(has_voice(&audio(0.3, |t, noise| voice(pitch, t) + 0.02 * noise)), "{pitch} Hz in noise");
            assert!(has_voice(&audio(0.3, |t, _| 0.02 * voice(pitch, t))), "{pitch} Hz, quiet");
        }
    }

    #[test]
    fn what_is_no_voice() {
        assert!(!has_voice(&[]));
        assert!(!has_voice(&audio(3.0, |_, _| 0.0)));
        for level in [0.001, 0.01, 0.5] {
            assert!(!has_voice(&audio(3.0, |_, noise| level * noise)), "noise of {level}");
        }
        assert!(!has_voice(&audio(0.03, |t, _| voice(120.0, t))), "too short to say");
    }

    #[test]
    fn a_short_word_is_enough() {
        assert!(has_voice(&audio(1.0, |t, noise| if (0.5..0.62).contains(&t) {
            voice(120.0, t)
        } else {
            0.003 * noise
        })));
    }
}
