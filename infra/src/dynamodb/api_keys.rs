//! `ApiKeys`, by hash.
//! It must never see a key itself, and never change a key for somebody who is no admin in that same moment.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::api_key::{ApiKeyRow, KeyHash};
use domain::ports::{ApiKeys, KeyChange, StoreError};
use jiff::Timestamp;

use super::item::{Item, item_of, moment, number, row_of, text, value_of};
use super::transact::{Transacted, transact};
use super::write::{Change, Condition, Conditional, key, put};
use crate::errors::{store_error, unavailable};
use crate::schema::{Names, Table};

const WHAT: &str = "ApiKeys";
/// Two writers of one row cancel each other's transactions; one of them comes through in the end.
const TRIES: usize = 4;

#[derive(Debug, Clone)]
pub struct DynamoApiKeys {
    client: Client,
    table: String,
}

impl DynamoApiKeys {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::ApiKeys) }
    }
}

impl DynamoApiKeys {
    /// The stored version; rows without one are of the first.
    fn at_version(version: u64) -> Condition {
        let condition = match version {
            1 => Condition::when("attribute_not_exists(#version) OR #version = :replaces"),
            _ => Condition::when("#version = :replaces"),
        };
        condition.and("attribute_exists(#key_hash)").value(":replaces", number(version))
    }

    fn by_admin(condition: Condition) -> Condition {
        condition
            .and("#role = :admin AND #active = :yes")
            .value(":admin", text("admin"))
            .value(":yes", AttributeValue::Bool(true))
    }

    fn changed(row: &ApiKeyRow, condition: Condition) -> Result<Change, StoreError> {
        let change = Change::when(condition)
            .set("version", number(row.version))
            .set("name", text(row.name.as_str()))
            .set("role", value_of(WHAT, &row.role)?)
            .set("bots", value_of(WHAT, &row.bots)?)
            .set("active", AttributeValue::Bool(row.active));
        Ok(match row.expires_at {
            Some(end) => change.set("expires_at", moment(end)),
            None => change.remove("expires_at"),
        })
    }

    /// Runs a part on one key together with the check of the key `by`.
    async fn transact(&self, part: TransactWriteItem, by: &KeyHash) -> Result<KeyChange, StoreError> {
        let check = Self::by_admin(Condition::default()).check_part(WHAT, &self.table, self.key(by))?;
        let parts = vec![TransactWriteItem::builder().condition_check(check).build(), part];
        for _ in 0..TRIES {
            match transact(&self.client, WHAT, parts.clone()).await? {
                Transacted::Done => return Ok(KeyChange::Done),
                Transacted::Failed(0) => return Ok(KeyChange::NotAdmin),
                Transacted::Failed(_) => return Ok(KeyChange::Conflict),
                Transacted::Contended => {}
            }
        }
        Err(unavailable(WHAT, "too many writers at once"))
    }

    fn key(&self, hash: &KeyHash) -> Item {
        key("key_hash", text(hash.as_str()))
    }

    /// What a single write's failed condition means: who asks and what is changed are the same row.
    fn failed(row: &Item) -> KeyChange {
        let admin = row.get("role") == Some(&text("admin")) && row.get("active") == Some(&AttributeValue::Bool(true));
        if row.is_empty() || admin { KeyChange::Conflict } else { KeyChange::NotAdmin }
    }
}

#[async_trait]
impl ApiKeys for DynamoApiKeys {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError> {
        let request =
            self.client.get_item().table_name(&self.table).key("key_hash", text(hash.as_str())).consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| row_of(WHAT, item)).transpose()
    }

    async fn create(&self, row: &ApiKeyRow) -> Result<bool, StoreError> {
        let condition = Condition::when("attribute_not_exists(#key_hash)");
        Ok(put(&self.client, WHAT, &self.table, item_of(WHAT, row)?, condition).await?.held())
    }

    async fn touch(&self, hash: &KeyHash, at: Timestamp, not_since: Timestamp) -> Result<(), StoreError> {
        let condition = Condition::when("attribute_exists(#key_hash)")
            .and("attribute_not_exists(#last_used_at) OR #last_used_at <= :not_since")
            .value(":not_since", moment(not_since));
        let change = Change::when(condition).set("last_used_at", moment(at));
        change.send(&self.client, WHAT, &self.table, key("key_hash", text(hash.as_str()))).await.map(|_| ())
    }

    async fn replace(&self, row: &ApiKeyRow, replaces: u64, by: &KeyHash) -> Result<KeyChange, StoreError> {
        let condition = Self::at_version(replaces);
        if row.key_hash == *by {
            let change = Self::changed(row, Self::by_admin(condition))?;
            return Ok(match change.send(&self.client, WHAT, &self.table, self.key(by)).await? {
                Conditional::Held(_) => KeyChange::Done,
                Conditional::Failed(found) => Self::failed(&found),
            });
        }
        let update = Self::changed(row, condition)?.part(WHAT, &self.table, self.key(&row.key_hash))?;
        self.transact(TransactWriteItem::builder().update(update).build(), by).await
    }

    async fn delete(&self, hash: &KeyHash, version: u64, by: &KeyHash) -> Result<KeyChange, StoreError> {
        if hash == by {
            // A transaction can't name a row twice, and nobody deletes the key that they ask with.
            return Ok(KeyChange::NotAdmin);
        }
        let delete = Self::at_version(version).delete_part(WHAT, &self.table, self.key(hash))?;
        self.transact(TransactWriteItem::builder().delete(delete).build(), by).await
    }

    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        let mut pages =
            self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(item) = pages.next().await {
            rows.push(row_of(WHAT, item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(rows)
    }
}
