//! Rows as DynamoDB items, and back. Three things differ from the rows' own form: `None` is absence (a NULL would make
//! a sparse index refuse the row), moments are whole milliseconds in a number (texts of varying precision don't sort),
//! and documents whose member order counts are kept as JSON text.
//! It must never lose a member of a row, and never print one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::ports::StoreError;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::corrupt;

pub(super) type Item = HashMap<String, AttributeValue>;

/// Attributes that hold a moment, in every table.
const MOMENTS: &[&str] = &[
    "answered_at",
    "at",
    "created_at",
    "deadline",
    "delivered_at",
    "due_at",
    "ended_at",
    "erased_at",
    "expires_at",
    "fenced_at",
    "heartbeat_at",
    "last_used_at",
    "lease_until",
    "resent_at",
    "ringing_at",
    "started_at",
    "summed_at",
];

/// Where a document lies in its item.
pub(super) const DOC: &str = "doc";

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn moment(at: Timestamp) -> AttributeValue {
    number(at.as_millisecond())
}

/// A value inside an expression, in the form it has in items.
pub(super) fn value_of<T: Serialize>(what: &'static str, value: &T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value).map_err(|e| corrupt(what, e))
}

/// The item of a row.
pub(super) fn item_of<T: Serialize>(what: &'static str, row: &T) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(row).map_err(|e| corrupt(what, e))?;
    drop_nulls(&mut item);
    for name in MOMENTS {
        if let Some(AttributeValue::S(at)) = item.get(*name) {
            let at: Timestamp = at.parse().map_err(|e| corrupt(what, e))?;
            item.insert((*name).to_owned(), moment(at));
        }
    }
    Ok(item)
}

fn drop_nulls(item: &mut Item) {
    item.retain(|_, value| !matches!(value, AttributeValue::Null(_)));
    for value in item.values_mut() {
        if let AttributeValue::M(members) = value {
            drop_nulls(members);
        }
    }
}

/// The row of an item; attributes that are not the row's (index keys, marks) are passed over.
pub(super) fn row_of<T: DeserializeOwned>(what: &'static str, mut item: Item) -> Result<T, StoreError> {
    for name in MOMENTS {
        if let Some(AttributeValue::N(ms)) = item.get(*name) {
            let ms = ms.parse().map_err(|e| corrupt(what, e))?;
            let at = Timestamp::from_millisecond(ms).map_err(|e| corrupt(what, e))?;
            item.insert((*name).to_owned(), text(at.to_string()));
        }
    }
    // The reader's words may quote an attribute.
    serde_dynamo::from_item(item).map_err(|_| corrupt(what, "a row that is not of this version"))
}

/// A document as text that keeps member order and numbers.
pub(super) fn doc_of<T: Serialize>(what: &'static str, document: &T) -> Result<AttributeValue, StoreError> {
    serde_json::to_string(document).map(text).map_err(|e| corrupt(what, e))
}

/// The document of an item.
pub(super) fn document<T: DeserializeOwned>(what: &'static str, item: &Item) -> Result<T, StoreError> {
    let json = text_in(what, item, DOC)?;
    serde_json::from_str(json).map_err(|e| corrupt(what, format!("line {} column {}", e.line(), e.column())))
}

pub(super) fn text_in<'a>(what: &'static str, item: &'a Item, name: &str) -> Result<&'a str, StoreError> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(corrupt(what, format!("no text `{name}`"))),
    }
}

pub(super) fn number_in<T: std::str::FromStr>(what: &'static str, item: &Item, name: &str) -> Result<T, StoreError> {
    match item.get(name) {
        Some(AttributeValue::N(number)) => {
            number.parse().map_err(|_| corrupt(what, format!("`{name}` is out of range")))
        }
        _ => Err(corrupt(what, format!("no number `{name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        name: String,
        started_at: Timestamp,
        ended_at: Option<Timestamp>,
        count: u64,
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        gone: Option<u8>,
        list: Vec<String>,
    }

    fn row(started_at: &str) -> Row {
        Row {
            name: "n".into(),
            started_at: started_at.parse().unwrap(),
            ended_at: None,
            count: u64::MAX,
            inner: Inner { gone: None, list: vec!["a".into()] },
        }
    }

    #[test]
    fn rows_survive_and_moments_become_milliseconds() {
        let check = |started_at: &str, ms: &str, back: &str| {
            let item = item_of("t", &row(started_at)).unwrap();
            assert_eq!(item["started_at"], number(ms), "{started_at}");
            assert!(!item.contains_key("ended_at"), "None is absence");
            assert!(!item["inner"].as_m().unwrap().contains_key("gone"));
            assert_eq!(row_of::<Row>("t", item).unwrap(), row(back));
        };
        check("2026-11-22T10:00:00Z", "1795341600000", "2026-11-22T10:00:00Z");
        check("2026-11-22T10:00:00.5Z", "1795341600500", "2026-11-22T10:00:00.500Z");
        check("2026-11-22T10:00:00.123456789Z", "1795341600123", "2026-11-22T10:00:00.123Z");
    }

    #[test]
    fn what_is_not_a_row_is_corrupt() {
        let mut item = item_of("t", &row("2026-11-22T10:00:00Z")).unwrap();
        item.insert("started_at".into(), number("1e40"));
        assert!(matches!(row_of::<Row>("t", item), Err(StoreError::Corrupt { what: "t", .. })));
        assert!(matches!(document::<Row>("t", &Item::new()), Err(StoreError::Corrupt { .. })));
    }
}
