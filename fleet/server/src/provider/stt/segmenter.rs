//! Cuts a stream of voice probabilities into segments of speech and says when to decode what.
//!
//! Pure: frames in, cues out, positions in samples. It must never hold audio or decide on turns;
//! every `Conclude` follows a `Speculate` of the same segment that no voice came after.

use std::collections::VecDeque;

/// Samples of one frame: 16 ms at the model's 16 kHz.
pub const FRAME: u64 = 256;

const MS: u64 = super::moonshine::RATE as u64 / 1000;

/// When a segment begins, is decoded and ends. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentConfig {
    /// Probability that makes a frame voice while nobody speaks.
    pub onset: f32,
    /// Probability that keeps a frame voice while somebody speaks.
    pub sustain: f32,
    /// Voiced frames among the last four that begin a segment.
    pub onset_frames: usize,
    /// Audio before the onset that is decoded too: soft first consonants.
    pub lead_ms: u64,
    /// Audio after the last voice that is decoded too.
    pub tail_ms: u64,
    /// Silence after which the segment is decoded in case it is over.
    pub speculate_ms: u64,
    /// Silence that ends the segment.
    pub end_ms: u64,
    /// New speech between two partials; grows with the segment, as decoding it again costs more.
    pub partial_ms: u64,
    /// From this length on a pause of `speculate_ms` is enough to cut.
    pub soft_limit_ms: u64,
    /// At this length it is cut where voice was weakest in its last two seconds.
    pub hard_limit_ms: u64,
}

impl Default for SegmentConfig {
    fn default() -> Self {
        Self {
            onset: 0.5,
            sustain: 0.35,
            onset_frames: 3,
            lead_ms: 240,
            tail_ms: 112,
            speculate_ms: 128,
            end_ms: 320,
            partial_ms: 480,
            soft_limit_ms: 8_000,
            hard_limit_ms: 12_000,
        }
    }
}

/// What to do now. `from` and `to` bound the audio to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// Voice began at `at`.
    Started { at: u64 },
    /// Decode the running segment if there is time.
    Partial { from: u64, to: u64 },
    /// Decode the segment: it is probably over.
    Speculate { from: u64, to: u64 },
    /// What was last speculated on is the segment; its voice lasted from `from` to `to`.
    Conclude { from: u64, to: u64 },
    /// Voice ended at `at`.
    Ended { at: u64 },
}

/// The state of one leg.
#[derive(Debug)]
pub struct Segmenter {
    config: SegmentConfig,
    /// End of the last frame.
    position: u64,
    /// The last two seconds of probabilities, the newest last.
    recent: VecDeque<f32>,
    speech: Option<Speech>,
}

/// A running segment.
#[derive(Debug)]
struct Speech {
    /// Where its audio begins.
    start: u64,
    /// Where its voice began, and the end of its last voiced frame; `None`: no voice since a cut.
    voice: Option<(u64, u64)>,
    /// End of the last voice of the whole speech, for `Ended`.
    last_voice: u64,
    /// What voice end was speculated on.
    speculated: Option<u64>,
    /// Where the last partial ended.
    partial: u64,
}

const RECENT_FRAMES: usize = (2_000 * MS / FRAME) as usize;
const ONSET_WINDOW: usize = 4;

impl Segmenter {
    /// A leg on which nobody speaks yet.
    pub fn new(config: SegmentConfig) -> Self {
        Self { config, position: 0, recent: VecDeque::with_capacity(RECENT_FRAMES), speech: None }
    }

    /// Audio before this position is not needed any more.
    pub fn needed_from(&self) -> u64 {
        match &self.speech {
            Some(speech) => speech.start,
            None => self.position.saturating_sub(self.config.lead_ms * MS + ONSET_WINDOW as u64 * FRAME),
        }
    }

    /// Takes the voice probability of the next [`FRAME`] samples.
    pub fn frame(&mut self, probability: f32, cues: &mut Vec<Cue>) {
        self.position += FRAME;
        if self.recent.len() == RECENT_FRAMES {
            self.recent.pop_front();
        }
        self.recent.push_back(probability);
        match self.speech.take() {
            None => self.speech = self.onset(cues),
            Some(speech) => self.speech = self.go_on(speech, probability >= self.config.sustain, cues),
        }
    }

    /// Ends the running segment now.
    pub fn endpoint(&mut self, cues: &mut Vec<Cue>) {
        if let Some(mut speech) = self.speech.take() {
            self.end(&mut speech, cues);
            // The frames that were voice must not begin the next segment.
            self.recent.clear();
        }
    }

    fn onset(&self, cues: &mut Vec<Cue>) -> Option<Speech> {
        let window = self.recent.iter().rev().take(ONSET_WINDOW).enumerate();
        let voiced: Vec<u64> = window.filter(|(_, p)| **p >= self.config.onset).map(|(age, _)| age as u64).collect();
        if voiced.len() < self.config.onset_frames {
            return None;
        }
        let oldest = voiced.last().copied().unwrap_or(0);
        let at = self.position - (oldest + 1) * FRAME;
        cues.push(Cue::Started { at });
        let start = at.saturating_sub(self.config.lead_ms * MS);
        let position = self.position;
        Some(Speech { start, voice: Some((at, position)), last_voice: position, speculated: None, partial: at })
    }

    fn go_on(&self, mut speech: Speech, voiced: bool, cues: &mut Vec<Cue>) -> Option<Speech> {
        if voiced {
            let from = speech.voice.map_or(self.position - FRAME, |(from, _)| from);
            speech.voice = Some((from, self.position));
            speech.last_voice = self.position;
            speech.speculated = None;
        }
        let silence = self.position - speech.last_voice;
        let length = self.position - speech.start;
        if silence >= self.config.end_ms * MS {
            self.end(&mut speech, cues);
            return None;
        }
        if silence >= self.config.speculate_ms * MS {
            self.speculate(&mut speech, self.position, cues);
            if length >= self.config.soft_limit_ms * MS && speech.voice.is_some() {
                self.cut(&mut speech, self.position, cues);
            }
        } else if length >= self.config.hard_limit_ms * MS {
            self.cut(&mut speech, self.weakest(), cues);
        } else if voiced && self.position - speech.partial >= self.partial_step(&speech) {
            speech.partial = self.position;
            cues.push(Cue::Partial { from: speech.start, to: self.position });
        }
        Some(speech)
    }

    fn partial_step(&self, speech: &Speech) -> u64 {
        (self.config.partial_ms * MS).max((speech.partial - speech.start) / 2)
    }

    /// Asks for a decode of the segment up to `end`, unless one of the same voice was asked for.
    fn speculate(&self, speech: &mut Speech, end: u64, cues: &mut Vec<Cue>) {
        let Some((_, voice_end)) = speech.voice else { return };
        if speech.speculated != Some(voice_end) {
            speech.speculated = Some(voice_end);
            speech.partial = end;
            let to = end.min(voice_end + self.config.tail_ms * MS).max(speech.start);
            cues.push(Cue::Speculate { from: speech.start, to });
        }
    }

    fn end(&self, speech: &mut Speech, cues: &mut Vec<Cue>) {
        self.speculate(speech, self.position, cues);
        cues.push(Cue::Ended { at: speech.last_voice });
        self.conclude(speech, self.position, cues);
    }

    fn conclude(&self, speech: &mut Speech, end: u64, cues: &mut Vec<Cue>) {
        self.speculate(speech, end, cues);
        if let Some((from, to)) = speech.voice {
            cues.push(Cue::Conclude { from, to: to.min(end) });
        }
    }

    /// Ends the segment at `at` and begins the next one there, within the same speech.
    fn cut(&self, speech: &mut Speech, at: u64, cues: &mut Vec<Cue>) {
        if let Some((from, to)) = speech.voice {
            speech.voice = Some((from, to.min(at)));
        }
        self.conclude(speech, at, cues);
        let voice = (at < speech.last_voice).then_some((at, speech.last_voice));
        *speech = Speech { start: at, voice, last_voice: speech.last_voice, speculated: None, partial: at };
    }

    /// Where voice was weakest in the last two seconds, not at their very ends.
    fn weakest(&self) -> u64 {
        let age = self
            .recent
            .iter()
            .rev()
            .enumerate()
            .skip(8)
            .min_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(age, _)| age as u64);
        self.position - age * FRAME
    }
}

#[cfg(test)]
#[path = "segmenter_tests.rs"]
mod tests;
