//! What deleting asks of `Calls`, `Deliveries` and `Attempts`, and `Retention`: how far it has come.
//! It must never delete a row of a call that is not over.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::call::{CallState, Direction, ERASED, bot_day};
use domain::delivery::Channel;
use domain::ids::{BotId, CallId};
use domain::ports::{Housekeeping, NumberPage, Owned, StoreError};
use domain::retention::{Kind, Place, Progress};
use jiff::Timestamp;
use jiff::civil::Date;

use super::deliveries::{attempts_key, delivery_key};
use super::item::{DOC, Item, doc_of, document, moment, number, number_in, text, text_in, value_of};
use super::write::{Change, Condition, key, put};
use crate::errors::{corrupt, store_error};
use crate::schema::{BY_BOT_DAY, Names, Table};

const WHAT: &str = "Retention";
const CALLS: &str = "Calls";
const DELIVERIES: &str = "Deliveries";
const ATTEMPTS: &str = "Attempts";
/// Under which kind a bot is noted that nothing is kept of yet.
const NOTED: &str = "noted";
const SINCE: &str = "since";
const REVISION: &str = "revision";

#[derive(Debug, Clone)]
pub struct DynamoHousekeeping {
    client: Client,
    retention: String,
    calls: String,
    deliveries: String,
    attempts: String,
    shards: u16,
}

impl DynamoHousekeeping {
    pub fn new(client: Client, names: &Names) -> Self {
        Self {
            client,
            retention: names.table(Table::Retention),
            calls: names.table(Table::Calls),
            deliveries: names.table(Table::Deliveries),
            attempts: names.table(Table::Attempts),
            shards: names.shards.calls,
        }
    }

    /// Numbers of the attempts of a delivery, and whether each still has an answer.
    async fn attempt_numbers(&self, call: CallId, channel: Channel) -> Result<Vec<(u32, bool)>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.attempts)
            .consistent_read(true)
            .key_condition_expression("#delivery = :delivery")
            .projection_expression("#n, #answer")
            .expression_attribute_names("#delivery", "delivery")
            .expression_attribute_names("#n", "n")
            .expression_attribute_names("#answer", "answer")
            .expression_attribute_values(":delivery", text(attempts_key(call, channel)));
        let mut pages = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|e| store_error(ATTEMPTS, e))?;
            let answered = matches!(item.get("answer"), Some(AttributeValue::S(answer)) if !answer.is_empty());
            found.push((number_in(ATTEMPTS, &item, "n")?, answered));
        }
        Ok(found)
    }

    async fn change_call(&self, id: CallId, change: Change) -> Result<bool, StoreError> {
        Ok(change.send(&self.client, CALLS, &self.calls, call_key(id)).await?.held())
    }
}

fn call_key(id: CallId) -> Item {
    key("call_id", text(id.to_string()))
}

fn progress_key(bot: &BotId, kind: &str) -> Item {
    Item::from([("bot_id".to_owned(), text(bot.as_str())), ("kind".to_owned(), text(kind))])
}

fn attempt_key(call: CallId, channel: Channel, n: u32) -> Item {
    Item::from([("delivery".to_owned(), text(attempts_key(call, channel))), ("n".to_owned(), number(n))])
}

fn id_in(item: &Item) -> Result<CallId, StoreError> {
    CallId::parse(text_in(CALLS, item, "call_id")?).map_err(|e| corrupt(CALLS, e))
}

fn ended() -> Condition {
    Condition::when("#state = :ended").value(":ended", text(CallState::Ended.as_str()))
}

fn words(kinds: &BTreeSet<Kind>) -> AttributeValue {
    AttributeValue::Ss(kinds.iter().map(|kind| kind.as_str().to_owned()).collect())
}

#[async_trait]
impl Housekeeping for DynamoHousekeeping {
    fn day_shards(&self) -> u16 {
        self.shards
    }

    async fn note_bot(&self, bot: &BotId, since: Date) -> Result<(), StoreError> {
        let unknown = Condition::when("attribute_not_exists(#bot_id)");
        let mut item = progress_key(bot, NOTED);
        item.insert(SINCE.to_owned(), text(since.to_string()));
        put(&self.client, WHAT, &self.retention, item, unknown).await.map(|_| ())
    }

    async fn noted_bots(&self) -> Result<Vec<(BotId, Date)>, StoreError> {
        let mut pages = self.client.scan().table_name(&self.retention).into_paginator().items().send();
        let mut bots = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|e| store_error(WHAT, e))?;
            if text_in(WHAT, &item, "kind")? == NOTED {
                let bot = BotId::parse(text_in(WHAT, &item, "bot_id")?).map_err(|e| corrupt(WHAT, e))?;
                bots.push((bot, text_in(WHAT, &item, SINCE)?.parse().map_err(|e| corrupt(WHAT, e))?));
            }
        }
        bots.sort();
        Ok(bots)
    }

    async fn progress(&self, bot: &BotId, kind: Kind) -> Result<Option<Progress>, StoreError> {
        let get = self.client.get_item().table_name(&self.retention).consistent_read(true);
        let found =
            get.set_key(Some(progress_key(bot, kind.as_str()))).send().await.map_err(|e| store_error(WHAT, e))?;
        found.item.map(|item| document(WHAT, &item)).transpose()
    }

    async fn keep_progress(&self, bot: &BotId, kind: Kind, progress: &Progress) -> Result<Owned, StoreError> {
        let next = Progress { revision: progress.revision + 1, ..progress.clone() };
        let mut item = progress_key(bot, kind.as_str());
        item.insert(DOC.to_owned(), doc_of(WHAT, &next)?);
        item.insert(REVISION.to_owned(), number(next.revision));
        let unchanged = match progress.revision {
            0 => Condition::when("attribute_not_exists(#bot_id)"),
            read => Condition::when("#revision = :read").value(":read", number(read)),
        };
        let held = put(&self.client, WHAT, &self.retention, item, unchanged).await?.held();
        Ok(if held { Owned::Written } else { Owned::Lost })
    }

    async fn calls_of_day(
        &self,
        bot: &BotId,
        day: Date,
        shard: u16,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<Place>, StoreError> {
        let hash = text(bot_day(bot, day, shard));
        let start = after.map(|place| {
            HashMap::from([
                ("bot_day".to_owned(), hash.clone()),
                ("started_at".to_owned(), moment(place.started_at)),
                ("call_id".to_owned(), text(place.call_id.to_string())),
            ])
        });
        let query = self
            .client
            .query()
            .table_name(&self.calls)
            .index_name(BY_BOT_DAY)
            .key_condition_expression("#bot_day = :bot_day")
            .expression_attribute_names("#bot_day", "bot_day")
            .expression_attribute_values(":bot_day", hash)
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|e| store_error(CALLS, e))?;
        let place = |item: &Item| {
            let ms = number_in(CALLS, item, "started_at")?;
            let started_at = Timestamp::from_millisecond(ms).map_err(|e| corrupt(CALLS, e))?;
            Ok(Place { started_at, call_id: id_in(item)? })
        };
        page.items.unwrap_or_default().iter().map(place).collect()
    }

    /// A set that grows: two that mark at once don't undo each other.
    async fn mark_expired(&self, call: CallId, kinds: &BTreeSet<Kind>) -> Result<(), StoreError> {
        if kinds.is_empty() {
            return Ok(());
        }
        let with_it = kinds.contains(&Kind::Variables) || kinds.contains(&Kind::Call);
        let update = self
            .client
            .update_item()
            .table_name(&self.calls)
            .set_key(Some(call_key(call)))
            .update_expression(if with_it { "ADD #expired :kinds REMOVE #brought" } else { "ADD #expired :kinds" })
            .set_expression_attribute_names(with_it.then(|| HashMap::from([("#brought".into(), "brought".into())])))
            .condition_expression("#state = :ended")
            .expression_attribute_names("#expired", "expired")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":kinds", words(kinds))
            .expression_attribute_values(":ended", text(CallState::Ended.as_str()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Err(crate::errors::refused(CALLS, format!("{call} is no ended call")))
            }
            Err(error) => Err(store_error(CALLS, error)),
        }
    }

    async fn blank_answers(&self, call: CallId, channel: Channel) -> Result<(), StoreError> {
        for (n, answered) in self.attempt_numbers(call, channel).await? {
            if answered {
                let change = Change::when(Condition::when("attribute_exists(#n)")).set("answer", text(""));
                change.send(&self.client, ATTEMPTS, &self.attempts, attempt_key(call, channel, n)).await?;
            }
        }
        Ok(())
    }

    async fn forget_delivery(&self, call: CallId, channel: Channel) -> Result<(), StoreError> {
        for (n, _) in self.attempt_numbers(call, channel).await? {
            let delete = self.client.delete_item().table_name(&self.attempts);
            let delete = delete.set_key(Some(attempt_key(call, channel, n)));
            delete.send().await.map_err(|e| store_error(ATTEMPTS, e))?;
        }
        let delete = self.client.delete_item().table_name(&self.deliveries);
        let delete = delete.set_key(Some(delivery_key(call, channel)));
        delete.send().await.map(|_| ()).map_err(|e| store_error(DELIVERIES, e))
    }

    async fn forget_call(&self, call: CallId) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.calls)
            .set_key(Some(call_key(call)))
            .condition_expression(
                "attribute_not_exists(#call_id) OR (#state = :ended AND attribute_not_exists(#next_step))",
            )
            .expression_attribute_names("#call_id", "call_id")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#next_step", "next_step")
            .expression_attribute_values(":ended", text(CallState::Ended.as_str()));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Err(crate::errors::refused(CALLS, format!("{call} is not over")))
            }
            Err(error) => Err(store_error(CALLS, error)),
        }
    }

    async fn with_number(
        &self,
        spellings: &[String],
        after: Option<CallId>,
        limit: u32,
    ) -> Result<NumberPage, StoreError> {
        let values: Vec<(String, AttributeValue)> =
            spellings.iter().enumerate().map(|(index, spelling)| (format!(":n{index}"), text(spelling))).collect();
        let list = values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let scan = self
            .client
            .scan()
            .table_name(&self.calls)
            .consistent_read(true)
            .filter_expression(format!("#to IN ({list}) OR #from IN ({list})"))
            .projection_expression("#call_id")
            .expression_attribute_names("#call_id", "call_id")
            .expression_attribute_names("#to", "to_number")
            .expression_attribute_names("#from", "from_number")
            .set_expression_attribute_values(Some(values.into_iter().collect()))
            .set_exclusive_start_key(after.map(call_key))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = scan.send().await.map_err(|e| store_error(CALLS, e))?;
        let calls = page.items.unwrap_or_default().iter().map(id_in).collect::<Result<_, _>>()?;
        let next = page.last_evaluated_key.as_ref().map(id_in).transpose()?;
        Ok(NumberPage { calls, looked_at: u64::try_from(page.scanned_count).unwrap_or_default(), next })
    }

    async fn anonymise(&self, call: CallId, at: Timestamp) -> Result<Owned, StoreError> {
        for (direction, attribute) in [(Direction::Outbound, "to_number"), (Direction::Inbound, "from_number")] {
            let condition = ended()
                .and("attribute_not_exists(#next_step) AND #direction = :direction")
                .value(":direction", value_of(CALLS, &direction)?);
            let change = Change::when(condition)
                .set(attribute, text(ERASED))
                .set("recording_token", text(""))
                .set("erased_at", moment(at))
                .remove("disposition")
                .remove("warnings");
            if self.change_call(call, change).await? {
                return Ok(Owned::Written);
            }
        }
        Ok(Owned::Lost)
    }
}
