//! API keys as the door looks them up. It must never remember a key that did not hold, and never believe one for longer
//! than the API's authorizer does.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::api_key::{ApiKey, ApiKeyRow, Caller, KeyHash};
use domain::ports::{ApiKeys, Clock, StoreError};
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A revoked key opens for this long at most.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// Keys that are remembered; the one that was used longest ago is forgotten first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// Look-ups at once, and how long one may wait for its turn and its answer: a crowd with wrong keys must not take the
/// tables from the calls.
const LOOKUPS: usize = 32;
const LOOKUP: Duration = Duration::from_secs(3);
/// `last_used_at` is at most this fine.
const TOUCH_EVERY: Duration = Duration::from_secs(3600);

#[derive(derive_more::Debug)]
pub(super) struct Keys {
    #[debug(skip)]
    api_keys: Arc<dyn ApiKeys>,
    #[debug(skip)]
    clock: Arc<dyn Clock>,
    known: Mutex<LruCache<KeyHash, Known>>,
    lookups: Semaphore,
}

#[derive(Debug, Clone)]
struct Known {
    row: ApiKeyRow,
    read_at: Instant,
}

impl Keys {
    pub(super) fn new(api_keys: Arc<dyn ApiKeys>, clock: Arc<dyn Clock>) -> Self {
        Self { api_keys, clock, known: Mutex::new(LruCache::new(REMEMBERED)), lookups: Semaphore::new(LOOKUPS) }
    }

    /// Whose key it is; `None` when it is unknown, revoked or expired.
    ///
    /// # Errors
    /// The table does not answer.
    pub(super) async fn caller(&self, key: &ApiKey) -> Result<Option<Caller>, StoreError> {
        let hash = key.hash();
        let row = match self.fresh(&hash) {
            Some(row) => Some(row),
            None => {
                let looked_up = tokio::time::timeout(LOOKUP, self.look_up(&hash)).await;
                looked_up.unwrap_or_else(|_| Err(too_slow()))?
            }
        };
        Ok(row.and_then(|row| row.caller(self.clock.now())))
    }

    async fn look_up(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError> {
        let _turn = self.lookups.acquire().await.map_err(|_| too_slow())?;
        // Of a crowd with one key, the first ones have asked for all by now.
        if let Some(row) = self.fresh(hash) {
            return Ok(Some(row));
        }
        let row = self.api_keys.get(hash).await?;
        if let Some(row) = row.as_ref().filter(|row| row.usable(self.clock.now())) {
            let known = Known { row: row.clone(), read_at: Instant::now() };
            self.known.lock().unwrap_or_else(PoisonError::into_inner).put(hash.clone(), known);
            self.note_use(row).await;
        }
        Ok(row)
    }

    fn fresh(&self, hash: &KeyHash) -> Option<ApiKeyRow> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|known| known.read_at.elapsed() < BELIEVED_FOR).map(|known| known.row.clone())
    }

    async fn note_use(&self, row: &ApiKeyRow) {
        let now = self.clock.now();
        let not_since = now - TOUCH_EVERY;
        if row.last_used_at.is_none_or(|last| last < not_since)
            && let Err(cause) = self.api_keys.touch(&row.key_hash, now, not_since).await
        {
            // The key is good all the same: only a display field stays behind.
            tracing::warn!(error = %cause, key.id = %row.key_id, "last use of a key not noted");
        }
    }
}

fn too_slow() -> StoreError {
    StoreError::Unavailable { what: "ApiKeys", cause: "the look-up took too long".to_owned() }
}
