//! What the bot says: text to the voice, its audio to the leg, and word by word what was really heard.
//! It must never report something as said that was not sent.

use std::collections::{BTreeSet, VecDeque};

use call::io::{MouthCommand, MouthEvent};
use media::Clip;

use crate::provider::{TtsEvent, TtsSession, UtteranceId};
use crate::rtp::MediaHandle;

/// Audio handed to the leg ahead of its playout: enough to ride out a slow voice, small against the leg's own bound.
const AHEAD_SAMPLES: usize = 40 * 8000;

/// What stands behind a mark in the leg's playout.
#[derive(Debug, Clone)]
enum Marked {
    /// The first sound of an utterance.
    Start { utterance: u32 },
    /// The end of a piece of audio and the text it carried.
    Piece { utterance: u32, text: String, samples: usize },
    /// The end of all that was said with `last`.
    End { utterance: u32 },
}

#[derive(Debug)]
struct Mark {
    id: u64,
    what: Marked,
}

/// Audio that waits for room in the leg's playout.
#[derive(Debug)]
struct Waiting {
    clip: Option<Clip>,
    mark: Mark,
}

/// The voice of one call.
#[derive(Debug)]
pub(super) struct Mouth {
    voice: Option<TtsSession>,
    media: MediaHandle,
    /// Utterances told to the voice and not done, for cancelling.
    open: BTreeSet<u32>,
    /// Utterances whose first audio has come.
    begun: BTreeSet<u32>,
    /// Cancelled: audio of theirs that still comes is dropped.
    cancelled: BTreeSet<u32>,
    waiting: VecDeque<Waiting>,
    marks: VecDeque<Mark>,
    queued: usize,
    next_mark: u64,
    /// Playout position where the piece being played began.
    piece_began: u64,
}

impl Mouth {
    pub(super) fn new(voice: Option<TtsSession>, media: MediaHandle) -> Self {
        Self {
            voice,
            media,
            open: BTreeSet::new(),
            begun: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            waiting: VecDeque::new(),
            marks: VecDeque::new(),
            queued: 0,
            next_mark: 0,
            piece_began: 0,
        }
    }

    /// Obeys a command; what can't be said fails at once.
    pub(super) fn obey(&mut self, command: MouthCommand, events: &mut Vec<MouthEvent>) {
        match command {
            MouthCommand::Say { utterance, text, last } => {
                let said = self.voice.as_ref().map(|voice| voice.say(UtteranceId(u64::from(utterance)), &text, last));
                match said {
                    Some(Ok(())) => {
                        self.open.insert(utterance);
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the voice can't say this");
                        events.push(MouthEvent::Failed { utterance });
                    }
                    None => events.push(MouthEvent::Failed { utterance }),
                }
            }
            MouthCommand::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        if let Some(voice) = &self.voice {
            for utterance in &self.open {
                voice.cancel(UtteranceId(u64::from(*utterance)));
            }
        }
        self.cancelled.append(&mut self.open);
        self.waiting.clear();
        self.media.clear();
    }

    /// The voice's next event; never, without a voice.
    pub(super) async fn next(&mut self) -> Option<TtsEvent> {
        match &mut self.voice {
            Some(voice) => voice.events.recv().await,
            None => std::future::pending().await,
        }
    }

    /// The voice is gone for good: what it still owed fails.
    pub(super) fn lost(&mut self, events: &mut Vec<MouthEvent>) {
        self.voice = None;
        events.extend(std::mem::take(&mut self.open).into_iter().map(|utterance| MouthEvent::Failed { utterance }));
    }

    pub(super) fn on_voice(&mut self, event: TtsEvent, events: &mut Vec<MouthEvent>) {
        match event {
            TtsEvent::Audio { utterance, samples, text } => {
                let utterance = short(utterance);
                if self.cancelled.contains(&utterance) {
                    return;
                }
                if self.begun.insert(utterance) {
                    events.push(MouthEvent::FirstAudio { utterance });
                    self.queue(None, Marked::Start { utterance });
                }
                let length = samples.len();
                self.queue(Some(Clip::new(samples)), Marked::Piece { utterance, text, samples: length });
            }
            TtsEvent::Done { utterance } => {
                let utterance = short(utterance);
                self.open.remove(&utterance);
                if !self.cancelled.contains(&utterance) {
                    self.queue(None, Marked::End { utterance });
                }
            }
            TtsEvent::Failed { utterance, error } => {
                let utterance = short(utterance);
                self.open.remove(&utterance);
                if !self.cancelled.contains(&utterance) {
                    tracing::warn!(%error, "the voice failed");
                    events.push(MouthEvent::Failed { utterance });
                }
            }
        }
        self.feed();
    }

    fn queue(&mut self, clip: Option<Clip>, what: Marked) {
        self.next_mark += 1;
        self.waiting.push_back(Waiting { clip, mark: Mark { id: self.next_mark, what } });
    }

    /// Hands audio on while there is room ahead of the playout.
    fn feed(&mut self) {
        while self.queued < AHEAD_SAMPLES {
            let Some(next) = self.waiting.pop_front() else { return };
            if let Some(clip) = next.clip {
                self.queued += clip.samples().len();
                self.media.play(clip);
            }
            self.media.mark(next.mark.id);
            self.marks.push_back(next.mark);
        }
    }

    /// A mark came due at a playout position.
    pub(super) fn on_mark(&mut self, id: u64, at_sample: u64, events: &mut Vec<MouthEvent>) {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.id <= id) {
            match mark.what {
                Marked::Start { utterance } => events.push(MouthEvent::Started { utterance }),
                Marked::Piece { utterance, text, samples } => {
                    self.queued = self.queued.saturating_sub(samples);
                    events.push(MouthEvent::Played { utterance, text });
                }
                Marked::End { utterance } => {
                    self.begun.remove(&utterance);
                    events.push(MouthEvent::Finished { utterance });
                }
            }
        }
        self.piece_began = at_sample;
        self.feed();
    }

    /// A mark was dropped by a stop, which cut the playout at `at_sample`.
    pub(super) fn on_cleared(&mut self, id: u64, at_sample: u64, events: &mut Vec<MouthEvent>) {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.id <= id) {
            if let Marked::Piece { utterance, text, samples } = mark.what {
                self.queued = self.queued.saturating_sub(samples);
                if let Some(heard) = at_sample.checked_sub(self.piece_began).filter(|heard| *heard > 0) {
                    let share = heard as f64 / samples.max(1) as f64;
                    events.push(MouthEvent::Cut { utterance, heard: heard_part(&text, share).to_owned() });
                }
                // Only the first piece had begun to sound.
                self.piece_began = u64::MAX;
            }
        }
        if self.marks.is_empty() {
            self.piece_began = at_sample;
        }
    }
}

fn short(utterance: UtteranceId) -> u32 {
    u32::try_from(utterance.0).unwrap_or(u32::MAX)
}

/// The words of `text` that were heard when `share` (0..=1) of its audio was played: whole words only.
fn heard_part(text: &str, share: f64) -> &str {
    if share >= 1.0 {
        return text;
    }
    let length = text.chars().count();
    let reached = (length as f64 * share) as usize;
    let cut = text.char_indices().nth(reached).map_or(text.len(), |(at, _)| at);
    let at_border = text[cut..].starts_with(char::is_whitespace);
    let end = if at_border { cut } else { text[..cut].rfind(char::is_whitespace).unwrap_or(0) };
    text[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_count_as_heard() {
        let check = |share, expect: &str| assert_eq!(heard_part("Hello there Rahul", share), expect, "{share}");
        check(0.0, "");
        check(0.2, "");
        check(0.31, "Hello");
        check(0.5, "Hello");
        check(0.7, "Hello there");
        check(1.0, "Hello there Rahul");
        check(1.5, "Hello there Rahul");
    }
}
