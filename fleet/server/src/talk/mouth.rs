//! What the bot says: text to the voice, its audio to the leg, and word by word what was really heard.
//! It must never report something as said that was not sent.

use std::collections::{BTreeSet, VecDeque};

use call::io::{MouthCommand, MouthEvent};
use media::Clip;

use crate::audio::MediaHandle;
use crate::provider::{TtsEvent, TtsSession, UtteranceId};

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
    /// The utterance whose first sound was sent and whose last was not.
    sounding: Option<u32>,
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
            sounding: None,
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
            MouthCommand::Stop => self.stop(events),
        }
    }

    fn stop(&mut self, events: &mut Vec<MouthEvent>) {
        if let Some(voice) = &self.voice {
            for utterance in &self.open {
                voice.cancel(UtteranceId(u64::from(*utterance)));
            }
        }
        self.cancelled.append(&mut self.open);
        self.waiting.clear();
        self.media.clear();
        // Between two pieces nothing is left to be cut: the leg will have nothing to report.
        if self.marks.is_empty()
            && let Some(utterance) = self.sounding.take()
        {
            events.push(MouthEvent::Cut { utterance, heard: String::new() });
        }
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
                Marked::Start { utterance } => {
                    self.sounding = Some(utterance);
                    events.push(MouthEvent::Started { utterance });
                }
                Marked::Piece { utterance, text, samples } => {
                    self.queued = self.queued.saturating_sub(samples);
                    events.push(MouthEvent::Played { utterance, text });
                }
                Marked::End { utterance } => {
                    self.begun.remove(&utterance);
                    self.sounding = None;
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
            let piece = match mark.what {
                Marked::Piece { utterance, text, samples } => {
                    self.queued = self.queued.saturating_sub(samples);
                    Some((utterance, text, samples))
                }
                Marked::Start { .. } | Marked::End { .. } => None,
            };
            // Only the first piece that is cleared had begun to sound.
            let Some(utterance) = self.sounding.take() else { continue };
            let heard = piece.filter(|(of, _, _)| *of == utterance).map_or_else(String::new, |(_, text, samples)| {
                let share = at_sample.saturating_sub(self.piece_began) as f64 / samples.max(1) as f64;
                heard_part(&text, share).to_owned()
            });
            events.push(MouthEvent::Cut { utterance, heard });
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

    /// A mouth whose leg is played by the test.
    fn mouth() -> Mouth {
        Mouth::new(None, crate::audio::AudioPort::closed().media)
    }

    fn audio(text: &str, samples: usize) -> TtsEvent {
        TtsEvent::Audio { utterance: UtteranceId(1), samples: vec![0; samples].into(), text: text.to_owned() }
    }

    #[test]
    fn what_is_played_is_told_piece_by_piece() {
        let mut mouth = mouth();
        let mut events = Vec::new();
        mouth.on_voice(audio("Hello there.", 800), &mut events);
        mouth.on_voice(audio("How are you?", 800), &mut events);
        mouth.on_voice(TtsEvent::Done { utterance: UtteranceId(1) }, &mut events);
        for (mark, at) in [(1, 0), (2, 800), (3, 1600), (4, 1600)] {
            mouth.on_mark(mark, at, &mut events);
        }
        assert_eq!(
            events,
            [
                MouthEvent::FirstAudio { utterance: 1 },
                MouthEvent::Started { utterance: 1 },
                MouthEvent::Played { utterance: 1, text: "Hello there.".into() },
                MouthEvent::Played { utterance: 1, text: "How are you?".into() },
                MouthEvent::Finished { utterance: 1 },
            ]
        );
    }

    #[test]
    fn a_stop_tells_once_how_much_of_the_running_piece_was_heard() {
        let check = |cleared_at: u64, expect: &str| {
            let mut mouth = mouth();
            let mut events = Vec::new();
            mouth.on_voice(audio("Hello there.", 800), &mut events);
            mouth.on_voice(audio("How are you today?", 800), &mut events);
            mouth.on_mark(1, 0, &mut events);
            mouth.on_mark(2, 800, &mut events);
            events.clear();
            mouth.obey(MouthCommand::Stop, &mut events);
            mouth.on_cleared(3, cleared_at, &mut events);
            assert_eq!(events, [MouthEvent::Cut { utterance: 1, heard: expect.into() }], "{cleared_at}");
        };
        check(800, "");
        check(1200, "How are");
        check(1600, "How are you today?");
    }

    #[test]
    fn a_stop_between_two_pieces_is_answered_at_once() {
        let mut mouth = mouth();
        let mut events = Vec::new();
        mouth.on_voice(audio("Hello there.", 800), &mut events);
        mouth.on_mark(1, 0, &mut events);
        mouth.on_mark(2, 800, &mut events);
        events.clear();
        mouth.obey(MouthCommand::Stop, &mut events);
        assert_eq!(events, [MouthEvent::Cut { utterance: 1, heard: String::new() }]);
    }

    #[test]
    fn without_a_voice_everything_fails_at_once() {
        let mut events = Vec::new();
        mouth().obey(MouthCommand::Say { utterance: 7, text: "x".into(), last: true }, &mut events);
        assert_eq!(events, [MouthEvent::Failed { utterance: 7 }]);
    }

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
