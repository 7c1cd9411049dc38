//! What admins put: bots and trunks, with their versions. It must never replace a version that was not read.

use async_trait::async_trait;

use super::{Deletion, Put, StoreError};
use crate::bot::Bot;
use crate::ids::{BotId, TrunkId};
use crate::trunk::Trunk;

#[async_trait]
pub trait Bots: Send + Sync {
    /// The current version; `None` if there is none or it was deleted.
    async fn get(&self, id: &BotId) -> Result<Option<Bot>, StoreError>;
    /// One past or present version, as it was.
    async fn version(&self, id: &BotId, version: u64) -> Result<Option<Bot>, StoreError>;
    /// Versions that there ever were, newest first: at most `limit`, all of them below `before` if that is given.
    async fn versions(&self, id: &BotId, before: Option<u64>, limit: u32) -> Result<Vec<Bot>, StoreError>;
    /// Stores `bot` (its `version` already set) if the stored version is `replaces` (`None`: if there is none);
    /// claims its `numbers` and frees those it no longer has, in the same transaction.
    async fn put(&self, bot: &Bot, replaces: Option<u64>) -> Result<Put, StoreError>;
    /// Deletes the bot, if given only at this version; its versions stay for the calls that run on them.
    async fn delete(&self, id: &BotId, version: Option<u64>) -> Result<Deletion, StoreError>;
    async fn list(&self) -> Result<Vec<Bot>, StoreError>;
    /// The bot that a DID (E.164) belongs to.
    async fn by_number(&self, number: &str) -> Result<Option<BotId>, StoreError>;
}

#[async_trait]
pub trait Trunks: Send + Sync {
    async fn get(&self, id: &TrunkId) -> Result<Option<Trunk>, StoreError>;
    /// As [`Bots::put`]; never [`Put::NumberTaken`].
    async fn put(&self, trunk: &Trunk, replaces: Option<u64>) -> Result<Put, StoreError>;
    /// Deletes the trunk, if given only at this version.
    async fn delete(&self, id: &TrunkId, version: Option<u64>) -> Result<Deletion, StoreError>;
    async fn list(&self) -> Result<Vec<Trunk>, StoreError>;
}
