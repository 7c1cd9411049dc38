//! Every clock of the call: when each rings, as a function of the state, and what it does then.
//! It must never arm a clock that ringing does not move: the call would spin.

use std::time::{Duration, Instant};

use crate::call::Call;
use crate::hearing::Waited;
use crate::io::{EarCommand, Effect};
use crate::outcome::Ending;
use crate::silence::Step;
use crate::state::{Stage, Timer};
use crate::turn::end_delay;

/// The bot speaks first if the customer says nothing for this long after the answer.
const SPEAK_FIRST_AFTER: Duration = Duration::from_millis(800);
/// A caller waits for the bot: it speaks as soon as the line has settled.
const GREET_CALLER_AFTER: Duration = Duration::from_millis(200);
/// The pause after the customer's "hello?" before the bot opens.
const GREETING_PAUSE: Duration = Duration::from_millis(400);
/// Whoever talks this long after the answer without a pause gets the opening all the same.
const LONGEST_GREETING: Duration = Duration::from_secs(12);
/// A caller who talks, or whose line is noisy, is greeted after this long all the same.
const CALLERS_GREETING: Duration = Duration::from_millis(1500);
/// Longest wait for a pre-fetch that is still running: from the answer, or from the start of a call that came in. With the
/// voice's own time the first word comes within 2 s.
pub(crate) const PREFETCH_WAIT: Duration = Duration::from_millis(1500);
/// A busy tone is the end if nobody says a word for this long.
const BUSY_TONE_WAIT: Duration = Duration::from_secs(4);
/// A machine that is silent for this long after its greeting is recording, beep or no beep.
const MACHINE_PAUSE: Duration = Duration::from_secs(3);

impl Call {
    /// The clock that rings next.
    pub(crate) fn next_timer(&self) -> Option<(Instant, Timer)> {
        let earliest = |timers: &[(Option<Instant>, Timer)]| {
            timers.iter().filter_map(|(at, timer)| at.map(|at| (at, *timer))).min_by_key(|(at, _)| *at)
        };
        match &self.stage {
            Stage::Over => None,
            Stage::Dialing { give_up, answer_at } => {
                earliest(&[(Some(*give_up), Timer::RingTimeout), (*answer_at, Timer::Answer)])
            }
            Stage::HangingUp { until, .. } => Some((*until, Timer::HangUpBound)),
            Stage::Greeting { .. } => earliest(&[
                (self.max_duration_at(), Timer::MaxDuration),
                (self.line.media_deadline(), Timer::NoMedia),
                (self.busy_at(), Timer::BusyTone),
                (self.opens_at(), Timer::Open),
                (self.hearing.waits_until(), Timer::FinalWait),
                (self.hearing.stuck_at(), Timer::StuckSpeech),
            ]),
            Stage::Talking => earliest(&[
                (self.max_duration_at(), Timer::MaxDuration),
                (self.line.media_deadline(), Timer::NoMedia),
                (self.busy_at(), Timer::BusyTone),
                (self.hearing.waits_until(), Timer::FinalWait),
                (self.hearing.stuck_at(), Timer::StuckSpeech),
                (self.weighs_at(), Timer::WeighSpeech),
                (self.turn_ends_at(), Timer::EndOfTurn),
                (self.hearing.keys_at().filter(|_| !self.mouth.is_busy()), Timer::Keys),
                (self.silence_at(), Timer::Silence),
                (self.filler_at(), Timer::Filler),
                (self.brain.model().and_then(|model| model.stalls_at()), Timer::BrainStall),
                (self.mouth.stalls_at(), Timer::MouthStall),
            ]),
            Stage::Machine { speak_by } => earliest(&[
                (self.max_duration_at(), Timer::MaxDuration),
                (self.line.media_deadline(), Timer::NoMedia),
                (Some(self.machine_pause_at().map_or(*speak_by, |at| at.min(*speak_by))), Timer::MachineBeep),
                (self.hearing.waits_until(), Timer::FinalWait),
                (self.hearing.stuck_at(), Timer::StuckSpeech),
            ]),
            Stage::Closing { until, .. } => earliest(&[
                (self.max_duration_at(), Timer::MaxDuration),
                (Some(*until), Timer::GoodbyeBound),
                (self.hearing.waits_until(), Timer::FinalWait),
                (self.hearing.stuck_at(), Timer::StuckSpeech),
            ]),
            Stage::Transferring { until, .. } => earliest(&[
                (self.max_duration_at(), Timer::MaxDuration),
                (Some(*until), Timer::TransferBound),
                (self.hearing.waits_until(), Timer::FinalWait),
                (self.hearing.stuck_at(), Timer::StuckSpeech),
            ]),
        }
    }

    /// What a clock does.
    pub(crate) fn ring(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::RingTimeout => self.hang_up(now, Ending::RingTimeout),
            Timer::Answer => self.answer_caller(),
            Timer::MaxDuration => self.hang_up(now, Ending::MaxDuration),
            Timer::NoMedia => self.hang_up(now, Ending::NoMedia),
            Timer::BusyTone => self.hang_up(now, Ending::BusyTone),
            Timer::Open => self.open(now),
            Timer::EndOfTurn => self.turn_over(now),
            Timer::FinalWait => self.final_is_late(now),
            Timer::StuckSpeech => self.on_speech_ended(now, self.line.position(now)),
            Timer::WeighSpeech => {
                self.hearing.weighed();
                self.weigh_overlap(now);
            }
            Timer::Keys => self.keys_done(now),
            Timer::Silence => self.on_silence(now),
            Timer::Filler => self.fill(now),
            Timer::BrainStall => self.brain_failed(now),
            Timer::MouthStall => self.mouth_stalled(now),
            Timer::MachineBeep => self.leave_message(now),
            Timer::GoodbyeBound | Timer::HangUpBound => self.bound_reached(now),
            Timer::TransferBound => self.transfer_refused(now, "nobody took the call over in time"),
        }
    }

    fn bound_reached(&mut self, now: Instant) {
        match self.stage.clone() {
            Stage::Closing { ending, .. } => self.part(now, ending),
            Stage::HangingUp { ending, .. } => self.finish(now, ending),
            _ => {}
        }
    }

    fn final_is_late(&mut self, now: Instant) {
        match self.hearing.waited(now) {
            Waited::Flush => self.push(Effect::Ear(EarCommand::Flush)),
            Waited::GaveUp => self.after_speech(now),
        }
    }

    fn on_silence(&mut self, now: Instant) {
        match self.quiet.next(&self.plan.bot.silence) {
            Some((_, Step::Prompt(index))) => self.prompt(now, index),
            Some((_, Step::HangUp)) => self.hang_up(now, Ending::Silence),
            None => {}
        }
    }

    fn max_duration_at(&self) -> Option<Instant> {
        self.line.answered.map(|at| at + Duration::from_secs(u64::from(self.plan.bot.max_call_duration_seconds)))
    }

    fn busy_at(&self) -> Option<Instant> {
        self.line.busy_since.map(|since| since + BUSY_TONE_WAIT)
    }

    /// When the bot speaks first: after the customer's first words, or a short silence; later only for a ring-back tone
    /// or a pre-fetch that is about to come.
    fn opens_at(&self) -> Option<Instant> {
        let Stage::Greeting { since, ringing } = self.stage else { return None };
        if self.line.is_held() {
            return None;
        }
        if let Some(ringing) = ringing {
            let person = self.hearing.ended().filter(|end| end.when > ringing.since && self.hearing.has_words());
            return Some(person.map_or(ringing.until, |end| (end.when + GREETING_PAUSE).min(ringing.until)));
        }
        let (longest, first, fetched) = if self.is_inbound() {
            (CALLERS_GREETING, GREET_CALLER_AFTER, self.started + PREFETCH_WAIT)
        } else {
            (LONGEST_GREETING, SPEAK_FIRST_AFTER, since + PREFETCH_WAIT)
        };
        let polite = match (self.hearing.speaking(), self.hearing.ended()) {
            (Some(segment), _) => segment.since + longest,
            (None, Some(end)) => end.when + GREETING_PAUSE,
            (None, None) => since + first,
        };
        Some(if self.phrasing.awaited().is_some() { polite.max(fetched) } else { polite })
    }

    fn turn_ends_at(&self) -> Option<Instant> {
        let answering = self.brain.is_answering() && self.mouth.cut().is_none();
        if self.mouth.is_busy() || answering || self.line.is_held() || !self.hearing.is_settled() {
            return None;
        }
        let end = self.hearing.ended().filter(|_| self.hearing.has_words())?;
        let words = self.hearing.words();
        let understood = self.brain.understands(&words, &self.phrasing);
        Some(end.when + end_delay(&words, self.brain.expectation(), understood))
    }

    fn silence_at(&self) -> Option<Instant> {
        if !self.is_idle() {
            return None;
        }
        self.quiet.next(&self.plan.bot.silence).map(|(at, _)| at)
    }

    /// Nobody speaks, thinks or waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage == Stage::Talking
            && !self.line.is_held()
            && !self.mouth.is_busy()
            && !self.brain.is_answering()
            && self.hearing.is_settled()
            && self.hearing.keys_at().is_none()
            && !self.hearing.has_words()
    }

    /// Speech over the bot is weighed as it brings words, and once more when it has lasted long enough.
    fn weighs_at(&self) -> Option<Instant> {
        let rule = &self.plan.bot.interruption;
        let segment = self.hearing.speaking().filter(|segment| rule.enabled && !segment.weighed)?;
        self.mouth.sounding()?;
        Some(segment.since + Duration::from_millis(u64::from(rule.min_speech_ms)))
    }

    fn filler_at(&self) -> Option<Instant> {
        self.brain.model().filter(|_| !self.mouth.is_busy())?.filler_at()
    }

    fn machine_pause_at(&self) -> Option<Instant> {
        let end = self.hearing.ended().filter(|_| self.hearing.speaking().is_none())?;
        Some(end.when + MACHINE_PAUSE)
    }
}
