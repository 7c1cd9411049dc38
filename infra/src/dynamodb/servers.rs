//! `Servers` (last heartbeats, and what they come to) and `Epochs`.
//! It must never let an epoch fall or repeat, and never let an older incarnation write over a newer one.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use domain::fleet::view::{FleetView, SHARDS_A_COPY, ShardSummary};
use domain::fleet::{FleetSummary, ServerRow};
use domain::ids::{Epoch, Owner, ServerId};
use domain::ports::{Owned, Servers, StoreError};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::item::{DOC, Item, doc_of, document, item_of, moment, number, number_in, row_of, text};
use super::write::{Condition, Conditional, put};
use crate::errors::store_error;
use crate::schema::{Names, TTL, Table};

const WHAT: &str = "Servers";
/// A silent server's row is tidied away after this; `reap` has long ended its calls then.
const KEEP_SECONDS: i64 = 24 * 3600;
/// The summary's shard: none of the servers', of which there are at most 65536.
const SUMMARY_SHARD: u32 = 1 << 16;
const SUMMARY: &str = "fleet";
/// Where the sums of shards lie, and the copies of the view: in several partitions each, beyond all of those.
const SUMS: u32 = 1 << 17;
const VIEWS: u32 = 1 << 18;
const VIEW: &str = "view";
/// So many shards have their sums in one partition: written each second, they stay far below what it takes.
const SUMS_A_PARTITION: u16 = 64;

#[derive(Debug, Clone)]
pub struct DynamoServers {
    client: Client,
    table: String,
    epochs: String,
    shards: u16,
}

impl DynamoServers {
    pub fn new(client: Client, names: &Names) -> Self {
        Self {
            client,
            table: names.table(Table::Servers),
            epochs: names.table(Table::Epochs),
            shards: names.shards.servers,
        }
    }

    /// Puts an item about many servers under `key`, unless a later one is there.
    async fn put_told(&self, key: Item, mut item: Item, at: Timestamp) -> Result<(), StoreError> {
        item.extend(key);
        item.insert("summed_at".to_owned(), moment(at));
        item.insert(TTL.to_owned(), number(at.as_second() + KEEP_SECONDS));
        let newest = Condition::when("attribute_not_exists(#server_id) OR #summed_at <= :at").value(":at", moment(at));
        put(&self.client, WHAT, &self.table, item, newest).await.map(|_| ())
    }

    async fn told(&self, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(consistent);
        Ok(request.send().await.map_err(|e| store_error(WHAT, e))?.item)
    }

    async fn partition(&self, shard: u32) -> Result<Vec<Item>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#shard = :shard")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":shard", number(shard));
        let mut pages = query.into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.map_err(|e| store_error(WHAT, e))?);
        }
        Ok(items)
    }

    fn key(&self, id: &ServerId) -> Item {
        Item::from([("shard".to_owned(), number(shard(id, self.shards))), ("server_id".to_owned(), text(id.as_str()))])
    }
}

fn place(shard: u32, name: impl Into<String>) -> Item {
    Item::from([("shard".to_owned(), number(shard)), ("server_id".to_owned(), text(name))])
}

fn summary_key() -> Item {
    place(SUMMARY_SHARD, SUMMARY)
}

fn sum_key(shard: u16) -> Item {
    place(SUMS + u32::from(shard / SUMS_A_PARTITION), format!("{shard:05}"))
}

fn view_key(copy: u16) -> Item {
    place(VIEWS + u32::from(copy), VIEW)
}

/// The shard of a server: FNV-1a of its id, which no release may change.
fn shard(id: &ServerId, shards: u16) -> u16 {
    let hash =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u16::try_from(hash % u32::from(shards.max(1))).expect("a remainder is below its divisor, a u16")
}

#[async_trait]
impl Servers for DynamoServers {
    async fn next_epoch(&self, id: &ServerId) -> Result<Epoch, StoreError> {
        // Counting twice when an answer is lost is harmless: it rises all the same.
        let request = self
            .client
            .update_item()
            .table_name(&self.epochs)
            .key("server_id", text(id.as_str()))
            .update_expression("ADD #epoch :one")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew);
        let counted = request.send().await.map_err(|e| store_error("Epochs", e))?;
        number_in("Epochs", &counted.attributes.unwrap_or_default(), "epoch").map(Epoch)
    }

    async fn heartbeat(&self, row: &ServerRow) -> Result<Owned, StoreError> {
        let mut item = item_of(WHAT, row)?;
        item.extend(self.key(&row.server_id));
        item.insert(TTL.to_owned(), number(row.heartbeat_at.as_second() + KEEP_SECONDS));
        // A heartbeat that was held up on the way must not hide a later one of the same incarnation.
        let newest =
            "attribute_not_exists(#server_id) OR #epoch < :epoch OR (#epoch = :epoch AND #heartbeat_at <= :at)";
        let condition =
            Condition::when(newest).value(":epoch", number(row.epoch.0)).value(":at", moment(row.heartbeat_at));
        Ok(match put(&self.client, WHAT, &self.table, item, condition).await? {
            Conditional::Held(_) => Owned::Written,
            Conditional::Failed(found) if number_in::<u64>(WHAT, &found, "epoch")? == row.epoch.0 => Owned::Written,
            Conditional::Failed(_) => Owned::Lost,
        })
    }

    async fn retire(&self, owner: &Owner) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(self.key(&owner.server_id)))
            .condition_expression("#epoch = :epoch")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_values(":epoch", number(owner.epoch.0));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(error) => Err(store_error(WHAT, error)),
        }
    }

    fn shards(&self) -> u16 {
        self.shards
    }

    fn shard_of(&self, id: &ServerId) -> u16 {
        shard(id, self.shards)
    }

    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError> {
        self.partition(u32::from(shard)).await?.into_iter().map(|item| row_of(WHAT, item)).collect()
    }

    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(self.key(id))).consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| row_of(WHAT, item)).transpose()
    }

    async fn all(&self) -> Result<Vec<ServerRow>, StoreError> {
        let shards = try_join_all((0..self.shards).map(|shard| self.of_shard(shard))).await?;
        Ok(shards.into_iter().flatten().collect())
    }

    async fn put_shard(&self, sum: &ShardSummary) -> Result<(), StoreError> {
        let item = Item::from([(DOC.to_owned(), doc_of(WHAT, sum)?)]);
        self.put_told(sum_key(sum.shard), item, sum.summed_at).await
    }

    async fn shard_sums(&self) -> Result<Vec<ShardSummary>, StoreError> {
        let partitions = (0..self.shards.div_ceil(SUMS_A_PARTITION)).map(|part| self.partition(SUMS + u32::from(part)));
        let items = try_join_all(partitions).await?;
        items.iter().flatten().map(|item| document(WHAT, item)).collect()
    }

    async fn put_view(&self, view: &FleetView) -> Result<(), StoreError> {
        let item = Item::from([(DOC.to_owned(), doc_of(WHAT, view)?)]);
        let copies = (0..self.shards.div_ceil(SHARDS_A_COPY))
            .map(|copy| self.put_told(view_key(copy), item.clone(), view.summed_at));
        try_join_all(copies).await.map(|_| ())
    }

    async fn view(&self, shard: u16) -> Result<Option<FleetView>, StoreError> {
        let found = self.told(view_key(shard / SHARDS_A_COPY), false).await?;
        found.map(|item| document(WHAT, &item)).transpose()
    }

    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError> {
        let item = Item::from([(DOC.to_owned(), doc_of(WHAT, summary)?)]);
        self.put_told(summary_key(), item, summary.summed_at).await
    }

    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError> {
        let found = self.told(summary_key(), true).await?;
        found.map(|item| document(WHAT, &item)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_shard_never_changes() {
        let check = |id: &str, shards: u16, expect: u16| {
            assert_eq!(shard(&ServerId::parse(id).unwrap(), shards), expect, "{id} of {shards}")
        };
        // FNV-1a 32: "a" = 0xe40c292c, "foobar" = 0xbf9cf968.
        check("a", u16::MAX, (0xe40c_292c_u32 % 65535) as u16);
        check("foobar", 16, 8);
        check("foobar", 1, 0);
        check("foobar", 0, 0);
    }
}
