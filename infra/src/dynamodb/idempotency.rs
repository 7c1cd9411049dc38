//! `Idempotency`: the entry under each client's key.
//! It must never judge a time: TTL tidies only, and readers look at `expires_at`.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use domain::idempotency::{Entry, LetGo, Progress, ScopedKey};
use domain::ports::{Idempotency, KeyClaim, Owned, StoreError};

use super::item::{Item, item_of, moment, number, row_of, text};
use super::write::{Change, Condition, Conditional, key, put};
use crate::errors::{refused, store_error};
use crate::schema::{Names, TTL, Table};

const WHAT: &str = "Idempotency";
const HELD: &str = "#call_id = :call_id AND #attempt = :attempt AND #progress = :progress";

#[derive(Debug, Clone)]
pub struct DynamoIdempotency {
    client: Client,
    table: String,
}

impl DynamoIdempotency {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::Idempotency) }
    }

    /// Deletes the entry if it still is in flight as `held`; one that is gone is as good.
    async fn release(&self, held: &Entry) -> Result<Owned, StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(place(&held.key)))
            .condition_expression(HELD)
            .expression_attribute_names("#call_id", "call_id")
            .expression_attribute_names("#attempt", "attempt")
            .expression_attribute_names("#progress", "progress")
            .expression_attribute_values(":call_id", text(held.call_id.to_string()))
            .expression_attribute_values(":attempt", number(held.attempt))
            .expression_attribute_values(":progress", text(Progress::InFlight.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(_) => Ok(Owned::Written),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                let DeleteItemError::ConditionalCheckFailedException(failed) = service.into_err() else {
                    return Err(refused(WHAT, "a failed condition that is none"));
                };
                Ok(if failed.item.is_none_or(|found| found.is_empty()) { Owned::Written } else { Owned::Lost })
            }
            Err(error) => Err(store_error(WHAT, error)),
        }
    }
}

fn place(entry: &ScopedKey) -> Item {
    key("key", text(entry.as_str()))
}

/// Holds while the entry is as `held`.
fn held_as(held: &Entry) -> Condition {
    named(Condition::when(HELD), held)
}

fn named(condition: Condition, held: &Entry) -> Condition {
    condition
        .value(":call_id", text(held.call_id.to_string()))
        .value(":attempt", number(held.attempt))
        .value(":progress", text(held.progress.as_str()))
}

#[async_trait]
impl Idempotency for DynamoIdempotency {
    async fn get(&self, key: &ScopedKey) -> Result<Option<Entry>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(place(key))).consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| row_of(WHAT, item)).transpose()
    }

    async fn claim(&self, entry: &Entry, over: Option<&Entry>) -> Result<KeyClaim, StoreError> {
        let condition = match over {
            None => Condition::when("attribute_not_exists(#key)"),
            Some(over) => named(Condition::when(&format!("attribute_not_exists(#key) OR ({HELD})")), over),
        };
        let mut item = item_of(WHAT, entry)?;
        item.insert(TTL.to_owned(), number(entry.expires_at.as_second()));
        Ok(match put(&self.client, WHAT, &self.table, item, condition).await? {
            Conditional::Held(_) => KeyClaim::Claimed,
            Conditional::Failed(found) => KeyClaim::Exists(row_of(WHAT, found)?),
        })
    }

    async fn let_go(&self, held: &Entry, how: LetGo) -> Result<Owned, StoreError> {
        let change = Change::when(held_as(&Entry { progress: Progress::InFlight, ..held.clone() }));
        let change = match how {
            LetGo::Release => return self.release(held).await,
            LetGo::Done => change.set("progress", text(Progress::Done.as_str())),
            LetGo::GiveBack { at } => change.set("lease_until", moment(at)),
        };
        let written = change.send(&self.client, WHAT, &self.table, place(&held.key)).await?;
        Ok(if written.held() { Owned::Written } else { Owned::Lost })
    }
}
