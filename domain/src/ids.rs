//! Identifiers as types, so that a trunk's id can never be passed where a bot's is meant.
//! It must never mint an id: the edge does, from its own clock and random source.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Why a text is no identifier.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    #[error("an id has 1 to 64 characters of [A-Za-z0-9._-]; this one has {0}")]
    Length(usize),
    #[error("an id has only the characters [A-Za-z0-9._-]; found {0:?}")]
    Character(char),
    /// Programs that tidy addresses take `.` and `..` for steps between folders: nobody could reach the thing.
    #[error("an id does not begin with a dot")]
    LeadingDot,
    #[error("a call id is a UUID")]
    NotUuid,
}

fn check_slug(text: &str) -> Result<(), IdError> {
    let length = text.chars().count();
    if length == 0 || length > 64 {
        return Err(IdError::Length(length));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(IdError::Character(c)),
        None if text.starts_with('.') => Err(IdError::LeadingDot),
        None => Ok(()),
    }
}

macro_rules! slug_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads an id of 1–64 characters of `[A-Za-z0-9._-]`, the first of them no dot.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check_slug(&text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug_id!(
    /// A bot, as its admin named it.
    BotId
);
slug_id!(
    /// A SIP trunk, as its admin named it.
    TrunkId
);
slug_id!(
    /// A fleet server; lasts over its restarts.
    ServerId
);
slug_id!(
    /// An API key's public id (never the key, never its hash).
    KeyId
);

/// One call for its whole life; equals the result's `session_id`. A UUIDv7 when minted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct CallId(uuid::Uuid);

impl CallId {
    /// No call's id, below every one that is minted: that of an example.
    pub const NIL: Self = Self(uuid::Uuid::nil());

    /// Makes a UUIDv7 (RFC 9562 §5.7) of a Unix time in milliseconds and ten random bytes.
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The Unix time in milliseconds that it was made of.
    pub fn unix_ms(&self) -> u64 {
        self.0.as_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
    }

    /// Reads a UUID in any of its usual forms.
    ///
    /// # Errors
    /// [`IdError::NotUuid`] when it is none.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        uuid::Uuid::parse_str(text).map(Self).map_err(|_| IdError::NotUuid)
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The 16 bytes, for sharding.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The shard (0-based) of `count` that this call's index rows live in.
    pub fn shard(&self, count: u16) -> u16 {
        let bytes = self.0.as_bytes();
        u16::from_be_bytes([bytes[14], bytes[15]]) % count.max(1)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A server's incarnation: rises strictly with each of its starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Who holds a call: one incarnation of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Owner {
    pub server_id: ServerId,
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_say_what_is_wrong_with_them() {
        let check = |text: &str, expect: Result<(), IdError>| {
            assert_eq!(BotId::parse(text).map(|_| ()), expect, "{text:?}");
        };
        check("bot-1", Ok(()));
        check("Bot_1.v2", Ok(()));
        check("", Err(IdError::Length(0)));
        check(&"x".repeat(65), Err(IdError::Length(65)));
        check("a b", Err(IdError::Character(' ')));
        check("bot/1", Err(IdError::Character('/')));
        for text in [".", "..", ".bot"] {
            check(text, Err(IdError::LeadingDot));
        }
        check("bot.", Ok(()));
    }

    #[test]
    fn a_minted_call_id_is_a_uuid_v7_and_reads_back() {
        let id = CallId::from_parts(1_700_000_000_000, [7; 10]);
        assert_eq!(CallId::parse(&id.to_string()), Ok(id));
        assert_eq!(id.to_string().as_bytes()[14], b'7');
        assert_eq!(id.unix_ms(), 1_700_000_000_000);
        assert!(id.shard(8) < 8);
        assert_eq!(id.shard(0), 0);
    }
}
