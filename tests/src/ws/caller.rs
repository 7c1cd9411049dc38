//! Who is at the dialler's far end: somebody who hears what is played, and speaks when it is their turn, or breaks in.
//! They must never speak by the clock: how soon a bot speaks is the machine's business.

use std::collections::VecDeque;

use crate::audio::Speech;
use crate::ws::pcm::FRAME;

/// Above this, root mean square, a frame is sound: about -46 dBFS.
const AUDIBLE: f64 = 160.0;
/// Frames of sound that make an utterance.
const UTTERANCE: usize = 20;
/// Frames of quiet that end one.
const PAUSE: usize = 45;

/// When something is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// After the bot's utterance of this number, from 1, is over.
    After(usize),
    /// Into the bot's utterance of this number, so many seconds after it began to sound.
    Into(usize, f64),
}

/// One caller.
#[derive(Debug, Default)]
pub struct Caller {
    lines: VecDeque<(When, Speech)>,
    saying: VecDeque<i16>,
    /// Utterances of the bot that are over.
    heard: usize,
    /// Frames of sound in the present one, and of quiet since the last.
    sound: usize,
    quiet: usize,
}

impl Caller {
    /// Says nothing.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Says something more.
    #[must_use]
    pub fn says(mut self, when: When, what: &Speech) -> Self {
        self.lines.push_back((when, what.clone()));
        self
    }

    /// Hears 20 ms.
    pub fn hear(&mut self, frame: &[i16]) {
        let power: f64 = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        if (power / frame.len().max(1) as f64).sqrt() > AUDIBLE {
            self.sound += 1;
            self.quiet = 0;
            return;
        }
        self.quiet += 1;
        if self.quiet >= PAUSE && self.sound >= UTTERANCE {
            self.heard += 1;
            self.sound = 0;
        }
    }

    /// Says 20 ms, of silence if it isn't their turn.
    pub fn say(&mut self) -> Vec<i16> {
        if self.saying.is_empty() && self.lines.front().is_some_and(|(when, _)| self.is_now(*when)) {
            self.saying = self.lines.pop_front().map(|(_, speech)| speech.samples.into()).unwrap_or_default();
        }
        let mut frame: Vec<i16> = self.saying.drain(..self.saying.len().min(FRAME)).collect();
        frame.resize(FRAME, 0);
        frame
    }

    /// Whether everything was said.
    pub fn has_said_all(&self) -> bool {
        self.lines.is_empty() && self.saying.is_empty()
    }

    fn is_now(&self, when: When) -> bool {
        match when {
            When::After(utterance) => self.heard >= utterance,
            When::Into(utterance, seconds) => {
                self.heard + 1 >= utterance && self.sound as f64 * 0.02 >= seconds.max(0.02)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_for_their_turn_and_break_in_where_they_should() {
        let tone = |level: i16| Speech { samples: vec![level; FRAME * 3] };
        let mut caller = Caller::silent().says(When::After(1), &tone(1)).says(When::Into(2, 0.1), &tone(2));
        let mut said = Vec::new();
        // Sound of 25 frames, quiet of 60, sound of 10.
        for index in 0..95 {
            let loud = !(25..85).contains(&index);
            caller.hear(&[if loud { 1000 } else { 0 }; FRAME]);
            said.push(caller.say()[0]);
        }
        let at = |level: i16| said.iter().position(|sample| *sample == level);
        assert_eq!((at(1), at(2)), (Some(25 + PAUSE - 1), Some(85 + 4)));
        assert!(caller.has_said_all());
    }
}
