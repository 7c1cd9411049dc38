//! What every store says of what it was asked: that it could not, or what its condition found.
//! It must never take a condition that did not hold for an error.

use thiserror::Error;

use crate::ids::BotId;

/// A store, queue or bucket did not do what was asked. A condition that did not hold is never this error.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Throttled, timed out, 5xx: asking again may help. Whether a write happened is unknown.
    #[error("{what} did not answer: {cause}")]
    Unavailable { what: &'static str, cause: String },
    /// What was read is not what this version writes.
    #[error("{what} holds something unreadable: {cause}")]
    Corrupt { what: &'static str, cause: String },
    /// Credentials, missing table, malformed request: asking again does not help.
    #[error("{what} refused: {cause}")]
    Refused { what: &'static str, cause: String },
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    Missing,
    /// The stored version is not the expected one.
    Conflict,
}

/// What a conditional replacement found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The stored version is not the expected one (or, for a creation, one exists).
    Conflict,
    /// A number already belongs to this other bot.
    NumberTaken {
        number: String,
        by: BotId,
    },
}

/// What a write by an owner found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    Written,
    /// The row is not this owner's any more, or the call is past that state.
    Lost,
}
