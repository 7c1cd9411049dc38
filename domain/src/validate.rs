//! Judges bots and trunks as an admin sends them; what passes here cannot fail a call by its shape.
//! It must never look anything up: whether a named trunk exists is the handler's question.

use crate::bot::Bot;
use crate::field_error::FieldError;
use crate::trunk::Trunk;

impl Bot {
    /// Everything that is wrong with the bot; sealed secrets are judged before they are sealed.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = crate::push::validate(self.push.as_ref().map_or(&serde_json::Value::Null, |push| &push.key_mapper));
        if let Err(e) = self.hours.validate() {
            errors.push(FieldError::body("active_hours", "active_hours", e.to_string()));
        }
        errors
    }

    /// What is allowed and probably wrong, e.g. templates of namespaces that don't exist.
    pub fn warnings(&self) -> Vec<String> {
        self.push.as_ref().map_or_else(Vec::new, |push| crate::push::unknown_namespaces(&push.key_mapper))
    }
}

impl Trunk {
    /// Everything that is wrong with the trunk.
    pub fn validate(&self) -> Vec<FieldError> {
        let malformed = |rule: &String| crate::phone::NumberRule::parse(rule).err();
        self.numbers.iter().filter_map(malformed).map(|e| FieldError::body("numbers", "number_rule", e.to_string())).collect()
    }
}
