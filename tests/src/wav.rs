//! What is in a recording. It must never judge by its header alone.

use anyhow::{Result, ensure};

/// Samples of one look at the loudness: 20 ms at 8 kHz.
const FRAME: usize = 160;
/// Above this, root mean square, a frame is sound: about -46 dBFS.
const AUDIBLE: f64 = 160.0;
/// How far two envelopes are shifted against each other in search of a match: 30 s.
const SHIFTS: usize = 1500;

/// A recording of a call: 8 kHz, customer left, bot right.
#[derive(Debug, Clone)]
pub struct Wav {
    pub left: Vec<i16>,
    pub right: Vec<i16>,
}

impl Wav {
    /// Reads a whole file.
    ///
    /// # Errors
    /// It is no stereo WAV of 16 bits and 8 kHz.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = hound::WavReader::new(bytes)?;
        let spec = reader.spec();
        ensure!((spec.channels, spec.sample_rate, spec.bits_per_sample) == (2, 8000, 16), "a recording is {spec:?}");
        let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
        let side = |first: usize| samples.iter().skip(first).step_by(2).copied().collect();
        Ok(Self { left: side(0), right: side(1) })
    }

    /// Length, seconds.
    pub fn seconds(&self) -> f64 {
        self.left.len() as f64 / 8000.0
    }
}

/// Seconds of sound in `samples` of 8 kHz.
pub fn audible_seconds(samples: &[i16]) -> f64 {
    envelope(samples).into_iter().filter(|loudness| *loudness > AUDIBLE).count() as f64 * 0.02
}

/// How alike the loudness of `part` is to that of some stretch of `whole`, from -1 to 1, and where the best stretch
/// begins, seconds. Codecs change every sample and leave this as it is.
pub fn likeness(whole: &[i16], part: &[i16]) -> (f64, f64) {
    let (whole, part) = (envelope(whole), envelope(part));
    let last = whole.len().saturating_sub(part.len()).min(SHIFTS);
    let at = |shift: usize| correlation(&whole[shift.min(whole.len())..], &part);
    let best = (0..=last).map(|shift| (at(shift), shift)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or((0.0, 0.0), |(likeness, shift)| (likeness, shift as f64 * 0.02))
}

/// How alike the loudness of `part` is to that of the stretch of `whole` that begins at `at`, seconds: what of a voice
/// that is heard there leaks to the other side.
pub fn likeness_at(whole: &[i16], part: &[i16], at: f64) -> f64 {
    let whole = envelope(whole);
    correlation(&whole[((at / 0.02).round() as usize).min(whole.len())..], &envelope(part))
}

fn envelope(samples: &[i16]) -> Vec<f64> {
    let loudness = |frame: &[i16]| {
        let power: f64 = frame.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
        (power / frame.len() as f64).sqrt()
    };
    samples.chunks_exact(FRAME).map(loudness).collect()
}

/// Pearson's, over the common length.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    if n < 25 {
        return 0.0;
    }
    let (a, b) = (&a[..n], &b[..n]);
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let mut sums = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        sums = (sums.0 + x * y, sums.1 + x * x, sums.2 + y * y);
    }
    let scale = (sums.1 * sums.2).sqrt();
    if scale > 0.0 { sums.0 / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{from_ulaw, to_ulaw};

    /// A sound whose loudness changes all the time.
    fn warble(seconds: usize, seed: u32) -> Vec<i16> {
        let mut state = seed;
        let mut loudness = Vec::new();
        for _ in 0..seconds * 50 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            loudness.push(f64::from(state >> 20));
        }
        (0..seconds * 8000).map(|i| ((i as f64 * 0.6).sin() * loudness[i / FRAME]) as i16).collect()
    }

    #[test]
    fn a_voice_is_found_where_it_is_and_nowhere_else() {
        let voice = warble(4, 1);
        let heard: Vec<i16> = voice.iter().map(|sample| from_ulaw(to_ulaw(*sample)) / 2).collect();
        let mut recording = vec![0; 8000];
        recording.extend(&heard);
        recording.extend([0; 8000]);
        let (found, at) = likeness(&recording, &voice);
        assert!(found > 0.98 && (at - 1.0).abs() < 0.05, "{found} at {at}");
        assert!(likeness_at(&recording, &voice, at) > 0.98);
        assert!(likeness_at(&recording, &voice, at + 1.0) < 0.4);
        let (other, _) = likeness(&recording, &warble(4, 2));
        assert!(other < 0.4, "{other}");
        assert_eq!(likeness(&[0; 80_000], &voice).0, 0.0);
    }

    #[test]
    fn sound_is_told_from_line_noise() {
        let mut recording = vec![3; 16_000];
        recording.extend(warble(2, 5).iter().map(|sample| sample.saturating_mul(2)));
        let found = audible_seconds(&recording);
        assert!((1.7..=2.0).contains(&found), "{found}");
    }
}
