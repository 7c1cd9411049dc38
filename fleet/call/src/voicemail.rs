//! Whether a machine answered: from what it says, how long it talks without a pause, and its beep.
//! It must never keep a person waiting: the bot speaks at the first pause whatever is suspected here.

use std::time::Duration;

use crate::understand::words::words;

/// Said by machines and networks only.
const STRONG: &[&str] = &[
    "leave a message",
    "leave your message",
    "leave me a message",
    "leave a voice message",
    "leave your name",
    "after the tone",
    "after the beep",
    "at the tone",
    "at the beep",
    "record your message",
    "voicemail",
    "voice mail",
    "voice mailbox",
    "mailbox",
    "the person you are calling",
    "the person you are trying to",
    "person you have called",
    "the number you have dialed",
    "the number you have dialled",
    "the number you are calling",
    "the number you are trying to",
    "the subscriber you",
    "the customer you are",
    "is switched off",
    "out of coverage",
    "not reachable",
    "please try again later",
    "please try again after",
    "take your call",
    "come to the phone",
    "has been forwarded",
    "beep ke baad",
    "uplabdh nahi",
    "sampark nahi",
    "aap jis",
    "बीप के बाद",
];
/// Said by machines often, by people sometimes.
const WEAK: &[&str] = &[
    "not available",
    "unavailable",
    "you have reached",
    "youve reached",
    "get back to you",
    "call you back as soon",
    "thank you for calling",
    "our office hours",
    "press one",
    "press 1",
    "please stay on the line",
    "your call is important",
];
/// A pause that ends the greeting.
const PAUSE: Duration = Duration::from_millis(1200);
/// A greeting must begin this soon after the answer.
const GREETING_WITHIN: Duration = Duration::from_millis(3000);
/// Talk this long from the start, without a pause, is a machine's.
const LONG_GREETING: Duration = Duration::from_secs(10);
/// With a weak phrase, this long is enough.
const WEAK_GREETING: Duration = Duration::from_millis(3500);
/// Speech before a beep that makes it a recorder's.
const SPEECH_BEFORE_BEEP: Duration = Duration::from_millis(2000);
/// Later than this after the answer nothing is a greeting any more.
const OPEN_FOR: Duration = Duration::from_secs(40);
/// Turns after which the far side has proved to be a person.
const HUMAN_TURNS: u32 = 2;

/// The evidence so far. Times are positions since the answer.
#[derive(Debug)]
pub(crate) struct Detector {
    open: bool,
    /// The run of speech without a pause that is going on, or was last.
    run: Option<(Duration, Duration)>,
    weak: bool,
    turns: u32,
}

impl Detector {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { open: enabled, run: None, weak: false, turns: 0 }
    }

    pub(crate) fn speech_started(&mut self, at: Duration) {
        self.run = match self.run {
            Some((from, to)) if at < to + PAUSE => Some((from, at.max(to))),
            _ => Some((at, at)),
        };
    }

    /// Speech ended at `at`: whether it was a machine's.
    pub(crate) fn speech_ended(&mut self, at: Duration) -> bool {
        self.talked_until(at);
        self.judge(at)
    }

    /// Words were recognised up to `at`: whether they are a machine's.
    pub(crate) fn heard(&mut self, text: &str, at: Duration) -> bool {
        if !self.open || at > OPEN_FOR {
            return false;
        }
        self.talked_until(at);
        let text = format!(" {} ", words(text).join(" "));
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(&format!(" {phrase} ")));
        self.weak |= says(WEAK);
        says(STRONG) || self.judge(at)
    }

    /// A beep sounded at `at`: whether it was a recorder's.
    pub(crate) fn beeped(&mut self, at: Duration) -> bool {
        let spoke = self.run.is_some_and(|(from, to)| to.saturating_sub(from) >= SPEECH_BEFORE_BEEP);
        self.open && at <= OPEN_FOR && (spoke || self.weak)
    }

    /// The far side answered something as a person does.
    pub(crate) fn turn_taken(&mut self, understood: bool) {
        self.turns += 1;
        if understood || self.turns >= HUMAN_TURNS {
            self.open = false;
        }
    }

    fn talked_until(&mut self, at: Duration) {
        if let Some((_, to)) = &mut self.run {
            *to = at.max(*to);
        }
    }

    fn judge(&self, at: Duration) -> bool {
        let Some((from, to)) = self.run.filter(|(from, _)| self.open && at <= OPEN_FOR && *from <= GREETING_WITHIN)
        else {
            return false;
        };
        let talked = to.saturating_sub(from);
        talked >= LONG_GREETING || self.weak && talked >= WEAK_GREETING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+t` speech starts, `-t` ends, `*t` beep, `=t words`, `y` an answer understood; times in tenths of a second.
    fn verdict(timeline: &[&str]) -> bool {
        let mut detector = Detector::new(true);
        timeline.iter().any(|event| {
            let (kind, rest) = event.split_at(1);
            let (time, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let at = Duration::from_millis(time.parse::<u64>().unwrap_or(0) * 100);
            match kind {
                "+" => {
                    detector.speech_started(at);
                    false
                }
                "-" => detector.speech_ended(at),
                "*" => detector.beeped(at),
                "=" => detector.heard(text, at),
                _ => {
                    detector.turn_taken(true);
                    false
                }
            }
        })
    }

    #[test]
    fn machines_and_people() {
        let check = |timeline: &[&str], machine: bool| assert_eq!(verdict(timeline), machine, "{timeline:?}");
        check(&["+5", "=10 Hello?", "-10"], false);
        check(&["+5", "=30 Please leave a message after the tone.", "-30"], true);
        check(&["+5", "=30 The person you are calling is not answering.", "-30"], true);
        check(&["+5", "=30 The number you have dialled is switched off.", "-30"], true);
        check(&["+5", "=20 He is not available.", "-20"], false);
        check(&["+5", "=45 Thank you for calling. We are closed at the moment, as you", "-50"], true);
        check(&["+5", "=20 Hello, this is Rahul", "-20", "*25"], false);
        check(&["+5", "=30 Hi, this is Rahul, please", "-30", "*33"], true);
        check(&["*10"], false);
        check(&["+5", "-60", "+65", "-110"], true);
        check(&["+5", "-20", "+45", "-150"], false);
        check(&["+50", "-170"], false);
        check(&["+5", "-10", "y", "=60 Can I leave a message for my wife?"], false);
        check(&["=500 leave a message"], false);
    }

    #[test]
    fn switched_off_it_says_nothing() {
        let mut detector = Detector::new(false);
        detector.speech_started(Duration::ZERO);
        assert!(!detector.heard("Please leave a message", Duration::from_secs(3)));
        assert!(!detector.speech_ended(Duration::from_secs(20)));
        assert!(!detector.beeped(Duration::from_secs(21)));
    }
}
