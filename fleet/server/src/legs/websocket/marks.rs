//! What of the bot's audio was heard: marks go out with it, and count as played when the dialler says so.
//! It must never report a mark twice, nor keep a call waiting for a dialler that forgets its marks.

use std::collections::VecDeque;
use std::time::Duration;

use media::StreamEvent;
use tokio::time::Instant;

/// A mark that has not come back so long after it should have counts as played.
const OVERDUE: Duration = Duration::from_secs(2);
/// Marks that may be out at once; beyond, the oldest counts as played. A playout holds no more.
const MOST: usize = 320;
/// Samples of 8 kHz in a millisecond.
const SAMPLES_PER_MS: u128 = 8;

/// A mark that was sent and has not come back.
#[derive(Debug, Clone, Copy)]
struct Sent {
    id: u64,
    at_sample: u64,
    since: Instant,
    overdue: Instant,
}

/// What is to be done for a mark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reached {
    /// Tell the call.
    Report(StreamEvent),
    /// Send it to the dialler, and tell the call this too if it is there.
    Send { forgotten: Option<StreamEvent> },
}

/// The marks of one call.
#[derive(Debug)]
pub(super) struct Marks {
    /// The dialler says when a mark was played.
    confirms: bool,
    /// It has done so.
    proven: bool,
    sent: VecDeque<Sent>,
    /// Up to here the audio was heard for sure.
    heard: u64,
    /// How long the last mark was under way: how far the dialler's loudspeaker is behind us.
    lag: Duration,
    /// Where the last cut left the ear.
    cut_at: Option<u64>,
}

impl Marks {
    pub(super) fn new(confirms: bool) -> Self {
        Self { confirms, proven: false, sent: VecDeque::new(), heard: 0, lag: Duration::ZERO, cut_at: None }
    }

    /// All audio before a mark was sent; the last of it sounds until `sounds_until` at the earliest.
    pub(super) fn reach(&mut self, now: Instant, id: u64, at_sample: u64, sounds_until: Instant) -> Reached {
        self.cut_at = None;
        if !self.confirms {
            self.heard = at_sample;
            return Reached::Report(StreamEvent::MarkPlayed { id, at_sample });
        }
        let forgotten =
            if self.sent.len() == MOST { self.sent.pop_front().map(|sent| self.played(sent)) } else { None };
        let overdue = sounds_until.max(now) + OVERDUE;
        self.sent.push_back(Sent { id, at_sample, since: now, overdue });
        Reached::Send { forgotten }
    }

    /// The dialler played a mark, and with it all that were sent before.
    pub(super) fn confirm(&mut self, now: Instant, id: u64, out: &mut Vec<StreamEvent>) {
        if !self.sent.iter().any(|sent| sent.id == id) {
            return;
        }
        self.proven = true;
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.id <= id) {
            if sent.id == id {
                self.lag = now.saturating_duration_since(sent.since);
            }
            out.push(self.played(sent));
        }
    }

    /// The dialler dropped what was before this mark, without being asked.
    pub(super) fn dropped(&mut self, id: u64, out: &mut Vec<StreamEvent>) {
        if !self.sent.iter().any(|sent| sent.id == id) {
            return;
        }
        let at_sample = self.heard;
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.id <= id) {
            out.push(StreamEvent::MarkCleared { id: sent.id, at_sample });
        }
    }

    /// The bot was cut short after `at_sample` of its audio was sent, the last of it at `last_sent`. What the dialler had
    /// not played by now is taken back: the marks that are out were not reached.
    pub(super) fn cut(&mut self, now: Instant, at_sample: u64, last_sent: Option<Instant>, out: &mut Vec<StreamEvent>) {
        let quiet = last_sent.map_or(self.lag, |last| now.saturating_duration_since(last));
        let unheard = self.lag.saturating_sub(quiet).as_millis() * SAMPLES_PER_MS;
        let sounded = at_sample.saturating_sub(u64::try_from(unheard).unwrap_or(u64::MAX));
        // Not before what was confirmed, and not beyond what was not.
        let not_reached = self.sent.front().map_or(at_sample, |sent| sent.at_sample);
        let heard = sounded.max(self.heard).min(not_reached.max(self.heard));
        for sent in self.sent.drain(..) {
            out.push(StreamEvent::MarkCleared { id: sent.id, at_sample: heard });
        }
        self.heard = heard;
        self.cut_at = Some(heard);
    }

    /// A mark that never was sent was dropped by the cut.
    pub(super) fn cleared(&self, id: u64, at_sample: u64) -> StreamEvent {
        StreamEvent::MarkCleared { id, at_sample: self.cut_at.map_or(at_sample, |cut| cut.min(at_sample)) }
    }

    /// When [`Self::forget`] has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent.front().map(|sent| sent.overdue)
    }

    /// Marks that are overdue count as played. A dialler that never confirmed one is not waited for again.
    pub(super) fn forget(&mut self, now: Instant, out: &mut Vec<StreamEvent>) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.overdue <= now) {
            self.confirms &= self.proven;
            out.push(self.played(sent));
        }
        if !self.confirms {
            let left = std::mem::take(&mut self.sent);
            out.extend(left.into_iter().map(|sent| self.played(sent)));
        }
    }

    /// Whether the dialler says what it has played.
    pub(super) fn are_confirmed(&self) -> bool {
        self.confirms && self.proven
    }

    fn played(&mut self, sent: Sent) -> StreamEvent {
        self.heard = sent.at_sample;
        StreamEvent::MarkPlayed { id: sent.id, at_sample: sent.at_sample }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn played(id: u64, at_sample: u64) -> StreamEvent {
        StreamEvent::MarkPlayed { id, at_sample }
    }

    fn cleared(id: u64, at_sample: u64) -> StreamEvent {
        StreamEvent::MarkCleared { id, at_sample }
    }

    /// Marks that a dialler confirms, after so many of 100 ms each (at 800, 1600, …) were sent.
    fn out(count: u64, start: Instant) -> Marks {
        let mut marks = Marks::new(true);
        for n in 1..=count {
            let at = start + ms(100 * n);
            assert_eq!(marks.reach(at, n, 800 * n, at), Reached::Send { forgotten: None });
        }
        marks
    }

    #[test]
    fn without_confirmation_a_mark_counts_when_it_is_sent() {
        let now = Instant::now();
        let mut marks = Marks::new(false);
        assert_eq!(marks.reach(now, 1, 800, now), Reached::Report(played(1, 800)));
        assert_eq!((marks.deadline(), marks.are_confirmed()), (None, false));
        let mut said = Vec::new();
        marks.cut(now, 1000, Some(now), &mut said);
        assert_eq!(said, []);
        assert_eq!(marks.cleared(2, 1000), cleared(2, 1000));
    }

    #[test]
    fn a_mark_counts_when_it_comes_back_and_takes_those_before_it_along() {
        let start = Instant::now();
        let check = |back: &[u64], expect: &[StreamEvent]| {
            let mut marks = out(3, start);
            let mut said = Vec::new();
            back.iter().for_each(|id| marks.confirm(start + ms(350), *id, &mut said));
            assert_eq!(said, expect, "{back:?}");
        };
        check(&[1, 2], &[played(1, 800), played(2, 1600)]);
        check(&[3], &[played(1, 800), played(2, 1600), played(3, 2400)]);
        check(&[2, 1, 2], &[played(1, 800), played(2, 1600)]);
        check(&[9], &[]);
    }

    #[test]
    fn a_cut_says_what_was_plausibly_heard() {
        let start = Instant::now();
        // (marks that came back, 60 ms after they were sent; when the cut comes; audio sent by then; what was heard)
        let check = |back: &[u64], cut_ms: u64, at_sample: u64, heard: u64| {
            let mut marks = out(3, start);
            let mut said = Vec::new();
            back.iter().for_each(|id| marks.confirm(start + ms(100 * id + 60), *id, &mut said));
            said.clear();
            let now = start + ms(cut_ms);
            marks.cut(now, at_sample, Some(now), &mut said);
            let left = (1..=3).filter(|id| back.iter().max().is_none_or(|most| id > most));
            let expect: Vec<StreamEvent> = left.map(|id| cleared(id, heard)).collect();
            assert_eq!(said, expect, "{back:?} {cut_ms}");
            assert_eq!(marks.cleared(4, at_sample), cleared(4, heard));
            assert_eq!(marks.deadline(), None);
        };
        // 60 ms of lag: 480 samples of what was sent did not sound yet.
        check(&[1, 2, 3], 400, 3200, 2720);
        check(&[1, 2], 340, 2720, 2240);
        // The lag says more than what was confirmed allows.
        check(&[1, 2, 3], 310, 2480, 2400);
        // Not confirmed: not reached.
        check(&[1], 390, 3120, 1600);
        check(&[], 390, 3120, 800);
    }

    #[test]
    fn a_dialler_that_forgets_its_marks_is_waited_for_once() {
        let start = Instant::now();
        let mut marks = out(2, start);
        assert_eq!(marks.deadline(), Some(start + ms(2100)));
        let mut said = Vec::new();
        marks.forget(start + ms(2100), &mut said);
        assert_eq!(said, [played(1, 800), played(2, 1600)]);
        assert_eq!(marks.reach(start + ms(2150), 3, 2400, start), Reached::Report(played(3, 2400)));
        // One that has confirmed before is waited for each time.
        let mut marks = out(2, start);
        marks.confirm(start + ms(150), 1, &mut said);
        marks.forget(start + ms(5000), &mut said);
        assert_eq!(marks.reach(start + ms(5000), 3, 2400, start), Reached::Send { forgotten: None });
    }

    #[test]
    fn what_is_out_is_bounded() {
        let now = Instant::now();
        let mut marks = out(MOST as u64, now);
        let next = MOST as u64 + 1;
        assert_eq!(marks.reach(now, next, 800 * next, now), Reached::Send { forgotten: Some(played(1, 800)) });
    }

    #[test]
    fn what_the_dialler_drops_by_itself_was_not_heard() {
        let start = Instant::now();
        let (mut marks, mut said) = (out(3, start), Vec::new());
        marks.confirm(start + ms(160), 1, &mut said);
        marks.dropped(2, &mut said);
        assert_eq!(said, [played(1, 800), cleared(2, 800)]);
        assert_eq!(marks.deadline(), Some(start + ms(2300)));
    }
}
