//! The deployment's own secrets, and the sealing of those that entities hold. It must never open what was sealed for another
//! entity.

use async_trait::async_trait;
use thiserror::Error;

use super::StoreError;
use crate::ids::{BotId, TrunkId};
use crate::secret::{Sealed, SecretString};
use crate::signing::FleetSecrets;

/// Reads the deployment's secrets (Secrets Manager, or `DATA/secrets/`); cached shortly by the implementation.
#[async_trait]
pub trait Secrets: Send + Sync {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError>;
    /// The key of the deployment's language model, if it lies among the secrets.
    async fn llm_api_key(&self) -> Result<Option<SecretString>, StoreError> {
        Ok(None)
    }
}

/// Seals and opens secrets of entities; `entity` (e.g. `bot/my-bot`) is authenticated with the text.
pub trait Seal: Send + Sync {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed;
    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError>;
    /// Ids of the keys that open, the one that seals first; none where sealing knows no keys.
    fn keys(&self) -> Vec<String> {
        Vec::new()
    }
    /// The id of the key that `sealed` names, known or not.
    fn key_of(&self, sealed: &Sealed) -> Option<String> {
        let _ = sealed;
        None
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    #[error("a sealed secret of {0} does not open: it was sealed with another key, or for another entity")]
    Unopenable(String),
}

/// The entity name under which a bot's secrets are sealed.
pub fn bot_entity(id: &BotId) -> String {
    format!("bot/{id}")
}

/// The entity name under which a trunk's secrets are sealed.
pub fn trunk_entity(id: &TrunkId) -> String {
    format!("trunk/{id}")
}
