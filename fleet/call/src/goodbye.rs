//! The bot's last words: said whole, then the leg is hung up, within a bound.
//! It must never let a goodbye be cut off, nor a stuck voice keep the call alive.

use std::time::{Duration, Instant};

use crate::call::Call;
use crate::io::Effect;
use crate::mouth::{Purpose, speaking_time};
use crate::outcome::Ending;
use crate::state::Stage;

/// Characters a second of a slow voice.
const SLOW_VOICE: u32 = 10;
/// What playout may take longer than its text.
const PLAYOUT_MARGIN: Duration = Duration::from_secs(3);
/// What synthesis may take before the first sound.
const SYNTHESIS_MARGIN: Duration = Duration::from_secs(6);

/// Said when no voice, recogniser or model is left to go on with.
const APOLOGY: &str = "I am sorry, I have a technical problem and must end this call. Goodbye.";

impl Call {
    /// Says the last words and, once they were heard, ends the call as `ending` says; at once if there are none.
    pub(crate) fn goodbye(&mut self, now: Instant, text: &str, ending: Ending) {
        if text.trim().is_empty() {
            self.part(now, ending);
            return;
        }
        let (id, command) = self.mouth.say(now, Purpose::Goodbye, text, true);
        self.timings.answered_by(id);
        self.push(Effect::Mouth(command));
        self.close_with(now, ending);
    }

    /// What is being said already are the last words.
    pub(crate) fn close_with(&mut self, now: Instant, ending: Ending) {
        self.stage = Stage::Closing { ending, until: now + SYNTHESIS_MARGIN + self.playout_bound() };
    }

    /// The goodbye began to sound: from here on its own length bounds it.
    pub(crate) fn goodbye_started(&mut self, now: Instant) {
        let bound = self.playout_bound();
        if let Stage::Closing { until, .. } = &mut self.stage {
            *until = now + bound;
        }
    }

    /// No provider is left: an apology and an orderly end.
    pub(crate) fn apologise(&mut self, now: Instant) {
        match self.stage {
            Stage::Dialing { .. } => self.hang_up(now, Ending::ProviderFailed),
            Stage::Greeting { .. } | Stage::Talking => {
                let stop = self.mouth.stop();
                self.push_mouth(stop);
                self.mouth.forget_cut();
                self.cancel_thinking();
                self.brain.undo = None;
                self.goodbye(now, APOLOGY, Ending::ProviderFailed);
            }
            // Those end on their own, and soon.
            Stage::Machine { .. }
            | Stage::Closing { .. }
            | Stage::Transferring { .. }
            | Stage::HangingUp { .. }
            | Stage::Over => {}
        }
    }

    /// Whether all of the goodbye was played, even if playout has not said that it is done. Words before a transfer are
    /// none: whoever hangs up then has not waited for it.
    pub(crate) fn is_goodbye_heard(&self) -> bool {
        matches!(&self.stage, Stage::Closing { ending, .. } if !matches!(ending, Ending::Transferred { .. }))
            && self
                .mouth
                .sounding()
                .is_some_and(|utterance| utterance.purpose == Purpose::Goodbye && utterance.unheard_text().is_empty())
    }

    fn playout_bound(&self) -> Duration {
        speaking_time(self.mouth.unheard_characters(), SLOW_VOICE) + PLAYOUT_MARGIN
    }
}
