//! Ring-back, busy and congestion by their rhythm (ITU-T E.180): every country has its own
//! frequencies between 300 and 650 Hz and its own lengths, but slow, even and fast stay apart.
//! A first cut: never the only evidence for what a call has come to.

use super::{Goertzel, energy, level_dbfs};
use crate::FRAME_SAMPLES;

/// Milliseconds of one frame.
const FRAME_MS: u32 = 20;
/// Bins of 50 Hz, which add up, from 300 to 650 Hz.
const BINS: usize = 8;
/// Share of the energy that must lie in the band.
const SHARE: f32 = 0.85;
/// Quietest tone, in dBFS.
const QUIETEST: f32 = -45.0;
/// Interruptions up to this long are ignored.
const GLITCH: u32 = 2;

/// What the rhythm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// The far phone rings.
    RingBack,
    /// It is in use.
    Busy,
    /// The network is: fast busy.
    Congestion,
}

/// Listens to one direction of a call.
#[derive(Debug, Clone)]
pub struct CadenceDetector {
    band: [Goertzel; BINS],
    on: bool,
    /// Frames of the state that lasts, and of an interruption of it.
    lasted: u32,
    interrupted: u32,
    /// Lengths in ms of the last tones and pauses, newest first, tone and pause in turn.
    past: [u32; 4],
    reported: Option<Cadence>,
}

impl Default for CadenceDetector {
    fn default() -> Self {
        Self {
            band: std::array::from_fn(|n| Goertzel::new(300.0 + 50.0 * n as f32)),
            on: false,
            lasted: 0,
            interrupted: 0,
            past: [0; 4],
            reported: None,
        }
    }
}

impl CadenceDetector {
    /// Takes 20 ms; returns a rhythm when it is first recognised, and again when it changes.
    pub fn push(&mut self, frame: &[i16; FRAME_SAMPLES]) -> Option<Cadence> {
        let tone = self.is_tone(frame);
        if tone == self.on {
            self.lasted += 1 + std::mem::take(&mut self.interrupted);
        } else {
            self.interrupted += 1;
            if self.interrupted > GLITCH {
                self.past.rotate_right(1);
                self.past[0] = self.lasted * FRAME_MS;
                self.on = tone;
                self.lasted = std::mem::take(&mut self.interrupted);
            }
        }
        let found = self.classify();
        if found.is_none() || found == self.reported {
            return None;
        }
        self.reported = found;
        found
    }

    fn classify(&self) -> Option<Cadence> {
        // Judged while a tone sounds: it, the pause before it, the tone before that, the pause.
        if !self.on {
            return None;
        }
        let now = self.lasted * FRAME_MS;
        let [pause, tone, pause_before, tone_before] = self.past;
        let even = |a: u32, b: u32| a.abs_diff(b) <= 60;
        if (1500..=6000).contains(&pause) && (300..=2500).contains(&tone) && now >= 300 {
            return Some(Cadence::RingBack);
        }
        let twice = even(tone, tone_before) && even(pause, pause_before);
        if twice && (300..=800).contains(&tone) && (300..=800).contains(&pause) && now >= 200 {
            return Some(Cadence::Busy);
        }
        if twice && (140..300).contains(&tone) && (140..300).contains(&pause) && now >= 100 {
            return Some(Cadence::Congestion);
        }
        None
    }

    fn is_tone(&self, frame: &[i16; FRAME_SAMPLES]) -> bool {
        if level_dbfs(frame) < QUIETEST {
            return false;
        }
        let inside: f32 = self.band.iter().map(|g| g.energy(frame)).sum();
        inside >= SHARE * energy(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{noise, sine};

    /// Tones of these frequencies in this rhythm of milliseconds on and off.
    fn rhythm(frequencies: &[f64], lengths: &[usize], times: usize) -> Vec<i16> {
        let mut audio = Vec::new();
        for n in 0..lengths.len() * times {
            let samples = lengths[n % lengths.len()] * 8;
            let mut part = vec![0i16; samples];
            if n % 2 == 0 {
                for hz in frequencies {
                    part.iter_mut().zip(sine(*hz, samples, 5000.0)).for_each(|(p, s)| *p += s);
                }
            }
            audio.extend(part);
        }
        audio.iter().zip(noise(3, audio.len(), 30.0)).map(|(a, n)| a + n).collect()
    }

    fn listen(audio: &[i16]) -> Vec<Cadence> {
        let mut detector = CadenceDetector::default();
        audio.chunks_exact(160).filter_map(|f| detector.push(f.try_into().unwrap())).collect()
    }

    #[test]
    fn rhythms_of_several_countries() {
        for (name, frequencies, lengths, expect) in [
            ("US ring-back", &[440.0, 480.0][..], &[2000, 4000][..], &[Cadence::RingBack][..]),
            ("European ring-back", &[425.0], &[1000, 4000], &[Cadence::RingBack]),
            ("Indian ring-back", &[400.0], &[400, 200, 400, 2000], &[Cadence::RingBack]),
            ("US busy", &[480.0, 620.0], &[500, 500], &[Cadence::Busy]),
            ("Indian busy", &[400.0], &[750, 750], &[Cadence::Busy]),
            ("congestion", &[480.0, 620.0], &[250, 250], &[Cadence::Congestion]),
            ("dial tone", &[350.0, 440.0], &[9000, 100], &[]),
            ("high beeps", &[1000.0], &[500, 500], &[]),
        ] {
            assert_eq!(listen(&rhythm(frequencies, lengths, 4)), expect, "{name}");
        }
    }
}
