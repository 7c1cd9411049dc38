//! Trunks as admins keep them.
//! It must never resolve a trunk's host: that is the fleet's to do when it dials.

use async_trait::async_trait;
use domain::field_error::FieldError;
use domain::ids::TrunkId;
use domain::ports::{Deletion, Put, StoreError};
use domain::secret::TRUNK_SECRETS;
use domain::trunk::Trunk;
use serde_json::Value;

use super::entity::Entity;
use crate::platform::Platform;

#[async_trait]
impl Entity for Trunk {
    const NOUN: &'static str = "trunk";
    const ID: &'static str = "trunk_id";
    const SECRETS: &'static [&'static str] = TRUNK_SECRETS;
    const SIGNING: &'static [&'static str] = &[];

    fn sealed_under(id: &str) -> String {
        format!("trunk/{id}")
    }

    fn id(&self) -> &str {
        self.trunk_id.as_str()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn complete(incoming: &mut Value) {
        Trunk::complete(incoming);
    }

    fn faults(&self, _: &Platform) -> Vec<FieldError> {
        self.validate()
    }

    fn warnings(&self) -> Vec<String> {
        Trunk::warnings(self)
    }

    async fn get(platform: &Platform, id: &str) -> Result<Option<Self>, StoreError> {
        let Ok(id) = TrunkId::parse(id) else { return Ok(None) };
        platform.tables.trunks.get(&id).await
    }

    /// Nothing refers to a trunk's version: a new one may begin at 1 again.
    async fn last_version(_: &Platform, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn put(&self, platform: &Platform, replaces: Option<u64>) -> Result<Put, StoreError> {
        platform.tables.trunks.put(self, replaces).await
    }

    async fn delete(platform: &Platform, id: &str, version: Option<u64>) -> Result<Deletion, StoreError> {
        let Ok(id) = TrunkId::parse(id) else { return Ok(Deletion::Missing) };
        platform.tables.trunks.delete(&id, version).await
    }

    async fn list(platform: &Platform) -> Result<Vec<Self>, StoreError> {
        platform.tables.trunks.list().await
    }
}
