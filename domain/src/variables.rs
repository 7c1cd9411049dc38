//! Customer data as it came: ordered, every value in its source text, so that a long loan number stays whole.
//! It must never read a number into a float, and never print a value in a log.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use thiserror::Error;

/// Longest JSON text of a dialout's `variables`, bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// Most keys of a dialout's `variables`.
pub const MAX_KEYS: usize = 256;

/// An ordered JSON object whose values keep their source text.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the members of a JSON object; `None` when `text` is no object.
    pub fn of_object(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Sets a field: in its old place if it exists, else at the end.
    pub fn set(&mut self, name: impl Into<String>, value: Box<RawValue>) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets a field to a text.
    pub fn set_text(&mut self, name: impl Into<String>, text: &str) {
        self.set(name, to_raw_value(text).expect("a string is always JSON"));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the fields of `weaker` that are not here yet.
    #[must_use]
    pub fn over(mut self, weaker: &Self) -> Self {
        for (name, value) in &weaker.0 {
            if self.get(name).is_none() {
                self.0.push((name.clone(), value.clone()));
            }
        }
        self
    }

    /// Every value as a text (see [`stringify()`]), in order.
    pub fn stringified(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), Value::String(stringify(value)))).collect()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.iter().zip(other.iter()).all(|((a, x), (b, y))| a == b && x.get() == y.get())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({} personal)", self.0.len())
    }
}

impl From<&Map<String, Value>> for Fields {
    fn from(map: &Map<String, Value>) -> Self {
        let raw = |value: &Value| to_raw_value(value).expect("a JSON value is always JSON");
        Self(map.iter().map(|(name, value)| (name.clone(), raw(value))).collect())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Why a dialout's `variables` are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VariablesError {
    #[error("variables must be an object")]
    NotObject,
    #[error("variables have at most 65536 bytes of JSON text; these have {0}")]
    TooLong(usize),
    #[error("variables have at most 256 keys; these have {0}")]
    TooManyKeys(usize),
}

/// A dialout's `variables`, checked.
#[derive(Clone)]
pub struct Variables {
    raw: Box<RawValue>,
    fields: Fields,
}

impl Variables {
    /// Reads `variables` as they came; `null` is none.
    ///
    /// # Errors
    /// When they are no object, or too large. Duplicate keys are `strict_json`'s to refuse.
    pub fn parse(raw: &RawValue) -> Result<Option<Self>, VariablesError> {
        let text = raw.get();
        if text == "null" {
            return Ok(None);
        }
        if text.len() > MAX_TEXT {
            return Err(VariablesError::TooLong(text.len()));
        }
        let fields = Fields::of_object(text).ok_or(VariablesError::NotObject)?;
        if fields.len() > MAX_KEYS {
            return Err(VariablesError::TooManyKeys(fields.len()));
        }
        Ok(Some(Self { raw: raw.to_owned(), fields }))
    }

    /// The text as it was received.
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }

    pub fn into_raw(self) -> Box<RawValue> {
        self.raw
    }

    /// For the result: every value as a text.
    pub fn stringified(&self) -> Map<String, Value> {
        self.fields.stringified()
    }

    /// For templates: every value as it came.
    pub fn to_crm(&self) -> Fields {
        self.fields.clone()
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        self.raw.get() == other.raw.get()
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variables({} personal)", self.fields.len())
    }
}

/// A value as a text: strings as they are, numbers and booleans by their source text, null as `""`,
/// objects and arrays as compact JSON in their order with their numbers' source texts.
pub fn stringify(value: &RawValue) -> String {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).unwrap_or_default(),
        Some(b'n') | None => String::new(),
        Some(b'{' | b'[') => compact(text),
        Some(_) => text.to_owned(),
    }
}

/// Takes the white space out of valid JSON, and spells its strings in the one usual way.
fn compact(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'"' => {
                let end = string_end(bytes, at);
                push_string(&mut out, &text[at..end]);
                at = end;
            }
            _ => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'"'))
                    .map_or(bytes.len(), |n| at + n);
                out.push_str(&text[at..end]);
                at = end;
            }
        }
    }
    out
}

/// The index after the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn push_string(out: &mut String, quoted: &str) {
    if !quoted.contains('\\') {
        return out.push_str(quoted);
    }
    let decoded: Result<String, _> = serde_json::from_str(quoted);
    match decoded.and_then(|text| serde_json::to_string(&text)) {
        Ok(usual) => out.push_str(&usual),
        Err(_) => out.push_str(quoted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Variables>, VariablesError> {
        Variables::parse(serde_json::from_str::<&RawValue>(text).unwrap())
    }

    #[test]
    fn values_become_texts_in_their_order() {
        let variables = parse(r#"{"z": "as is", "i": 1, "f": 1.50, "big": 123456789012345678901234567890, "b": true, "n": null, "o": {"b": [1, 2.0], "a": "\u00e9"}, "e": {}, "l": [ ]}"#).unwrap().unwrap();
        let text = serde_json::to_string(&variables.stringified()).unwrap();
        assert_eq!(
            text,
            r#"{"z":"as is","i":"1","f":"1.50","big":"123456789012345678901234567890","b":"true","n":"","o":"{\"b\":[1,2.0],\"a\":\"é\"}","e":"{}","l":"[]"}"#
        );
    }

    #[test]
    fn only_objects_of_a_sane_size_are_variables() {
        assert_eq!(parse("null"), Ok(None));
        assert_eq!(parse("[]"), Err(VariablesError::NotObject));
        assert_eq!(parse("\"{}\""), Err(VariablesError::NotObject));
        assert_eq!(parse(&format!("{{\"k\":\"{}\"}}", "v".repeat(70_000))), Err(VariablesError::TooLong(70_008)));
    }

    #[test]
    fn the_text_stays_as_it_was_received() {
        let text = r#"{ "a" : 1.0,  "b":"\u0041" }"#;
        assert_eq!(parse(text).unwrap().unwrap().raw().get(), text);
    }

    #[test]
    fn compacting_keeps_all_but_white_space() {
        let check = |text: &str, expect: &str| assert_eq!(compact(text), expect);
        check(" { \"a b\" : [ 1 ,\n2 ] } ", r#"{"a b":[1,2]}"#);
        check(r#"["\"  \\", "\/", "\ud83d\ude00"]"#, r#"["\"  \\","/","😀"]"#);
    }

    #[test]
    fn fields_are_ordered_and_layered() {
        let of = |text: &str| Fields::of_object(text).unwrap();
        let mut top = of(r#"{"a":1,"b":2}"#).over(&of(r#"{"b":3,"c":4}"#));
        assert_eq!(serde_json::to_string(&top).unwrap(), r#"{"a":1,"b":2,"c":4}"#);
        top.set_text("a", "x\"");
        top.set_text("d", "y");
        assert_eq!(serde_json::to_string(&top).unwrap(), r#"{"a":"x\"","b":2,"c":4,"d":"y"}"#);
        assert_eq!(Fields::of_object("[1]"), None);
    }

    #[test]
    fn a_record_reads_back_with_its_number_texts() {
        let text = r#"{"transcript":[],"variables":{"n": 1.0},"crm":{"n":12345678901234567890123},"custom":{},"collected":{},"latency":[]}"#;
        let record: crate::result::Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(record, record.clone());
        assert!(!format!("{record:?}").contains("123456"), "{record:?}");
    }

    #[test]
    fn values_stay_out_of_logs() {
        let variables = parse(r#"{"name":"Rahul"}"#).unwrap().unwrap();
        assert!(!format!("{variables:?} {:?}", variables.to_crm()).contains("Rahul"));
    }
}
