//! What a change of data keys asks of the tables: every row that may hold sealed text, as it is stored, and a write that
//! puts other text in its place. It must never be used for anything that is not the same secret, sealed anew.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::{StoreError, bot_entity, trunk_entity};
use crate::ids::{BotId, TrunkId};
use crate::secret::{BOT_SECRETS, TRUNK_SECRETS};

/// Where such a row lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SealedPlace {
    /// A bot's current version.
    Bot(BotId),
    /// A version that there ever was, the current one and those of deleted bots too.
    Version(BotId, u64),
    Trunk(TrunkId),
}

impl SealedPlace {
    /// The name under which its secrets are sealed.
    pub fn entity(&self) -> String {
        match self {
            Self::Bot(id) | Self::Version(id, _) => bot_entity(id),
            Self::Trunk(id) => trunk_entity(id),
        }
    }

    /// Pointers of its secrets, see [`crate::secret`].
    pub fn pointers(&self) -> &'static [&'static str] {
        match self {
            Self::Bot(_) | Self::Version(..) => BOT_SECRETS,
            Self::Trunk(_) => TRUNK_SECRETS,
        }
    }
}

/// How far a walk over them has come; it begins with the default. As text `bots`, `bots/ID`, `versions/ID/N`, `trunks/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedCursor {
    Bots(Option<BotId>),
    Versions(Option<(BotId, u64)>),
    Trunks(Option<TrunkId>),
}

impl Default for SealedCursor {
    fn default() -> Self {
        Self::Bots(None)
    }
}

impl fmt::Display for SealedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bots(None) => f.write_str("bots"),
            Self::Bots(Some(id)) => write!(f, "bots/{id}"),
            Self::Versions(None) => f.write_str("versions"),
            Self::Versions(Some((id, version))) => write!(f, "versions/{id}/{version}"),
            Self::Trunks(None) => f.write_str("trunks"),
            Self::Trunks(Some(id)) => write!(f, "trunks/{id}"),
        }
    }
}

/// A text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCursor;

impl FromStr for SealedCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let parts: Vec<&str> = text.split('/').collect();
        let bot = |id: &str| BotId::parse(id).map_err(|_| NoCursor);
        match parts[..] {
            ["bots"] => Ok(Self::Bots(None)),
            ["bots", id] => Ok(Self::Bots(Some(bot(id)?))),
            ["versions"] => Ok(Self::Versions(None)),
            ["versions", id, version] => Ok(Self::Versions(Some((bot(id)?, version.parse().map_err(|_| NoCursor)?)))),
            ["trunks"] => Ok(Self::Trunks(None)),
            ["trunks", id] => Ok(Self::Trunks(Some(TrunkId::parse(id).map_err(|_| NoCursor)?))),
            _ => Err(NoCursor),
        }
    }
}

/// One row.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRow {
    pub place: SealedPlace,
    /// The whole document as JSON text, exactly as it is stored.
    pub document: String,
}

impl fmt::Debug for SealedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedRow").field(&self.place).finish()
    }
}

#[async_trait]
pub trait SealedRows: Send + Sync {
    /// Up to `limit` rows from there on, and where the next page begins; `None` = this was the last. What is written
    /// during a walk may be missed by it.
    async fn page(&self, from: &SealedCursor, limit: u32)
    -> Result<(Vec<SealedRow>, Option<SealedCursor>), StoreError>;
    /// Puts `document` in the place of `row.document` if that is still what is stored; `false` if not.
    async fn reseal(&self, row: &SealedRow, document: &str) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        for text in ["bots", "bots/a.b-c", "versions", "versions/a_b/17", "trunks", "trunks/t"] {
            assert_eq!(text.parse::<SealedCursor>().unwrap().to_string(), text);
        }
        for text in
            ["", "bot", "bots/", "bots/a/b", "bots/a b", "versions/a", "versions/a/x", "versions/a/-1", "trunks/t/1"]
        {
            assert_eq!(text.parse::<SealedCursor>(), Err(NoCursor), "{text}");
        }
        assert_eq!(SealedCursor::default().to_string(), "bots");
    }
}
