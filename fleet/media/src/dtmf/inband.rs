//! Keys heard as tones (ITU-T Q.24) by the Goertzel algorithm. Never takes speech for a key: both
//! tones must carry almost all of the energy for two frames.

use super::{COLUMNS, Digit, KEYS, ROWS};
use crate::FRAME_SAMPLES;
use crate::tone::Goertzel;

/// Share of the energy that the two tones must carry.
const SHARE: f32 = 0.85;
/// How much louder one tone may be than the other, as a power ratio: 8 dB.
const TWIST: f32 = 6.3;
/// Mean square under which there is nothing to hear: about -36 dBm0.
const FLOOR: f32 = 40_000.0;
/// Frames that a key must sound.
const FRAMES: u32 = 2;

/// Listens to one direction of a call.
#[derive(Debug, Clone, Default)]
pub struct InbandDetector {
    heard: Option<Digit>,
    frames: u32,
}

impl InbandDetector {
    /// Takes 20 ms; returns a key once, when it has sounded long enough.
    pub fn push(&mut self, frame: &[i16; FRAME_SAMPLES]) -> Option<Digit> {
        let digit = classify(frame);
        if digit != self.heard {
            self.heard = digit;
            self.frames = 0;
        }
        self.frames = self.frames.saturating_add(1);
        digit.filter(|_| self.frames == FRAMES)
    }
}

fn classify(frame: &[i16; FRAME_SAMPLES]) -> Option<Digit> {
    let total: f32 = frame.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
    if total < FLOOR * FRAME_SAMPLES as f32 {
        return None;
    }
    let (row, low) = strongest(&ROWS, frame);
    let (column, high) = strongest(&COLUMNS, frame);
    let twisted = low > high * TWIST || high > low * TWIST;
    if twisted || low + high < SHARE * total {
        return None;
    }
    let key = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']][row][column];
    debug_assert!(KEYS.contains(&key));
    Digit::from_char(key)
}

fn strongest(group: &[f32; 4], frame: &[i16; FRAME_SAMPLES]) -> (usize, f32) {
    let mut best = (0, 0.0);
    for (n, hz) in group.iter().enumerate() {
        let energy = Goertzel::new(*hz).energy(frame);
        if energy > best.1 {
            best = (n, energy);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{noise, voiced};

    #[test]
    fn speech_and_noise_are_no_keys() {
        let mut detector = InbandDetector::default();
        for audio in [voiced(120.0, 80_000, 9000.0), voiced(233.0, 80_000, 9000.0), noise(1, 80_000, 9000.0)] {
            for frame in audio.chunks_exact(FRAME_SAMPLES) {
                assert_eq!(detector.push(frame.try_into().unwrap()), None);
            }
        }
    }
}
