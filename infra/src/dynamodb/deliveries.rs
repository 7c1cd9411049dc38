//! `Deliveries` and their `Attempts`.
//! It must never let two workers hold one try, and never end a try that another has taken over.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::delivery::{AttemptRow, Channel, DeadWhy, DeliveryRow, DeliveryState, Next, due_shard};
use domain::ids::CallId;
use domain::ports::{Deliveries, Owned, StoreError};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::item::{Item, item_of, moment, number, number_in, row_of, text, text_in, value_of};
use super::write::{Change, Condition, put, put_part};
use crate::errors::{corrupt, refused, store_error, unavailable};
use crate::schema::{BY_DUE, Names, Table};

const WHAT: &str = "Deliveries";
const ATTEMPTS: &str = "Attempts";
/// The number of the try under way.
const RUNNING: &str = "running";
const DUE_SHARD: &str = "due_shard";

#[derive(Debug, Clone)]
pub struct DynamoDeliveries {
    client: Client,
    table: String,
    attempts: String,
    shards: u16,
}

impl DynamoDeliveries {
    pub fn new(client: Client, names: &Names) -> Self {
        Self {
            client,
            table: names.table(Table::Deliveries),
            attempts: names.table(Table::Attempts),
            shards: names.shards.deliveries,
        }
    }

    async fn change(&self, call: CallId, channel: Channel, change: Change) -> Result<Owned, StoreError> {
        let held = change.send(&self.client, WHAT, &self.table, delivery_key(call, channel)).await?.held();
        Ok(if held { Owned::Written } else { Owned::Lost })
    }

    async fn due_in(&self, shard: u16, now: Timestamp, limit: u32) -> Result<Vec<(i64, CallId, Channel)>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_DUE)
            .key_condition_expression("#due_shard = :shard AND #due_at <= :now")
            .expression_attribute_names("#due_shard", DUE_SHARD)
            .expression_attribute_names("#due_at", "due_at")
            .expression_attribute_values(":shard", text(due_shard(shard)))
            .expression_attribute_values(":now", moment(now))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|e| store_error(WHAT, e))?;
        page.items.unwrap_or_default().iter().map(read_due).collect()
    }
}

/// The row is pending, due by `now`, and nobody has begun a try since it was read with `tries`.
fn due_with(tries: u32, now: Timestamp) -> Result<Condition, StoreError> {
    Ok(Condition::when("#state = :pending AND #tries = :tries AND #due_at <= :now")
        .value(":pending", value_of(WHAT, &DeliveryState::Pending)?)
        .value(":tries", number(tries))
        .value(":now", moment(now)))
}

fn read_due(item: &Item) -> Result<(i64, CallId, Channel), StoreError> {
    let id = CallId::parse(text_in(WHAT, item, "call_id")?).map_err(|e| corrupt(WHAT, e))?;
    let channel = item.get("channel").cloned().ok_or_else(|| corrupt(WHAT, "no channel"))?;
    let channel = serde_dynamo::from_attribute_value(channel).map_err(|e| corrupt(WHAT, e))?;
    Ok((number_in(WHAT, item, "due_at")?, id, channel))
}

pub(super) fn delivery_key(call: CallId, channel: Channel) -> Item {
    Item::from([("call_id".to_owned(), text(call.to_string())), ("channel".to_owned(), text(channel.as_str()))])
}

pub(super) fn attempts_key(call: CallId, channel: Channel) -> String {
    format!("{call}#{}", channel.as_str())
}

#[async_trait]
impl Deliveries for DynamoDeliveries {
    async fn create(&self, row: &DeliveryRow) -> Result<bool, StoreError> {
        let mut item = item_of(WHAT, row)?;
        if row.state == DeliveryState::Pending {
            item.insert(DUE_SHARD.to_owned(), text(due_shard(row.call_id.shard(self.shards))));
        }
        let condition = Condition::when("attribute_not_exists(#call_id)");
        Ok(put(&self.client, WHAT, &self.table, item, condition).await?.held())
    }

    async fn get(&self, call: CallId, channel: Channel) -> Result<Option<DeliveryRow>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(delivery_key(call, channel)))
            .consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| row_of(WHAT, item)).transpose()
    }

    async fn begin_try(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Owned, StoreError> {
        let next = tries.saturating_add(1);
        let change = Change::when(due_with(tries, now)?)
            .set("tries", number(next))
            .set(RUNNING, number(next))
            .set("due_at", moment(lease_until));
        self.change(call, channel, change).await
    }

    async fn end_try(&self, attempt: &AttemptRow, next: &Next) -> Result<Owned, StoreError> {
        let condition = Condition::when("#state = :pending AND #running = :n")
            .value(":pending", value_of(WHAT, &DeliveryState::Pending)?)
            .value(":n", number(attempt.n));
        let change = Change::when(condition)
            .set("state", value_of(WHAT, &next.state())?)
            .set_some("last_status", attempt.status.map(number))
            .remove(RUNNING);
        let change = match next {
            Next::Again { due_at } => change.set("due_at", moment(*due_at)),
            Next::Delivered => change.set("delivered_at", moment(attempt.at)).remove(DUE_SHARD),
            Next::Dead(why) => change.set("why", value_of(WHAT, why)?).remove(DUE_SHARD),
        };
        let mut item = item_of(ATTEMPTS, attempt)?;
        item.insert("delivery".to_owned(), text(attempts_key(attempt.call_id, attempt.channel)));
        let parts = vec![
            TransactWriteItem::builder()
                .update(change.part(WHAT, &self.table, delivery_key(attempt.call_id, attempt.channel))?)
                .build(),
            TransactWriteItem::builder().put(put_part(ATTEMPTS, &self.attempts, item, &Condition::default())?).build(),
        ];
        match self.client.transact_write_items().set_transact_items(Some(parts)).send().await {
            Ok(_) => Ok(Owned::Written),
            Err(SdkError::ServiceError(service)) if service.err().is_transaction_canceled_exception() => {
                canceled(service.into_err())
            }
            Err(error) => Err(store_error(WHAT, error)),
        }
    }

    async fn put_off(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Owned, StoreError> {
        // A worker that held it and comes back now has lost its try.
        let change = Change::when(due_with(tries, now)?).set("due_at", moment(until)).remove(RUNNING);
        self.change(call, channel, change).await
    }

    async fn bury(
        &self,
        call: CallId,
        channel: Channel,
        tries: u32,
        now: Timestamp,
        why: DeadWhy,
    ) -> Result<Owned, StoreError> {
        let change = Change::when(due_with(tries, now)?)
            .set("state", value_of(WHAT, &DeliveryState::Dead)?)
            .set("why", value_of(WHAT, &why)?)
            .remove(RUNNING)
            .remove(DUE_SHARD);
        self.change(call, channel, change).await
    }

    async fn resend(&self, seen: &DeliveryRow, now: Timestamp) -> Result<Owned, StoreError> {
        let condition = Condition::when("#state = :seen_state AND #tries = :seen_tries")
            .and("#state <> :pending OR attribute_not_exists(#running) OR #due_at <= :now")
            .value(":seen_state", value_of(WHAT, &seen.state)?)
            .value(":seen_tries", number(seen.tries))
            .value(":pending", value_of(WHAT, &DeliveryState::Pending)?)
            .value(":now", moment(now));
        let change = Change::when(condition)
            .set("state", value_of(WHAT, &DeliveryState::Pending)?)
            .set("tries_before", number(seen.tries))
            .set("due_at", moment(now))
            .set("resent_at", moment(now))
            .set(DUE_SHARD, text(due_shard(seen.call_id.shard(self.shards))))
            .remove(RUNNING)
            .remove("why");
        self.change(seen.call_id, seen.channel, change).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<(CallId, Channel)>, StoreError> {
        let shards = try_join_all((0..self.shards).map(|shard| self.due_in(shard, now, limit))).await?;
        let mut due: Vec<(i64, CallId, Channel)> = shards.into_iter().flatten().collect();
        due.sort();
        due.truncate(limit as usize);
        Ok(due.into_iter().map(|(_, call, channel)| (call, channel)).collect())
    }

    async fn attempts(&self, call: CallId, channel: Channel) -> Result<Vec<AttemptRow>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.attempts)
            .consistent_read(true)
            .key_condition_expression("#delivery = :delivery")
            .expression_attribute_names("#delivery", "delivery")
            .expression_attribute_values(":delivery", text(attempts_key(call, channel)));
        let mut pages = query.into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(item) = pages.next().await {
            rows.push(row_of(ATTEMPTS, item.map_err(|e| store_error(ATTEMPTS, e))?)?);
        }
        Ok(rows)
    }
}

fn canceled(error: TransactWriteItemsError) -> Result<Owned, StoreError> {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else {
        return Err(refused(WHAT, "a cancellation that is none"));
    };
    let codes: Vec<&str> = canceled
        .cancellation_reasons()
        .iter()
        .filter_map(|reason| reason.code())
        .filter(|code| *code != "None")
        .collect();
    if codes.contains(&"ConditionalCheckFailed") {
        return Ok(Owned::Lost);
    }
    // Another worker is at the row this very moment: who won is seen on asking again.
    Err(if codes.contains(&"ValidationError") {
        refused(WHAT, codes.join(", "))
    } else {
        unavailable(WHAT, codes.join(", "))
    })
}
