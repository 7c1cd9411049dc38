//! Seals every stored secret under the deployment's newest key, so that an older one can be done without: bots as they
//! are, all their past versions (calls and deliveries still use them, also when the bot is gone), and trunks.
//! It must never write over what somebody else wrote meanwhile, and never touch a secret that does not open.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ports::{Seal, SealedCursor, SealedRow, SealedRows, StoreError};
use domain::secret::{Sealed, for_each_secret};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Rows that are read at once, and reads of one request: API Gateway waits for 29 s.
const PAGE: u32 = 50;
const PAGES: u32 = 20;
/// Rows written after which a request answers.
const ENOUGH: u64 = 100;

/// What it takes to seal everything anew.
#[derive(Clone, derive_more::Debug)]
#[debug("reseal::Desk")]
pub struct Desk {
    pub sealed_rows: Arc<dyn SealedRows>,
    pub seal: Arc<dyn Seal>,
}

/// What was found and done, of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tally {
    /// Bots, versions of bots, and trunks.
    pub looked_at: u64,
    /// Secrets now sealed under the newest key that were not before.
    pub resealed: u64,
    /// Rows that were replaced meanwhile: look again.
    pub changed: u64,
    /// Secrets that no known key opens. They were left alone.
    pub unopenable: u64,
    /// How many secrets each key seals, by its id, once this was done.
    pub sealed_with: BTreeMap<String, u64>,
}

/// Goes on from `from`; answers what it did and where to go on, `None` at the end.
///
/// # Errors
/// When a store does not answer; asked again from the same place, it does what is left.
pub async fn pass(desk: &Desk, dry_run: bool, from: SealedCursor) -> Result<(Tally, Option<SealedCursor>), StoreError> {
    let mut tally = Tally::default();
    let mut written = 0;
    let mut next = Some(from);
    for _ in 0..PAGES {
        let Some(from) = next else { break };
        let (rows, after) = desk.sealed_rows.page(&from, PAGE).await?;
        next = after;
        for row in rows {
            written += one(desk, &row, dry_run, &mut tally).await?;
        }
        if written >= ENOUGH {
            break;
        }
    }
    Ok((tally, next))
}

/// Answers how many rows it wrote.
async fn one(desk: &Desk, row: &SealedRow, dry_run: bool, tally: &mut Tally) -> Result<u64, StoreError> {
    tally.looked_at += 1;
    let mut found = read(desk, row)?;
    let old = std::mem::take(&mut found.old);
    let fresh: u64 = old.values().sum();
    tally.unopenable += found.unopenable;
    let writes = !dry_run && fresh > 0;
    let written = writes && desk.sealed_rows.reseal(row, &found.document).await?;
    if written {
        tally.resealed += fresh;
        *found.kept.entry(found.newest).or_default() += fresh;
        metrics::counter!("ringfleet_secrets_resealed_total").increment(fresh);
    } else {
        tally.changed += u64::from(writes);
        for (key, count) in old {
            *found.kept.entry(key).or_default() += count;
        }
    }
    for (key, count) in found.kept {
        *tally.sealed_with.entry(key).or_default() += count;
    }
    Ok(u64::from(written))
}

/// What the secrets of one row are sealed with, and the row with all of them sealed anew.
struct Found {
    newest: String,
    document: String,
    /// Secrets by their key: of the newest key and those that don't open, which stay; and those that were sealed anew.
    kept: BTreeMap<String, u64>,
    old: BTreeMap<String, u64>,
    unopenable: u64,
}

fn read(desk: &Desk, row: &SealedRow) -> Result<Found, StoreError> {
    let seal = &desk.seal;
    let newest = seal.keys().into_iter().next().unwrap_or_default();
    // The parser's words may quote what it read.
    let unreadable = |_| StoreError::Corrupt { what: "sealed rows", cause: format!("{:?} is no JSON", row.place) };
    let mut document: Value = serde_json::from_str(&row.document).map_err(unreadable)?;
    let (entity, mut kept, mut old, mut unopenable) = (row.place.entity(), BTreeMap::new(), BTreeMap::new(), 0);
    for_each_secret(&mut document, row.place.pointers(), &mut |_, place| {
        let Some(sealed) = place.as_str().map(|text| Sealed(text.to_owned())) else { return };
        let key = seal.key_of(&sealed).unwrap_or_default();
        if key == newest {
            *kept.entry(key).or_default() += 1;
            return;
        }
        match seal.open(&entity, &sealed) {
            Ok(secret) => {
                *place = Value::String(seal.seal(&entity, &secret).0);
                *old.entry(key).or_default() += 1;
            }
            Err(error) => {
                tracing::warn!(%error, key.id = key, "a stored secret can't be sealed anew");
                *kept.entry(key).or_default() += 1;
                unopenable += 1;
            }
        }
    });
    Ok(Found { newest, document: document.to_string(), kept, old, unopenable })
}

#[cfg(test)]
mod tests;
