//! Trunks as admins keep them.
//! It must never resolve a trunk's host: that is the fleet's to do when it dials.

use async_trait::async_trait;
use domain::field_error::FieldError;
use domain::ids::TrunkId;
use domain::ports::{Deletion, Put, StoreError};
use domain::secret::TRUNK_SECRETS;
use domain::trunk::Trunk;
use serde_json::Value;

use super::Desk;
use super::entity::Entity;

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

    fn faults(&self, _: &Desk) -> Vec<FieldError> {
        self.validate()
    }

    fn warnings(&self) -> Vec<String> {
        Trunk::warnings(self)
    }

    async fn get(desk: &Desk, id: &str) -> Result<Option<Self>, StoreError> {
        let Ok(id) = TrunkId::parse(id) else { return Ok(None) };
        desk.trunks.get(&id).await
    }

    /// Nothing refers to a trunk's version: a new one may begin at 1 again.
    async fn last_version(_: &Desk, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn put(&self, desk: &Desk, replaces: Option<u64>) -> Result<Put, StoreError> {
        let put = desk.trunks.put(self, replaces).await;
        desk.memory.trunks.forget(&self.trunk_id);
        put
    }

    async fn delete(desk: &Desk, id: &str, version: Option<u64>) -> Result<Deletion, StoreError> {
        let Ok(id) = TrunkId::parse(id) else { return Ok(Deletion::Missing) };
        let deleted = desk.trunks.delete(&id, version).await;
        desk.memory.trunks.forget(&id);
        deleted
    }

    async fn list(desk: &Desk) -> Result<Vec<Self>, StoreError> {
        desk.trunks.list().await
    }
}
