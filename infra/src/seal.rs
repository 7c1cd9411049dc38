//! Sealing of entities' secrets: AES-256-GCM under the deployment's data key, the entity's name authenticated with the
//! text, so that a sealed secret copied to another entity does not open. Stored as `v1:`, the data key's id, `:` and
//! base64 of nonce, text and tag: while one data key takes the place of another, both are there, and each text says which.
//! It must never say why a text does not open beyond that it doesn't.

pub mod kms;
mod wrap;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{Seal, SealError, StoreError};
use domain::secret::{ExposeSecret, Sealed, SecretString};

use tokio::sync::Mutex;

use crate::age::Mark;
use crate::errors::corrupt;
use crate::secrets::DeploymentSecrets;

pub use kms::KmsKey;
pub use wrap::{DataKey, KeyWrap, LocalKeyFile, wrap_of};

const VERSION: &str = "v1:";
const WHAT: &str = "the deployment's data keys";

/// Data keys that are in use, by id; the first one seals.
type Known = Vec<(String, RandomizedNonceKey)>;

/// Seals under one key, and opens under each that is known.
#[derive(Debug)]
pub struct AesSeal {
    keys: RwLock<Known>,
}

impl AesSeal {
    /// Takes the data keys from the deployment's secrets and unwraps them.
    ///
    /// # Errors
    /// The secrets cannot be read, or a data key cannot be unwrapped.
    pub async fn load(secrets: &DeploymentSecrets, wrap: &dyn KeyWrap) -> Result<Self, StoreError> {
        Ok(Self { keys: RwLock::new(known(unwrapped(secrets, wrap).await?)?) })
    }

    /// Takes them again: what was added meanwhile opens from now on, and what comes first now seals.
    ///
    /// # Errors
    /// As [`Self::load`]; the keys that were known stay in use.
    pub(crate) async fn refresh(&self, secrets: &DeploymentSecrets, wrap: &dyn KeyWrap) -> Result<(), StoreError> {
        let ids: Vec<String> = secrets.data_keys().await?.into_iter().map(|key| key.id).collect();
        if ids == Seal::keys(self) {
            return Ok(());
        }
        let fresh = known(unwrapped(secrets, wrap).await?)?;
        let ids: Vec<&str> = fresh.iter().map(|(id, _)| id.as_str()).collect();
        tracing::info!(data_keys = ids.join(" "), "the data keys have changed");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    #[cfg(test)]
    fn new(keys: Vec<(String, DataKey)>) -> Result<Self, StoreError> {
        Ok(Self { keys: RwLock::new(known(keys)?) })
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_open(&self, entity: &str, sealed: &Sealed) -> Option<SecretString> {
        let (id, text) = named(sealed)?;
        let keys = self.known();
        let (_, key) = keys.iter().find(|(known, _)| known == id)?;
        open(key, entity, text)
    }
}

async fn unwrapped(secrets: &DeploymentSecrets, wrap: &dyn KeyWrap) -> Result<Vec<(String, DataKey)>, StoreError> {
    let mut keys = Vec::new();
    for wrapped in secrets.data_keys().await? {
        let key = wrap.unwrap(&wrapped.id, &wrapped.wrapped).await?;
        keys.push((wrapped.id, key));
    }
    Ok(keys)
}

fn known(keys: Vec<(String, DataKey)>) -> Result<Known, StoreError> {
    let mut known = Known::new();
    for (id, key) in keys {
        if id.is_empty() || id.contains(':') || known.iter().any(|(other, _)| *other == id) {
            return Err(corrupt(WHAT, format!("id {id:?}: each has an id of its own, without colons")));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.expose_secret());
        known.push((id, key.map_err(|_| corrupt(WHAT, "AES refuses one"))?));
    }
    if known.is_empty() { Err(corrupt(WHAT, "there is none")) } else { Ok(known) }
}

/// The id of the key that sealed a text, and what it made of it.
fn named(sealed: &Sealed) -> Option<(&str, &str)> {
    sealed.0.strip_prefix(VERSION)?.split_once(':')
}

/// How often the secrets are looked at for data keys. With the minute that they are kept, a change is known everywhere
/// [`KNOWN_EVERYWHERE`] later.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After this, every process has taken up a change of the data keys.
pub const KNOWN_EVERYWHERE: Duration = Duration::from_secs(120);

/// Keeps the data keys of a seal as the deployment's secrets say.
#[derive(Clone)]
pub struct Follower {
    seal: Weak<AesSeal>,
    secrets: Arc<DeploymentSecrets>,
    wrap: Arc<dyn KeyWrap>,
    looked: Arc<Mutex<Mark>>,
}

impl Follower {
    /// Looks whether the data keys have changed, unless it did so within the last half minute. A process that stands still
    /// between its requests, as a Lambda does, calls this before each one: it must not seal with a key that was dropped
    /// meanwhile.
    pub async fn look(&self) {
        let mut looked = self.looked.lock().await;
        if looked.elapsed() >= LOOK_EVERY {
            self.refresh().await;
            *looked = Mark::now();
        }
    }

    async fn refresh(&self) {
        let Some(seal) = self.seal.upgrade() else { return };
        if let Err(error) = seal.refresh(&self.secrets, &*self.wrap).await {
            tracing::error!(%error, "the data keys have changed and can't be taken up: the last ones stay in use");
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("seal", &self.seal).field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// Lets `seal` follow the deployment's data keys for as long as it is in use.
pub fn follow(seal: &Arc<AesSeal>, secrets: Arc<DeploymentSecrets>, wrap: Arc<dyn KeyWrap>) -> Follower {
    let looked = Arc::new(Mutex::new(Mark::now()));
    let follower = Follower { seal: Arc::downgrade(seal), secrets, wrap, looked };
    let looking = follower.clone();
    tokio::spawn(async move {
        while looking.seal.strong_count() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
            looking.refresh().await;
        }
    });
    follower
}

impl Seal for AesSeal {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed {
        let keys = self.known();
        let (id, key) = &keys[0];
        Sealed(format!("{VERSION}{id}:{}", seal(key, entity, secret.expose_secret().as_bytes())))
    }

    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        self.try_open(entity, sealed).ok_or_else(|| SealError::Unopenable(entity.to_owned()))
    }

    fn keys(&self) -> Vec<String> {
        self.known().iter().map(|(id, _)| id.clone()).collect()
    }

    fn key_of(&self, sealed: &Sealed) -> Option<String> {
        named(sealed).map(|(id, _)| id.to_owned())
    }
}

/// Base64 of nonce, sealed bytes and tag; `name` is authenticated with them.
fn seal(key: &RandomizedNonceKey, name: &str, bytes: &[u8]) -> String {
    let mut text = bytes.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut text).expect("AES-GCM seals any text below 64 GiB");
    STANDARD.encode([nonce.as_ref().as_slice(), &text].concat())
}

fn open_bytes(key: &RandomizedNonceKey, name: &str, text: &str) -> Option<Vec<u8>> {
    let mut bytes = STANDARD.decode(text).ok()?;
    let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    Some(key.open_in_place(nonce, Aad::from(name), text).ok()?.to_vec())
}

fn open(key: &RandomizedNonceKey, name: &str, text: &str) -> Option<SecretString> {
    Some(SecretString::from(String::from_utf8(open_bytes(key, name, text)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[(&str, u8)]) -> AesSeal {
        let key = |byte: u8| DataKey::new(Box::new([byte; 32]));
        AesSeal::new(ids.iter().map(|(id, byte)| ((*id).to_owned(), key(*byte))).collect()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_entity_and_key_only() {
        let (ours, theirs) = (keys(&[("k1", 1)]), keys(&[("k1", 2)]));
        for text in ["", "hunter2", "ключ 🔑", &"x".repeat(4096)] {
            let sealed = ours.seal("bot/a", &SecretString::from(text));
            assert!(sealed.0.starts_with("v1:k1:") && (text.is_empty() || !sealed.0.contains(text)));
            assert_eq!(ours.open("bot/a", &sealed).unwrap().expose_secret(), text);
            assert_eq!(ours.open("bot/b", &sealed).unwrap_err(), SealError::Unopenable("bot/b".into()));
            assert!(theirs.open("bot/a", &sealed).is_err());
            assert_ne!(ours.seal("bot/a", &SecretString::from(text)), sealed, "no nonce twice");
        }
    }

    #[test]
    fn while_keys_change_both_open_and_the_new_one_seals() {
        let secret = SecretString::from("secret");
        let (old, both, new) = (keys(&[("a", 1)]), keys(&[("b", 2), ("a", 1)]), keys(&[("b", 2)]));
        let (before, during) = (old.seal("bot/a", &secret), both.seal("bot/a", &secret));
        let check = |seal: &AesSeal, sealed: &Sealed, opens: bool| {
            assert_eq!(seal.open("bot/a", sealed).is_ok(), opens, "{}", &sealed.0[..5]);
        };
        check(&both, &before, true);
        check(&both, &during, true);
        check(&new, &during, true);
        check(&old, &during, false);
        check(&new, &before, false);
        // The id is a name, not a proof.
        let renamed = Sealed(before.0.replace("v1:a:", "v1:b:"));
        check(&both, &renamed, false);
        assert_eq!(
            (both.keys(), both.key_of(&before), both.key_of(&during)),
            (vec!["b".into(), "a".into()], Some("a".into()), Some("b".into()))
        );
        assert_eq!(both.key_of(&Sealed("***".into())), None);
    }

    #[test]
    fn damage_is_noticed() {
        let seal = keys(&[("k1", 1)]);
        let sealed = seal.seal("trunk/t", &SecretString::from("secret"));
        let text = sealed.0.strip_prefix("v1:k1:").unwrap();
        let bytes = STANDARD.decode(text).unwrap();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            let damaged = Sealed(format!("v1:k1:{}", STANDARD.encode(damaged)));
            assert!(seal.open("trunk/t", &damaged).is_err(), "byte {index}");
        }
        for text in ["", "v1:", "v1:k1", "v1:k1:", "v1:k1:AAAA", "v2:k1:AAAA", "v1:k1:***", "v1::AAAA", text] {
            assert!(seal.open("trunk/t", &Sealed(text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_without_an_id_of_their_own_are_refused() {
        let key = || DataKey::new(Box::new([1; 32]));
        for ids in [&[][..], &["a", "a"], &[""], &["a:b"]] {
            let keys = ids.iter().map(|id| ((*id).to_owned(), key())).collect();
            assert!(matches!(AesSeal::new(keys), Err(StoreError::Corrupt { .. })), "{ids:?}");
        }
    }
}
