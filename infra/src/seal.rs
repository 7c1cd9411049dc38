//! Sealing of entities' secrets: AES-256-GCM under the deployment's data key, the entity's name authenticated with the
//! text, so that a sealed secret copied to another entity does not open. Stored as `v1:` + base64 of nonce, text and tag.
//! It must never say why a text does not open beyond that it doesn't.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{Seal, SealError, StoreError};
use domain::secret::{ExposeSecret, Sealed, SecretString};

use crate::errors::corrupt;
use crate::secrets::DeploymentSecrets;

const VERSION: &str = "v1:";

/// Seals and opens under one key.
#[derive(Debug)]
pub struct AesSeal {
    key: RandomizedNonceKey,
}

impl AesSeal {
    /// Takes the data key from the deployment's secrets, once: a process must be restarted to use another.
    ///
    /// # Errors
    /// The secrets cannot be read.
    pub async fn load(secrets: &DeploymentSecrets) -> Result<Self, StoreError> {
        Self::new(&secrets.data_key().await?).map_err(|_| corrupt("the data key", "AES refuses it"))
    }

    fn new(key: &[u8; 32]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(|key| Self { key })
    }

    fn try_open(&self, entity: &str, sealed: &Sealed) -> Option<SecretString> {
        let mut bytes = STANDARD.decode(sealed.0.strip_prefix(VERSION)?).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(entity), text).ok()?;
        Some(SecretString::from(std::str::from_utf8(opened).ok()?))
    }
}

impl Seal for AesSeal {
    fn seal(&self, entity: &str, secret: &SecretString) -> Sealed {
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(entity), &mut text)
            .expect("AES-GCM seals any text below 64 GiB");
        Sealed(format!("{VERSION}{}", STANDARD.encode([nonce.as_ref().as_slice(), &text].concat())))
    }

    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        self.try_open(entity, sealed).ok_or_else(|| SealError::Unopenable(entity.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_entity_and_key_only() {
        let (ours, theirs) = (AesSeal::new(&[1; 32]).unwrap(), AesSeal::new(&[2; 32]).unwrap());
        for text in ["", "hunter2", "ключ 🔑", &"x".repeat(4096)] {
            let sealed = ours.seal("bot/a", &SecretString::from(text));
            assert!(sealed.0.starts_with("v1:") && (text.is_empty() || !sealed.0.contains(text)));
            assert_eq!(ours.open("bot/a", &sealed).unwrap().expose_secret(), text);
            assert_eq!(ours.open("bot/b", &sealed).unwrap_err(), SealError::Unopenable("bot/b".into()));
            assert!(theirs.open("bot/a", &sealed).is_err());
            assert_ne!(ours.seal("bot/a", &SecretString::from(text)), sealed, "no nonce twice");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let seal = AesSeal::new(&[1; 32]).unwrap();
        let sealed = seal.seal("trunk/t", &SecretString::from("secret"));
        let bytes = STANDARD.decode(&sealed.0[VERSION.len()..]).unwrap();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(seal.open("trunk/t", &Sealed(format!("v1:{}", STANDARD.encode(damaged)))).is_err(), "byte {index}");
        }
        for text in ["", "v1:", "v1:AAAA", "v2:AAAA", "v1:***", &sealed.0[VERSION.len()..]] {
            assert!(seal.open("trunk/t", &Sealed(text.into())).is_err(), "{text}");
        }
    }
}
