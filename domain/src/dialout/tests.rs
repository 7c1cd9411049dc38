//! Dialout bodies: what is read, what is refused and with which words.

use base64::Engine;
use serde_json::{Value, json};

use super::*;

fn places(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|e| format!("{} {}", e.loc.join("."), e.kind)).collect()
}

fn bot() -> Bot {
    serde_json::from_value(json!({"bot_id": "bot-1", "name": "B", "numbers": ["+911204567890"]})).unwrap()
}

fn trunk(patch: Value) -> Trunk {
    let mut base = json!({"trunk_id": "t", "name": "T", "host": "sip.example.com", "default_number": "+911234567890", "numbers": ["+911234567890", "+912240001000-+912240001999"]});
    base.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

/// Parses and places a body on the default trunk: the caller's number, or what is wrong.
fn dial(body: &[u8]) -> Result<(String, String), Vec<FieldError>> {
    let placed = place(&parse(body)?, &bot(), &trunk(json!({})), |number| number == "+911140000000")?;
    Ok((placed.to.as_str().to_owned(), placed.from.as_str().to_owned()))
}

#[test]
fn the_corpus() {
    let corpus = include_str!("../../tests/data/dialout.jsonl");
    let mut cases = 0;
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| case[name].as_str().map(str::to_owned);
        let body = text("body")
            .map(String::into_bytes)
            .unwrap_or_else(|| base64::engine::general_purpose::STANDARD.decode(text("body_b64").unwrap()).unwrap());
        let found = places(&dial(&body).err().unwrap_or_default());
        let expect: Vec<String> = serde_json::from_value(case["expect"].clone()).unwrap();
        assert_eq!(found, expect, "{} ({})", case["id"], case["why"]);
        cases += 1;
    }
    assert!(cases > 30, "only {cases} cases");
}

#[test]
fn all_errors_come_at_once() {
    let check = |body: Value, expect: &[&str]| {
        let errors = parse(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(places(&errors), expect, "{body}");
    };
    check(json!({}), &["body.bot_id missing", "body.to_number missing"]);
    check(
        json!({"bot_id": 1, "to_number": null, "from_number": {}, "variables": "x"}),
        &[
            "body.bot_id string_type",
            "body.to_number string_type",
            "body.from_number string_type",
            "body.variables dict_type",
        ],
    );
    check(json!({"bot_id": "a b", "to_number": "1"}), &["body.bot_id bot_id_malformed"]);
    let errors = dial(br#"{"bot_id":"bot-1","to_number":"112","from_number":"+15550001111"}"#).unwrap_err();
    assert_eq!(places(&errors), ["body.to_number phone_number_short_code", "body.from_number from_number_not_allowed"]);
}

#[test]
fn variables_have_limits() {
    let body = |variables: String| format!(r#"{{"bot_id":"b","to_number":"1","variables":{variables}}}"#);
    let check = |variables: String, expect: &[&str]| {
        let found = parse(body(variables).as_bytes()).err().unwrap_or_default();
        assert_eq!(places(&found), expect);
    };
    let keys = |count: usize| {
        json!((0..count).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>()).to_string()
    };
    check(keys(256), &[]);
    check(keys(257), &["body.variables too_long"]);
    check(format!(r#"{{"k":"{}"}}"#, "v".repeat(65_536 - 8)), &[]);
    check(format!(r#"{{"k":"{}"}}"#, "v".repeat(65_536 - 7)), &["body.variables too_long"]);
    check("null".into(), &[]);
    check("{}".into(), &[]);
}

#[test]
fn what_is_optional_may_be_absent_null_or_empty() {
    for from in ["", r#","from_number":null"#, r#","from_number":"""#] {
        let body = format!(r#"{{"bot_id":"bot-1","to_number":"9876543210"{from}}}"#);
        assert_eq!(dial(body.as_bytes()), Ok(("+919876543210".into(), "+911234567890".into())), "{from}");
    }
    let request = parse(br#"{"bot_id":"b","to_number":"1","variables":{}}"#).unwrap();
    assert_eq!(request.variables.unwrap().raw().get(), "{}");
}

#[test]
fn unknown_fields_are_noted_or_refused() {
    let request = parse(br#"{"bot_id":"b","Bot_Id":1,"to_number":"1","x.y":{}}"#).unwrap();
    assert_eq!(request.unknown, ["Bot_Id", "x.y"]);
    assert_eq!(places(&request.unknown_as_errors()), ["body.Bot_Id extra_forbidden", "body.x.y extra_forbidden"]);
    assert_eq!(request.unknown_as_errors()[1].loc, ["body", "x.y"]);
}

#[test]
fn caller_numbers_follow_the_trunk() {
    let check = |patch: Value, from: Value, expect: Result<&str, &str>| {
        let request = json!({"bot_id": "bot-1", "to_number": "9876543210", "from_number": from});
        let request = parse(request.to_string().as_bytes()).unwrap();
        let placed = place(&request, &bot(), &trunk(patch.clone()), |_| false);
        let found = placed.map(|p| p.from.as_str().to_owned()).map_err(|e| places(&e).join(", "));
        assert_eq!(found, expect.map(str::to_owned).map_err(str::to_owned), "{patch} {from}");
    };
    check(json!({}), json!("+911234567890"), Ok("+911234567890"));
    check(json!({}), json!("022 4000 1500"), Ok("+912240001500"));
    check(json!({}), json!("+912240002000"), Err("body.from_number from_number_not_allowed"));
    check(json!({"numbers": []}), json!("+912240002000"), Ok("+912240002000"));
    check(json!({"numbers": ["+9199*"]}), json!("+911234567890"), Ok("+911234567890"));
    check(json!({"default_number": "1001"}), json!(null), Ok("1001"));
    check(json!({"default_number": "1001"}), json!("1001"), Ok("1001"));
    check(json!({}), json!("+91x"), Err("body.from_number phone_number_parsing"));
}

#[test]
fn called_numbers_follow_the_trunk() {
    let check = |patch: Value, to: &str, expect: Result<&str, &str>| {
        let request = parse(json!({"bot_id": "bot-1", "to_number": to}).to_string().as_bytes()).unwrap();
        let placed = place(&request, &bot(), &trunk(patch.clone()), |number| number == "+911140000000");
        let found = placed.map(|p| p.to.as_str().to_owned()).map_err(|e| places(&e).join(", "));
        assert_eq!(found, expect.map(str::to_owned).map_err(str::to_owned), "{patch} {to}");
    };
    check(json!({}), "+442079460958", Ok("+442079460958"));
    check(json!({"allowed_countries": ["IN"]}), "+442079460958", Err("body.to_number country_not_allowed"));
    check(json!({"allowed_countries": ["IN", "GB"]}), "+442079460958", Ok("+442079460958"));
    check(json!({"allowed_countries": ["US"]}), "+18765550123", Err("body.to_number country_not_allowed"));
    check(json!({"allowed_countries": ["IN"]}), "+88216001234567", Err("body.to_number country_not_allowed"));
    check(json!({"default_country": "GB"}), "020 7946 0958", Ok("+442079460958"));
    check(json!({"denied_prefixes": ["+4470"]}), "+447012345678", Err("body.to_number number_denied"));
    check(json!({"denied_prefixes": ["+4470"]}), "+442079460958", Ok("+442079460958"));
    check(json!({"allowed_prefixes": ["+91", "+4420"]}), "+442079460958", Ok("+442079460958"));
    check(json!({"allowed_prefixes": ["+91", "+4420"]}), "+441224588888", Err("body.to_number number_not_allowed"));
    let both = json!({"allowed_prefixes": ["+91"], "denied_prefixes": ["+9198"]});
    check(both, "+919876543210", Err("body.to_number number_denied"));
    check(json!({}), "+19002345678", Err("body.to_number premium_number"));
    check(json!({}), "+449098790000", Err("body.to_number premium_number"));
    check(json!({"allow_premium": true}), "+19002345678", Ok("+19002345678"));
    check(json!({}), "011 4000 0000", Err("body.to_number own_number"));
    check(json!({}), "+911204567890", Err("body.to_number own_number"));
    check(json!({"default_country": "??"}), "9876543210", Err("body.to_number unknown_country"));
}

#[test]
fn errors_are_written_as_the_api_says() {
    let errors = parse(b"{}").unwrap_err();
    assert_eq!(
        serde_json::to_value(&errors[0]).unwrap(),
        json!({"loc": ["body", "bot_id"], "msg": "Field required", "type": "missing"})
    );
}
