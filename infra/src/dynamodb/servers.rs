//! `Servers` (last heartbeats) and `Epochs`.
//! It must never let an epoch fall or repeat, and never let an older incarnation write over a newer one.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use domain::fleet::{FleetSummary, ServerRow};
use domain::ids::{Epoch, Owner, ServerId};
use domain::ports::{Owned, Servers, StoreError};
use futures_util::future::try_join_all;

use super::item::{Item, item_of, moment, number, number_in, row_of, text};
use super::write::{Condition, Conditional, put};
use crate::errors::store_error;
use crate::schema::{Names, TTL, Table};

const WHAT: &str = "Servers";
/// A silent server's row is tidied away after this; `reap` has long ended its calls then.
const KEEP_SECONDS: i64 = 24 * 3600;
/// The summary's shard: none of the servers', of which there are at most 65536.
const SUMMARY_SHARD: u32 = 1 << 16;
const SUMMARY: &str = "fleet";

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

    fn key(&self, id: &ServerId) -> Item {
        Item::from([("shard".to_owned(), number(shard(id, self.shards))), ("server_id".to_owned(), text(id.as_str()))])
    }
}

fn summary_key() -> Item {
    Item::from([("shard".to_owned(), number(SUMMARY_SHARD)), ("server_id".to_owned(), text(SUMMARY))])
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

    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#shard = :shard")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":shard", number(shard));
        let mut pages = query.into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(item) = pages.next().await {
            rows.push(row_of(WHAT, item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(rows)
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

    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError> {
        let mut item = item_of(WHAT, summary)?;
        item.extend(summary_key());
        item.insert(TTL.to_owned(), number(summary.summed_at.as_second() + KEEP_SECONDS));
        let condition = Condition::when("attribute_not_exists(#server_id) OR #summed_at <= :at")
            .value(":at", moment(summary.summed_at));
        put(&self.client, WHAT, &self.table, item, condition).await.map(|_| ())
    }

    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(summary_key())).consistent_read(true);
        let found = request.send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| row_of(WHAT, item)).transpose()
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
