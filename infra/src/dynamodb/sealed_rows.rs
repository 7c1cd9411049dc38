//! `SealedRows` over `Bots`, `BotVersions` and `Trunks`, whose documents lie as text: what was read is the condition of
//! what is written. It must never change anything of a row but its document.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use domain::ids::{BotId, TrunkId};
use domain::ports::{SealedCursor, SealedPlace, SealedRow, SealedRows, StoreError};

use super::item::{DOC, Item, number, number_in, text, text_in};
use super::write::{Change, Condition, key};
use crate::errors::{corrupt, store_error};
use crate::schema::{Names, Table};

const WHAT: &str = "sealed rows";

#[derive(Debug, Clone)]
pub struct DynamoSealedRows {
    client: Client,
    bots: String,
    versions: String,
    trunks: String,
}

impl DynamoSealedRows {
    pub fn new(client: Client, names: &Names) -> Self {
        Self {
            client,
            bots: names.table(Table::Bots),
            versions: names.table(Table::BotVersions),
            trunks: names.table(Table::Trunks),
        }
    }

    fn table(&self, place: &SealedPlace) -> &str {
        match place {
            SealedPlace::Bot(_) => &self.bots,
            SealedPlace::Version(..) => &self.versions,
            SealedPlace::Trunk(_) => &self.trunks,
        }
    }
}

fn bot_key(id: &BotId) -> Item {
    key("bot_id", text(id.as_str()))
}

fn version_key(id: &BotId, version: u64) -> Item {
    Item::from([("bot_id".to_owned(), text(id.as_str())), ("version".to_owned(), number(version))])
}

fn trunk_key(id: &TrunkId) -> Item {
    key("trunk_id", text(id.as_str()))
}

fn bot_in(item: &Item) -> Result<BotId, StoreError> {
    BotId::parse(text_in(WHAT, item, "bot_id")?).map_err(|e| corrupt(WHAT, e))
}

fn trunk_in(item: &Item) -> Result<TrunkId, StoreError> {
    TrunkId::parse(text_in(WHAT, item, "trunk_id")?).map_err(|e| corrupt(WHAT, e))
}

fn place_in(walk: &SealedCursor, item: &Item) -> Result<SealedPlace, StoreError> {
    Ok(match walk {
        SealedCursor::Bots(_) => SealedPlace::Bot(bot_in(item)?),
        SealedCursor::Versions(_) => SealedPlace::Version(bot_in(item)?, number_in(WHAT, item, "version")?),
        SealedCursor::Trunks(_) => SealedPlace::Trunk(trunk_in(item)?),
    })
}

/// Where to go on in the same table, else at the start of the next.
fn after(walk: &SealedCursor, last: Option<&Item>) -> Result<Option<SealedCursor>, StoreError> {
    Ok(match (walk, last) {
        (SealedCursor::Bots(_), Some(last)) => Some(SealedCursor::Bots(Some(bot_in(last)?))),
        (SealedCursor::Bots(_), None) => Some(SealedCursor::Versions(None)),
        (SealedCursor::Versions(_), Some(last)) => {
            Some(SealedCursor::Versions(Some((bot_in(last)?, number_in(WHAT, last, "version")?))))
        }
        (SealedCursor::Versions(_), None) => Some(SealedCursor::Trunks(None)),
        (SealedCursor::Trunks(_), Some(last)) => Some(SealedCursor::Trunks(Some(trunk_in(last)?))),
        (SealedCursor::Trunks(_), None) => None,
    })
}

#[async_trait]
impl SealedRows for DynamoSealedRows {
    async fn page(
        &self,
        from: &SealedCursor,
        limit: u32,
    ) -> Result<(Vec<SealedRow>, Option<SealedCursor>), StoreError> {
        let (table, start) = match from {
            SealedCursor::Bots(id) => (&self.bots, id.as_ref().map(bot_key)),
            SealedCursor::Versions(id) => (&self.versions, id.as_ref().map(|(id, version)| version_key(id, *version))),
            SealedCursor::Trunks(id) => (&self.trunks, id.as_ref().map(trunk_key)),
        };
        let scan = self
            .client
            .scan()
            .table_name(table)
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = scan.send().await.map_err(|e| store_error(WHAT, e))?;
        let mut rows = Vec::new();
        for item in page.items.as_deref().unwrap_or_default() {
            rows.push(SealedRow { place: place_in(from, item)?, document: text_in(WHAT, item, DOC)?.to_owned() });
        }
        Ok((rows, after(from, page.last_evaluated_key.as_ref())?))
    }

    async fn reseal(&self, row: &SealedRow, document: &str) -> Result<bool, StoreError> {
        let key = match &row.place {
            SealedPlace::Bot(id) => bot_key(id),
            SealedPlace::Version(id, version) => version_key(id, *version),
            SealedPlace::Trunk(id) => trunk_key(id),
        };
        let unchanged = Condition::when("#doc = :was").value(":was", text(row.document.as_str()));
        let change = Change::when(unchanged).set(DOC, text(document));
        Ok(change.send(&self.client, WHAT, self.table(&row.place), key).await?.held())
    }
}
