//! What stands above the data keys: they lie wrapped among the deployment's secrets, and are unwrapped at boot.
//! It must never write a data key down in the clear.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{Entropy, StoreError};
use domain::secret::{ExposeSecret, SecretString};
use secrecy::SecretBox;

use super::kms::KmsKey;
use super::{WHAT, open_bytes, seal};
use crate::errors::{corrupt, refused};
use crate::secrets::{DeploymentSecrets, publish};

/// A data key in the clear; wiped from memory when it is dropped.
pub type DataKey = SecretBox<[u8; 32]>;

/// Wraps data keys and unwraps them; the wrapped text begins with the word of whoever made it. The id is authenticated
/// with the key.
#[async_trait]
pub trait KeyWrap: Send + Sync {
    /// # Errors
    /// Whoever wraps cannot be asked.
    async fn wrap(&self, id: &str, key: &DataKey) -> Result<String, StoreError>;
    /// # Errors
    /// It was wrapped by somebody else, or for another id, or whoever unwraps cannot be asked.
    async fn unwrap(&self, id: &str, wrapped: &str) -> Result<DataKey, StoreError>;
}

/// What wraps the data keys of a deployment: the KMS key that `kms_key_id` names, else the key file.
///
/// # Errors
/// Both are named, or there is neither.
pub fn wrap_of(
    kms: &aws_sdk_kms::Client,
    kms_key_id: Option<&str>,
    wrap_key_file: Option<&Path>,
    secrets: &DeploymentSecrets,
) -> Result<Arc<dyn KeyWrap>, StoreError> {
    match (kms_key_id, wrap_key_file) {
        (Some(key), None) => Ok(Arc::new(KmsKey::new(kms.clone(), key))),
        (None, named) => Ok(Arc::new(LocalKeyFile::of(named, secrets)?)),
        (Some(_), Some(_)) => Err(refused(
            WHAT,
            "one thing wraps them: name kms_key_id (AWS KMS) or wrap_key_file (a key file), not both",
        )),
    }
}

/// A key of 32 bytes in base64, in a file of mode 0600.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalKeyFile(PathBuf);

impl LocalKeyFile {
    /// Begins what this wraps.
    const WORD: &'static str = "local:";

    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The key file of the secrets in `file`: beside them, with the ending `key`.
    pub fn beside(file: &Path) -> Self {
        Self(file.with_extension("key"))
    }

    /// The one that the settings name, else the one beside the secrets' file.
    ///
    /// # Errors
    /// There is neither.
    pub fn of(named: Option<&Path>, secrets: &DeploymentSecrets) -> Result<Self, StoreError> {
        let beside = || secrets.path().map(Self::beside);
        named.map(Self::new).or_else(beside).ok_or_else(|| {
            refused(WHAT, "they are wrapped, and nothing unwraps them: name a KMS key with kms_key_id, or the key file with wrap_key_file")
        })
    }

    /// Makes the file, unless it is there; `true` if it was made.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn create_if_absent(&self, entropy: &dyn Entropy) -> io::Result<bool> {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        publish(&self.0, &STANDARD.encode(key), entropy)
    }

    pub(crate) fn wrap_with(key_file: &str, id: &str, key: &DataKey) -> Option<String> {
        Some(format!("{}{}", Self::WORD, seal(&read(key_file)?, &name(id), key.expose_secret())))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    async fn text(&self) -> Result<SecretString, StoreError> {
        let text = tokio::fs::read_to_string(&self.0).await;
        text.map(SecretString::from).map_err(|e| refused(WHAT, format!("their key file {}: {e}", self.0.display())))
    }

    fn unusable(&self) -> StoreError {
        corrupt(WHAT, format!("their key file {} does not hold base64 of 32 bytes", self.0.display()))
    }
}

#[async_trait]
impl KeyWrap for LocalKeyFile {
    async fn wrap(&self, id: &str, key: &DataKey) -> Result<String, StoreError> {
        Self::wrap_with(self.text().await?.expose_secret(), id, key).ok_or_else(|| self.unusable())
    }

    async fn unwrap(&self, id: &str, wrapped: &str) -> Result<DataKey, StoreError> {
        let text = wrapped.strip_prefix(Self::WORD).ok_or_else(|| {
            refused(
                WHAT,
                format!("{id} is wrapped by something else than a key file: its text begins with no `local:`"),
            )
        })?;
        let key = read(self.text().await?.expose_secret()).ok_or_else(|| self.unusable())?;
        let bytes: Option<[u8; 32]> = open_bytes(&key, &name(id), text).and_then(|bytes| bytes.try_into().ok());
        let opened = bytes.map(|bytes| DataKey::new(Box::new(bytes)));
        opened.ok_or_else(|| {
            refused(WHAT, format!("{id} was wrapped with another key than that of {}", self.0.display()))
        })
    }
}

/// What a wrapped key is authenticated with.
fn name(id: &str) -> String {
    format!("data-key/{id}")
}

fn read(key_file: &str) -> Option<RandomizedNonceKey> {
    let bytes = STANDARD.decode(key_file.trim()).ok().filter(|bytes| bytes.len() == 32)?;
    RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::OsEntropy;

    #[tokio::test]
    async fn a_wrapped_key_comes_back_under_its_id_and_key_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = LocalKeyFile::new(folder.path().join("a.key"));
        let other = LocalKeyFile::new(folder.path().join("b.key"));
        assert!(file.create_if_absent(&OsEntropy).unwrap() && other.create_if_absent(&OsEntropy).unwrap());
        assert!(!file.create_if_absent(&OsEntropy).unwrap(), "made once");
        let key = DataKey::new(Box::new([7; 32]));
        let wrapped = file.wrap("k1", &key).await.unwrap();
        assert!(wrapped.starts_with("local:") && !wrapped.contains(&STANDARD.encode([7; 32])));
        assert_eq!(file.unwrap("k1", &wrapped).await.unwrap().expose_secret(), key.expose_secret());
        let check = async |file: &LocalKeyFile, id: &str, wrapped: &str, part: &str| {
            let error = file.unwrap(id, wrapped).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&file, "k2", &wrapped, "another key").await;
        check(&other, "k1", &wrapped, "another key").await;
        check(&file, "k1", "local:AAAA", "another key").await;
        check(&file, "k1", "kms:AAAA", "something else than a key file").await;
        check(&LocalKeyFile::new(folder.path().join("none.key")), "k1", &wrapped, "none.key").await;
        for text in ["", "c2hvcnQ=", "***"] {
            std::fs::write(other.path(), text).unwrap();
            check(&other, "k1", &wrapped, "base64 of 32 bytes").await;
        }
    }
}
