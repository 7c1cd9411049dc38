//! What happens while nobody speaks: the bot's prompts one after the other, then the end.
//! It must never run while either side talks, thinks, or the call is on hold.

use std::time::{Duration, Instant};

use domain::bot::Silence;

/// Longest wait a setting can ask for.
const LONGEST: f64 = 86_400.0;
/// Shortest, so that a zero in the settings can't make the bot talk without pause.
const SHORTEST: f64 = 1.0;

/// Since when it is quiet, and how many prompts were said about it.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    since: Option<Instant>,
    prompts: usize,
}

/// What silence leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Say the prompt with this index.
    Prompt(usize),
    HangUp,
}

impl Quiet {
    /// Nobody speaks from `now` on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The customer said something: prompts start over.
    pub(crate) fn broken(&mut self) {
        *self = Self::default();
    }

    /// A prompt is being said.
    pub(crate) fn prompted(&mut self) {
        self.since = None;
        self.prompts += 1;
    }

    /// The next step and its time.
    pub(crate) fn next(&self, settings: &Silence) -> Option<(Instant, Step)> {
        let since = self.since?;
        let (seconds, step) = if self.prompts < settings.prompts.len() {
            (settings.prompt_after_seconds, Step::Prompt(self.prompts))
        } else {
            (settings.hangup_after_seconds, Step::HangUp)
        };
        Some((since + wait(seconds), step))
    }
}

fn wait(seconds: f64) -> Duration {
    let seconds = if seconds.is_finite() { seconds.clamp(SHORTEST, LONGEST) } else { LONGEST };
    Duration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::epoch;

    #[test]
    fn prompts_come_once_each_then_the_end() {
        let settings =
            Silence { prompt_after_seconds: 5.0, prompts: vec!["a".into(), "b".into()], hangup_after_seconds: 7.0 };
        let mut quiet = Quiet::default();
        assert_eq!(quiet.next(&settings), None);
        quiet.begin(epoch());
        assert_eq!(quiet.next(&settings), Some((epoch() + Duration::from_secs(5), Step::Prompt(0))));
        quiet.prompted();
        assert_eq!(quiet.next(&settings), None);
        quiet.begin(epoch());
        assert_eq!(quiet.next(&settings).unwrap().1, Step::Prompt(1));
        quiet.prompted();
        quiet.begin(epoch());
        assert_eq!(quiet.next(&settings), Some((epoch() + Duration::from_secs(7), Step::HangUp)));
        quiet.broken();
        quiet.begin(epoch());
        assert_eq!(quiet.next(&settings).unwrap().1, Step::Prompt(0));
    }

    #[test]
    fn senseless_settings_are_bounded() {
        let check = |seconds: f64, expect: f64| assert_eq!(wait(seconds), Duration::from_secs_f64(expect), "{seconds}");
        check(-1.0, SHORTEST);
        check(0.0, SHORTEST);
        check(f64::NAN, LONGEST);
        check(1e300, LONGEST);
        check(2.5, 2.5);
    }
}
