//! What is refused, and how leniently the rest is read.

use super::*;

#[track_caller]
fn refused(text: &str, why: &str) {
    let violation = Object::read(text).expect_err(text);
    assert_eq!(violation.code, 1008);
    assert!(violation.reason.contains(why), "{text}: {violation}");
}

#[test]
fn what_is_no_plain_object_is_refused() {
    refused("", "one JSON object");
    refused("[]", "one JSON object");
    refused("1", "one JSON object");
    refused("{\"a\":1", "ends in the middle");
    refused("{\"a\":1}}", "not JSON");
    refused("{'a':1}", "not JSON");
    refused(r#"{"a":1,"a":1}"#, "same key twice");
    refused(r#"{"a":1,"\u0061":1}"#, "same key twice");
    refused(r#"{"x":[{"y":{"a":1,"a":2}}]}"#, "same key twice");
    refused(r#"{"a":"\ud800"}"#, "not JSON");
    refused(&format!("{{\"a\":{}1{}}}", "[".repeat(16), "]".repeat(16)), "deeper than 16");
    refused(&format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17)), "deeper than 16");
    refused(&format!("{{\"a\":{}", "[".repeat(200_000)), "");
    let many: Vec<String> = (0..600).map(|n| format!("\"k{n}\":1")).collect();
    refused(&format!("{{{}}}", many.join(",")), "more than 512");
    let twice: Vec<String> = (0..40).chain([7]).map(|n| format!("\"k{n}\":1")).collect();
    refused(&format!("{{{}}}", twice.join(",")), "same key twice");
}

#[test]
fn depth_up_to_the_limit_is_read() {
    assert!(Object::read(&format!("{{\"a\":{}1{}}}", "[".repeat(15), "]".repeat(15))).is_ok());
}

#[test]
fn numbers_and_strings_are_one() {
    let object =
        Object::read(r#" {"n":8000,"s":"8000","t":"a\"b","f":1.50,"b":true,"z":null,"o":{"k":"v"},"l":[1,"x"]} "#)
            .unwrap();
    assert_eq!(object.number("n"), Some(8000));
    assert_eq!(object.number("s"), Some(8000));
    assert_eq!(object.number("t"), None);
    assert_eq!(object.text("n").as_deref(), Some("8000"));
    assert_eq!(object.text("f").as_deref(), Some("1.50"));
    assert_eq!(object.text("t").as_deref(), Some("a\"b"));
    assert_eq!(object.text("b").as_deref(), Some("true"));
    assert_eq!(object.text("z"), None);
    assert_eq!(object.object("o").and_then(|o| o.text("k")).as_deref(), Some("v"));
    assert_eq!(object.get("l").and_then(Value::as_list).map(<[_]>::len), Some(2));
    assert_eq!(object.first_text(&["z", "missing", "t"]).as_deref(), Some("a\"b"));
}

#[test]
fn members_keep_their_order_and_source_text() {
    let object = Object::read(r#"{"loan":123456789012345678901234567890,"o":{ "b":1.0, "a":[] }}"#).unwrap();
    let members: Vec<_> = object.members().map(|(name, value)| (name, value.raw().get())).collect();
    assert_eq!(members, [("loan", "123456789012345678901234567890"), ("o", r#"{ "b":1.0, "a":[] }"#)]);
}
