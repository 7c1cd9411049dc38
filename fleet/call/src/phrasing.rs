//! Turns the bot's templates into what is said, and keeps the layers of `crm.*` behind them.
//! It must never expand a value again, and never print one.

use std::collections::BTreeSet;

use domain::bot::OnFailure;
use domain::template::{Context, render};
use domain::variables::Fields;
use jiff::civil::Date;
use serde_json::{Map, Value};

/// The templates' data over the life of one call.
#[derive(Debug)]
pub(crate) struct Phrasing {
    context: Context,
    variables: Fields,
    prefetched: Fields,
    custom: Fields,
    awaited: Option<OnFailure>,
    warned: BTreeSet<String>,
    fresh_warnings: Vec<String>,
}

impl Phrasing {
    pub(crate) fn new(context: Context, variables: Fields, custom: Fields, awaited: Option<OnFailure>) -> Self {
        let mut phrasing = Self {
            context,
            variables,
            prefetched: Fields::new(),
            custom,
            awaited,
            warned: BTreeSet::new(),
            fresh_warnings: Vec::new(),
        };
        phrasing.layer();
        phrasing
    }

    /// Renders the template that the bot's settings call `name`.
    pub(crate) fn say(&mut self, name: &str, template: &str) -> String {
        let rendered = render(template, &self.context);
        for field in rendered.missing {
            self.warn(format!("template {name}: {field} is unknown or missing"));
        }
        rendered.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Renders a text whose line breaks matter: a prompt.
    pub(crate) fn write(&mut self, name: &str, template: &str) -> String {
        self.say(name, template);
        render(template, &self.context).text
    }

    /// Keeps a warning for the call, once.
    pub(crate) fn warn(&mut self, warning: String) {
        if self.warned.insert(warning.clone()) {
            self.fresh_warnings.push(warning);
        }
    }

    /// How a failed pre-fetch counts, while one is under way.
    pub(crate) fn awaited(&self) -> Option<OnFailure> {
        self.awaited
    }

    /// The pre-fetch is over, or is not waited for any more.
    pub(crate) fn stop_awaiting(&mut self) -> Option<OnFailure> {
        self.awaited.take()
    }

    pub(crate) fn add_prefetched(&mut self, fields: Fields) {
        self.prefetched = fields;
        self.layer();
    }

    /// Makes the answers so far readable as `result.*`.
    pub(crate) fn set_collected(&mut self, collected: &Map<String, Value>) {
        let context = std::mem::take(&mut self.context);
        self.context = context.with_result(Fields::from(collected));
    }

    /// `crm.*` as it stands: variables over pre-fetched over custom fields.
    pub(crate) fn crm(&self) -> Fields {
        self.variables.clone().over(&self.prefetched).over(&self.custom)
    }

    /// The current date in the bot's zone, as the context gives it.
    pub(crate) fn today(&self) -> Option<Date> {
        render("{{system.current_date}}", &self.context).text.parse().ok()
    }

    /// Warnings since the last call of this.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh_warnings)
    }

    fn layer(&mut self) {
        let context = std::mem::take(&mut self.context);
        self.context = context.with_crm(self.crm());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::of_object(json).unwrap()
    }

    #[test]
    fn variables_win_over_prefetched_over_custom() {
        let mut phrasing =
            Phrasing::new(Context::new(), fields(r#"{"a":"1"}"#), fields(r#"{"a":"3","b":"3","c":"3"}"#), None);
        phrasing.add_prefetched(fields(r#"{"a":"2","b":"2"}"#));
        assert_eq!(phrasing.say("t", "{{crm.a}}{{crm.b}}{{crm.c}}"), "123");
        assert!(phrasing.take_warnings().is_empty());
    }

    #[test]
    fn a_missing_field_is_named_once() {
        let mut phrasing = Phrasing::new(Context::new(), Fields::new(), Fields::new(), None);
        assert_eq!(phrasing.say("opening_message", "Hi {{crm.name}}!  Is it\nyou?"), "Hi ! Is it you?");
        phrasing.say("opening_message", "Hi {{crm.name}}");
        assert_eq!(phrasing.take_warnings(), ["template opening_message: crm.name is unknown or missing"]);
        assert!(phrasing.take_warnings().is_empty());
    }
}
