//! The JSON of diallers: read leniently (numbers may be strings, unknown members are passed over), judged strictly
//! (one object, no duplicate keys, no depth). It must never read a number into a float: values keep their source text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::violation::Violation;

/// Objects and arrays inside one another; one more is a violation.
const MAX_DEPTH: usize = 16;
/// Members of one object.
const MAX_MEMBERS: usize = 512;

/// An object whose text lives as long as the message it came in.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// A member's value and the text that it was written as.
#[derive(Debug)]
pub(crate) struct Value<'a> {
    raw: &'a RawValue,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    Text(Cow<'a, str>),
    Object(Object<'a>),
    List(Vec<Value<'a>>),
    /// A number, a boolean or null.
    Plain,
}

impl<'a> Object<'a> {
    /// Reads a whole message.
    pub(crate) fn read(text: &'a str) -> Result<Self, Violation> {
        if !text.trim_start().starts_with('{') {
            return Err(Violation::protocol("a message must be one JSON object"));
        }
        Self::parse(text, 1)
    }

    fn parse(text: &'a str, depth: usize) -> Result<Self, Violation> {
        if depth > MAX_DEPTH {
            return Err(Violation::protocol("the message is nested deeper than 16 levels"));
        }
        let Members { found, too_many } = serde_json::from_str(text).map_err(not_json)?;
        if too_many {
            return Err(Violation::protocol("an object of the message has more than 512 members"));
        }
        if has_duplicates(&found) {
            return Err(Violation::protocol("the message has the same key twice in one object"));
        }
        let members = found
            .into_iter()
            .map(|(Key(key), raw)| Ok((key, Value::judge(raw, depth)?)))
            .collect::<Result<_, Violation>>()?;
        Ok(Self { members })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A string as it means, a number or boolean as it is written; `None` for null, objects and arrays.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// The text of the first of these members that has one and is not empty.
    pub(crate) fn first_text(&self, names: &[&str]) -> Option<String> {
        names.iter().filter_map(|name| self.text(name)).find(|text| !text.is_empty()).map(Cow::into_owned)
    }

    /// A whole number, or a string that is one.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    pub(crate) fn object(&self, name: &str) -> Option<&Object<'a>> {
        match &self.get(name)?.kind {
            Kind::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The members, in order.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.members.iter().map(|(key, value)| (&**key, value))
    }
}

impl<'a> Value<'a> {
    fn judge(raw: &'a RawValue, depth: usize) -> Result<Self, Violation> {
        let text = raw.get();
        let kind = match text.as_bytes().first() {
            Some(b'"') => Kind::Text(unquote(text)?),
            Some(b'{') => Kind::Object(Object::parse(text, depth + 1)?),
            Some(b'[') if depth >= MAX_DEPTH => {
                return Err(Violation::protocol("the message is nested deeper than 16 levels"));
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
                Kind::List(items.into_iter().map(|item| Self::judge(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            _ => Kind::Plain,
        };
        Ok(Self { raw, kind })
    }

    /// See [`Object::text`].
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        match &self.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Plain if self.raw.get() != "null" => Some(Cow::Borrowed(self.raw.get())),
            _ => None,
        }
    }

    pub(crate) fn as_object(&self) -> Option<&Object<'a>> {
        match &self.kind {
            Kind::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Value<'a>]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text that it was written as.
    pub(crate) fn raw(&self) -> &'a RawValue {
        self.raw
    }
}

/// Writes `text` as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

fn not_json(error: serde_json::Error) -> Violation {
    let what = if error.is_eof() { "the message ends in the middle of its JSON" } else { "the message is not JSON" };
    Violation::protocol(format!("{what} (line {}, column {})", error.line(), error.column()))
}

/// The text of a string literal. A literal without escapes is given as it lies in the message.
fn unquote(literal: &str) -> Result<Cow<'_, str>, Violation> {
    let inner = &literal[1..literal.len() - 1];
    if inner.contains('\\') {
        serde_json::from_str(literal).map(Cow::Owned).map_err(not_json)
    } else {
        Ok(Cow::Borrowed(inner))
    }
}

fn has_duplicates(members: &[(Key<'_>, &RawValue)]) -> bool {
    if members.len() <= 16 {
        return members.iter().enumerate().any(|(n, (key, _))| members[..n].iter().any(|(other, _)| other.0 == key.0));
    }
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| &*key.0).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object, neither judged nor decoded.
struct Members<'a> {
    found: Vec<(Key<'a>, &'a RawValue)>,
    too_many: bool,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut found = Vec::with_capacity(8);
                while let Some(entry) = map.next_entry()? {
                    found.push(entry);
                    if found.len() > MAX_MEMBERS {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Members { found, too_many: true });
                    }
                }
                Ok(Members { found, too_many: false })
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests;
