//! The course of a machine's end, from the first sign to the word that it may go: watch, drain, leave.
//! Sans-IO: it is told what time it is and what was answered, and says what is to be done next. It must never let a machine
//! go that has calls, unless the machine goes anyway.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use domain::machine::Fate;

/// Calls that are ended get this long to say goodbye and to be told of, before a machine that goes anyway is gone.
const LAST_WORDS: Duration = Duration::from_secs(40);
/// Whoever takes the machine may have to let a balancer forget it first, for an hour; then it waits for nobody.
const PATIENCE: Duration = Duration::from_secs(75 * 60);

/// How often is looked and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two looks at the machine's fate.
    pub look: Duration,
    /// Between two pleas for more time; whoever takes the machine must wait for several of these.
    pub hold: Duration,
}

impl Rhythm {
    /// After something that was not heard, and between two tries to leave.
    fn again(&self) -> Duration {
        self.hold / 6
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask for the fate; [`Course::handle_fate`] takes the answer.
    Look,
    /// Ask for more time; [`Course::handle_held`].
    Hold,
    /// Say that the machine may go; [`Course::handle_released`].
    Release,
    /// Take no more calls, and say [`Course::handle_drained`] when the last one is told of.
    Drain,
    /// End the live calls now.
    Force,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Watching,
    Draining,
    /// Drained; whoever takes the machine has to be told until then.
    Leaving {
        until: Instant,
    },
    Gone,
}

#[derive(Debug)]
pub(super) struct Course {
    rhythm: Rhythm,
    stage: Stage,
    // None of these is set while its answer is awaited.
    look_at: Option<Instant>,
    hold_at: Option<Instant>,
    release_at: Option<Instant>,
    force_at: Option<Instant>,
    /// The calls are ended once, however often the end is told.
    has_end: bool,
    effects: VecDeque<Effect>,
}

impl Course {
    pub(super) fn new(rhythm: Rhythm, now: Instant) -> Self {
        Self {
            rhythm,
            stage: Stage::Watching,
            look_at: Some(now),
            hold_at: None,
            release_at: None,
            force_at: None,
            has_end: false,
            effects: VecDeque::new(),
        }
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.look_at, self.hold_at, self.release_at, self.force_at].into_iter().flatten().min()
    }

    /// Nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Gone
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for (at, effect) in [
            (&mut self.look_at, Effect::Look),
            (&mut self.hold_at, Effect::Hold),
            (&mut self.force_at, Effect::Force),
            (&mut self.release_at, Effect::Release),
        ] {
            if at.take_if(|at| *at <= now).is_some() {
                self.effects.push_back(effect);
            }
        }
    }

    /// What was seen; `None` = no answer, which means nothing.
    pub(super) fn handle_fate(&mut self, now: Instant, fate: Option<Fate>) {
        if !matches!(self.stage, Stage::Watching | Stage::Draining) {
            return;
        }
        self.look_at = Some(now + self.rhythm.look);
        let Some(Fate::Goes { within }) = fate else { return };
        if self.stage == Stage::Watching {
            self.stage = Stage::Draining;
            self.effects.push_back(Effect::Drain);
            self.hold_at = Some(now);
        }
        if let Some(within) = within
            && !std::mem::replace(&mut self.has_end, true)
        {
            self.force_at = Some(now + within.saturating_sub(LAST_WORDS));
        }
    }

    /// Whether somebody waits for this process; `None` = no answer.
    pub(super) fn handle_held(&mut self, now: Instant, held: Option<bool>) {
        if self.stage == Stage::Draining {
            let wait = if held.is_some() { self.rhythm.hold } else { self.rhythm.again() };
            self.hold_at = Some(now + wait);
        }
    }

    /// The last call has ended and was told of, or the process ends for another reason.
    pub(super) fn handle_drained(&mut self, now: Instant) {
        (self.look_at, self.hold_at, self.force_at) = (None, None, None);
        self.stage = match self.stage {
            Stage::Draining => {
                self.release_at = Some(now);
                Stage::Leaving { until: now + PATIENCE }
            }
            Stage::Watching | Stage::Gone => Stage::Gone,
            leaving @ Stage::Leaving { .. } => leaving,
        };
    }

    /// Whether somebody took the word; `None` = no answer.
    pub(super) fn handle_released(&mut self, now: Instant, released: Option<bool>) {
        let Stage::Leaving { until } = self.stage else { return };
        let next = now + self.rhythm.again();
        if released == Some(true) || next > until {
            self.stage = Stage::Gone;
        } else {
            self.release_at = Some(next);
        }
    }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
