//! JSON that others read differently is refused: duplicates, depth, broken text.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[track_caller]
fn check_ok(text: &str) {
    assert_eq!(check(text.as_bytes()), Ok(text));
}

#[track_caller]
fn check_fault(bytes: impl AsRef<[u8]>, at: usize, fault: Fault) {
    let bytes = bytes.as_ref();
    assert_eq!(check(bytes), Err(StrictJsonError { at, fault }), "{}", String::from_utf8_lossy(bytes));
}

#[test]
fn json_is_accepted() {
    for text in [
        "{}",
        "[]",
        " null ",
        "true",
        "false",
        "\t\"\"\r\n",
        "0",
        "-0",
        "-12.50e+10",
        "1E5",
        "1e-999999",
        "123456789012345678901234567890",
    ] {
        check_ok(text);
    }
    check_ok(r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#);
    check_ok(r#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00", "é😀\u2028"]"#);
    check_ok(&format!("{}{}", "[".repeat(64), "]".repeat(64)));
}

#[test]
fn everything_else_is_refused_with_its_place() {
    check_fault("", 0, Fault::Truncated);
    check_fault("  ", 2, Fault::Truncated);
    check_fault("\u{feff}{}", 0, Fault::ByteOrderMark);
    check_fault(b"[\"\xff\"]", 2, Fault::NotUtf8);
    check_fault("{} {}", 3, Fault::Trailing);
    check_fault("{}\0", 2, Fault::Trailing);
    check_fault("{\"a\":1,}", 7, Fault::Unexpected);
    check_fault("[1,]", 3, Fault::Unexpected);
    check_fault("[1 2]", 3, Fault::Unexpected);
    check_fault("{a:1}", 1, Fault::Unexpected);
    check_fault("{\"a\" 1}", 5, Fault::Unexpected);
    check_fault("{\"a\":1", 6, Fault::Truncated);
    check_fault("[NaN]", 1, Fault::Unexpected);
    check_fault("nul", 3, Fault::Truncated);
    check_fault("nulL", 3, Fault::Unexpected);
    check_fault("'a'", 0, Fault::Unexpected);
    check_fault("// x", 0, Fault::Unexpected);
    check_fault("\u{a0}1", 0, Fault::Unexpected);
}

#[test]
fn keys_are_compared_as_they_mean() {
    check_fault(r#"{"a":1,"a":2}"#, 7, Fault::DuplicateKey);
    check_fault(r#"{"a":1,"\u0061":2}"#, 7, Fault::DuplicateKey);
    check_fault(r#"[{"x":{"k":[{"a":1,"b":2,"a":3}]}}]"#, 25, Fault::DuplicateKey);
    check_ok("{\"a\":1,\"A\":2,\"a\u{301}\":3,\"á\":4}");
}

#[test]
fn strings_and_numbers_are_read_to_the_letter() {
    check_fault("\"a\nb\"", 2, Fault::ControlCharacter);
    check_fault(r#""\x""#, 1, Fault::BadEscape);
    check_fault(r#""\u12g4""#, 1, Fault::BadEscape);
    check_fault(r#""\ud800""#, 1, Fault::LoneSurrogate);
    check_fault(r#""\ud800\n""#, 1, Fault::LoneSurrogate);
    check_fault(r#""\ud800\u0041""#, 1, Fault::LoneSurrogate);
    check_fault(r#""\udc00""#, 1, Fault::LoneSurrogate);
    check_fault("\"abc", 4, Fault::Truncated);
    check_fault(r#""\"#, 2, Fault::Truncated);
    check_fault("[01]", 1, Fault::BadNumber);
    check_fault("[-]", 1, Fault::BadNumber);
    check_fault("[1.]", 1, Fault::BadNumber);
    check_fault("[1e+]", 1, Fault::BadNumber);
    check_fault("[.5]", 1, Fault::Unexpected);
    check_fault("[+5]", 1, Fault::Unexpected);
    check_fault("-", 1, Fault::Truncated);
}

#[test]
fn depth_has_a_limit() {
    check_fault(format!("{}1{}", "[".repeat(65), "]".repeat(65)), 64, Fault::TooDeep);
    check_fault("{\"a\":".repeat(65), 64 * 5, Fault::TooDeep);
    check_fault("[".repeat(1_000_000), 64, Fault::TooDeep);
}

#[test]
fn the_message_says_what_and_where() {
    let error = check(br#"{"a":1,"a":2}"#).unwrap_err();
    assert_eq!(error.to_string(), "the same key twice in one object at byte 7");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_serialiser_writes_passes(value in any_json()) {
        prop_assert!(check(value.to_string().as_bytes()).is_ok());
        prop_assert!(check(serde_json::to_string_pretty(&value).unwrap().as_bytes()).is_ok());
    }

    /// A second reader is the judge: what passes here is JSON there too.
    #[test]
    fn what_passes_is_json(text in r#"[\[\]{}",:0-9eE.+\-a-u\\ ]{0,24}"#) {
        if check(text.as_bytes()).is_ok() {
            let second: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
            prop_assert!(second.is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_json_fails_only_for_stated_reasons(text in r#"[\[\]{}",:0-9\\u ]{0,16}"#) {
        let second: Result<Value, _> = serde_json::from_str(&text);
        if second.is_ok() && let Err(e) = check(text.as_bytes()) {
            prop_assert_eq!(e.fault, Fault::DuplicateKey);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&bytes);
    }
}
