//! The key mapper: what a CRM receives, from any JSON whose string leaves are templates.
//! It must never render a key, a URL or a token.

use jiff::Timestamp;
use serde_json::Value;

use crate::analysis::with_defaults;
use crate::bot::Bot;
use crate::field_error::FieldError;
use crate::result::{CallResult, Record};
use crate::template::{Context, Template};

/// Most keys of a key mapper, at all depths together.
pub const MAX_KEYS: usize = 500;
/// Most characters of a push token.
pub const MAX_TOKEN: usize = 4096;

/// A rendered body: the exact bytes to store and send.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct RenderedBody {
    #[debug("({} bytes, personal)", bytes.len())]
    pub bytes: Vec<u8>,
    /// `namespace.field` of tokens without a value, once each.
    pub missing: Vec<String>,
}

/// Judges a key mapper. Duplicate keys and depth are `strict_json`'s to refuse, on the text it came in.
pub fn validate(key_mapper: &Value) -> Vec<FieldError> {
    let keys = count_keys(key_mapper);
    if keys <= MAX_KEYS {
        return Vec::new();
    }
    vec![FieldError::body(
        "push.key_mapper",
        "too_many_keys",
        format!("a key mapper has at most {MAX_KEYS} keys; this one has {keys}"),
    )]
}

/// Renders every string leaf; all else, and the order of keys, stays as it is.
pub fn render(key_mapper: &Value, context: &Context) -> RenderedBody {
    let mut missing = Vec::new();
    let body = rendered(key_mapper, context, &mut missing);
    RenderedBody { bytes: body.to_string().into_bytes(), missing }
}

/// What the key mapper of `bot` sees of an ended call: `result.disposition` and `result.remarks` always exist.
pub fn context(bot: &Bot, result: &CallResult, record: &Record, now: Timestamp) -> Context {
    let mut seen = result.clone();
    seen.post_call_analysis =
        with_defaults(bot, result.end_reason, result.customer_spoke(), std::mem::take(&mut seen.post_call_analysis));
    Context::of_result(&seen, record, &bot.hours.timezone, now)
}

/// Whether a token can stand in an `Authorization` header: visible ASCII and single spaces inside, no template.
pub fn is_sendable_token(token: &str) -> bool {
    let visible = token.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (1..=MAX_TOKEN).contains(&token.len()) && visible && token.trim() == token && Template::parse(token).is_literal()
}

fn count_keys(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_keys).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_keys).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn rendered(value: &Value, context: &Context, missing: &mut Vec<String>) -> Value {
    match value {
        Value::String(text) => {
            let out = Template::parse(text).render(context);
            missing.extend(out.missing.into_iter().filter(|name| !missing.contains(name)).collect::<Vec<_>>());
            Value::String(out.text)
        }
        Value::Array(items) => items.iter().map(|item| rendered(item, context, missing)).collect(),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| (key.clone(), rendered(value, context, missing));
            Value::Object(members.iter().map(member).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::variables::Fields;

    fn context() -> Context {
        let crm = r#"{"id": 12345678901234567890123, "q": "He said \"hi\" \\ \n", "tpl": "{{crm.id}}"}"#;
        Context::new().with_crm(Fields::of_object(crm).unwrap())
    }

    #[track_caller]
    fn check(mapper: &str, expect: &str, missing: &[&str]) {
        let body = render(&serde_json::from_str(mapper).unwrap(), &context());
        assert_eq!(
            (String::from_utf8(body.bytes).unwrap().as_str(), body.missing),
            (expect, missing.iter().map(|m| (*m).to_owned()).collect())
        );
    }

    #[test]
    fn string_leaves_are_rendered_and_all_else_passes_through() {
        check(
            r#"{"Z": "{{crm.id}}", "A": "x{{crm.id}}y"}"#,
            r#"{"Z":"12345678901234567890123","A":"x12345678901234567890123y"}"#,
            &[],
        );
        check(
            r#"{"n": 1, "f": 1.5, "b": true, "z": null, "l": ["{{crm.id}}", 2, {"k": "{{crm.no}}"}]}"#,
            r#"{"n":1,"f":1.5,"b":true,"z":null,"l":["12345678901234567890123",2,{"k":""}]}"#,
            &["crm.no"],
        );
        check(
            r#"{"{{crm.id}}": "{{crm.no}}{{crm.no}}", "m": "{{crm.no}}"}"#,
            r#"{"{{crm.id}}":"","m":""}"#,
            &["crm.no"],
        );
        check(r#"{"q": "{{crm.q}}", "t": "{{crm.tpl}}"}"#, r#"{"q":"He said \"hi\" \\ \n","t":"{{crm.id}}"}"#, &[]);
        check(r#""{{crm.id}}""#, r#""12345678901234567890123""#, &[]);
        check("[]", "[]", &[]);
    }

    #[test]
    fn keys_are_counted_at_all_depths() {
        let mapper = |inner: usize| {
            let keys: serde_json::Map<String, Value> = (0..inner).map(|n| (n.to_string(), json!(n))).collect();
            json!({"a": [keys, {"b": "c"}]})
        };
        assert_eq!(validate(&mapper(498)), []);
        assert_eq!(validate(&mapper(499)).len(), 1);
        assert_eq!(validate(&json!("just text")), []);
    }
}
