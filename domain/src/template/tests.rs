//! The grammar of templates, and which namespace wins.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::{AnalysisStatus, Direction, RecordingStatus};
use crate::ids::{BotId, CallId};
use crate::outcome::{DisconnectedBy, EndReason};
use crate::result::{CallResult, Record, Speaker, TranscriptEntry};
use crate::secret::Personal;
use crate::variables::Fields;

fn fields(text: &str) -> Fields {
    Fields::of_object(text).unwrap()
}

fn of_json(value: &Value) -> Fields {
    fields(&value.to_string())
}

#[track_caller]
fn check(context: &Context, template: &str, expect: &str, missing: &[&str]) {
    let rendered = render(template, context);
    assert_eq!(
        (rendered.text.as_str(), rendered.missing),
        (expect, missing.iter().map(|m| (*m).to_owned()).collect()),
        "{template:?}"
    );
}

#[test]
fn the_corpus() {
    let corpus: Value = serde_json::from_str(include_str!("../../tests/data/template.json")).unwrap();
    let given = &corpus["context"];
    let texts = |value: &Value| Fields::from(&of_json(value).stringified());
    let context = Context::new()
        .with_crm(of_json(&given["crm"]))
        .with_call(texts(&given["call"]))
        .with_result(of_json(&given["result"]));
    for case in corpus["cases"].as_array().unwrap() {
        let rendered = render(case["template"].as_str().unwrap(), &context);
        assert_eq!(rendered.text, case["expect"].as_str().unwrap(), "{} ({})", case["id"], case["why"]);
    }
}

#[test]
fn large_templates_and_values() {
    let big = "A".repeat(65_536);
    let context = Context::new().with_crm(of_json(&json!({"big": big, "n": 1})));
    check(&context, "{{crm.big}}", &big, &[]);
    check(&context, &"{{crm.n}}".repeat(10_000), &"1".repeat(10_000), &[]);
    for bomb in [
        "{".repeat(200_000),
        "{{crm.".repeat(30_000),
        "{{ ".repeat(60_000),
        format!("{{{{{}", "a".repeat(200_000)),
        "{{crm.a ".repeat(20_000),
    ] {
        check(&context, &bomb, &bomb, &[]);
    }
}

#[test]
fn what_is_a_token_and_what_is_not() {
    let context =
        Context::new().with_crm(of_json(&json!({"n": 1, "a-b.c_d": 2, "नाम": "राहुल", "क्षेत्र": "x", "9": "nine"})));
    check(&context, "{{ crm.n }}{{  crm.n}}{{crm.n   }}", "111", &[]);
    check(&context, "{{crm.a-b.c_d}}", "2", &[]);
    check(&context, "{{crm.नाम}} {{crm.क्षेत्र}} {{crm.9}}", "राहुल x nine", &[]);
    for literal in [
        "{{crm}}",
        "{{crm.}}",
        "{{.n}}",
        "{{crm .n}}",
        "{{crm. n}}",
        "{{crm.n }",
        "{{crm.n} }",
        "{{\tcrm.n}}",
        "{{crm.n!}}",
        "{{crm.a\u{200d}b}}",
        "{{crm.a\u{202e}}}",
        "{{c-rm.n}}",
        "{{crm.n|upper}}",
        "{{}}",
        "{{crm.a b}}",
        "{ {crm.n}}",
    ] {
        check(&context, literal, literal, &[]);
    }
    check(&context, "{{nope.n}}{{CRM.n}}{{nope.n}}{{crm.N}}", "", &["nope.n", "CRM.n", "crm.N"]);
    assert!(Template::parse("{{crm}}").is_literal() && !Template::parse("{{crm.n}}").is_literal());
    let template = Template::parse("{{a.b}}-{{crm.x}}{{a.b}}");
    assert_eq!(template.tokens().collect::<Vec<_>>(), [("a", "b"), ("crm", "x"), ("a", "b")]);
    assert_eq!(template.literals().collect::<Vec<_>>(), ["-"]);
}

#[test]
fn values_keep_their_source_text() {
    let crm = fields(
        r#"{"long": 123456789012345678901234567890, "f": 1.50, "e": 1E3, "t": true, "z": null,
        "o": { "b": [1.0, 12345678901234567890123, "\u0930 x", { "k" : null } ], "a": {} }, "esc": "a\u0041\n"}"#,
    );
    let context = Context::new().with_crm(crm);
    check(
        &context,
        "{{crm.long}} {{crm.f}} {{crm.e}} {{crm.t}}[{{crm.z}}]",
        "123456789012345678901234567890 1.50 1E3 true[]",
        &[],
    );
    check(&context, "{{crm.o}}", r#"{"b":[1.0,12345678901234567890123,"र x",{"k":null}],"a":{}}"#, &[]);
    check(&context, "{{crm.esc}}", "aA\n", &[]);
}

#[test]
fn paths_walk_objects_and_exact_keys_win() {
    let crm = json!({"a": {"b": 1, "c": {"d": 2}}, "a.b": "exact", "x.y": {"z": 3}, "x": {"y": {"z": 4, "w": 5}}, "l": [1], "s": "text"});
    let context = Context::new().with_crm(of_json(&crm));
    check(&context, "{{crm.a.b}} {{crm.a.c.d}} {{crm.a.c}}", r#"exact 2 {"d":2}"#, &[]);
    check(&context, "{{crm.x.y.z}} {{crm.x.y.w}}", "3 5", &[]);
    check(&context, "{{crm.l.0}}{{crm.s.t}}{{crm.a.}}{{crm..a}}", "", &["crm.l.0", "crm.s.t", "crm.a.", "crm..a"]);
}

#[test]
fn a_live_call() {
    let (prefetched, custom) = (
        of_json(&json!({"name": "fetched", "tier": "gold"})),
        of_json(&json!({"name": "custom", "tier": "tin", "lead": "L1", "id": "theirs"})),
    );
    let variables: Box<serde_json::value::RawValue> =
        serde_json::from_str(r#"{"name": "Rahul", "duration": "their own"}"#).unwrap();
    let bot = BotId::parse("bot-1").unwrap();
    let live = LiveCall {
        call_id: CallId::from_parts(0, [0; 10]),
        bot_id: &bot,
        direction: Direction::Inbound,
        to_number: "+911234567890",
        from_number: "+919876543210",
        started_at: "2026-05-01T08:30:00Z".parse().unwrap(),
        answered_at: None,
        variables: Some(&variables),
        prefetched: &prefetched,
        custom: &custom,
    };
    let context = Context::of_call(&live, "Asia/Kolkata", "2026-05-01T20:00:05Z".parse().unwrap());
    check(&context, "{{crm.name}} {{crm.tier}} {{crm.lead}}", "Rahul gold L1", &[]);
    check(
        &context,
        "{{call.caller_id}} {{call.did}} {{call.direction}} {{call.bot_id}}",
        "+919876543210 +911234567890 inbound bot-1",
        &[],
    );
    check(
        &context,
        "{{call.lead}} {{call.name}} {{call.custom.id}} {{call.custom.duration}}",
        "L1 custom theirs their own",
        &[],
    );
    check(&context, "{{call.id}}", "00000000-0000-7000-8000-000000000000", &[]);
    check(&context, "{{call.started_at}}", "2026-05-01T08:30:00Z", &[]);
    check(&context, "[{{call.duration}}{{result.disposition}}]", "[]", &["call.duration", "result.disposition"]);
    check(
        &context,
        "{{system.current_date}} {{system.current_time}} {{system.timezone}}",
        "2026-05-02 01:30:05 Asia/Kolkata",
        &[],
    );
    check(&context, "{{system.current_datetime}}", "2026-05-02T01:30:05+05:30", &[]);
    let nowhere = Context::of_call(&live, "Mars/Base", "2026-05-01T20:00:05Z".parse().unwrap());
    check(&nowhere, "{{system.current_datetime}} {{system.timezone}}", "2026-05-01T20:00:05+00:00 UTC", &[]);
}

fn ended() -> CallResult {
    let said = |speaker, text: &str, timestamp| TranscriptEntry { speaker, text: Personal(text.into()), timestamp };
    CallResult {
        session_id: CallId::from_parts(0, [0; 10]),
        caller_id: Personal("+919876543210".into()),
        call_duration_seconds: 12.5,
        disconnected_by: DisconnectedBy::Customer,
        transcript: vec![said(Speaker::Bot, "Hello", 0.0), said(Speaker::Customer, "Hi", 1.25)],
        recording_url: "https://x/y?a=1&b=2".into(),
        post_call_analysis: json!({"disposition": "PTP", "remarks": "pays", "amount": 15000, "bot_id": "analysis", "next": {"date": "2026-05-02"}}).as_object().unwrap().clone(),
        bot_id: BotId::parse("bot-1").unwrap(),
        direction: Direction::Outbound,
        to_number: Personal("+919876543210".into()),
        from_number: Personal("+911234567890".into()),
        started_at: "2026-05-01T08:30:00Z".parse().unwrap(),
        answered_at: None,
        ended_at: "2026-05-01T08:31:00.25Z".parse().unwrap(),
        end_reason: EndReason::CustomerHangup,
        sip_code: None,
        variables: serde_json::Map::new(),
        recording_status: RecordingStatus::Complete,
        analysis_status: AnalysisStatus::Done,
        latency: Vec::new(),
    }
}

#[test]
fn an_ended_call() {
    let record = Record {
        crm: of_json(&json!({"customer_id": 7})),
        custom: of_json(&json!({"lead": "L1"})),
        variables: Some(serde_json::from_str(r#"{"customer_id":7}"#).unwrap()),
        ..Record::default()
    };
    let context = Context::of_result(&ended(), &record, "Asia/Kolkata", "2026-05-01T08:32:00Z".parse().unwrap());
    check(
        &context,
        "{{crm.customer_id}} {{result.disposition}} {{result.remarks}} {{call.duration}} {{call.duration_int}} {{call.recording_url}}",
        "7 PTP pays 12.5 12 https://x/y?a=1&b=2",
        &[],
    );
    check(
        &context,
        "{{call.disconnected_by}} {{call.end_reason}} {{call.did}} {{call.ended_at}}",
        "customer customer_hangup +911234567890 2026-05-01T08:31:00.25Z",
        &[],
    );
    check(&context, "[{{call.sip_code}}{{call.answered_at}}]", "[]", &[]);
    check(&context, "{{call.transcript}}", "bot: Hello\ncustomer: Hi", &[]);
    check(&context, "{{call.lead}} {{call.customer_id}}", "L1 7", &[]);
    check(
        &context,
        "{{result.amount}} {{result.next.date}} {{result.bot_id}} {{result.post_call_analysis.bot_id}}",
        "15000 2026-05-02 bot-1 analysis",
        &[],
    );
    check(
        &context,
        "{{result.call_duration_seconds}} {{result.disconnected_by}} {{result.recording_status}}",
        "12.5 customer complete",
        &[],
    );
    check(
        &context,
        "{{result.transcript}}",
        r#"[{"speaker":"bot","text":"Hello","timestamp":0.0},{"speaker":"customer","text":"Hi","timestamp":1.25}]"#,
        &[],
    );
    check(&context, "{{result.nope}}", "", &["result.nope"]);
}

#[test]
fn durations_are_spelt_shortest() {
    for (seconds, decimal, whole) in [
        (0.0, "0", "0"),
        (12.0, "12", "12"),
        (12.5, "12.5", "12"),
        (0.0014, "0.001", "0"),
        (59.9999, "60", "60"),
        (100.0, "100", "100"),
        (7.25, "7.25", "7"),
        (f64::NAN, "0", "0"),
    ] {
        let result = CallResult { call_duration_seconds: seconds, ..ended() };
        let context = Context::of_result(&result, &Record::default(), "UTC", "2026-05-01T08:32:00Z".parse().unwrap());
        check(&context, "{{call.duration}}|{{call.duration_int}}", &format!("{decimal}|{whole}"), &[]);
    }
}

#[test]
fn url_values_are_encoded_and_nothing_else_is() {
    let context = Context::new().with_crm(of_json(&json!({"q": "a b&c=d/é?#%", "plain": "A-z_0.9~"})));
    let rendered = Template::parse("https://c.example/a b/{{crm.plain}}?q={{crm.q}}&n={{crm.no}}").render_url(&context);
    assert_eq!(rendered.text, "https://c.example/a b/A-z_0.9~?q=a%20b%26c%3Dd%2F%C3%A9%3F%23%25&n=");
    assert_eq!(rendered.missing, ["crm.no"]);
}

proptest! {
    #[test]
    fn no_template_panics(template in ".*", value in ".*") {
        let context = Context::new().with_crm(of_json(&json!({"a": value})));
        let _ = render(&template, &context);
    }

    #[test]
    fn text_without_tokens_is_itself(template in "[a-z{} .]{0,40}") {
        prop_assume!(!template.contains("{{"));
        prop_assert_eq!(render(&template, &Context::new()).text, template);
    }

    /// One pass: a value stands in the output as it is, whatever it looks like.
    #[test]
    fn values_are_never_rendered(before in "[a-z ]{0,8}", value in r"[{}a-z. ]{0,30}", after in "[a-z ]{0,8}") {
        let context = Context::new().with_crm(of_json(&json!({"v": value, "a": "SECRET"})));
        let template = format!("{before}{{{{crm.v}}}}{after}");
        prop_assert_eq!(render(&template, &context).text, format!("{before}{value}{after}"));
    }

    /// Whatever stands around it, a well-formed token never survives rendering.
    #[test]
    fn no_token_survives(around in r"[{}a-z. ]{0,30}") {
        let rendered = render(&around, &Context::new());
        prop_assert!(Template::parse(&around).is_literal() || rendered.text.len() < around.len());
    }
}
