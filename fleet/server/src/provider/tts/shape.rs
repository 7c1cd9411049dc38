//! Makes an engine's raw output fit for a call: the call's rate, the wanted pitch, no dead air at its ends.
//! It must never change how long the speech itself lasts.

use std::time::Duration;

use media::resample::Resampler;

use super::clauses::Pause;
use crate::provider::OUTPUT_RATE;
use crate::provider::error::ProviderError;

/// What an engine made of a clause: −1..1.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    pub samples: Vec<f32>,
    pub rate: u32,
}

/// Below this the ends of a clause are silence.
const SILENCE: f32 = 0.008;

/// Silence left before and after the speech.
const LEAD: Duration = Duration::from_millis(15);
const TAIL: Duration = Duration::from_millis(60);

/// Resampling rates are rounded to this, which keeps the filters small.
const RATE_STEP: f32 = 50.0;

/// The waveform at [`OUTPUT_RATE`], its pitch raised by `pitch`; the engine has spoken slower by as much.
pub(super) fn shape(waveform: &Waveform, pitch: f32) -> Result<Vec<i16>, ProviderError> {
    let from = (waveform.rate as f32 * pitch / RATE_STEP).round() * RATE_STEP;
    let mut resampler =
        Resampler::new(from as u32, OUTPUT_RATE).map_err(|e| ProviderError::engine("tts", "resampling", e))?;
    let mut out = Vec::with_capacity(waveform.samples.len() / 2);
    resampler.push_f32(trimmed(&waveform.samples, waveform.rate), &mut out);
    resampler.flush_f32(&mut out);
    Ok(out.iter().map(|sample| (sample.clamp(-1.0, 1.0) * 32_767.0) as i16).collect())
}

/// Samples of silence that a pause lasts at [`OUTPUT_RATE`].
pub(super) fn pause_samples(pause: Pause) -> usize {
    let ms = match pause {
        Pause::Comma => 90,
        Pause::Sentence => 220,
        Pause::None => 0,
    };
    ms * OUTPUT_RATE as usize / 1000
}

fn trimmed(samples: &[f32], rate: u32) -> &[f32] {
    let loud = |sample: &f32| sample.abs() > SILENCE;
    let (Some(first), Some(last)) = (samples.iter().position(loud), samples.iter().rposition(loud)) else {
        return &[];
    };
    let span = |time: Duration| (time.as_secs_f32() * rate as f32) as usize;
    &samples[first.saturating_sub(span(LEAD))..(last + 1 + span(TAIL)).min(samples.len())]
}

#[cfg(test)]
mod tests {
    use std::f32::consts::PI;

    use super::*;

    const RATE: u32 = 22_050;

    fn tone(lead: usize, length: usize, tail: usize) -> Waveform {
        let mut samples = vec![0.0; lead];
        samples.extend((0..length).map(|n| 0.5 * (2.0 * PI * 440.0 * n as f32 / RATE as f32).sin()));
        samples.resize(lead + length + tail, 0.0);
        Waveform { samples, rate: RATE }
    }

    /// Zero crossings a second, halved: the frequency of a pure tone.
    fn frequency(samples: &[i16]) -> f32 {
        let speech: Vec<&i16> = samples.iter().skip(400).take(4_000).collect();
        let crossings = speech.windows(2).filter(|pair| (*pair[0] < 0) != (*pair[1] < 0)).count();
        crossings as f32 / 2.0 / (speech.len() as f32 / OUTPUT_RATE as f32)
    }

    fn check(pitch: f32, expect_seconds: f32, expect_hertz: f32) {
        let out = shape(&tone(22_050, 22_050, 22_050), pitch).unwrap();
        let seconds = out.len() as f32 / OUTPUT_RATE as f32;
        assert!((seconds - expect_seconds).abs() < 0.03, "{pitch}: {seconds} s");
        let hertz = frequency(&out);
        assert!((hertz - expect_hertz).abs() < 6.0, "{pitch}: {hertz} Hz");
        let peak = out.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((15_000..18_000).contains(&peak), "{pitch}: {peak}");
    }

    #[test]
    fn dead_air_goes_and_pitch_follows() {
        check(1.0, 1.075, 440.0);
        check(1.2, 1.075 / 1.2, 528.0);
        check(0.8, 1.075 / 0.8, 352.0);
    }

    #[test]
    fn silence_is_nothing() {
        assert_eq!(shape(&tone(1_000, 0, 0), 1.0).unwrap(), Vec::<i16>::new());
        assert_eq!(shape(&Waveform { samples: vec![], rate: RATE }, 1.0).unwrap(), Vec::<i16>::new());
    }

    #[test]
    fn overdriven_output_is_clipped_not_wrapped() {
        let mut loud = tone(0, 22_050, 0);
        loud.samples.iter_mut().for_each(|s| *s *= 10.0);
        let out = shape(&loud, 1.0).unwrap();
        assert!(out.contains(&32_767) && out.contains(&-32_767));
    }
}
