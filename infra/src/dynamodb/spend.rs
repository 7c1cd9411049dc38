//! `Spend`: one counter for each bot or trunk with a ceiling and each day, and one hold for each call under way.
//! It must never change a counter but together with a hold: that is what makes a repeated write harmless.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem, Update};
use domain::ids::CallId;
use domain::money::Money;
use domain::ports::{Entropy, Owned, Spend, StoreError};
use domain::spend::{Account, Hold, Reserved};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::item::{DOC, Item, doc_of, document, moment, number, number_in, text, text_in};
use super::write::{Condition, key, put_part};
use crate::clock::OsEntropy;
use crate::errors::{corrupt, refused, store_error, unavailable};
use crate::schema::{BY_DUE, Names, TTL, Table};

const WHAT: &str = "Spend";
const ENTRY: &str = "entry";
const SPENT: &str = "spent";
const DUE_SHARD: &str = "due_shard";
/// Counters and forgotten holds are tidied away this long after their day.
const KEEP_SECONDS: i64 = 40 * 24 * 3600;
/// A counter that many calls change at once: transactions meet, and are tried again.
const TRIES: u32 = 8;
const PAUSE_MS: u32 = 20;

#[derive(Debug, Clone)]
pub struct DynamoSpend {
    client: Client,
    table: String,
    shards: u16,
}

/// Why a transaction did not take place: the reason of each of its parts.
enum Transacted {
    Done,
    Conditions(Vec<bool>),
}

fn hold_key(call: CallId) -> String {
    format!("call/{call}")
}

impl DynamoSpend {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, table: names.table(Table::Spend), shards: names.shards.deliveries }
    }

    /// Adds `change` micro-units to an account, where the condition holds.
    fn count(&self, account: &Account, change: i128, room: Option<Money>) -> Result<Update, StoreError> {
        let mut values = HashMap::from([
            (":change".to_owned(), AttributeValue::N(change.to_string())),
            (":zero".to_owned(), number(0)),
            (":ttl".to_owned(), number(account.resets_at.as_second() + KEEP_SECONDS)),
        ]);
        let condition = room.map(|room| {
            values.insert(":room".to_owned(), number(room.as_micros()));
            "attribute_not_exists(#spent) OR #spent <= :room".to_owned()
        });
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(ENTRY, text(account.key()))))
            .update_expression("SET #spent = if_not_exists(#spent, :zero) + :change, #ttl = :ttl")
            .expression_attribute_names("#spent", SPENT)
            .expression_attribute_names("#ttl", TTL)
            .set_expression_attribute_values(Some(values))
            .set_condition_expression(condition)
            .build()
            .map_err(|e| refused(WHAT, e))
    }

    fn hold_item(&self, hold: &Hold) -> Result<Item, StoreError> {
        Ok(Item::from([
            (ENTRY.to_owned(), text(hold_key(hold.call_id))),
            (DOC.to_owned(), doc_of(WHAT, hold)?),
            (DUE_SHARD.to_owned(), text(hold.call_id.shard(self.shards).to_string())),
            ("due_at".to_owned(), moment(hold.due_at)),
            (TTL.to_owned(), number(hold.due_at.as_second() + KEEP_SECONDS)),
        ]))
    }

    async fn transact(&self, parts: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self.client.transact_write_items().set_transact_items(Some(parts.clone())).send().await;
            let error = match sent {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => error,
            };
            let codes = match &error {
                SdkError::ServiceError(service) => codes(service.err()),
                _ => Vec::new(),
            };
            if codes.iter().any(|code| code == "ConditionalCheckFailed") {
                return Ok(Transacted::Conditions(codes.iter().map(|code| code == "ConditionalCheckFailed").collect()));
            }
            if codes.is_empty() {
                return Err(store_error(WHAT, error));
            }
            if tries == TRIES {
                return Err(unavailable(WHAT, "the counter is too busy"));
            }
            let pause = PAUSE_MS * tries;
            tokio::time::sleep(Duration::from_millis(u64::from(OsEntropy.dice() % pause + 1))).await;
        }
    }

    async fn item(&self, entry: String) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).key(ENTRY, text(entry)).consistent_read(true);
        Ok(request.send().await.map_err(|e| store_error(WHAT, e))?.item)
    }

    async fn due_in(&self, shard: u16, now: Timestamp, limit: u32) -> Result<Vec<(i64, CallId)>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_DUE)
            .key_condition_expression("#due_shard = :shard AND #due_at <= :now")
            .expression_attribute_names("#due_shard", DUE_SHARD)
            .expression_attribute_names("#due_at", "due_at")
            .expression_attribute_values(":shard", text(shard.to_string()))
            .expression_attribute_values(":now", moment(now))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|e| store_error(WHAT, e))?;
        page.items
            .unwrap_or_default()
            .iter()
            .map(|item| Ok((number_in(WHAT, item, "due_at")?, call_of(item)?)))
            .collect()
    }
}

/// The reasons of a cancelled transaction, part by part; empty for any other error.
fn codes(error: &TransactWriteItemsError) -> Vec<String> {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else { return Vec::new() };
    canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None").to_owned()).collect()
}

fn call_of(item: &Item) -> Result<CallId, StoreError> {
    let entry = text_in(WHAT, item, ENTRY)?;
    let id = entry.strip_prefix("call/").and_then(|id| CallId::parse(id).ok());
    id.ok_or_else(|| corrupt(WHAT, "a hold of no call"))
}

#[async_trait]
impl Spend for DynamoSpend {
    async fn reserve(&self, hold: &Hold) -> Result<Reserved, StoreError> {
        let mut parts = Vec::new();
        for account in &hold.accounts {
            let Some(room) = account.ceiling.as_micros().checked_sub(hold.reserved.as_micros()) else {
                return Ok(Reserved::Over(account.clone()));
            };
            let count = self.count(account, i128::from(hold.reserved.as_micros()), Some(Money::micros(room)))?;
            parts.push(TransactWriteItem::builder().update(count).build());
        }
        let condition = Condition::when("attribute_not_exists(#entry)");
        let put = put_part(WHAT, &self.table, self.hold_item(hold)?, &condition)?;
        parts.push(TransactWriteItem::builder().put(put).build());
        match self.transact(parts).await? {
            Transacted::Done => Ok(Reserved::Held),
            Transacted::Conditions(failed) if failed.last() == Some(&true) => Ok(Reserved::Held),
            Transacted::Conditions(failed) => {
                let over = hold.accounts.iter().zip(failed).find(|(_, failed)| *failed);
                over.map(|(account, _)| Reserved::Over(account.clone()))
                    .ok_or_else(|| refused(WHAT, "a failed condition that is none"))
            }
        }
    }

    async fn held(&self, call: CallId) -> Result<Option<Hold>, StoreError> {
        self.item(hold_key(call)).await?.map(|item| document(WHAT, &item)).transpose()
    }

    async fn settle(&self, hold: &Hold, cost: Money) -> Result<Owned, StoreError> {
        let change = i128::from(cost.as_micros()) - i128::from(hold.reserved.as_micros());
        let gone = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(ENTRY, text(hold_key(hold.call_id)))))
            .condition_expression("attribute_exists(#entry)")
            .expression_attribute_names("#entry", ENTRY)
            .build()
            .map_err(|e| refused(WHAT, e))?;
        let mut parts = vec![TransactWriteItem::builder().delete(gone).build()];
        for account in &hold.accounts {
            parts.push(TransactWriteItem::builder().update(self.count(account, change, None)?).build());
        }
        match self.transact(parts).await? {
            Transacted::Done => Ok(Owned::Written),
            Transacted::Conditions(_) => Ok(Owned::Lost),
        }
    }

    async fn spent(&self, account: &Account) -> Result<Money, StoreError> {
        let Some(item) = self.item(account.key()).await? else { return Ok(Money::ZERO) };
        number_in::<u64>(WHAT, &item, SPENT).map(Money::micros)
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let shards = try_join_all((0..self.shards).map(|shard| self.due_in(shard, now, limit))).await?;
        let mut due: Vec<(i64, CallId)> = shards.into_iter().flatten().collect();
        due.sort();
        due.truncate(limit as usize);
        Ok(due.into_iter().map(|(_, call)| call).collect())
    }
}
