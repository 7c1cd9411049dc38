//! What is known of the leg itself: whether it was answered, whether media flows, whether it is on hold.
//! It must never know what is said over it.

use std::time::{Duration, Instant};

use crate::io::LegFailure;

/// Answered, and no packet came for this long: there is no media path.
pub(crate) const NO_MEDIA_EVER: Duration = Duration::from_secs(10);
/// Media that stops for this long outside hold is lost.
pub(crate) const MEDIA_LOST: Duration = Duration::from_secs(30);
/// The ear's positions may lag behind the clock by this much; anything more is a gap in the audio, not a delay.
const LARGEST_LAG: Duration = Duration::from_millis(1500);

#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) dialing: bool,
    pub(crate) ringing: bool,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    pub(crate) failure: Option<LegFailure>,
    media: bool,
    missing_since: Option<Instant>,
    held: bool,
    /// A busy tone was heard, and no word since.
    pub(crate) busy_since: Option<Instant>,
    /// The customer pressed a key.
    pub(crate) keyed: bool,
    /// The bot's goodbye was played whole.
    pub(crate) goodbye_whole: bool,
}

impl Line {
    /// Sound came in.
    pub(crate) fn audible(&mut self) {
        self.media = true;
        self.missing_since = None;
    }

    pub(crate) fn missing(&mut self, now: Instant, for_: Duration) {
        if self.media {
            self.missing_since.get_or_insert(now.checked_sub(for_).unwrap_or(now));
        }
    }

    pub(crate) fn hold(&mut self, now: Instant, held: bool) {
        self.held = held;
        // The time on hold is no loss.
        if !held && self.missing_since.is_some() {
            self.missing_since = Some(now);
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// When the lack of media ends the call.
    pub(crate) fn media_deadline(&self) -> Option<Instant> {
        let answered = self.answered.filter(|_| !self.held)?;
        if self.media { self.missing_since.map(|since| since + MEDIA_LOST) } else { Some(answered + NO_MEDIA_EVER) }
    }

    /// The position since the answer that `now` is.
    pub(crate) fn position(&self, now: Instant) -> Duration {
        self.answered.map_or(Duration::ZERO, |answered| now.saturating_duration_since(answered))
    }

    /// The moment at which position `at` of the far end's audio sounded.
    pub(crate) fn moment(&self, now: Instant, at: Duration) -> Instant {
        let oldest = now.checked_sub(LARGEST_LAG).unwrap_or(now);
        match self.answered.and_then(|answered| answered.checked_add(at)) {
            Some(moment) => moment.clamp(oldest, now),
            None => now,
        }
    }

    /// Answer to end, or to `now`; zero if it never was answered.
    pub(crate) fn talked(&self, now: Instant) -> Duration {
        self.position(self.ended.unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::epoch;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn media_must_come_soon_and_not_stay_away() {
        let mut line = Line { answered: Some(epoch()), ..Line::default() };
        assert_eq!(line.media_deadline(), Some(epoch() + NO_MEDIA_EVER));
        line.missing(epoch() + s(5), s(5));
        assert_eq!(line.media_deadline(), Some(epoch() + NO_MEDIA_EVER));
        line.audible();
        assert_eq!(line.media_deadline(), None);
        line.missing(epoch() + s(20), s(5));
        line.missing(epoch() + s(25), s(10));
        assert_eq!(line.media_deadline(), Some(epoch() + s(45)));
        line.hold(epoch() + s(26), true);
        assert_eq!(line.media_deadline(), None);
        line.hold(epoch() + s(60), false);
        assert_eq!(line.media_deadline(), Some(epoch() + s(90)));
        line.audible();
        assert_eq!(line.media_deadline(), None);
    }

    #[test]
    fn positions_are_read_within_reason() {
        let line = Line { answered: Some(epoch()), ..Line::default() };
        let now = epoch() + s(10);
        let check = |at: Duration, expect: Instant| assert_eq!(line.moment(now, at), expect, "{at:?}");
        check(Duration::from_millis(9900), epoch() + Duration::from_millis(9900));
        check(s(1), now - LARGEST_LAG);
        check(s(11), now);
        check(Duration::MAX, now);
    }
}
