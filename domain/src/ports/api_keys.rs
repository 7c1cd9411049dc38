//! The keys of those who ask. It must never be given the text of a key, only its hash, nor let the last admin key go.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::api_key::{ApiKeyRow, KeyHash};

#[async_trait]
pub trait ApiKeys: Send + Sync {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError>;
    /// Stores a new key; `false` when its hash exists already.
    async fn create(&self, row: &ApiKeyRow) -> Result<bool, StoreError>;
    /// Notes a use, at most hourly: nothing happens when the stored time is younger than `not_since`.
    async fn touch(&self, hash: &KeyHash, at: Timestamp, not_since: Timestamp) -> Result<(), StoreError>;
    /// Changes name, role, bots, `active`, `expires_at` and version to those of `row`, if the stored version is
    /// `replaces` and, in the same moment, the key `by` is an active admin key: of two admins who take the role from
    /// each other, one is left.
    async fn replace(&self, row: &ApiKeyRow, replaces: u64, by: &KeyHash) -> Result<KeyChange, StoreError>;
    /// Deletes the key under the same two conditions.
    async fn delete(&self, hash: &KeyHash, version: u64, by: &KeyHash) -> Result<KeyChange, StoreError>;
    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError>;
}

/// What a change of a key found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    Done,
    /// The stored version is not the expected one, or the key is gone.
    Conflict,
    /// Whoever asks is no admin any more.
    NotAdmin,
}
