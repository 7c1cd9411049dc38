//! API keys: how one looks, how it is kept, and what it may do.
//! It must never keep a key: what is stored is its hash, and a minted key is shown once.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use utoipa::ToSchema;

use crate::ids::{BotId, IdError, KeyId};
use crate::ports::Entropy;

/// SHA-256 of a key, 64 lower-case hex digits: what keys are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(String);

impl KeyHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex { Ok(Self(text)) } else { Err(KeyError::NotHash) }
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        hash.0
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("an API key has 8 to 256 characters")]
    Length,
    #[error("an API key has visible ASCII characters only")]
    Character,
    #[error("a key hash is 64 lower-case hex digits")]
    NotHash,
}

/// A key as a caller shows it: 8–256 visible ASCII characters.
#[derive(Debug, Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Reads a key.
    ///
    /// # Errors
    /// When no key can look like this; nothing has to be looked up then.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if !(8..=256).contains(&text.len()) {
            return Err(KeyError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError::Character);
        }
        Ok(Self(SecretString::from(text)))
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash(hex::encode(Sha256::digest(self.0.expose_secret().as_bytes())))
    }

    /// The first characters, for lists: never more than half of the key.
    pub fn prefix(&self) -> String {
        let text = self.0.expose_secret();
        text[..7.min(text.len() / 2)].to_owned()
    }
}

/// A new key; the only moment at which its text exists here.
#[derive(Debug)]
pub struct MintedKey {
    pub secret: SecretString,
    pub hash: KeyHash,
    pub prefix: String,
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const MINTED_CHARACTERS: usize = 40;

/// Mints `rf_` + 40 base62 characters (238 bits). Bytes of 248 and above are thrown away, so that no character is likelier.
pub fn mint(entropy: &dyn Entropy) -> MintedKey {
    let mut text = String::from("rf_");
    while text.len() < 3 + MINTED_CHARACTERS {
        let mut bytes = [0; 64];
        entropy.fill(&mut bytes);
        let wanted = 3 + MINTED_CHARACTERS - text.len();
        let unbiased = bytes.iter().filter(|&&byte| byte < 248).take(wanted);
        text.extend(unbiased.map(|&byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    let key = ApiKey(SecretString::from(text));
    MintedKey { hash: key.hash(), prefix: key.prefix(), secret: key.0 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Client,
    Admin,
}

/// The bots a key may use; on the wire an array of ids, or `["*"]` (also read: `"*"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BotScope {
    All,
    Only(Vec<BotId>),
}

impl BotScope {
    pub fn covers(&self, bot: &BotId) -> bool {
        match self {
            Self::All => true,
            Self::Only(bots) => bots.contains(bot),
        }
    }
}

impl Serialize for BotScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => ["*"].serialize(serializer),
            Self::Only(bots) => bots.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BotScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            One(String),
            Many(Vec<String>),
        }
        let words = match Wire::deserialize(deserializer)? {
            Wire::One(word) => vec![word],
            Wire::Many(words) => words,
        };
        if words.iter().any(|word| word == "*") {
            return Ok(Self::All);
        }
        let ids: Result<Vec<BotId>, IdError> = words.into_iter().map(BotId::parse).collect();
        ids.map(Self::Only).map_err(serde::de::Error::custom)
    }
}

/// One row of `ApiKeys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    pub key_hash: KeyHash,
    pub key_id: KeyId,
    /// Rises by one with each change by an admin; uses don't count.
    #[serde(default = "first")]
    pub version: u64,
    /// For display; never enough to guess the rest.
    pub prefix: String,
    pub name: String,
    pub role: Role,
    pub bots: BotScope,
    pub active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// At most hourly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

fn first() -> u64 {
    1
}

impl ApiKeyRow {
    /// Whether it may come into the admin API now.
    pub fn is_usable_admin(&self, now: Timestamp) -> bool {
        self.role == Role::Admin && self.usable(now)
    }

    pub fn usable(&self, now: Timestamp) -> bool {
        self.active && self.expires_at.is_none_or(|end| now < end)
    }

    pub fn may_use(&self, bot: &BotId) -> bool {
        self.bots.covers(bot)
    }

    /// What handlers behind authentication get to see; `None` when the key is revoked or expired.
    pub fn caller(&self, now: Timestamp) -> Option<Caller> {
        self.usable(now).then(|| Caller { key_id: self.key_id.clone(), role: self.role, bots: self.bots.clone() })
    }
}

/// An authenticated caller: the proof that handlers ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub key_id: KeyId,
    pub role: Role,
    pub bots: BotScope,
}

impl Caller {
    pub fn may_use(&self, bot: &BotId) -> bool {
        self.bots.covers(bot)
    }

    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Counts up: every byte value comes, the biased ones too.
    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn a_minted_key_is_a_key_without_bias() {
        let entropy = Counting(240.into());
        let minted = mint(&entropy);
        let text = minted.secret.expose_secret();
        assert_eq!(text, "rf_stuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUV");
        assert_eq!(minted.prefix, "rf_stuv");
        assert_eq!(ApiKey::parse(text).unwrap().hash(), minted.hash);
        assert!(!format!("{minted:?}").contains("stuvw"));
    }

    #[test]
    fn keys_are_visible_ascii_of_8_to_256() {
        let check = |text: &str, expect: Option<KeyError>| assert_eq!(ApiKey::parse(text).err(), expect, "{text:?}");
        check("12345678", None);
        check(&"k".repeat(256), None);
        check("", Some(KeyError::Length));
        check("1234567", Some(KeyError::Length));
        check(&"k".repeat(257), Some(KeyError::Length));
        check("with space", Some(KeyError::Character));
        check("tab\tinside", Some(KeyError::Character));
        check("schlüssel", Some(KeyError::Character));
        check("{\"$gt\":\"\"}", None);
    }

    #[test]
    fn hashes_are_sha256_in_hex() {
        let hash = ApiKey::parse("12345678").unwrap().hash();
        assert_eq!(hash.as_str(), "ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f");
        assert_eq!(KeyHash::try_from(hash.to_string()), Ok(hash.clone()));
        assert_eq!(KeyHash::try_from(hash.to_string().to_uppercase()), Err(KeyError::NotHash));
        assert_eq!(ApiKey::parse("12345678").unwrap().prefix(), "1234");
    }

    #[test]
    fn scopes_on_the_wire() {
        let check = |wire: serde_json::Value, bot: &str, expect: bool| {
            let scope: BotScope = serde_json::from_value(wire.clone()).unwrap();
            assert_eq!(scope.covers(&BotId::parse(bot).unwrap()), expect, "{wire} {bot}");
            let again: BotScope = serde_json::from_value(serde_json::to_value(&scope).unwrap()).unwrap();
            assert_eq!(again, scope);
        };
        check(json!(["*"]), "any", true);
        check(json!("*"), "any", true);
        check(json!(["a", "b"]), "b", true);
        check(json!(["a", "b"]), "B", false);
        check(json!([]), "a", false);
        assert!(serde_json::from_value::<BotScope>(json!(["not an id"])).is_err());
        assert!(serde_json::from_value::<BotScope>(json!(5)).is_err());
    }

    #[test]
    fn keys_end_by_revocation_and_by_time() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let row = |active: bool, expires: Option<&str>| ApiKeyRow {
            key_hash: ApiKey::parse("12345678").unwrap().hash(),
            key_id: KeyId::parse("k1").unwrap(),
            version: 1,
            prefix: "1234".into(),
            name: "test".into(),
            role: Role::Client,
            bots: BotScope::Only(vec![BotId::parse("a").unwrap()]),
            active,
            expires_at: expires.map(|text| text.parse().unwrap()),
            created_at: now,
            last_used_at: None,
        };
        let check = |row: ApiKeyRow, usable: bool| {
            assert_eq!((row.usable(now), row.caller(now).is_some()), (usable, usable), "{row:?}");
            let again: ApiKeyRow = serde_json::from_value(serde_json::to_value(&row).unwrap()).unwrap();
            assert_eq!(again, row);
        };
        check(row(true, None), true);
        check(row(false, None), false);
        check(row(true, Some("2026-05-01T00:00:00.001Z")), true);
        check(row(true, Some("2026-05-01T00:00:00Z")), false);
        let caller = row(true, None).caller(now).unwrap();
        assert!(
            caller.may_use(&BotId::parse("a").unwrap())
                && !caller.may_use(&BotId::parse("b").unwrap())
                && !caller.is_admin()
        );
    }
}
