//! Keys of clients that must place one call only. It must never judge an entry's age: readers do.

use async_trait::async_trait;

use super::{Owned, StoreError};
use crate::idempotency::{self, LetGo, ScopedKey};

/// What a claim of an idempotency key found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    Claimed,
    Exists(idempotency::Entry),
}

/// Keys of clients that must place one call only. An entry past `expires_at` may still be answered: readers judge.
#[async_trait]
pub trait Idempotency: Send + Sync {
    /// Strongly consistent.
    async fn get(&self, key: &ScopedKey) -> Result<Option<idempotency::Entry>, StoreError>;
    /// Puts `entry` if nothing lies under its key, or what lies there has the holder and the progress of `over`.
    async fn claim(
        &self,
        entry: &idempotency::Entry,
        over: Option<&idempotency::Entry>,
    ) -> Result<KeyClaim, StoreError>;
    /// Lets go of an entry in flight, if it still is its holder's; an entry that is gone needs no release.
    async fn let_go(&self, held: &idempotency::Entry, how: LetGo) -> Result<Owned, StoreError>;
}
