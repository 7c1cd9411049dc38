//! What bots and trunks have in common: an id, a version, secrets, a table.
//! It must never know HTTP; `crud` does.

use async_trait::async_trait;
use domain::field_error::FieldError;
use domain::ports::{Deletion, Put, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Desk;

/// An entity that admins keep.
#[async_trait]
pub(super) trait Entity: Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// For refusals: "no such bot".
    const NOUN: &'static str;
    /// The member that holds its id.
    const ID: &'static str;
    /// Pointers of its secrets, see [`domain::secret`].
    const SECRETS: &'static [&'static str];
    /// Members that get a signing `secret` minted when they come without one.
    const SIGNING: &'static [&'static str];

    /// The name its secrets are sealed under.
    fn sealed_under(id: &str) -> String;
    fn id(&self) -> &str;
    fn version(&self) -> u64;
    fn set_version(&mut self, version: u64);
    /// Fills what the admin left out and another member implies.
    fn complete(incoming: &mut Value);
    /// All that is wrong with it.
    fn faults(&self, desk: &Desk) -> Vec<FieldError>;
    /// What is allowed and probably not meant.
    fn warnings(&self) -> Vec<String>;

    async fn get(desk: &Desk, id: &str) -> Result<Option<Self>, StoreError>;
    /// The highest version there ever was under `id`, deleted ones too; 0 if none.
    async fn last_version(desk: &Desk, id: &str) -> Result<u64, StoreError>;
    async fn put(&self, desk: &Desk, replaces: Option<u64>) -> Result<Put, StoreError>;
    /// Deletes it, if given only at this version.
    async fn delete(desk: &Desk, id: &str, version: Option<u64>) -> Result<Deletion, StoreError>;
    async fn list(desk: &Desk) -> Result<Vec<Self>, StoreError>;
}
