//! `ApiKeys`, by hash.
//! It must never see a key itself.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use domain::api_key::{ApiKeyRow, KeyHash};
use domain::ports::{ApiKeys, StoreError};
use jiff::Timestamp;

use super::item::{item_of, moment, row_of, text};
use super::write::{Change, Condition, key, put};
use crate::errors::store_error;
use crate::schema::{Names, Table};

const WHAT: &str = "ApiKeys";

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
