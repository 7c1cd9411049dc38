//! Voice activity: where speech starts and ends in an 8 kHz stream.
//!
//! Wraps `earshot`, which wants 256 samples at 16 kHz, and adds hysteresis. Never decides whose turn
//! it is: how long a pause ends a turn is the call's business.

use crate::resample::{ResampleError, Resampler};
use std::collections::VecDeque;

/// Samples of one step of the detector at 8 kHz: 16 ms.
const STEP: u64 = 128;
/// The same at 16 kHz.
const DETECTOR_FRAME: usize = 256;
/// Events that wait; one each step at most, so a caller that polls after each push never loses any.
const MAX_EVENTS: usize = 64;

/// When speech counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VadConfig {
    /// Score that speech must reach once. Loud line noise comes up to 0.63, speech to 0.9.
    pub on: f32,
    /// Score under which a step is no speech.
    pub off: f32,
    /// A step this far under the best score since the onset is no speech either: in loud noise the
    /// score never falls under `off`.
    pub drop: f32,
    /// Milliseconds of speech before [`VadEvent::SpeechStarted`].
    pub onset_ms: u32,
    /// Milliseconds without speech before [`VadEvent::SpeechEnded`].
    pub hangover_ms: u32,
}

impl Default for VadConfig {
    fn default() -> Self {
        Self { on: 0.66, off: 0.45, drop: 0.3, onset_ms: 48, hangover_ms: 160 }
    }
}

/// A change between speech and silence. Positions are samples since the start, at 8 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VadEvent {
    /// Speech has begun.
    SpeechStarted {
        /// Where its first step starts.
        at: u64,
    },
    /// Speech has ended.
    SpeechEnded {
        /// Where its last step ends.
        at: u64,
    },
}

/// Listens to one direction of a call.
pub struct Vad {
    detector: Box<earshot::Detector>,
    upsampler: Resampler,
    wide: Vec<i16>,
    hysteresis: Hysteresis,
    score: f32,
    events: VecDeque<VadEvent>,
}

impl std::fmt::Debug for Vad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vad").field("hysteresis", &self.hysteresis).field("score", &self.score).finish_non_exhaustive()
    }
}

impl Vad {
    /// Starts listening.
    ///
    /// # Errors
    /// Never in fact: 8 to 16 kHz is convertible; the type says what the filter could refuse.
    pub fn new(config: VadConfig) -> Result<Self, ResampleError> {
        Ok(Self {
            detector: earshot::Detector::default_boxed(),
            upsampler: Resampler::new(8000, 16_000)?,
            wide: Vec::with_capacity(1024),
            hysteresis: Hysteresis::new(config),
            score: 0.0,
            events: VecDeque::with_capacity(4),
        })
    }

    /// Takes samples at 8 kHz, in blocks of any length (20 ms is usual).
    pub fn push(&mut self, samples: &[i16]) {
        self.upsampler.push_i16(samples, &mut self.wide);
        let mut used = 0;
        while let Some(frame) = self.wide.get(used..used + DETECTOR_FRAME) {
            self.score = self.detector.predict_i16(frame);
            used += DETECTOR_FRAME;
            if let Some(event) = self.hysteresis.step(self.score) {
                if self.events.len() == MAX_EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
        }
        self.wide.drain(..used);
    }

    /// Takes samples at 8 kHz in `-1.0..=1.0`.
    pub fn push_f32(&mut self, samples: &[f32]) {
        let mut block = [0i16; 160];
        for chunk in samples.chunks(block.len()) {
            for (to, from) in block.iter_mut().zip(chunk) {
                *to = (from * 32767.0) as i16;
            }
            self.push(&block[..chunk.len()]);
        }
    }

    /// The next change.
    pub fn poll_event(&mut self) -> Option<VadEvent> {
        self.events.pop_front()
    }

    /// Whether speech has started and not ended.
    pub fn is_speech(&self) -> bool {
        self.hysteresis.speaking
    }

    /// The last step's score, 0 to 1.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// Samples since the last step with speech in it.
    pub fn silent_samples(&self) -> u64 {
        self.hysteresis.position - self.hysteresis.last_speech
    }
}

#[derive(Debug)]
struct Hysteresis {
    config: VadConfig,
    speaking: bool,
    /// Steps in a row that may be speech.
    run: u64,
    /// Best score of this run, or since speech started.
    best: f32,
    position: u64,
    last_speech: u64,
}

/// Steps before the score reached `on` that count as speech already: 64 ms.
const BACKDATED: u64 = 4;

impl Hysteresis {
    fn new(config: VadConfig) -> Self {
        Self { config, speaking: false, run: 0, best: 0.0, position: 0, last_speech: 0 }
    }

    fn step(&mut self, score: f32) -> Option<VadEvent> {
        self.position += STEP;
        let floor = self.config.off.max(self.best - self.config.drop);
        if score < floor {
            self.run = 0;
            return self.silent();
        }
        if self.best < self.config.on {
            self.run = self.run.min(BACKDATED);
        }
        self.run += 1;
        self.best = self.best.max(score);
        if self.best < self.config.on {
            return None;
        }
        self.last_speech = self.position;
        if self.speaking || self.run * STEP < u64::from(self.config.onset_ms) * 8 {
            return None;
        }
        self.speaking = true;
        let at = self.position - self.run * STEP;
        Some(VadEvent::SpeechStarted { at })
    }

    fn silent(&mut self) -> Option<VadEvent> {
        if !self.speaking {
            self.best = 0.0;
            return None;
        }
        let silent = self.position - self.last_speech;
        if silent < u64::from(self.config.hangover_ms) * 8 {
            return None;
        }
        self.speaking = false;
        self.best = 0.0;
        Some(VadEvent::SpeechEnded { at: self.last_speech })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::noise;
    use crate::wav::Wav;

    #[track_caller]
    fn check(scores: &[f32], expect: &[VadEvent]) {
        let mut hysteresis = Hysteresis::new(VadConfig::default());
        let got: Vec<VadEvent> = scores.iter().filter_map(|s| hysteresis.step(*s)).collect();
        assert_eq!(got, expect, "{scores:?}");
    }

    #[test]
    fn hysteresis() {
        use VadEvent::{SpeechEnded, SpeechStarted};
        let silence = [0.1; 12];
        check(&silence, &[]);
        check(&[0.1, 0.9, 0.9, 0.1, 0.9, 0.9], &[]);
        check(&[0.1, 0.9, 0.9, 0.9], &[SpeechStarted { at: 128 }]);
        check(&[0.7, 0.5, 0.5], &[SpeechStarted { at: 0 }]);
        check(&[0.6; 20], &[]);
        let noisy = [&[0.6; 20][..], &[0.9; 5], &[0.58; 12]].concat();
        check(&noisy, &[SpeechStarted { at: 16 * 128 }, SpeechEnded { at: 25 * 128 }]);
        let spoken = [&[0.9; 5][..], &silence].concat();
        check(&spoken, &[SpeechStarted { at: 0 }, SpeechEnded { at: 640 }]);
        let paused = [&[0.9; 5][..], &[0.1; 9], &[0.7], &silence].concat();
        check(&paused, &[SpeechStarted { at: 0 }, SpeechEnded { at: 15 * 128 }]);
    }

    /// Onset and end of a synthetic voice saying a sentence, set in line noise.
    #[test]
    fn hears_where_speech_starts_and_ends() {
        let wav = Wav::read(include_bytes!("../tests/data/speech_8k.wav")).unwrap();
        let mut audio = noise(1, 8000, 30.0);
        let start = audio.len() as i64;
        audio.extend(&wav.samples);
        let end = audio.len() as i64;
        audio.extend(noise(2, 8000, 30.0));
        let loud = noise(3, audio.len(), 1000.0);
        let noisy: Vec<i16> = audio.iter().zip(&loud).map(|(a, n)| a.saturating_add(*n)).collect();
        for (audio, block) in [(&audio, 160), (&audio, 333), (&noisy, 160)] {
            let mut vad = Vad::new(VadConfig::default()).unwrap();
            let mut events = Vec::new();
            for chunk in audio.chunks(block) {
                vad.push(chunk);
                events.extend(std::iter::from_fn(|| vad.poll_event()));
            }
            let Some(VadEvent::SpeechStarted { at: first }) = events.first() else {
                panic!("{events:?}");
            };
            let Some(VadEvent::SpeechEnded { at: last }) = events.last() else {
                panic!("{events:?}");
            };
            assert!((*first as i64 - start).abs() < 1200, "{events:?}");
            assert!((*last as i64 - end).abs() < 2400, "{events:?} {end}");
            assert!(!vad.is_speech());
        }
    }

    #[test]
    fn silence_and_noise_are_no_speech() {
        for audio in [vec![0; 40_000], noise(1, 40_000, 100.0), noise(2, 40_000, 3000.0)] {
            let mut vad = Vad::new(VadConfig::default()).unwrap();
            vad.push(&audio);
            assert_eq!(vad.poll_event(), None);
        }
    }
}
