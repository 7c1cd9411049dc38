//! Packet loss concealment after the idea of G.711 Appendix I: the last pitch period is repeated
//! and fades, then silence; the first samples that come again are blended in.
//!
//! Never lengthens or shortens time (that is `jitter`'s), and never invents a sound that outlasts
//! [`FADE_END`].

use crate::pitch::{LAG_MAX, Toward, best_lag};

/// Samples compared at each lag: 20 ms.
const WINDOW: usize = 160;
const HISTORY: usize = 400;
/// Samples of loss at full gain: 10 ms.
const FADE_START: usize = 80;
/// Samples of loss after which there is silence: 60 ms.
pub const FADE_END: usize = 480;
/// Samples of blending when audio returns: 5 ms.
const BLEND: usize = 40;
/// Two periods are repeated instead of one from here on, which sounds less like a buzzer.
const SECOND_PERIOD: usize = 80;

/// What was last played, and the state of a running concealment.
#[derive(Debug, Clone)]
pub struct Concealer {
    history: [i16; HISTORY],
    /// Samples concealed since audio was last received; 0 when not concealing.
    lost: usize,
    /// Copy of the history at the start of the loss, its end blended so that it can be repeated.
    source: [i16; HISTORY],
    period: usize,
    /// Step between the last real sample and the first synthetic one, faded out to avoid a click.
    step: f32,
}

impl Default for Concealer {
    fn default() -> Self {
        Self { history: [0; HISTORY], lost: 0, source: [0; HISTORY], period: LAG_MAX, step: 0.0 }
    }
}

impl Concealer {
    /// Notes received samples that are about to be played; after a loss their start is blended
    /// with what was being repeated.
    pub fn received(&mut self, samples: &mut [i16]) {
        if self.lost > 0 {
            let lost = self.lost;
            for (n, sample) in samples.iter_mut().take(BLEND).enumerate() {
                let mix = (n + 1) as f32 / (BLEND + 1) as f32;
                let synthetic = self.synthetic(lost + n);
                *sample = (f32::from(*sample) * mix + synthetic * (1.0 - mix)) as i16;
            }
            self.lost = 0;
        }
        self.remember(samples);
    }

    /// Fills `out` with a continuation of what was played. False once it has faded to silence.
    pub fn conceal(&mut self, out: &mut [i16]) -> bool {
        if self.lost == 0 {
            self.begin();
        }
        let audible = self.lost < FADE_END;
        for (n, sample) in out.iter_mut().enumerate() {
            *sample = self.synthetic(self.lost + n) as i16;
        }
        // Kept from growing without end; past the fade all is zero anyway.
        self.lost = (self.lost + out.len()).min(2 * FADE_END);
        self.remember(out);
        audible
    }

    /// Fills `out` with silence that is meant: the far end suppresses it.
    pub fn silence(&mut self, out: &mut [i16]) {
        out.fill(0);
        self.lost = 0;
        self.remember(out);
    }

    /// The last `N` samples played, oldest first. `N` is at most 400.
    pub(crate) fn recent<const N: usize>(&self) -> &[i16; N] {
        self.history.last_chunk().expect("callers ask for at most HISTORY samples")
    }

    fn begin(&mut self) {
        self.source = self.history;
        self.period = best_lag(&self.history, HISTORY - WINDOW, WINDOW, Toward::Past);
        let period = self.period;
        let overlap = period / 4;
        self.step = f32::from(self.history[HISTORY - 1]) - f32::from(self.history[HISTORY - 1 - period]);
        // The last quarter period leans towards what precedes the repeated part, so that going
        // round has no edge.
        for n in 0..overlap {
            let mix = (n + 1) as f32 / (overlap + 1) as f32;
            let at = HISTORY - overlap + n;
            let before = f32::from(self.history[at - period]);
            self.source[at] = (f32::from(self.history[at]) * (1.0 - mix) + before * mix) as i16;
        }
    }

    /// Sample number `n` of the loss.
    fn synthetic(&self, n: usize) -> f32 {
        if n >= FADE_END {
            return 0.0;
        }
        let length = if n < SECOND_PERIOD { self.period } else { 2 * self.period };
        let raw = f32::from(self.source[HISTORY - length + n % length]);
        let smooth = if n < 16 { self.step * (1.0 - (n + 1) as f32 / 17.0) } else { 0.0 };
        (raw + smooth).clamp(-32768.0, 32767.0) * gain(n)
    }

    fn remember(&mut self, samples: &[i16]) {
        let samples = &samples[samples.len().saturating_sub(HISTORY)..];
        let keep = HISTORY - samples.len();
        self.history.copy_within(HISTORY - keep.., 0);
        self.history[keep..].copy_from_slice(samples);
    }
}

fn gain(n: usize) -> f32 {
    if n < FADE_START { 1.0 } else { 1.0 - (n - FADE_START) as f32 / (FADE_END - FADE_START) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{energy, sine, voiced};

    fn frames(samples: &[i16]) -> impl Iterator<Item = [i16; 160]> + '_ {
        samples.chunks_exact(160).map(|c| c.try_into().unwrap())
    }

    /// Plays 10 frames, loses `lost`, and returns what came out for the lost ones.
    fn lose(audio: &[i16], lost: usize) -> Vec<i16> {
        let mut concealer = Concealer::default();
        for mut frame in frames(audio).take(10) {
            concealer.received(&mut frame);
        }
        let mut out = vec![0; lost * 160];
        for frame in out.chunks_mut(160) {
            concealer.conceal(frame);
        }
        out
    }

    #[test]
    fn a_lost_frame_of_voice_keeps_its_energy_and_its_wave() {
        for pitch in [90.0, 120.0, 180.0, 230.0] {
            let audio = voiced(pitch, 3200, 8000.0);
            let out = lose(&audio, 1);
            let truth = &audio[1600..1760];
            let ratio = energy(&out[..80]) / energy(&truth[..80]);
            assert!((0.6..1.6).contains(&ratio), "{pitch} Hz: {ratio}");
            let cross: f64 = out[..80].iter().zip(truth).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let norm = (energy(&out[..80]) * energy(&truth[..80])).sqrt() * 80.0;
            assert!(cross / norm > 0.8, "{pitch} Hz: {}", cross / norm);
        }
    }

    #[test]
    fn a_long_loss_fades_to_exact_silence() {
        let out = lose(&voiced(120.0, 3200, 8000.0), 5);
        let by_frame: Vec<f64> = out.chunks(160).map(energy).collect();
        assert!(by_frame[0] > by_frame[1] && by_frame[1] > by_frame[2], "{by_frame:?}");
        assert!(by_frame[2] > 0.0);
        assert_eq!(out[FADE_END..], vec![0; out.len() - FADE_END]);
    }

    #[test]
    fn silence_is_concealed_by_silence() {
        assert_eq!(lose(&vec![0; 3200], 3), vec![0; 480]);
    }

    #[test]
    fn no_click_at_either_edge() {
        for hz in [150.0, 333.0, 440.0] {
            let audio = sine(hz, 3200, 8000.0);
            let mut concealer = Concealer::default();
            let mut played = Vec::new();
            for (n, mut frame) in frames(&audio).enumerate() {
                if n == 8 || n == 12 {
                    concealer.conceal(&mut frame);
                } else {
                    concealer.received(&mut frame);
                }
                played.extend(frame);
            }
            let steepest = |s: &[i16]| s.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max();
            let limit = steepest(&audio).unwrap() * 2;
            assert!(steepest(&played).unwrap() <= limit, "{hz} Hz: {:?} > {limit}", steepest(&played));
        }
    }

    #[test]
    fn loudest_input_doesnt_overflow() {
        let loud: Vec<i16> = (0..3200).map(|n| if (n / 30) % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        lose(&loud, 4);
    }
}
