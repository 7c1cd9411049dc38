//! What is done when tones say that nobody is there, or a machine: wait, hang up, or leave the message after the beep.
//! It must never decide that it is a machine: the detector does, from its evidence.

use std::time::{Duration, Instant};

use domain::bot::VoicemailAction;

use crate::call::Call;
use crate::io::Tone;
use crate::outcome::Ending;
use crate::state::{Ringing, Stage};

/// Longest wait for a machine's beep.
const BEEP_WAIT: Duration = Duration::from_secs(25);

impl Call {
    pub(crate) fn on_tone(&mut self, now: Instant, kind: Tone, at: Duration) {
        self.line.audible();
        match kind {
            Tone::Beep if matches!(self.stage, Stage::Machine { .. }) => self.leave_message(now),
            Tone::Beep => {
                if self.detector.beeped(at) && self.may_be_machine() {
                    self.machine(now, true);
                }
            }
            Tone::RingBack => self.ring_back(now),
            Tone::BusyTone => {
                self.line.busy_since.get_or_insert(now);
            }
        }
    }

    /// The answer was a gateway's, and the phone still rings: the bot takes back what it said to nobody and opens anew
    /// once a person speaks.
    fn ring_back(&mut self, now: Instant) {
        let far_side_was_called = !self.is_inbound() && self.may_be_machine();
        let Some(answered) = self.line.answered.filter(|_| far_side_was_called && !self.transcript.has_customer())
        else {
            return;
        };
        self.stop_talking();
        self.mouth.forget_cut();
        let until = answered + Duration::from_secs(u64::from(self.plan.bot.ring_timeout_seconds));
        self.stage = Stage::Greeting { since: answered, ringing: Some(Ringing { since: now, until }) };
    }

    pub(crate) fn may_be_machine(&self) -> bool {
        matches!(self.stage, Stage::Greeting { .. } | Stage::Talking)
    }

    /// A machine answered: hang up, or wait for its beep to leave the message.
    pub(crate) fn machine(&mut self, now: Instant, beeped: bool) {
        let stop = self.mouth.stop();
        self.push_mouth(stop);
        self.mouth.forget_cut();
        self.cancel_thinking();
        self.brain.undo = None;
        self.give_up_timing();
        let leave = self.plan.bot.voicemail.action == VoicemailAction::LeaveMessage
            && !self.plan.bot.voicemail.message.trim().is_empty();
        if !leave {
            self.hang_up(now, Ending::Voicemail);
            return;
        }
        self.stage = Stage::Machine { speak_by: now + BEEP_WAIT };
        if beeped {
            self.leave_message(now);
        }
    }

    pub(crate) fn leave_message(&mut self, now: Instant) {
        let message = self.plan.bot.voicemail.message.clone();
        let text = self.phrasing.say("voicemail.message", &message);
        self.goodbye(now, &text, Ending::Voicemail);
    }
}
