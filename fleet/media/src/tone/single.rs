//! Single tones of 400 to 2,000 Hz that last at least 100 ms: the beep of a voicemail, and the
//! three rising special information tones. Never reports a tone out of a melody as a beep.

use super::{Goertzel, energy, level_dbfs};
use crate::FRAME_SAMPLES;

/// Lowest frequency searched, in hertz.
const LOWEST: f32 = 400.0;
/// Step of the search; a frame of 20 ms resolves 50 Hz.
const STEP: f32 = 25.0;
const BINS: usize = 65;
/// Share of the energy that the one tone must carry.
const SHARE: f32 = 0.75;
/// Quietest tone, in dBFS.
const QUIETEST: f32 = -45.0;
/// How far the frequency of one tone may wander, in hertz.
const WANDER: f32 = 40.0;
/// Shortest tone: 100 ms.
const SHORTEST: u64 = 800;
/// Longest beep: 3 s. What sounds longer is a line tone or a fax.
const LONGEST: u64 = 24_000;
/// Tones closer than this belong together: 60 ms.
const APART: u64 = 480;
/// ITU-T E.180 special information tones.
const SIT: [f32; 3] = [950.0, 1400.0, 1800.0];

/// One tone, by samples since the detector's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SingleTone {
    /// Frequency in hertz, to about 20 Hz.
    pub hz: f32,
    /// First sample.
    pub from: u64,
    /// Sample after the last.
    pub to: u64,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ToneEvent {
    /// One tone alone; reported 60 ms after its end.
    Beep(SingleTone),
    /// The three tones that precede an announcement of the network: the number is not in service.
    SpecialInformation {
        /// Sample after the last tone.
        to: u64,
    },
}

/// Listens to one direction of a call.
#[derive(Debug, Clone)]
pub struct ToneDetector {
    bank: [Goertzel; BINS],
    position: u64,
    running: Option<SingleTone>,
    /// Tones that follow each other closely; only the first three are kept.
    chain: [Option<SingleTone>; 3],
    length: usize,
}

impl Default for ToneDetector {
    fn default() -> Self {
        Self {
            bank: std::array::from_fn(|n| Goertzel::new(LOWEST + STEP * n as f32)),
            position: 0,
            running: None,
            chain: [None; 3],
            length: 0,
        }
    }
}

impl ToneDetector {
    /// Takes 20 ms.
    pub fn push(&mut self, frame: &[i16; FRAME_SAMPLES]) -> Option<ToneEvent> {
        let from = self.position;
        self.position += FRAME_SAMPLES as u64;
        match (self.frequency(frame), &mut self.running) {
            (Some(hz), Some(tone)) if (hz - tone.hz).abs() <= WANDER => tone.to = self.position,
            (found, _) => {
                self.end_running();
                self.running = found.map(|hz| SingleTone { hz, from, to: self.position });
            }
        }
        self.judge()
    }

    /// How long the tone that sounds now has lasted, in samples; 0 when none does.
    pub fn sounding(&self) -> u64 {
        self.running.map_or(0, |tone| tone.to - tone.from)
    }

    fn end_running(&mut self) {
        if let Some(tone) = self.running.take()
            && tone.to - tone.from >= SHORTEST
        {
            if let Some(place) = self.chain.get_mut(self.length) {
                *place = Some(tone);
            }
            self.length += 1;
        }
    }

    /// Once nothing has followed for a while, the chain is whole.
    fn judge(&mut self) -> Option<ToneEvent> {
        let last = self.chain.iter().flatten().last()?;
        let to = last.to;
        let follows = self.running.is_some_and(|t| t.from < to + APART);
        if follows || self.position < to + APART {
            return None;
        }
        let chain = std::mem::take(&mut self.chain);
        match (std::mem::take(&mut self.length), chain) {
            (1, [Some(tone), ..]) if tone.to - tone.from <= LONGEST => Some(ToneEvent::Beep(tone)),
            (3, [Some(a), Some(b), Some(c)]) if is_sit([a.hz, b.hz, c.hz]) => {
                Some(ToneEvent::SpecialInformation { to })
            }
            _ => None,
        }
    }

    fn frequency(&self, frame: &[i16; FRAME_SAMPLES]) -> Option<f32> {
        if level_dbfs(frame) < QUIETEST {
            return None;
        }
        let total = energy(frame);
        let mut best = (0, 0.0f32);
        for (n, goertzel) in self.bank.iter().enumerate() {
            let share = goertzel.energy(frame) / total;
            if share > best.1 {
                best = (n, share);
            }
        }
        (best.1 >= SHARE).then_some(LOWEST + STEP * best.0 as f32)
    }
}

fn is_sit(heard: [f32; 3]) -> bool {
    heard.iter().zip(SIT).all(|(heard, nominal)| (heard - nominal).abs() <= 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{noise, sine, voiced};

    fn listen(audio: &[i16]) -> Vec<ToneEvent> {
        let mut detector = ToneDetector::default();
        audio.chunks_exact(160).filter_map(|f| detector.push(f.try_into().unwrap())).collect()
    }

    fn with_noise(parts: &[Vec<i16>], amplitude: f64) -> Vec<i16> {
        let audio = parts.concat();
        let line = noise(8, audio.len(), amplitude);
        audio.iter().zip(line).map(|(a, n)| a.saturating_add(n)).collect()
    }

    #[test]
    fn beeps() {
        for (hz, ms, level) in [
            (1000.0, 400, 8000.0),
            (440.0, 1000, 3000.0),
            (1400.0, 150, 12_000.0),
            (1980.0, 250, 800.0),
            (613.0, 300, 6000.0),
        ] {
            let silence = vec![0; 3216];
            let audio = with_noise(&[silence.clone(), sine(hz, ms * 8, level), silence], 40.0);
            let events = listen(&audio);
            let [ToneEvent::Beep(tone)] = events[..] else {
                panic!("{hz} Hz {ms} ms: {events:?}");
            };
            assert!((f64::from(tone.hz) - hz).abs() < 26.0, "{tone:?}");
            assert!((tone.to as i64 - (3216 + ms as i64 * 8)).abs() <= 320, "{tone:?}");
        }
    }

    #[test]
    fn no_beeps() {
        let silence = vec![0; 4000];
        for (name, audio) in [
            ("too short", vec![sine(1000.0, 480, 8000.0), silence.clone()]),
            ("too quiet", vec![sine(1000.0, 4000, 100.0), silence.clone()]),
            ("too low", vec![sine(200.0, 4000, 8000.0), silence.clone()]),
            ("a dial tone", vec![sine(425.0, 80_000, 8000.0), silence.clone()]),
            ("a voice", vec![voiced(140.0, 40_000, 8000.0), silence.clone()]),
            ("noise", vec![noise(1, 40_000, 8000.0), silence.clone()]),
            (
                "a melody",
                vec![sine(600.0, 2400, 8000.0), sine(800.0, 2400, 8000.0), sine(700.0, 2400, 8000.0), silence],
            ),
        ] {
            assert_eq!(listen(&with_noise(&audio, 20.0)), [], "{name}");
        }
    }

    #[test]
    fn special_information_tones() {
        let tones = SIT.map(|hz| sine(f64::from(hz), 2640, 8000.0));
        let audio = [tones.concat(), vec![0; 4000]].concat();
        assert!(matches!(listen(&audio)[..], [ToneEvent::SpecialInformation { to: 7800..8100 }]));
    }
}
