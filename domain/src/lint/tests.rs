//! Which names are doubted, with which suggestion, where.

use serde_json::{Value, json};

use super::*;
use crate::variables::Fields;

fn bot(patch: Value) -> Bot {
    let mut wire = json!({"bot_id": "b", "name": "B"});
    wire.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    serde_json::from_value(wire).unwrap()
}

fn scripted() -> Bot {
    let steps =
        json!([{"id": "a", "expect": "yes_no", "field": "will_pay", "branches": {"no": {"result": {"reason": "x"}}}}]);
    bot(json!({"script": {"steps": steps, "closing": "Bye.", "result": {"outcome": "done"}}}))
}

fn said(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_and_misspelt_names_are_found_with_the_nearest_right_one() {
    let check = |bot: &Bot, text: &str, expect: &[&str]| {
        assert_eq!(said(&ended_text(text, &Names::of_bot(bot))), expect, "{text}");
    };
    let plain = bot(json!({}));
    check(&plain, "no template", &[]);
    check(&plain, "{{crm.anything}} {{call.my_variable}} {{call.custom.x}} {{result.own_field}}", &[]);
    check(&plain, "{{call.id}} {{result.disposition}} {{system.current_date}} {{result.variables.city}}", &[]);
    check(&plain, "{{crl.name}}", &["there is no {{crl.name}}; did you mean {{crm.name}}?"]);
    check(&plain, "{{lead.name}}", &["there is no {{lead.name}}"]);
    // What a dialler sends along.
    check(&plain, "{{call.loan_number}} {{call.customer_name}} {{call.x_lead_id}} {{call.streamId}}", &[]);
    check(&plain, "{{call.transcipt}}", &["there is no {{call.transcipt}}; did you mean {{call.transcript}}?"]);
    check(&plain, "{{call.caller_Id}}", &["there is no {{call.caller_Id}}; did you mean {{call.caller_id}}?"]);
    check(
        &plain,
        "{{result.dispositon}}{{result.dispositon}}",
        &["there is no {{result.dispositon}}; did you mean {{result.disposition}}?"],
    );
    check(
        &plain,
        "{{system.curent_time}}",
        &["there is no {{system.curent_time}}; did you mean {{system.current_time}}?"],
    );
    check(&plain, "{{system.weekday}}", &["there is no {{system.weekday}}"]);

    let schema = json!({"type": "object", "properties": {"promise_date": {}}, "additionalProperties": false});
    let strict = bot(json!({"analysis_schema": schema}));
    check(&strict, "{{result.promise_date}}", &[]);
    check(
        &strict,
        "{{result.promis_date}}",
        &["there is no {{result.promis_date}}; did you mean {{result.promise_date}}?"],
    );
    check(&strict, "{{result.mood}}", &["there is no {{result.mood}}"]);

    check(&scripted(), "{{result.will_pay}}{{result.reason}}{{result.outcome}}{{result.remarks}}", &[]);
    check(&scripted(), "{{result.mood}}", &["there is no {{result.mood}}"]);
}

#[test]
fn braces_that_are_no_template_are_told() {
    let check = |text: &str, expect: &[&str]| {
        assert_eq!(said(&ended_text(text, &Names::of_bot(&bot(json!({}))))), expect, "{text}");
    };
    check("{{name}}", &["\"{{name}}\" is no template and stays as it is"]);
    check("{{ crm . name }}", &["\"{{ crm . name }}\" is no template and stays as it is; did you mean {{crm.name}}?"]);
    check("{{crm.name", &["\"{{crm.name\" is no template and stays as it is; did you mean {{crm.name}}?"]);
    check("{{{crm.name}}}", &[]);
    check("a {{ b", &["\"{{ b\" is no template and stays as it is"]);
    check("{{}} {{", &[]);
}

#[test]
fn while_a_call_lives_it_has_no_result() {
    let check = |text: &str, expect: &[&str]| {
        assert_eq!(said(&live_text(text, &Names::of_bot(&bot(json!({}))))), expect, "{text}");
    };
    check("Hello {{crm.name}}, it is {{system.current_time}}", &[]);
    check("{{result.disposition}}", &["there is no {{result.disposition}}"]);
    check("{{call.calller_id}}", &["there is no {{call.calller_id}}; did you mean {{call.caller_id}}?"]);
    let scripted = Names::of_bot(&scripted());
    assert_eq!(said(&live_text("{{result.will_pay}} {{result.reason}}", &scripted)), Vec::<String>::new());
    assert_eq!(said(&live_text("{{result.mood}}", &scripted)), ["there is no {{result.mood}}"]);
}

#[test]
fn each_finding_has_the_pointer_of_its_leaf() {
    let mapper = json!({"A/B": [1, "{{lead.x}}", {"~": "{{lead.y}} {{crm.ok}}"}], "Z": "{{call.id}}"});
    let findings = key_mapper(&mapper, &Names::of_bot(&bot(json!({}))), None);
    let places: Vec<(&str, &str)> = findings.iter().map(|f| (f.pointer.as_str(), f.name.as_str())).collect();
    assert_eq!(places, [("/A~1B/1", "lead.x"), ("/A~1B/2/~0", "lead.y")]);
    for finding in &findings {
        assert!(mapper.pointer(&finding.pointer).unwrap().as_str().unwrap().contains(&finding.name));
    }
}

#[test]
fn against_a_call_what_has_no_value_is_found_too() {
    let crm = Fields::of_object(r#"{"loan_number": "1", "nothing": null}"#).unwrap();
    let names = Names { crm: crm.iter().map(|(name, _)| name.to_owned()).collect(), ..Names::of_bot(&bot(json!({}))) };
    let context = Context::new().with_crm(crm);
    let mapper =
        json!(["{{crm.loan_number}}", "{{crm.nothing}}", "{{crm.loan_no}}", "{{crm.loan_numbr}}", "{{crm.city}}"]);
    assert_eq!(
        said(&key_mapper(&mapper, &names, Some(&context))),
        [
            "/2: {{crm.loan_no}} has no value in this call",
            "/3: {{crm.loan_numbr}} has no value in this call; did you mean {{crm.loan_number}}?",
            "/4: {{crm.city}} has no value in this call",
        ]
    );
}

#[test]
fn the_result_s_own_names_are_those_of_the_type() {
    let wire = json!({
        "session_id": "0190a5f0-0000-7000-8000-000000000001", "caller_id": "", "call_duration_seconds": 0.0,
        "disconnected_by": "bot", "transcript": [], "recording_url": "", "post_call_analysis": {}, "bot_id": "b",
        "direction": "outbound", "to_number": "", "from_number": "", "started_at": "2026-01-01T00:00:00Z",
        "answered_at": null, "ended_at": "2026-01-01T00:00:00Z", "end_reason": "bot_hangup", "sip_code": null,
        "variables": {}, "recording_status": "none", "analysis_status": "pending", "latency": [],
    });
    let result: CallResult = serde_json::from_value(wire).unwrap();
    let written = serde_json::to_value(&result).unwrap();
    let names: Vec<&String> = written.as_object().unwrap().keys().collect();
    assert_eq!(names, RESULT);
}
