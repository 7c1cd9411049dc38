//! `Endpoints`: the health of each, as one document, changed only from the revision it was made from.
//! It must never hold a URL: paths and queries may carry tokens.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use domain::endpoint::{EndpointId, EndpointRow};
use domain::ids::BotId;
use domain::ports::{Endpoints, StoreError};

use super::item::{DOC, Item, doc_of, document, number, text};
use super::write::{Condition, put};
use crate::errors::store_error;
use crate::schema::{Names, Table};

const WHAT: &str = "Endpoints";

#[derive(Debug, Clone)]
pub struct DynamoEndpoints {
    client: Client,
    table: String,
}

impl DynamoEndpoints {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::Endpoints) }
    }
}

#[async_trait]
impl Endpoints for DynamoEndpoints {
    async fn get(&self, bot: &BotId, endpoint: &EndpointId) -> Result<Option<EndpointRow>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("bot_id", text(bot.as_str()))
            .key("endpoint", text(endpoint.as_str()))
            .consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| document(WHAT, &item)).transpose()
    }

    async fn put(&self, row: &EndpointRow, replaces: Option<u64>) -> Result<bool, StoreError> {
        let item = Item::from([
            ("bot_id".to_owned(), text(row.bot_id.as_str())),
            ("endpoint".to_owned(), text(row.endpoint.as_str())),
            ("rev".to_owned(), number(row.rev)),
            (DOC.to_owned(), doc_of(WHAT, row)?),
        ]);
        let condition = match replaces {
            None => Condition::when("attribute_not_exists(#bot_id)"),
            Some(rev) => Condition::when("#rev = :replaces").value(":replaces", number(rev)),
        };
        Ok(put(&self.client, WHAT, &self.table, item, condition).await?.held())
    }

    async fn of_bot(&self, bot: &BotId) -> Result<Vec<EndpointRow>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#bot_id = :bot_id")
            .expression_attribute_names("#bot_id", "bot_id")
            .expression_attribute_values(":bot_id", text(bot.as_str()));
        let mut pages = query.into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(item) = pages.next().await {
            rows.push(document(WHAT, &item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(rows)
    }
}
