//! Who thinks of what the bot says: the script or a model, behind what the call needs of either.
//! It must never speak: what it says is spoken by the call.

use serde_json::{Map, Value};

use crate::model::ModelBrain;
use crate::phrasing::Phrasing;
use crate::script::ScriptBrain;
use crate::turn::Expectation;

#[derive(Debug)]
pub(crate) enum Thinker {
    Script(Box<ScriptBrain>),
    Model(Box<ModelBrain>),
}

/// The brain and the way back from its last answer.
#[derive(Debug)]
pub(crate) struct Brain {
    pub(crate) thinker: Thinker,
    /// Until the last answer sounds, it can be taken back.
    pub(crate) undo: Option<Undo>,
}

/// A turn that was answered but not heard to be.
#[derive(Debug)]
pub(crate) struct Undo {
    /// The customer's words.
    pub(crate) text: String,
    /// The script as it was before.
    pub(crate) script: Option<Box<ScriptBrain>>,
}

impl Brain {
    pub(crate) fn new(thinker: Thinker) -> Self {
        Self { thinker, undo: None }
    }

    pub(crate) fn model(&self) -> Option<&ModelBrain> {
        match &self.thinker {
            Thinker::Model(model) => Some(model),
            Thinker::Script(_) => None,
        }
    }

    pub(crate) fn model_mut(&mut self) -> Option<&mut ModelBrain> {
        match &mut self.thinker {
            Thinker::Model(model) => Some(model),
            Thinker::Script(_) => None,
        }
    }

    /// A turn that is certain is being thought about.
    pub(crate) fn is_answering(&self) -> bool {
        self.model().is_some_and(ModelBrain::is_answering)
    }

    pub(crate) fn expectation(&self) -> Expectation {
        match &self.thinker {
            Thinker::Script(script) => script.expectation(),
            Thinker::Model(model) => model.expectation(),
        }
    }

    /// Whether the words answer what was asked, as far as can be told.
    pub(crate) fn understands(&self, text: &str, phrasing: &Phrasing) -> bool {
        match &self.thinker {
            Thinker::Script(script) => script.understands(text, phrasing),
            Thinker::Model(model) => {
                model.expectation() == Expectation::Short && crate::understand::yes_no::yes_no(text).is_some()
            }
        }
    }

    pub(crate) fn keyed(&self, keys: &str) -> String {
        match &self.thinker {
            Thinker::Script(script) => script.keyed(keys),
            Thinker::Model(_) => format!("(pressed on the keypad: {keys})"),
        }
    }

    pub(crate) fn collected(&self) -> &Map<String, Value> {
        match &self.thinker {
            Thinker::Script(script) => script.collected(),
            Thinker::Model(model) => model.collected(),
        }
    }
}
