//! Tones on the line: levels, single tones (voicemail beeps), and the cadences of call progress.
//! Reports what sounds; never decides what it means for the call.

mod cadence;
mod single;

pub use cadence::{Cadence, CadenceDetector};
pub use single::{SingleTone, ToneDetector, ToneEvent};

use crate::FRAME_SAMPLES;

/// The Goertzel algorithm at one frequency, for frames at 8 kHz.
#[derive(Debug, Clone, Copy)]
pub struct Goertzel {
    coefficient: f32,
}

impl Goertzel {
    /// Prepares for a frequency in hertz.
    pub fn new(hz: f32) -> Self {
        Self { coefficient: 2.0 * (std::f32::consts::TAU * hz / 8000.0).cos() }
    }

    /// The part of the frame's energy (sum of squares) that lies at the frequency; of a pure tone,
    /// about all of it.
    pub fn energy(&self, frame: &[i16]) -> f32 {
        let (mut one, mut two) = (0.0f32, 0.0f32);
        for sample in frame {
            let next = f32::from(*sample) + self.coefficient * one - two;
            two = one;
            one = next;
        }
        let power = one * one + two * two - self.coefficient * one * two;
        2.0 * power / frame.len().max(1) as f32
    }
}

/// Sum of squares.
pub fn energy(frame: &[i16]) -> f32 {
    frame.iter().map(|s| f32::from(*s) * f32::from(*s)).sum()
}

/// Level of a frame in dB below full scale; -100 for digital silence.
pub fn level_dbfs(frame: &[i16]) -> f32 {
    let mean = energy(frame) / frame.len().max(1) as f32;
    if mean < 1.0 { -100.0 } else { (10.0 * (mean / (32768.0 * 32768.0)).log10()).max(-100.0) }
}

/// Follows the level of one direction: how loud it is, and how steady.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelMeter {
    frames: u64,
    mean: f32,
    spread: f32,
}

impl LevelMeter {
    /// Takes a frame; returns its level in dBFS.
    pub fn push(&mut self, frame: &[i16; FRAME_SAMPLES]) -> f32 {
        let level = level_dbfs(frame);
        self.frames += 1;
        // A plain mean at first, then one over about a second.
        let weight = (1.0 / self.frames as f32).max(0.02);
        self.mean += (level - self.mean) * weight;
        self.spread += ((level - self.mean).abs() - self.spread) * weight;
        level
    }

    /// Mean level of the last second, in dBFS.
    pub fn mean_dbfs(&self) -> f32 {
        self.mean
    }

    /// Mean deviation from it in dB: small for tones, noise and music on hold, large for speech.
    pub fn spread_db(&self) -> f32 {
        self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{noise, sine};

    #[test]
    fn a_tone_is_all_of_its_energy_and_nothing_elsewhere() {
        let frame = sine(1000.0, 160, 8000.0);
        let share = |hz| Goertzel::new(hz).energy(&frame) / energy(&frame);
        assert!((share(1000.0) - 1.0).abs() < 0.01, "{}", share(1000.0));
        assert!(share(1012.5) > 0.75);
        assert!(share(1050.0) < 0.01 && share(500.0) < 0.01);
    }

    #[test]
    fn levels() {
        for (frame, expect) in [
            (vec![0; 160], -100.0),
            (sine(1000.0, 160, 32767.0), -3.0),
            (sine(1000.0, 160, 3276.7), -23.0),
            (vec![i16::MIN; 160], 0.0),
        ] {
            assert!((level_dbfs(&frame) - expect).abs() < 0.1, "{} {expect}", level_dbfs(&frame));
        }
    }

    #[test]
    fn a_steady_level_has_no_spread() {
        let (mut steady, mut speech) = (LevelMeter::default(), LevelMeter::default());
        for n in 0..100 {
            steady.push(noise(n, 160, 3000.0)[..].try_into().unwrap());
            let loud = if n % 10 < 5 { 8000.0 } else { 100.0 };
            speech.push(noise(n, 160, loud)[..].try_into().unwrap());
        }
        assert!(steady.spread_db() < 1.5, "{}", steady.spread_db());
        assert!(speech.spread_db() > 10.0, "{}", speech.spread_db());
    }
}
