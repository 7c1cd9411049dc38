//! What the customer is saying in the running turn, put together from speech detection and recognition.
//! It must never decide whose turn it is.

use std::time::{Duration, Instant};

/// Speech ended and no final came: the recogniser is asked to hurry.
const FINAL_PATIENCE: Duration = Duration::from_millis(800);
/// After that the last partial counts, or the sound was no speech.
const FINAL_LAST_WAIT: Duration = Duration::from_millis(1700);
/// A final came but no end of speech: it is over if nothing follows. Long speech has finals in its middle.
const END_AFTER_FINAL: Duration = Duration::from_secs(4);
/// Speech that brings no new word for this long is over whatever detection says. A busy recogniser leaves partials
/// out, but makes a final of twelve seconds of speech at the latest.
const STUCK_SPEECH: Duration = Duration::from_secs(15);
/// A pause that ends a number keyed in.
const KEY_PAUSE: Duration = Duration::from_millis(2500);
/// How much earlier than the end of speech a final may end and still cover it.
const FINAL_SLACK: Duration = Duration::from_millis(400);

/// A piece the recogniser is sure of.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    to: Duration,
}

/// Speech that is going on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Position in the far end's audio.
    pub(crate) at: Duration,
    pub(crate) since: Instant,
    /// How far into the bot's running utterance it began; `None` if the bot was silent.
    pub(crate) into_bot: Option<Duration>,
    /// It was looked at as an interruption after it had lasted long enough.
    pub(crate) weighed: bool,
}

/// The end of the last speech.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) at: Duration,
    pub(crate) when: Instant,
}

/// Waiting for the final of speech that is over.
#[derive(Debug, Clone, Copy)]
struct FinalWait {
    until: Instant,
    flushed: bool,
}

/// What a wait for a final comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Ask for it once more.
    Flush,
    /// It won't come.
    GaveUp,
}

/// A finished turn.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) text: String,
    /// Its last words, if no final ever came for them.
    pub(crate) unsure: String,
    pub(crate) ended: Option<End>,
    pub(crate) final_at: Option<Instant>,
}

/// The customer's side of the line.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    speaking: Option<Segment>,
    /// The last segment, running or over.
    last_segment: Option<Segment>,
    ended: Option<End>,
    pieces: Vec<Piece>,
    partial: String,
    /// When the words last changed.
    words_at: Option<Instant>,
    final_at: Option<Instant>,
    final_to: Duration,
    waiting: Option<FinalWait>,
    /// Up to here a guess was taken for the final, which did not come in time.
    guessed_to: Option<Duration>,
    echo: (f32, u32),
    voiced: Duration,
    keys: String,
    key_at: Option<Instant>,
}

impl Hearing {
    pub(crate) fn start(&mut self, now: Instant, at: Duration, into_bot: Option<Duration>) {
        let segment = Segment { at, since: now, into_bot, weighed: false };
        self.speaking = Some(segment);
        self.last_segment = Some(segment);
        self.echo = (0.0, 0);
        self.words_at = None;
    }

    /// Speech ended at position `at`, which was the moment `when`.
    pub(crate) fn end(&mut self, now: Instant, at: Duration, when: Instant) {
        let segment = self.speaking.take();
        if let Some(segment) = segment {
            self.voiced +=
                at.saturating_sub(segment.at).min(now.saturating_duration_since(segment.since) + FINAL_SLACK);
        }
        self.ended = Some(End { at, when });
        let covered = self.final_at.is_some() && self.final_to + FINAL_SLACK >= at;
        if !covered {
            self.waiting = Some(FinalWait { until: now + FINAL_PATIENCE, flushed: false });
        }
    }

    pub(crate) fn partial(&mut self, now: Instant, text: &str) {
        if text != self.partial {
            text.clone_into(&mut self.partial);
            self.words_at = Some(now);
        }
    }

    /// Adds what the recogniser is sure of; empty text only ends the wait for it.
    pub(crate) fn finalise(&mut self, now: Instant, text: &str, to: Duration) {
        self.partial.clear();
        self.waiting = None;
        self.final_at = Some(now);
        self.final_to = to;
        self.words_at = Some(now);
        if !text.is_empty() {
            self.pieces.push(Piece { text: text.to_owned(), to });
        }
        if self.speaking.is_none() && self.ended.is_none() {
            self.ended = Some(End { at: to, when: now });
        }
    }

    /// Whether a final that ends at `to` comes after a guess was taken in its place.
    pub(crate) fn is_too_late(&self, to: Duration) -> bool {
        self.guessed_to.is_some_and(|guessed| to <= guessed + FINAL_SLACK)
    }

    pub(crate) fn echo(&mut self, likeness: f32) {
        if likeness.is_finite() {
            self.echo = (self.echo.0 + likeness.clamp(0.0, 1.0), self.echo.1.saturating_add(1));
        }
    }

    /// How alike the running speech is to what the bot is saying, on average.
    pub(crate) fn echo_likeness(&self) -> Option<f32> {
        (self.echo.1 > 0).then(|| self.echo.0 / self.echo.1 as f32)
    }

    pub(crate) fn weighed(&mut self) {
        if let Some(segment) = &mut self.speaking {
            segment.weighed = true;
        }
    }

    /// A key was pressed.
    pub(crate) fn key(&mut self, now: Instant, key: char) {
        // More than any account number has; a stuck key must not grow without end.
        if self.keys.len() < 32 {
            self.keys.push(key);
        }
        self.key_at = Some(now);
    }

    /// When what was keyed in counts as complete.
    pub(crate) fn keys_at(&self) -> Option<Instant> {
        self.key_at.map(|at| at + KEY_PAUSE)
    }

    pub(crate) fn take_keys(&mut self) -> String {
        self.key_at = None;
        std::mem::take(&mut self.keys)
    }

    pub(crate) fn speaking(&self) -> Option<Segment> {
        self.speaking
    }

    pub(crate) fn last_segment(&self) -> Option<Segment> {
        self.last_segment
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.ended
    }

    pub(crate) fn has_words(&self) -> bool {
        !self.pieces.is_empty() || !self.partial.is_empty()
    }

    /// Everything said in this turn so far.
    pub(crate) fn words(&self) -> String {
        join(self.pieces.iter().map(|piece| piece.text.as_str()).chain([self.partial.as_str()]))
    }

    /// What is sure of this turn so far.
    pub(crate) fn sure_words(&self) -> String {
        join(self.pieces.iter().map(|piece| piece.text.as_str()))
    }

    /// What was said since the running (or last) segment began.
    pub(crate) fn segment_words(&self) -> String {
        let from = self.last_segment.map_or(Duration::ZERO, |segment| segment.at);
        let pieces = self.pieces.iter().filter(|piece| piece.to > from).map(|piece| piece.text.as_str());
        join(pieces.chain([self.partial.as_str()]))
    }

    /// How long the running (or last) segment has lasted.
    pub(crate) fn lasted(&self, now: Instant) -> Duration {
        match (self.last_segment, self.speaking, self.ended) {
            (Some(segment), Some(_), _) => now.saturating_duration_since(segment.since),
            (Some(segment), None, Some(end)) => end.at.saturating_sub(segment.at),
            _ => Duration::ZERO,
        }
    }

    /// How much speech there was in all, whether understood or not.
    pub(crate) fn voiced(&self) -> Duration {
        self.voiced
    }

    /// Nothing is being said, and nothing said is still being recognised.
    pub(crate) fn is_settled(&self) -> bool {
        self.speaking.is_none() && self.waiting.is_none()
    }

    pub(crate) fn waits_until(&self) -> Option<Instant> {
        self.waiting.map(|wait| wait.until)
    }

    /// The wait for a final is over for now.
    pub(crate) fn waited(&mut self, now: Instant) -> Waited {
        match &mut self.waiting {
            Some(wait) if !wait.flushed => {
                *wait = FinalWait { until: now + FINAL_LAST_WAIT, flushed: true };
                Waited::Flush
            }
            _ => {
                self.waiting = None;
                if !self.partial.is_empty() {
                    self.guessed_to = self.ended.map(|end| end.at);
                }
                Waited::GaveUp
            }
        }
    }

    /// When running speech counts as over although nobody said so.
    pub(crate) fn stuck_at(&self) -> Option<Instant> {
        let segment = self.speaking?;
        let quiet_since = self.words_at.unwrap_or(segment.since);
        let after_final = self.partial.is_empty() && self.words_at.is_some() && self.words_at == self.final_at;
        Some(quiet_since + if after_final { END_AFTER_FINAL } else { STUCK_SPEECH })
    }

    /// Takes the turn out; what comes next belongs to another.
    pub(crate) fn take(&mut self) -> Turn {
        let text = self.words();
        self.pieces.clear();
        Turn { text, unsure: std::mem::take(&mut self.partial), ended: self.ended, final_at: self.final_at }
    }

    /// Puts a turn back in front: the customer had not finished.
    pub(crate) fn put_back(&mut self, text: String) {
        self.pieces.insert(0, Piece { text, to: Duration::ZERO });
    }

    /// Drops pieces that ended before position `from`.
    pub(crate) fn drop_before(&mut self, from: Duration) {
        self.pieces.retain(|piece| piece.to >= from);
    }
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::epoch;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn final_before_the_end_of_speech_needs_no_wait() {
        let mut hearing = Hearing::default();
        hearing.start(epoch() + ms(1000), ms(1000), None);
        hearing.finalise(epoch() + ms(1900), "Yes.", ms(1800));
        hearing.end(epoch() + ms(2000), ms(1800), epoch() + ms(1800));
        assert!(hearing.is_settled());
        assert_eq!(hearing.words(), "Yes.");
    }

    #[test]
    fn final_after_the_end_of_speech_is_waited_for_then_given_up() {
        let mut hearing = Hearing::default();
        hearing.start(epoch() + ms(1000), ms(1000), None);
        hearing.partial(epoch() + ms(1500), "I will");
        hearing.end(epoch() + ms(2000), ms(1800), epoch() + ms(1800));
        assert!(!hearing.is_settled());
        assert_eq!(hearing.waits_until(), Some(epoch() + ms(2800)));
        assert_eq!(hearing.waited(epoch() + ms(2800)), Waited::Flush);
        assert_eq!(hearing.waits_until(), Some(epoch() + ms(4500)));
        assert_eq!(hearing.waited(epoch() + ms(4500)), Waited::GaveUp);
        assert!(hearing.is_settled());
        assert_eq!(hearing.words(), "I will");
        assert!(hearing.is_too_late(ms(1800)));
        assert!(!hearing.is_too_late(ms(3000)));
    }

    #[test]
    fn an_old_final_does_not_cover_new_speech() {
        let mut hearing = Hearing::default();
        hearing.start(epoch() + ms(1000), ms(1000), None);
        hearing.finalise(epoch() + ms(1900), "Yes.", ms(1800));
        hearing.end(epoch() + ms(2000), ms(1800), epoch() + ms(1800));
        hearing.start(epoch() + ms(2500), ms(2500), None);
        hearing.end(epoch() + ms(3500), ms(3400), epoch() + ms(3400));
        assert!(!hearing.is_settled());
        assert_eq!(hearing.segment_words(), "");
        assert_eq!(hearing.sure_words(), "Yes.");
    }

    #[test]
    fn speech_without_an_end_is_over_after_its_final() {
        let mut hearing = Hearing::default();
        hearing.start(epoch(), ms(0), None);
        assert_eq!(hearing.stuck_at(), Some(epoch() + STUCK_SPEECH));
        hearing.finalise(epoch() + ms(900), "Yes.", ms(800));
        assert_eq!(hearing.stuck_at(), Some(epoch() + ms(900) + END_AFTER_FINAL));
    }
}
