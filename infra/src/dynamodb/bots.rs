//! `Bots`, their versions, and the numbers they own, changed in one transaction.
//! It must never let a number belong to two bots, and never drop a version that a call may still run on.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use domain::bot::Bot;
use domain::ids::BotId;
use domain::ports::{Bots, Deletion, Put, StoreError};

use super::item::{DOC, Item, doc_of, document, number, text, text_in};
use super::transact::{Transacted, transact};
use super::write::{Condition, put_part};
use crate::errors::{corrupt, refused, store_error, unavailable};
use crate::schema::{Names, Table};

const WHAT: &str = "Bots";
/// A transaction has 100 parts, of which the bot and its version take two. Deleting a bot must fit, too.
const MAX_NUMBER_CHANGES: usize = 98;
/// Two writers of one row cancel each other's transactions; one of them comes through in the end.
const TRIES: usize = 4;

#[derive(Debug, Clone)]
pub struct DynamoBots {
    client: Client,
    bots: String,
    versions: String,
    numbers: String,
}

impl DynamoBots {
    pub fn new(client: Client, names: &Names) -> Self {
        Self {
            client,
            bots: names.table(Table::Bots),
            versions: names.table(Table::BotVersions),
            numbers: names.table(Table::Numbers),
        }
    }

    async fn find(&self, table: &str, key: Item) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        Ok(request.send().await.map_err(|e| store_error(WHAT, e))?.item)
    }

    /// Everything that storing `bot` in place of `old` changes; the first two parts are the bot and its version.
    fn replacement(
        &self,
        bot: &Bot,
        old: Option<&Bot>,
        replaces: Option<u64>,
    ) -> Result<(Vec<TransactWriteItem>, Vec<String>), StoreError> {
        let item = Item::from([
            ("bot_id".to_owned(), text(bot.bot_id.as_str())),
            ("version".to_owned(), number(bot.version)),
            (DOC.to_owned(), doc_of(WHAT, bot)?),
        ]);
        let unchanged = match replaces {
            None => Condition::when("attribute_not_exists(#bot_id)"),
            Some(version) => Condition::when("#version = :replaces").value(":replaces", number(version)),
        };
        let mut parts = vec![
            TransactWriteItem::builder().put(put_part(WHAT, &self.bots, item.clone(), &unchanged)?).build(),
            TransactWriteItem::builder().put(put_part(WHAT, &self.versions, item, &Condition::default())?).build(),
        ];
        let before: BTreeSet<&String> = old.map(|old| old.numbers.iter().collect()).unwrap_or_default();
        let after: BTreeSet<&String> = bot.numbers.iter().collect();
        let claimed: Vec<String> = after.difference(&before).map(|number| (*number).clone()).collect();
        for number in &claimed {
            parts.push(self.claim(number, &bot.bot_id)?);
        }
        for number in before.difference(&after) {
            parts.push(self.release(number, &bot.bot_id)?);
        }
        if parts.len() - 2 > MAX_NUMBER_CHANGES || after.len() > MAX_NUMBER_CHANGES {
            return Err(refused(
                WHAT,
                format!("a bot has at most {MAX_NUMBER_CHANGES} numbers, and changes at most as many at once"),
            ));
        }
        Ok((parts, claimed))
    }

    fn claim(&self, number: &str, bot: &BotId) -> Result<TransactWriteItem, StoreError> {
        let item = Item::from([("number".to_owned(), text(number)), ("bot_id".to_owned(), text(bot.as_str()))]);
        let free =
            Condition::when("attribute_not_exists(#number) OR #bot_id = :bot_id").value(":bot_id", text(bot.as_str()));
        Ok(TransactWriteItem::builder().put(put_part(WHAT, &self.numbers, item, &free)?).build())
    }

    fn release(&self, number: &str, bot: &BotId) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.numbers)
            .key("number", text(number))
            .condition_expression("attribute_not_exists(bot_id) OR bot_id = :bot_id")
            .expression_attribute_values(":bot_id", text(bot.as_str()));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(|e| refused(WHAT, e))?).build())
    }

    async fn owner_of(&self, number: &str) -> Result<Option<BotId>, StoreError> {
        let Some(item) = self.find(&self.numbers, Item::from([("number".to_owned(), text(number))])).await? else {
            return Ok(None);
        };
        BotId::parse(text_in(WHAT, &item, "bot_id")?).map(Some).map_err(|e| corrupt(WHAT, e))
    }
}

#[async_trait]
impl Bots for DynamoBots {
    async fn get(&self, id: &BotId) -> Result<Option<Bot>, StoreError> {
        let found = self.find(&self.bots, Item::from([("bot_id".to_owned(), text(id.as_str()))])).await?;
        found.map(|item| document(WHAT, &item)).transpose()
    }

    async fn version(&self, id: &BotId, version: u64) -> Result<Option<Bot>, StoreError> {
        let key = Item::from([("bot_id".to_owned(), text(id.as_str())), ("version".to_owned(), number(version))]);
        self.find(&self.versions, key).await?.map(|item| document(WHAT, &item)).transpose()
    }

    async fn versions(&self, id: &BotId, before: Option<u64>, limit: u32) -> Result<Vec<Bot>, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.versions)
            .key_condition_expression("bot_id = :bot_id")
            .expression_attribute_values(":bot_id", text(id.as_str()))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        if let Some(before) = before {
            query = query
                .key_condition_expression("bot_id = :bot_id AND #version < :before")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":before", number(before));
        }
        let mut pages = query.into_paginator().items().send();
        let mut bots = Vec::new();
        while bots.len() < limit as usize
            && let Some(item) = pages.next().await
        {
            bots.push(document(WHAT, &item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(bots)
    }

    /// A bot made anew under a deleted one's id should go on counting its versions: an equal version is overwritten.
    async fn put(&self, bot: &Bot, replaces: Option<u64>) -> Result<Put, StoreError> {
        for _ in 0..TRIES {
            let old = self.get(&bot.bot_id).await?;
            if old.as_ref().map(|old| old.version) != replaces {
                return Ok(Put::Conflict);
            }
            let (parts, claimed) = self.replacement(bot, old.as_ref(), replaces)?;
            match transact(&self.client, WHAT, parts).await? {
                Transacted::Done => return Ok(Put::Stored),
                Transacted::Contended => {}
                Transacted::Failed(index @ 2..) if index - 2 < claimed.len() => {
                    let number = claimed[index - 2].clone();
                    // Freed since: then it can be had now.
                    if let Some(by) = self.owner_of(&number).await? {
                        return Ok(Put::NumberTaken { number, by });
                    }
                }
                Transacted::Failed(_) => return Ok(Put::Conflict),
            }
        }
        Err(unavailable(WHAT, "too many writers at once"))
    }

    async fn delete(&self, id: &BotId, version: Option<u64>) -> Result<Deletion, StoreError> {
        for _ in 0..TRIES {
            let Some(old) = self.get(id).await? else {
                return Ok(Deletion::Missing);
            };
            if version.is_some_and(|version| version != old.version) {
                return Ok(Deletion::Conflict);
            }
            let bot = Item::from([("bot_id".to_owned(), text(id.as_str()))]);
            let unchanged = Condition::when("#version = :version").value(":version", number(old.version));
            let delete = unchanged.delete_part(WHAT, &self.bots, bot)?;
            let mut parts = vec![TransactWriteItem::builder().delete(delete).build()];
            for number in old.numbers.iter().collect::<BTreeSet<_>>() {
                parts.push(self.release(number, id)?);
            }
            if transact(&self.client, WHAT, parts).await? == Transacted::Done {
                return Ok(Deletion::Deleted);
            }
        }
        Err(unavailable(WHAT, "too many writers at once"))
    }

    async fn list(&self) -> Result<Vec<Bot>, StoreError> {
        let mut pages = self.client.scan().table_name(&self.bots).consistent_read(true).into_paginator().items().send();
        let mut bots = Vec::new();
        while let Some(item) = pages.next().await {
            bots.push(document(WHAT, &item.map_err(|e| store_error(WHAT, e))?)?);
        }
        Ok(bots)
    }

    async fn by_number(&self, number: &str) -> Result<Option<BotId>, StoreError> {
        self.owner_of(number).await
    }
}
