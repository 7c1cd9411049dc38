//! `Trunks`: the current version of each, as one document.
//! It must never open a sealed password.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::ids::TrunkId;
use domain::ports::{Deletion, Put, StoreError, Trunks};
use domain::trunk::Trunk;

use super::item::{DOC, Item, doc_of, document, number, text};
use super::write::{Condition, put};
use crate::errors::{refused, store_error};
use crate::schema::{Names, Table};

const WHAT: &str = "Trunks";

#[derive(Debug, Clone)]
pub struct DynamoTrunks {
    client: Client,
    table: String,
}

impl DynamoTrunks {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::Trunks) }
    }
}

#[async_trait]
impl Trunks for DynamoTrunks {
    async fn get(&self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        let request =
            self.client.get_item().table_name(&self.table).key("trunk_id", text(id.as_str())).consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| document(WHAT, &item)).transpose()
    }

    async fn put(&self, trunk: &Trunk, replaces: Option<u64>) -> Result<Put, StoreError> {
        let item = Item::from([
            ("trunk_id".to_owned(), text(trunk.trunk_id.as_str())),
            ("version".to_owned(), number(trunk.version)),
            (DOC.to_owned(), doc_of(WHAT, trunk)?),
        ]);
        let condition = match replaces {
            None => Condition::when("attribute_not_exists(#trunk_id)"),
            Some(version) => Condition::when("#version = :replaces").value(":replaces", number(version)),
        };
        let stored = put(&self.client, WHAT, &self.table, item, condition).await?.held();
        Ok(if stored { Put::Stored } else { Put::Conflict })
    }

    async fn delete(&self, id: &TrunkId, version: Option<u64>) -> Result<Deletion, StoreError> {
        let mut request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("trunk_id", text(id.as_str()))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(version) = version {
            request = request
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(version));
        }
        match request.send().await {
            Ok(deleted) if deleted.attributes.as_ref().is_some_and(|old| !old.is_empty()) => Ok(Deletion::Deleted),
            Ok(_) => Ok(Deletion::Missing),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                let DeleteItemError::ConditionalCheckFailedException(failed) = service.into_err() else {
                    return Err(refused(WHAT, "a failed condition that is none"));
                };
                // Nothing there: deleted meanwhile, perhaps by this very request, whose answer was lost.
                let missing = failed.item.is_none_or(|found| found.is_empty());
                Ok(if missing { Deletion::Missing } else { Deletion::Conflict })
            }
            Err(error) => Err(store_error(WHAT, error)),
        }
    }

    async fn list(&self) -> Result<Vec<Trunk>, StoreError> {
        let mut pages =
            self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().items().send();
        let mut trunks = Vec::new();
        while let Some(item) = pages.next().await {
            trunks.push(document(WHAT, &item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(trunks)
    }
}
