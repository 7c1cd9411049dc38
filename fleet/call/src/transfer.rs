//! The customer given to somebody else: the last words are said whole, the leg is told, and its answer is taken.
//! It must never leave the customer in silence: whoever does not take the call in time has refused it.

use std::time::{Duration, Instant};

use domain::phone::E164;
use serde_json::{Value, json};

use crate::brain::Thinker;
use crate::call::Call;
use crate::io::{Effect, LegCommand};
use crate::mouth::Purpose;
use crate::outcome::Ending;
use crate::script::{Then, joined};
use crate::state::Stage;

/// The tool with which a model gives the customer to one of the bot's `transfer_targets`.
pub const TRANSFER_CALL: &str = "transfer_call";

/// The JSON Schema of [`TRANSFER_CALL`]'s arguments, for the shell that offers it to a model; `targets` are the names.
pub fn transfer_call_parameters<'a>(targets: impl IntoIterator<Item = &'a str>) -> Value {
    let targets: Vec<&str> = targets.into_iter().collect();
    json!({
        "type": "object",
        "properties": {
            "target": {"type": "string", "enum": targets, "description": "Who gets the call."},
            "message": {"type": "string", "description": "The last words to say before the transfer; leave out if you have announced it already."}
        },
        "required": ["target"]
    })
}

/// Longest wait for the customer to be somebody else's: as long as a phone rings for a person in a hurry.
pub(crate) const TRANSFER_WAIT: Duration = Duration::from_secs(30);
/// Said when the customer could not be given away.
const SORRY: &str = "Sorry, I could not put you through.";

impl Call {
    /// The last words were heard, or never will be: does what they were the last words before.
    pub(crate) fn part(&mut self, now: Instant, ending: Ending) {
        match ending {
            Ending::Transferred { target } => self.transfer(now, target),
            ending => self.hang_up(now, ending),
        }
    }

    fn transfer(&mut self, now: Instant, target: String) {
        self.stop_talking();
        self.mouth.forget_cut();
        self.brain.undo = None;
        let number = self.plan.bot.transfer_targets.get(&target);
        match number.and_then(|number| E164::parse(number).ok()) {
            Some(to) => {
                self.push(Effect::Leg(LegCommand::Transfer { to }));
                self.stage = Stage::Transferring { target, until: now + TRANSFER_WAIT };
            }
            // The words are a model's: they may be anything, and stay out of the warning.
            None => {
                self.phrasing
                    .warn("the model wanted to transfer the call to somebody not in transfer_targets".to_owned());
                self.go_on(now, &target);
            }
        }
    }

    /// The leg can't do it, or nobody took the call: the customer is the bot's again.
    pub(crate) fn transfer_refused(&mut self, now: Instant, why: &str) {
        let Stage::Transferring { target, .. } = &self.stage else { return };
        let target = target.clone();
        self.phrasing.warn(format!("the transfer to {target:?} did not happen: {why}; the bot went on"));
        self.go_on(now, &target);
    }

    fn go_on(&mut self, now: Instant, target: &str) {
        self.stage = Stage::Talking;
        // What was said to somebody who did not come is no answer to what is said now.
        self.drop_turn();
        match &mut self.brain.thinker {
            Thinker::Script(script) => {
                let said = script.refused(&mut self.phrasing);
                let text = joined(&[SORRY.to_owned(), said.text]);
                match said.then {
                    Then::Listen => self.reply(now, &text),
                    Then::End | Then::Transfer(_) => self.goodbye(now, &text, Ending::BotDone),
                }
            }
            Thinker::Model(model) => {
                model.refused(target);
                model.set_said(SORRY);
                self.say(now, Purpose::Reply, SORRY);
            }
        }
    }
}
