//! Rows with sealed text, in memory: documents are text as they are in the tables.

use async_trait::async_trait;
use domain::ports::{SealedCursor, SealedPlace, SealedRow, SealedRows, StoreError};
use serde::Serialize;

use super::tables::{Rows, Tables};

fn text(entity: &impl Serialize) -> String {
    serde_json::to_string(entity).unwrap()
}

fn stored(rows: &Rows, place: &SealedPlace) -> Option<String> {
    match place {
        SealedPlace::Bot(id) => rows.bots.get(id).map(text),
        SealedPlace::Version(id, version) => rows.bot_versions.get(&(id.clone(), *version)).map(text),
        SealedPlace::Trunk(id) => rows.trunks.get(id).map(text),
    }
}

#[async_trait]
impl SealedRows for Tables {
    async fn page(
        &self,
        from: &SealedCursor,
        limit: u32,
    ) -> Result<(Vec<SealedRow>, Option<SealedCursor>), StoreError> {
        let rows = self.rows_for("sealed_page")?;
        let limit = limit as usize;
        let (places, next): (Vec<SealedPlace>, _) = match from {
            SealedCursor::Bots(after) => {
                let ids = rows.bots.keys().filter(|id| after.as_ref().is_none_or(|after| *id > after));
                let ids: Vec<_> = ids.take(limit).cloned().collect();
                let more = (ids.len() == limit).then(|| SealedCursor::Bots(ids.last().cloned()));
                (ids.into_iter().map(SealedPlace::Bot).collect(), Some(more.unwrap_or(SealedCursor::Versions(None))))
            }
            SealedCursor::Versions(after) => {
                let ids = rows.bot_versions.keys().filter(|id| after.as_ref().is_none_or(|after| *id > after));
                let ids: Vec<_> = ids.take(limit).cloned().collect();
                let more = (ids.len() == limit).then(|| SealedCursor::Versions(ids.last().cloned()));
                let places = ids.into_iter().map(|(id, version)| SealedPlace::Version(id, version)).collect();
                (places, Some(more.unwrap_or(SealedCursor::Trunks(None))))
            }
            SealedCursor::Trunks(after) => {
                let ids = rows.trunks.keys().filter(|id| after.as_ref().is_none_or(|after| *id > after));
                let ids: Vec<_> = ids.take(limit).cloned().collect();
                let more = (ids.len() == limit).then(|| SealedCursor::Trunks(ids.last().cloned()));
                (ids.into_iter().map(SealedPlace::Trunk).collect(), more)
            }
        };
        let found = places.into_iter().map(|place| SealedRow { document: stored(&rows, &place).unwrap(), place });
        Ok((found.collect(), next))
    }

    async fn reseal(&self, row: &SealedRow, document: &str) -> Result<bool, StoreError> {
        let mut rows = self.rows_for("reseal")?;
        if stored(&rows, &row.place).as_ref() != Some(&row.document) {
            return Ok(false);
        }
        match &row.place {
            SealedPlace::Bot(id) => {
                rows.bots.insert(id.clone(), serde_json::from_str(document).unwrap());
            }
            SealedPlace::Version(id, version) => {
                rows.bot_versions.insert((id.clone(), *version), serde_json::from_str(document).unwrap());
            }
            SealedPlace::Trunk(id) => {
                rows.trunks.insert(id.clone(), serde_json::from_str(document).unwrap());
            }
        }
        Ok(true)
    }
}
