//! Every rule on bots and trunks, with a case that breaks it.

use serde_json::{Value, json};

use super::*;
use crate::bot::Bot;
use crate::trunk::Trunk;

fn merged(base: Value, patch: Value) -> Value {
    let (Value::Object(mut base), Value::Object(patch)) = (base, patch) else { panic!("objects only") };
    base.extend(patch);
    Value::Object(base)
}

fn bot(patch: Value) -> Bot {
    serde_json::from_value(merged(json!({"bot_id": "b", "name": "B"}), patch)).unwrap()
}

fn trunk(patch: Value) -> Trunk {
    let base = json!({"trunk_id": "t", "name": "T", "host": "sip.example.com", "default_number": "+911234567890"});
    serde_json::from_value(merged(base, patch)).unwrap()
}

fn places(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|e| format!("{} {}", e.loc[1..].join("."), e.kind)).collect()
}

#[track_caller]
fn check_bot(patch: Value, expect: &[&str]) {
    assert_eq!(places(&bot(patch.clone()).validate()), expect, "{patch}");
}

#[track_caller]
fn check_trunk(patch: Value, expect: &[&str]) {
    assert_eq!(places(&trunk(patch.clone()).validate()), expect, "{patch}");
}

#[test]
fn a_minimal_bot_has_the_documented_defaults_and_passes() {
    let bot = bot(json!({}));
    assert_eq!(bot.validate(), []);
    assert_eq!((bot.max_call_duration_seconds, bot.ring_timeout_seconds, bot.interruption.min_words), (600, 45, 3));
    assert_eq!((bot.hours.timezone.as_str(), bot.hours.active_hours.len(), bot.enabled), ("Asia/Kolkata", 0, true));
    assert_eq!(bot.warnings().len(), 1);
    let again: Bot = serde_json::from_value(serde_json::to_value(&bot).unwrap()).unwrap();
    assert_eq!(again, bot);
}

#[test]
fn whom_a_bot_may_give_its_calls_to() {
    let number = "+911140000001";
    check_bot(json!({"transfer_targets": {"front_desk-2": number}}), &[]);
    check_bot(json!({"transfer_targets": {"Desk": number}}), &["transfer_targets.Desk name"]);
    check_bot(json!({"transfer_targets": {"": number}}), &["transfer_targets. name"]);
    check_bot(
        json!({"transfer_targets": {"a.b": "sip:desk@example.com"}}),
        &["transfer_targets.a.b name", "transfer_targets.a.b phone_number_parsing"],
    );
    check_bot(json!({"transfer_targets": {"desk": "011 4000 0001"}}), &["transfer_targets.desk phone_number_parsing"]);
    check_bot(json!({"transfer_targets": {"police": "+91112"}}), &["transfer_targets.police phone_number_short_code"]);
    check_bot(json!({"transfer_targets": {"desk": "+1415555012"}}), &["transfer_targets.desk phone_number_impossible"]);
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("desk-{n}"), number.into())).collect();
    check_bot(json!({"transfer_targets": many}), &["transfer_targets out_of_range"]);

    let script = |branch: Value| {
        json!({"transfer_targets": {"desk": number}, "script": {"closing": "Bye.", "steps": [
            {"id": "a", "expect": "yes_no", "branches": {"yes": branch}}]}})
    };
    check_bot(script(json!({"transfer": "desk"})), &[]);
    check_bot(script(json!({"transfer": "desk", "goto": "a"})), &[]);
    check_bot(script(json!({"transfer": "shop"})), &["script.steps.0.branches.yes.transfer unknown_target"]);
    check_bot(
        script(json!({"transfer": "desk", "end": true})),
        &["script.steps.0.branches.yes.transfer contradiction"],
    );
}

#[test]
fn limits_of_a_bot() {
    check_bot(json!({"name": ""}), &["name length"]);
    check_bot(json!({"language": "hi"}), &[]);
    check_bot(json!({"language": ""}), &["language language"]);
    check_bot(json!({"language": "english please"}), &["language language"]);
    check_bot(json!({"max_call_duration_seconds": 9}), &["max_call_duration_seconds out_of_range"]);
    check_bot(json!({"max_call_duration_seconds": 7200, "ring_timeout_seconds": 120}), &[]);
    check_bot(
        json!({"max_call_duration_seconds": 7201, "ring_timeout_seconds": 4}),
        &["max_call_duration_seconds out_of_range", "ring_timeout_seconds out_of_range"],
    );
    check_bot(json!({"silence": {"prompt_after_seconds": 0.0}}), &["silence.prompt_after_seconds out_of_range"]);
    check_bot(json!({"voicemail": {"action": "leave_message"}}), &["voicemail.message missing"]);
    check_bot(json!({"timezone": "Mars/Base"}), &["timezone timezone"]);
    check_bot(
        json!({"active_hours": [{"days": [], "start": "09:00", "end": "10:00"}]}),
        &["active_hours active_hours"],
    );
    check_bot(
        json!({"numbers": ["+911234567890", "12", "+911234567890"]}),
        &["numbers.1 phone_number_parsing", "numbers.2 duplicate"],
    );
    check_bot(json!({"trunk_ids": ["a", "b", "a"]}), &["trunk_ids duplicate"]);
    check_bot(
        json!({"outcome_map": {"RNR": "X", "busy": "Y", "declined": "", "voicemail": "", "timeout": "", "error": "", "no_customer_message": "", "completed": ""}}),
        &[],
    );
    check_bot(json!({"outcome_map": {"lunch.break": "X"}}), &["outcome_map.lunch.break unknown_outcome"]);
    check_bot(json!({"analysis_schema": []}), &["analysis_schema dict_type"]);
    check_bot(json!({"recording": {"channels": 3}}), &["recording.channels out_of_range"]);
}

#[test]
fn who_may_connect_to_a_bot() {
    let socket = |settings: Value| json!({ "websocket": settings });
    check_bot(socket(json!({})), &[]);
    check_bot(socket(json!({"access": "open", "dialect": "vobiz", "chunk_ms": 100})), &[]);
    check_bot(socket(json!({"access": "allowlist", "cidrs": ["203.0.113.0/24", "2001:db8::/32"]})), &[]);
    check_bot(socket(json!({"access": "allowlist"})), &["websocket.cidrs missing"]);
    check_bot(socket(json!({"chunk_ms": 19})), &["websocket.chunk_ms out_of_range"]);
    check_bot(socket(json!({"chunk_ms": 101})), &["websocket.chunk_ms out_of_range"]);
    let crowd: Vec<String> = (0..=200).map(|n| format!("10.0.{n}.0/24")).collect();
    check_bot(socket(json!({"access": "allowlist", "cidrs": crowd})), &["websocket.cidrs out_of_range"]);
    let idle = bot(socket(json!({"cidrs": ["10.0.0.0/8"]})));
    assert!(idle.warnings().iter().any(|warning| warning.starts_with("websocket.cidrs: ")), "{:?}", idle.warnings());
}

#[test]
fn urls_of_a_bot() {
    let push = |url: &str| json!({"push": {"url": url, "key_mapper": {"A": "{{crm.a}}"}}});
    check_bot(push("https://crm.example/x"), &[]);
    check_bot(push("crm.example/x"), &["push.url url"]);
    check_bot(push("ftp://crm.example/x"), &["push.url url"]);
    check_bot(push("https://u:p@crm.example/x"), &["push.url url"]);
    check_bot(push("https://crm.example/{{crm.id}}"), &["push.url template"]);
    check_bot(push(&format!("https://crm.example/{}", "x".repeat(2048))), &["push.url length"]);
    let keys: serde_json::Map<String, Value> = (0..501).map(|n| (n.to_string(), json!(""))).collect();
    check_bot(json!({"push": {"url": "https://c.example", "key_mapper": keys}}), &["push.key_mapper too_many_keys"]);
    check_bot(json!({"webhook": {"url": "x"}}), &["webhook.url url"]);
    let fetch = |url: &str, headers: Value| json!({"prefetch": {"url": url, "headers": headers}});
    check_bot(fetch("https://c.example/{{crm.id}}?n={{call.caller_id}}", json!({"X-A": "{{crm.a}}"})), &[]);
    check_bot(fetch("https://{{crm.host}}/", json!({})), &["prefetch.url template"]);
    check_bot(
        fetch("https://c.example/", json!({"X A": "1", "Host": "x", "Y": "1\r\nZ: 2"})),
        &["prefetch.headers.Host header", "prefetch.headers.X A header", "prefetch.headers.Y header"],
    );
    check_bot(
        json!({"prefetch": {"url": "https://c.example/", "timeout_ms": 1, "response_path": "a..b"}}),
        &["prefetch.timeout_ms out_of_range", "prefetch.response_path path"],
    );
    check_bot(
        json!({"llm": {"providers": [{"vendor": "", "base_url": "nope"}]}}),
        &["llm.providers.0.vendor length", "llm.providers.0.base_url url"],
    );
}

#[test]
fn scripts_hold_together() {
    let script = |steps: Value| json!({"script": {"steps": steps, "closing": "Bye."}});
    check_bot(script(json!([])), &["script.steps out_of_range"]);
    let good = json!([
        {"id": "a", "expect": "yes_no", "branches": {"yes": {"goto": "b"}, "no": {"say": "Bye", "end": true}, "?": {"end": true}}},
        {"id": "b", "question": "Which?", "expect": "choice", "choices": {"card": ["card"], "cash": ["cash", "money"]}, "branches": {"card": {"goto": "a"}, "*": {}}}
    ]);
    check_bot(script(good), &[]);
    check_bot(
        script(json!([{"id": "a", "expect": "yes_no", "branches": {"yes": {"goto": "z"}}}])),
        &["script.steps.0.branches unknown_step"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "yes_no", "branches": {"maybe": {}}}])),
        &["script.steps.0.branches unknown_answer"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "date", "branches": {"yes": {}}}])),
        &["script.steps.0.branches unknown_answer"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "yes_no"}, {"id": "a", "question": "?", "expect": "date"}])),
        &["script.steps.1.id duplicate"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "yes_no"}, {"id": "b", "expect": "date"}])),
        &["script.steps.1.question missing"],
    );
    check_bot(script(json!([{"id": "a", "expect": "choice"}])), &["script.steps.0.choices missing"]);
    check_bot(
        script(json!([{"id": "a", "expect": "choice", "choices": {"x": [" "]}}])),
        &["script.steps.0.choices missing"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "number", "choices": {"x": ["x"]}}])),
        &["script.steps.0.choices unexpected"],
    );
    check_bot(
        script(json!([{"id": "a", "expect": "yes_no", "branches": {"yes": {"goto": "a", "end": true}}}])),
        &["script.steps.0.branches contradiction"],
    );
}

#[test]
fn warnings_name_place_and_template() {
    let patch = json!({"system_prompt": "{{crm.a}} {{lead.b}}", "push": {"url": "https://c.example", "key_mapper": {"A": ["{{env.X}}", "{{call.duraton}}"]}}, "tts": {"providers": [{"vendor": "gramophone"}]}});
    let warnings = bot(patch).warnings();
    assert_eq!(
        warnings,
        [
            "system_prompt: there is no {{lead.b}}",
            "push.key_mapper/A/0: there is no {{env.X}}",
            "push.key_mapper/A/1: there is no {{call.duraton}}; did you mean {{call.duration}}?",
            "tts.providers: no adapter for vendor \"gramophone\""
        ]
    );
}

#[test]
fn trunks_are_judged() {
    check_trunk(json!({}), &[]);
    check_trunk(json!({"host": "127.0.0.1", "outbound_proxy": "10.0.0.1:5062", "from_domain": "a.example"}), &[]);
    check_trunk(json!({"host": "::1", "outbound_proxy": "[::1]:5062"}), &[]);
    check_trunk(json!({"inbound_cidrs": ["203.0.113.0/24", "2001:db8::/32"]}), &[]);
    check_trunk(json!({"inbound_cidrs": ["203.0.113.0/24", "0.0.0.0/0"]}), &["inbound_cidrs.1 cidr"]);
    check_trunk(json!({"inbound_cidrs": ["::/0"]}), &["inbound_cidrs.0 cidr"]);
    check_trunk(json!({"host": "a b"}), &["host host"]);
    check_trunk(json!({"host": ""}), &["host host"]);
    check_trunk(json!({"host": "a;x=y"}), &["host host"]);
    check_trunk(json!({"host": "a.example:5060"}), &["host host"]);
    check_trunk(json!({"port": 0, "outbound_proxy": "a:0"}), &["port out_of_range", "outbound_proxy host"]);
    check_trunk(json!({"username": "a\r\nb"}), &["username text"]);
    check_trunk(json!({"from_user": "username"}), &["username missing"]);
    check_trunk(json!({"from_user": "username", "username": "acme"}), &[]);
    check_trunk(json!({"codecs": []}), &["codecs codecs"]);
    check_trunk(json!({"codecs": ["pcma", "pcma"]}), &["codecs codecs"]);
    check_trunk(json!({"default_number": "1001"}), &[]);
    check_trunk(json!({"default_number": "+0"}), &["default_number phone_number_parsing"]);
    check_trunk(json!({"default_number": "a@b"}), &["default_number phone_number_parsing"]);
    check_trunk(json!({"default_number": ""}), &["default_number phone_number_parsing"]);
    check_trunk(json!({"numbers": ["+911234567890", "+911234*", "+911-+919", "x"]}), &["numbers.3 number_rule"]);
    check_trunk(json!({"numbers": ["+912-+911", "+91-+9"]}), &["numbers.0 number_rule", "numbers.1 number_rule"]);
    check_trunk(
        json!({"default_country": "India", "allowed_countries": ["IN", "ZZ"]}),
        &["default_country unknown_country", "allowed_countries.1 unknown_country"],
    );
    check_trunk(
        json!({"allowed_prefixes": ["+91", "91"], "denied_prefixes": ["+", "+91x", "+9190*", "+09", "+1"]}),
        &[
            "allowed_prefixes.1 prefix",
            "denied_prefixes.0 prefix",
            "denied_prefixes.1 prefix",
            "denied_prefixes.2 prefix",
            "denied_prefixes.3 prefix",
        ],
    );
    check_trunk(
        json!({"max_calls": 0, "max_cps": 0.0, "max_cpm": 0}),
        &["max_calls out_of_range", "max_cps out_of_range", "max_cpm out_of_range"],
    );
}

#[test]
fn headers_of_a_trunk() {
    let header = |name: &str, value: &str| json!({"headers": {name: value}});
    check_trunk(header("X-Campaign", "spring"), &[]);
    check_trunk(header("Subject", "hello"), &[]);
    for ours in [
        "Via",
        "FROM",
        "to",
        "Call-ID",
        "CSeq",
        "Contact",
        "Content-Type",
        "content-anything",
        "Route",
        "i",
        "L",
        "Authorization",
    ] {
        check_trunk(header(ours, "x"), &[&format!("headers.{ours} header")]);
    }
    check_trunk(header("X-A", "1\r\nVia: x"), &["headers.X-A header"]);
    check_trunk(header("X-A", "nul\0"), &["headers.X-A header"]);
    check_trunk(header("X A", "1"), &["headers.X A header"]);
    check_trunk(header("X-A:", "1"), &["headers.X-A: header"]);
}

#[test]
fn secrets_are_judged_in_the_clear() {
    let check = |pointer: &str, secret: &str, expect: Option<&str>| {
        let found = check_secret(pointer, &SecretString::from(secret)).err().map(|e| e.kind);
        assert_eq!(found.as_deref(), expect, "{pointer} {secret:?}");
    };
    check("/push/token", "Bearer your-token", None);
    check("/push/token", "Bearer x\nX: y", Some("token"));
    check("/push/token", "Bearer \0", Some("token"));
    check("/push/token", "", Some("token"));
    check("/push/token", &"B".repeat(9000), Some("token"));
    check("/push/token", "Bearer {{crm.secret}}", Some("token"));
    check("/prefetch/token", "Bearer é", Some("token"));
    check("/webhook/secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None);
    check("/webhook/secret", "whsec_!!", Some("webhook_secret"));
    check("/push/secret", "plain words", None);
    check("/push/secret", "", Some("webhook_secret"));
    check("/password", "p\r\nq", Some("control_character"));
    check("/password", "päß wörd", None);
}
