//! The ports that the door and passing on need, in memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use domain::api_key::{ApiKey, ApiKeyRow, BotScope, KeyHash, Role};
use domain::ids::{BotId, KeyId};
use domain::ports::{ApiKeys, Clock, Entropy, KeyChange, Secrets, StoreError};
use domain::secret::SecretString;
use domain::signing::FleetSecrets;
use jiff::Timestamp;

pub(crate) struct Outside {
    now: Mutex<Timestamp>,
    keys: Mutex<HashMap<KeyHash, ApiKeyRow>>,
    /// How often the keys' table was read, and a use of a key noted.
    pub(crate) reads: AtomicUsize,
    pub(crate) touches: AtomicUsize,
    pub(crate) broken: AtomicBool,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            now: Mutex::new("2026-05-01T12:00:00Z".parse().unwrap()),
            keys: Mutex::default(),
            reads: AtomicUsize::default(),
            touches: AtomicUsize::default(),
            broken: AtomicBool::default(),
        }
    }
}

impl Outside {
    pub(crate) fn advance(&self, by: std::time::Duration) {
        *self.now.lock().unwrap() += by;
    }

    /// A key for `bots` (empty: for all), changed as told.
    pub(crate) fn key(&self, text: &str, bots: &[&str], change: impl FnOnce(&mut ApiKeyRow)) {
        let key = ApiKey::parse(text).unwrap();
        let only = bots.iter().map(|bot| BotId::parse(*bot).unwrap()).collect();
        let mut row = ApiKeyRow {
            key_hash: key.hash(),
            key_id: KeyId::parse(format!("id-{text}")).unwrap(),
            version: 1,
            prefix: key.prefix(),
            name: "test".into(),
            role: Role::Client,
            bots: if bots.is_empty() { BotScope::All } else { BotScope::Only(only) },
            active: true,
            expires_at: None,
            created_at: self.now(),
            last_used_at: None,
        };
        change(&mut row);
        self.keys.lock().unwrap().insert(row.key_hash.clone(), row);
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { what: "test", cause: "down".into() });
        }
        Ok(())
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
}

impl Entropy for Outside {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

#[async_trait]
impl Secrets for Outside {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        self.up()?;
        Ok(FleetSecrets::single("k1", SecretString::from("the fleet's secret")))
    }
}

#[async_trait]
impl ApiKeys for Outside {
    async fn get(&self, hash: &KeyHash) -> Result<Option<ApiKeyRow>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.up()?;
        Ok(self.keys.lock().unwrap().get(hash).cloned())
    }

    async fn touch(&self, hash: &KeyHash, at: Timestamp, _: Timestamp) -> Result<(), StoreError> {
        self.touches.fetch_add(1, Ordering::SeqCst);
        self.keys.lock().unwrap().get_mut(hash).unwrap().last_used_at = Some(at);
        Ok(())
    }

    async fn create(&self, _: &ApiKeyRow) -> Result<bool, StoreError> {
        unreachable!("a door makes no keys")
    }

    async fn replace(&self, _: &ApiKeyRow, _: u64, _: &KeyHash) -> Result<KeyChange, StoreError> {
        unreachable!("a door changes no keys")
    }

    async fn delete(&self, _: &KeyHash, _: u64, _: &KeyHash) -> Result<KeyChange, StoreError> {
        unreachable!("a door deletes no keys")
    }

    async fn list(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        unreachable!("a door lists no keys")
    }
}
