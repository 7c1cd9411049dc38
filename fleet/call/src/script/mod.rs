//! The script brain: walks a bot's own dialogue, one step a turn, without any model.
//! It must never say anything that is not in the script, and never end but by a branch or its last step.

use std::sync::Arc;

use domain::bot::{Branch, Expect, Script, ScriptStep};
use serde_json::{Map, Value};

use crate::phrasing::Phrasing;
use crate::turn::Expectation;
use crate::understand::repeat::asks_to_repeat;
use crate::understand::{Answer, answer};

/// How often a question is repeated on request before that counts as a reprompt.
const MAX_REPEATS: u32 = 2;

/// Where in the script the call is.
#[derive(Debug, Clone)]
pub(crate) struct ScriptBrain {
    script: Arc<Script>,
    /// The step whose answer is awaited; none when only the closing is left.
    step: Option<usize>,
    reprompts: u32,
    repeats: u32,
    collected: Map<String, Value>,
    /// What was asked last, as it was said.
    asked: String,
    /// The way back from a transfer under way.
    refusal: Option<Refusal>,
}

/// What the bot says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) then: Then,
}

/// What follows once it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// The customer's turn.
    Listen,
    /// The call is over.
    End,
    /// The customer is given to the transfer target of this name.
    Transfer(String),
}

/// Where the script goes on, and with which results, when a transfer is refused.
#[derive(Debug, Clone)]
struct Refusal {
    next: Option<usize>,
    collected: Map<String, Value>,
}

impl ScriptBrain {
    pub(crate) fn new(script: Script) -> Self {
        let step = (!script.steps.is_empty()).then_some(0);
        Self {
            script: Arc::new(script),
            step,
            reprompts: 0,
            repeats: 0,
            collected: Map::new(),
            asked: String::new(),
            refusal: None,
        }
    }

    /// The opening message with the first step's question.
    pub(crate) fn open(&mut self, opening: &str, phrasing: &mut Phrasing) -> String {
        let script = Arc::clone(&self.script);
        let opening = phrasing.say("opening_message", opening);
        let question = match script.steps.first() {
            Some(step) => say_of(phrasing, step, "question", &step.question),
            None => String::new(),
        };
        self.asked = if question.is_empty() { opening.clone() } else { question.clone() };
        joined(&[opening, question])
    }

    /// Takes the customer's answer and goes on.
    pub(crate) fn answer(&mut self, text: &str, phrasing: &mut Phrasing) -> Said {
        let script = Arc::clone(&self.script);
        let Some(step) = self.step.and_then(|at| script.steps.get(at)) else {
            return self.close(&script, phrasing);
        };
        match self.understand(step, text, phrasing) {
            Some(answer) => self.take(&script, step, &answer, phrasing),
            None => self.ask_again(&script, step, text, phrasing),
        }
    }

    /// Goes on after a transfer that was refused, as if the branch had not had it; what it set as results is taken back.
    pub(crate) fn refused(&mut self, phrasing: &mut Phrasing) -> Said {
        let script = Arc::clone(&self.script);
        let next = self.refusal.take().and_then(|refusal| {
            self.collected = refusal.collected;
            phrasing.set_collected(&self.collected);
            refusal.next
        });
        match next {
            Some(next) => self.enter(&script, next, String::new(), phrasing),
            None => self.close(&script, phrasing),
        }
    }

    /// Whether `text` answers what was asked.
    pub(crate) fn understands(&self, text: &str, phrasing: &Phrasing) -> bool {
        self.current()
            .is_some_and(|step| step.expect != Expect::FreeText && self.understand(step, text, phrasing).is_some())
    }

    pub(crate) fn expectation(&self) -> Expectation {
        match self.current().map(|step| step.expect) {
            Some(Expect::YesNo | Expect::Choice) => Expectation::Short,
            Some(Expect::Number | Expect::Amount) => Expectation::Digits,
            Some(Expect::Date) => Expectation::Date,
            Some(Expect::FreeText) | None => Expectation::Anything,
        }
    }

    /// What keys pressed at the telephone mean here: 1 and 2 are yes and no.
    pub(crate) fn keyed(&self, keys: &str) -> String {
        match (self.current().map(|step| step.expect), keys) {
            (Some(Expect::YesNo), "1") => "yes".to_owned(),
            (Some(Expect::YesNo), "2") => "no".to_owned(),
            _ => keys.to_owned(),
        }
    }

    pub(crate) fn collected(&self) -> &Map<String, Value> {
        &self.collected
    }

    fn current(&self) -> Option<&ScriptStep> {
        self.script.steps.get(self.step?)
    }

    fn understand(&self, step: &ScriptStep, text: &str, phrasing: &Phrasing) -> Option<Answer> {
        answer(step.expect, text, &step.choices, phrasing.today())
    }

    fn take(&mut self, script: &Script, step: &ScriptStep, answer: &Answer, phrasing: &mut Phrasing) -> Said {
        if let Some(field) = &step.field {
            self.collected.insert(field.clone(), Value::String(answer.value.clone()));
            phrasing.set_collected(&self.collected);
        }
        let branch = step.branches.get(&answer.value).or_else(|| step.branches.get("*"));
        self.follow(script, step, branch, phrasing)
    }

    fn ask_again(&mut self, script: &Script, step: &ScriptStep, text: &str, phrasing: &mut Phrasing) -> Said {
        if asks_to_repeat(text) && self.repeats < MAX_REPEATS && !self.asked.is_empty() {
            self.repeats += 1;
            return Said { text: self.asked.clone(), then: Then::Listen };
        }
        if self.reprompts < step.max_reprompts {
            self.reprompts += 1;
            let reprompt = say_of(phrasing, step, "reprompt", &step.reprompt);
            let text = if reprompt.is_empty() { self.asked.clone() } else { reprompt };
            return Said { text, then: Then::Listen };
        }
        self.follow(script, step, step.branches.get("?"), phrasing)
    }

    fn follow(&mut self, script: &Script, step: &ScriptStep, branch: Option<&Branch>, phrasing: &mut Phrasing) -> Said {
        let said = branch.map(|branch| say_of(phrasing, step, "say", &branch.say)).unwrap_or_default();
        let ends = branch.is_some_and(|branch| branch.end);
        let next = self.next_of(script, branch, phrasing);
        let transfer = branch.and_then(|branch| branch.transfer.clone());
        let result = match (transfer, next) {
            (Some(target), next) => {
                self.refusal = Some(Refusal { next, collected: self.collected.clone() });
                Said { text: said, then: Then::Transfer(target) }
            }
            (None, Some(next)) if !ends => self.enter(script, next, said, phrasing),
            _ if ends && !said.is_empty() => {
                self.step = None;
                Said { text: said, then: Then::End }
            }
            _ => {
                let closing = self.close(script, phrasing);
                Said { text: joined(&[said, closing.text]), then: Then::End }
            }
        };
        // Behind the script's own, so that a branch can say otherwise.
        if let Some(branch) = branch {
            self.set_results(&branch.result, &step.id, phrasing);
        }
        result
    }

    fn enter(&mut self, script: &Script, next: usize, said: String, phrasing: &mut Phrasing) -> Said {
        self.step = Some(next);
        self.reprompts = 0;
        self.repeats = 0;
        let step = &script.steps[next];
        let question = say_of(phrasing, step, "question", &step.question);
        self.asked = if question.is_empty() { said.clone() } else { question.clone() };
        Said { text: joined(&[said, question]), then: Then::Listen }
    }

    fn close(&mut self, script: &Script, phrasing: &mut Phrasing) -> Said {
        self.step = None;
        self.set_results(&script.result, "closing", phrasing);
        Said { text: phrasing.say("script.closing", &script.closing), then: Then::End }
    }

    fn set_results(
        &mut self,
        results: &std::collections::BTreeMap<String, String>,
        place: &str,
        phrasing: &mut Phrasing,
    ) {
        for (field, template) in results {
            let value = phrasing.say(&format!("script.{place}.result.{field}"), template);
            self.collected.insert(field.clone(), Value::String(value));
        }
        phrasing.set_collected(&self.collected);
    }

    /// The step a branch leads to: the one it names, else the one after this.
    fn next_of(&self, script: &Script, branch: Option<&Branch>, phrasing: &mut Phrasing) -> Option<usize> {
        let after = self.step.map(|at| at + 1).filter(|at| *at < script.steps.len());
        let Some(id) = branch.and_then(|branch| branch.goto.as_ref()) else { return after };
        let named = script.steps.iter().position(|step| step.id == *id);
        if named.is_none() {
            phrasing.warn(format!("script: a branch goes to {id:?}, which is no step"));
        }
        named.or(after)
    }
}

fn say_of(phrasing: &mut Phrasing, step: &ScriptStep, part: &str, template: &str) -> String {
    phrasing.say(&format!("script.{}.{part}", step.id), template)
}

/// What is not empty of several texts, as one.
pub(crate) fn joined(texts: &[String]) -> String {
    texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
