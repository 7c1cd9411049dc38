//! The deployment template, held against the code that it deploys: what the schema module, the API's description, the
//! functions' settings and the adapters say, it must say too. Each rule is a function from a template to its faults, and
//! is seen to find the fault when the template is broken.

mod alarms;
mod api;
mod data;
mod document;
mod fleet;
mod functions;
mod limits;
mod network;
mod powers;

use serde_json::Value;

use self::document::Template;

/// A rule: what is wrong with a template, one line each.
type Rule = fn(&Template) -> Vec<String>;

fn template() -> Template {
    Template::read("template.yaml")
}

/// The template keeps `rule`; with each break - a place and what is put there, null for nothing - the rule finds a
/// fault that names `word`.
fn check(rule: Rule, breaks: &[(&str, Value, &str)]) {
    let template = template();
    let faults = rule(&template);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (place, value, word) in breaks {
        let faults = rule(&template.with(place, value));
        let found = faults.iter().any(|fault| fault.contains(word));
        assert!(found, "{place} = {value} is not found: {faults:?}");
    }
}
