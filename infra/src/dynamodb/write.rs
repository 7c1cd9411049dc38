//! Conditional writes that know themselves again. An answer can be lost after the write took place; the SDK then sends it
//! again, and its own condition no longer holds. So each write leaves a random mark in the row, and a failed
//! condition that finds the mark of this very write counts as having held.
//! It must never report a write as lost that took place.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, Update,
};
use domain::ports::{Entropy, StoreError};

use super::item::{Item, text};
use crate::clock::OsEntropy;
use crate::errors::{refused, store_error};

/// The mark's attribute.
const MARK: &str = "last_write";

/// Whether a write's condition held.
#[derive(Debug)]
pub(super) enum Conditional {
    /// It did; the row as it is now.
    Held(Item),
    /// It did not; the row as it was found, empty if there is none.
    Failed(Item),
}

impl Conditional {
    pub(super) fn held(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    fn judge(old: Option<Item>, mark: &AttributeValue) -> Self {
        let old = old.unwrap_or_default();
        if old.get(MARK) == Some(mark) { Self::Held(old) } else { Self::Failed(old) }
    }
}

fn mark() -> AttributeValue {
    let mut bytes = [0; 12];
    OsEntropy.fill(&mut bytes);
    text(base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, bytes))
}

/// A condition and the values it names as `:value`; an attribute is written `#attribute`.
#[derive(Debug, Default)]
pub(super) struct Condition {
    clauses: Vec<String>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    pub(super) fn when(clause: &str) -> Self {
        Self::default().and(clause)
    }

    pub(super) fn and(mut self, clause: &str) -> Self {
        self.clauses.push(format!("({clause})"));
        self
    }

    /// `attribute` is one of `values`.
    pub(super) fn and_one_of<'a>(mut self, attribute: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let name = format!(":{attribute}_in_{index}");
            self.values.insert(name.clone(), text(value));
            names.push(name);
        }
        self.and(&format!("#{attribute} IN ({})", names.join(", ")))
    }

    pub(super) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// The condition alone, as part of a transaction.
    pub(super) fn check_part(&self, what: &'static str, table: &str, key: Item) -> Result<ConditionCheck, StoreError> {
        ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key))
            .set_condition_expression(self.expression())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .build()
            .map_err(|e| refused(what, e))
    }

    /// A deletion under the condition, as part of a transaction.
    pub(super) fn delete_part(&self, what: &'static str, table: &str, key: Item) -> Result<Delete, StoreError> {
        Delete::builder()
            .table_name(table)
            .set_key(Some(key))
            .set_condition_expression(self.expression())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .build()
            .map_err(|e| refused(what, e))
    }

    fn expression(&self) -> Option<String> {
        (!self.clauses.is_empty()).then(|| self.clauses.join(" AND "))
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        let names = placeholders(&self.clauses.join(" "));
        (!names.is_empty()).then_some(names)
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// `#name` → `name` for every attribute in an expression.
fn placeholders(expression: &str) -> HashMap<String, String> {
    let names: BTreeSet<&str> = expression
        .match_indices('#')
        .map(|(at, _)| {
            let rest = &expression[at + 1..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            &rest[..end]
        })
        .collect();
    names.into_iter().map(|name| (format!("#{name}"), name.to_owned())).collect()
}

/// Puts `item` if `condition` holds.
pub(super) async fn put(
    client: &Client,
    what: &'static str,
    table: &str,
    mut item: Item,
    condition: Condition,
) -> Result<Conditional, StoreError> {
    let mark = mark();
    item.insert(MARK.to_owned(), mark.clone());
    let request = client
        .put_item()
        .table_name(table)
        .set_item(Some(item.clone()))
        .set_condition_expression(condition.expression())
        .set_expression_attribute_names(condition.names())
        .set_expression_attribute_values(condition.values())
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match request.send().await {
        Ok(_) => Ok(Conditional::Held(item)),
        Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
            let PutItemError::ConditionalCheckFailedException(failed) = service.into_err() else {
                return Err(refused(what, "a failed condition that is none"));
            };
            Ok(Conditional::judge(failed.item, &mark))
        }
        Err(error) => Err(store_error(what, error)),
    }
}

/// A put as part of a transaction; those carry a token, so that a repetition is known without a mark.
pub(super) fn put_part(what: &'static str, table: &str, item: Item, condition: &Condition) -> Result<Put, StoreError> {
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .set_condition_expression(condition.expression())
        .set_expression_attribute_names(condition.names())
        .set_expression_attribute_values(condition.values())
        .build()
        .map_err(|e| refused(what, e))
}

/// A change of one row.
#[derive(Debug, Default)]
pub(super) struct Change {
    set: Vec<String>,
    remove: Vec<String>,
    condition: Condition,
}

impl Change {
    pub(super) fn when(condition: Condition) -> Self {
        Self { condition, ..Self::default() }
    }

    /// Sets `attribute` to `value`.
    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{attribute} = :set_{attribute}"));
        self.condition.values.insert(format!(":set_{attribute}"), value);
        self
    }

    pub(super) fn set_some(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self,
        }
    }

    /// Adds one to `attribute`.
    pub(super) fn count(mut self, attribute: &str) -> Self {
        self.set.push(format!("#{attribute} = if_not_exists(#{attribute}, :zero) + :one"));
        self.condition.values.insert(":zero".to_owned(), AttributeValue::N("0".to_owned()));
        self.condition.values.insert(":one".to_owned(), AttributeValue::N("1".to_owned()));
        self
    }

    /// Adds `values` at the end of the list `attribute`; nothing when there are none.
    pub(super) fn append(mut self, attribute: &str, values: &[String]) -> Self {
        if values.is_empty() {
            return self;
        }
        self.set.push(format!("#{attribute} = list_append(if_not_exists(#{attribute}, :empty), :add_{attribute})"));
        let list = values.iter().map(|value| text(value.as_str())).collect();
        self.condition.values.insert(format!(":add_{attribute}"), AttributeValue::L(list));
        self.condition.values.insert(":empty".to_owned(), AttributeValue::L(Vec::new()));
        self
    }

    pub(super) fn remove(mut self, attribute: &str) -> Self {
        self.remove.push(format!("#{attribute}"));
        self
    }

    fn expression(&self) -> String {
        let mut parts = Vec::new();
        if !self.set.is_empty() {
            parts.push(format!("SET {}", self.set.join(", ")));
        }
        if !self.remove.is_empty() {
            parts.push(format!("REMOVE {}", self.remove.join(", ")));
        }
        parts.join(" ")
    }

    fn names(&self, expression: &str) -> HashMap<String, String> {
        placeholders(&format!("{expression} {}", self.condition.clauses.join(" ")))
    }

    /// Changes the row under `key` if the condition holds.
    pub(super) async fn send(
        self,
        client: &Client,
        what: &'static str,
        table: &str,
        key: Item,
    ) -> Result<Conditional, StoreError> {
        let mark = mark();
        let mut change = self.set(MARK, mark.clone());
        // For changes that could take place twice.
        change.condition = change.condition.and(&format!("attribute_not_exists(#{MARK}) OR #{MARK} <> :set_{MARK}"));
        let expression = change.expression();
        let request = client
            .update_item()
            .table_name(table)
            .set_key(Some(key))
            .set_expression_attribute_names(Some(change.names(&expression)))
            .update_expression(expression)
            .set_condition_expression(change.condition.expression())
            .set_expression_attribute_values(change.condition.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(done) => Ok(Conditional::Held(done.attributes.unwrap_or_default())),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                let UpdateItemError::ConditionalCheckFailedException(failed) = service.into_err() else {
                    return Err(refused(what, "a failed condition that is none"));
                };
                Ok(Conditional::judge(failed.item, &mark))
            }
            Err(error) => Err(store_error(what, error)),
        }
    }

    /// The change as part of a transaction.
    pub(super) fn part(self, what: &'static str, table: &str, key: Item) -> Result<Update, StoreError> {
        let expression = self.expression();
        Update::builder()
            .table_name(table)
            .set_key(Some(key))
            .set_expression_attribute_names(Some(self.names(&expression)))
            .update_expression(expression)
            .set_condition_expression(self.condition.expression())
            .set_expression_attribute_values(self.condition.values())
            .build()
            .map_err(|e| refused(what, e))
    }
}

/// A key of one attribute.
pub(super) fn key(name: &str, value: AttributeValue) -> Item {
    Item::from([(name.to_owned(), value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_in_an_expression_is_named() {
        let check = |expression: &str, expect: &[&str]| {
            let mut names: Vec<String> = placeholders(expression).into_values().collect();
            names.sort();
            assert_eq!(names, expect, "{expression}");
        };
        check("", &[]);
        check("(#state <> :ended) AND (attribute_not_exists(#owner))", &["owner", "state"]);
        check("#a = if_not_exists(#a, :zero) + :one, #b_c=:d", &["a", "b_c"]);
    }

    #[test]
    fn a_change_is_one_expression() {
        let change = Change::when(
            Condition::when("#state = :ended").value(":ended", text("ended")).and_one_of("step", ["x", "y"]),
        )
        .set("due_at", text("1"))
        .count("tries")
        .append("warnings", &[])
        .append("notes", &["n".to_owned()])
        .remove("open_on");
        assert_eq!(
            change.expression(),
            "SET #due_at = :set_due_at, #tries = if_not_exists(#tries, :zero) + :one, \
             #notes = list_append(if_not_exists(#notes, :empty), :add_notes) REMOVE #open_on"
        );
        assert_eq!(change.condition.expression().unwrap(), "(#state = :ended) AND (#step IN (:step_in_0, :step_in_1))");
    }

    #[test]
    fn a_write_knows_itself_again() {
        let (ours, theirs) = (mark(), mark());
        assert!(Conditional::judge(Some(Item::from([(MARK.to_owned(), ours.clone())])), &ours).held());
        assert!(!Conditional::judge(Some(Item::from([(MARK.to_owned(), theirs)])), &ours).held());
        assert!(!Conditional::judge(None, &ours).held());
    }
}
