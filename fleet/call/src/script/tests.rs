//! Walks a small collections script along all its branches.

use domain::template::Context;
use domain::variables::Fields;
use serde_json::json;

use super::*;

fn script() -> Script {
    serde_json::from_value(json!({
        "steps": [
            {"id": "who", "expect": "yes_no", "reprompt": "Am I speaking with {{crm.name}}?", "max_reprompts": 1,
             "branches": {"no": {"say": "Sorry to trouble you. Goodbye.", "end": true, "result": {"disposition": "WRONG_NUMBER"}},
                          "?": {"end": true, "result": {"disposition": "UNCLEAR"}}}},
            {"id": "pay", "question": "Can you pay {{crm.due}} rupees?", "expect": "yes_no", "field": "will_pay",
             "branches": {"no": {"say": "I see.", "goto": "why"}, "yes": {"goto": "when"}}},
            {"id": "when", "question": "When will you pay?", "expect": "date", "reprompt": "On which day?", "field": "date",
             "branches": {"*": {"say": "Thank you.", "end": true, "result": {"disposition": "PTP", "remarks": "pays on {{result.date}}"}}}},
            {"id": "why", "question": "Why not?", "expect": "free_text", "field": "remarks"},
        ],
        "closing": "Thank you, goodbye.",
        "result": {"disposition": "RTP"}
    }))
    .unwrap()
}

fn phrasing() -> Phrasing {
    let context = Context::new().with_system("Asia/Kolkata", "2026-04-15T06:00:00Z".parse().unwrap());
    Phrasing::new(context, Fields::of_object(r#"{"name":"Rahul","due":15000}"#).unwrap(), Fields::new(), None)
}

/// Gives `answers` one after the other; the last one's reply, whether it ends, and what was collected.
fn check(answers: &[&str], text: &str, end: bool, collected: Value) {
    let mut phrasing = phrasing();
    let mut brain = ScriptBrain::new(script());
    assert_eq!(
        brain.open("Hello, am I speaking with {{crm.name}}?", &mut phrasing),
        "Hello, am I speaking with Rahul?"
    );
    let mut said = Said { text: String::new(), then: Then::Listen };
    for answer in answers {
        assert_eq!(said.then, Then::Listen, "it had ended before {answer:?}");
        said = brain.answer(answer, &mut phrasing);
    }
    let then = if end { Then::End } else { Then::Listen };
    assert_eq!(said, Said { text: text.to_owned(), then }, "{answers:?}");
    assert_eq!(Value::Object(brain.collected().clone()), collected, "{answers:?}");
    assert!(phrasing.take_warnings().is_empty());
}

#[test]
fn the_script_is_walked() {
    check(&["Yes."], "Can you pay 15000 rupees?", false, json!({}));
    check(&["Yes.", "Yes."], "When will you pay?", false, json!({"will_pay": "yes"}));
    check(
        &["Yes.", "Sure.", "Tomorrow."],
        "Thank you.",
        true,
        json!({"will_pay": "yes", "date": "2026-04-16", "disposition": "PTP", "remarks": "pays on 2026-04-16"}),
    );
    check(&["Yes.", "No."], "I see. Why not?", false, json!({"will_pay": "no"}));
    check(
        &["Yes.", "No.", "I lost my job."],
        "Thank you, goodbye.",
        true,
        json!({"will_pay": "no", "remarks": "I lost my job.", "disposition": "RTP"}),
    );
    check(&["Wrong number."], "Sorry to trouble you. Goodbye.", true, json!({"disposition": "WRONG_NUMBER"}));
}

#[test]
fn what_was_not_understood_is_asked_again_then_given_up() {
    check(&["Who is this?"], "Am I speaking with Rahul?", false, json!({}));
    check(&["Who is this?", "Hm, maybe."], "Thank you, goodbye.", true, json!({"disposition": "UNCLEAR"}));
    check(&["Yes.", "Perhaps."], "Can you pay 15000 rupees?", false, json!({}));
    check(&["Yes.", "Perhaps.", "Perhaps.", "Perhaps."], "When will you pay?", false, json!({}));
}

#[test]
fn a_request_to_repeat_costs_no_reprompt() {
    check(&["Sorry?", "What?"], "Hello, am I speaking with Rahul?", false, json!({}));
    check(&["Sorry?", "What?", "Pardon?"], "Am I speaking with Rahul?", false, json!({}));
    check(&["Yes.", "Can you repeat that?"], "Can you pay 15000 rupees?", false, json!({}));
}

#[test]
fn a_branch_to_nowhere_goes_on_with_the_next_step_and_says_so() {
    let mut script = script();
    script.steps[0].branches.insert("yes".to_owned(), Branch { goto: Some("nowhere".to_owned()), ..Branch::default() });
    let mut phrasing = phrasing();
    let mut brain = ScriptBrain::new(script);
    brain.open("Hello?", &mut phrasing);
    assert_eq!(brain.answer("Yes.", &mut phrasing).text, "Can you pay 15000 rupees?");
    assert_eq!(phrasing.take_warnings(), ["script: a branch goes to \"nowhere\", which is no step"]);
}

#[test]
fn expectations_follow_the_step() {
    let mut phrasing = phrasing();
    let mut brain = ScriptBrain::new(script());
    brain.open("Hello?", &mut phrasing);
    assert_eq!(brain.expectation(), Expectation::Short);
    assert_eq!(brain.keyed("1"), "yes");
    assert!(brain.understands("Yes.", &phrasing));
    assert!(!brain.understands("Who?", &phrasing));
    brain.answer("Yes.", &mut phrasing);
    brain.answer("Yes.", &mut phrasing);
    assert_eq!(brain.expectation(), Expectation::Date);
    assert_eq!(brain.keyed("12"), "12");
}

#[test]
fn a_script_without_steps_closes_at_once() {
    let mut phrasing = phrasing();
    let mut brain =
        ScriptBrain::new(Script { steps: Vec::new(), closing: "Bye.".to_owned(), result: Default::default() });
    assert_eq!(brain.open("Your order is on its way.", &mut phrasing), "Your order is on its way.");
    assert_eq!(brain.answer("Thanks.", &mut phrasing), Said { text: "Bye.".to_owned(), then: Then::End });
}
