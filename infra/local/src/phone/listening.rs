//! When the caller has finished: the recogniser's words, then a short silence.
//! It must never read a clock: every moment is handed in.

use std::time::{Duration, Instant};

use server::provider::SttEvent;

/// How much longer than usual the words of speech that has ended are waited for.
const LATE_WORDS: Duration = Duration::from_secs(3);

/// What the caller said in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    /// Where in the call's audio it began and ended.
    pub from: Duration,
    pub to: Duration,
}

/// Collects the recogniser's events into utterances.
#[derive(Debug)]
pub struct Listening {
    /// Silence after which the caller is thought to have finished.
    patience: Duration,
    speaking: bool,
    /// Speech has ended whose words have not come yet.
    owed: bool,
    quiet_since: Option<Instant>,
    pieces: Vec<Heard>,
    /// Added to the patience until the caller is heard again.
    extra: Duration,
}

impl Listening {
    pub fn new(patience: Duration) -> Self {
        Self { patience, speaking: false, owed: false, quiet_since: None, pieces: Vec::new(), extra: Duration::ZERO }
    }

    /// Takes an event of the recogniser.
    pub fn on_event(&mut self, now: Instant, event: SttEvent) {
        match event {
            SttEvent::SpeechStarted { .. } => {
                self.speaking = true;
                self.quiet_since = None;
                self.extra = Duration::ZERO;
            }
            SttEvent::SpeechEnded { .. } => {
                self.speaking = false;
                self.owed = true;
                self.quiet_since = Some(now);
            }
            SttEvent::Final { text, from_ms, to_ms, .. } => {
                self.owed = self.speaking && self.owed;
                self.quiet_since = self.quiet_since.or((!self.speaking).then_some(now));
                if !text.trim().is_empty() {
                    let (from, to) = (Duration::from_millis(from_ms), Duration::from_millis(to_ms));
                    self.pieces.push(Heard { text: text.trim().to_owned(), from, to });
                }
            }
            SttEvent::Failed { .. } => self.owed = false,
            SttEvent::Partial { .. } => {}
        }
    }

    /// When the caller will have finished, if nothing else is heard.
    pub fn due(&self) -> Option<Instant> {
        let since = self.quiet_since.filter(|_| !self.speaking && (self.owed || !self.pieces.is_empty()))?;
        Some(since + self.patience + self.extra + if self.owed { LATE_WORDS } else { Duration::ZERO })
    }

    /// Gives the caller more time to go on, once in each silence. False: it had that already.
    pub fn wait_longer(&mut self, extra: Duration) -> bool {
        let first = self.extra.is_zero();
        self.extra = extra;
        first
    }

    /// All words since the caller was answered last.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// What the caller has said, once it is due.
    pub fn take(&mut self, now: Instant) -> Option<Heard> {
        if self.due().is_none_or(|due| now < due) { None } else { self.take_all() }
    }

    /// Whether words of speech that was heard have yet to come.
    pub fn expects_words(&self) -> bool {
        self.speaking || self.owed
    }

    /// What the caller has said so far, though it may not have finished.
    pub fn take_all(&mut self) -> Option<Heard> {
        self.owed = false;
        self.extra = Duration::ZERO;
        let text = self.text();
        let pieces = std::mem::take(&mut self.pieces);
        Some(Heard { text, from: pieces.first()?.from, to: pieces.last()?.to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn started(at: u64) -> (u64, SttEvent) {
        (at, SttEvent::SpeechStarted { at_ms: at })
    }
    fn ended(at: u64) -> (u64, SttEvent) {
        (at, SttEvent::SpeechEnded { at_ms: at })
    }
    fn words(at: u64, text: &str) -> (u64, SttEvent) {
        (
            at,
            SttEvent::Final {
                text: text.to_owned(),
                from_ms: at.saturating_sub(900),
                to_ms: at - 100,
                confidence: 0.9,
            },
        )
    }
    fn lost(at: u64) -> (u64, SttEvent) {
        let error = server::provider::ProviderError::Unavailable { what: "a test" };
        (at, SttEvent::Failed { error, at_ms: at })
    }

    /// Plays events at their milliseconds and tells what was taken, and when.
    fn check(events: &[(u64, SttEvent)], expect: &[(u64, &str)]) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut listening = Listening::new(PATIENCE);
        let mut events = events.iter().cloned().peekable();
        let mut taken = Vec::new();
        for ms in 0..10_000 {
            while let Some((_, event)) = events.next_if(|(when, _)| *when == ms) {
                listening.on_event(at(ms), event);
            }
            if let Some(heard) = listening.take(at(ms)) {
                taken.push((ms, heard.text));
            }
        }
        let expect: Vec<(u64, String)> = expect.iter().map(|(ms, text)| (*ms, (*text).to_owned())).collect();
        assert_eq!(taken, expect);
    }

    #[test]
    fn an_utterance_is_over_after_its_words_and_a_silence() {
        check(&[started(100), ended(1000), words(1100, "Hello.")], &[(1500, "Hello.")]);
        check(&[started(100), words(1000, "Hello."), ended(1100)], &[(4600, "Hello.")]);
        check(&[words(1000, "Hello.")], &[(1500, "Hello.")]);
        check(&[], &[]);
    }

    #[test]
    fn pauses_within_it_are_waited_out() {
        let talk =
            [started(100), ended(1000), words(1100, "Hello."), started(1300), ended(2000), words(2100, "It is me.")];
        check(&talk, &[(2500, "Hello. It is me.")]);
        let turns = [started(100), ended(1000), words(1100, "One."), started(3000), ended(4000), words(4100, "Two.")];
        check(&turns, &[(1500, "One."), (4500, "Two.")]);
    }

    #[test]
    fn late_and_lost_words() {
        check(&[started(100), ended(1000), words(3000, "Late.")], &[(3000, "Late.")]);
        check(&[started(100), ended(1000)], &[]);
        check(
            &[started(100), ended(1000), lost(1100), started(2000), ended(3000), words(3100, "On.")],
            &[(3500, "On.")],
        );
        check(&[started(100), ended(1000), words(1100, "")], &[]);
    }

    #[test]
    fn more_time_is_given_once_in_a_silence() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut listening = Listening::new(PATIENCE);
        for (ms, event) in [started(100), ended(1000), words(1100, "Thank you.")] {
            listening.on_event(at(ms), event);
        }
        assert!(listening.wait_longer(Duration::from_secs(2)));
        assert_eq!((listening.take(at(1500)), listening.due()), (None, Some(at(3500))));
        assert!(!listening.wait_longer(Duration::from_secs(2)));
        for (ms, event) in [started(2000), ended(3000), words(3100, "When can you pay?")] {
            listening.on_event(at(ms), event);
        }
        assert_eq!(listening.text(), "Thank you. When can you pay?");
        assert!(listening.wait_longer(Duration::from_secs(2)));
        assert_eq!(listening.take(at(5500)).map(|heard| heard.text).as_deref(), Some("Thank you. When can you pay?"));
        assert!(listening.wait_longer(Duration::ZERO));
    }

    #[test]
    fn its_place_in_the_audio_is_that_of_its_pieces() {
        let start = Instant::now();
        let mut listening = Listening::new(PATIENCE);
        for (at, event) in [started(100), ended(1000), words(1000, "a"), started(1200), ended(2000), words(2000, "b")] {
            listening.on_event(start + Duration::from_millis(at), event);
        }
        let heard = listening.take(start + Duration::from_secs(9)).unwrap();
        assert_eq!((heard.from, heard.to), (Duration::from_millis(100), Duration::from_millis(1900)));
    }
}
