//! What can go wrong with a provider, as one closed enum a call can decide on.
//! It must never carry what was said, nor a key, in its `Display`.

use std::fmt;

/// Longest part of a provider's own words that an error keeps, in bytes.
pub const DETAIL_LIMIT: usize = 512;

/// Why a provider could not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nothing is installed or configured that could do it.
    #[error("{what} is not available on this server")]
    Unavailable { what: &'static str },
    /// The provider exists but can't do what was asked of it (a voice, a rate, a language).
    #[error("{vendor} does not support this {what}")]
    Unsupported { vendor: &'static str, what: &'static str },
    /// A setting of the provider can't be used.
    #[error("provider setting `{field}` is missing or wrong")]
    Settings { field: &'static str },
    /// A bounded queue was full; the work was refused, not delayed.
    #[error("{vendor} is overloaded")]
    Overloaded { vendor: &'static str },
    /// No connection could be made, or it broke.
    #[error("no connection to {vendor}")]
    Connection { vendor: &'static str },
    /// A deadline passed.
    #[error("{vendor} passed its {deadline} deadline")]
    Deadline { vendor: &'static str, deadline: Deadline },
    /// The service answered with an error status. `detail` is its body, capped; it is never logged: it may quote the key.
    #[error("{vendor} answered {status}")]
    Refused { vendor: &'static str, status: u16, detail: Detail },
    /// The service said something that its protocol does not allow.
    #[error("{vendor} broke its protocol: {what}")]
    Protocol { vendor: &'static str, what: &'static str },
    /// A local model or child process failed. `detail` is its own words.
    #[error("{vendor} failed while it was {doing}")]
    Engine { vendor: &'static str, doing: &'static str, detail: Detail },
}

impl ProviderError {
    /// A local engine's failure, with its own words kept apart.
    pub fn engine(vendor: &'static str, doing: &'static str, detail: impl fmt::Display) -> Self {
        Self::Engine { vendor, doing, detail: Detail::new(&detail.to_string()) }
    }

    /// Whether the same request may work at once with another provider of the bot's list.
    pub fn is_worth_another_provider(&self) -> bool {
        !matches!(self, Self::Settings { .. })
    }
}

/// A provider's own words, capped at [`DETAIL_LIMIT`]; they may quote a prompt or a key, and don't print themselves.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Detail(String);

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Detail({} bytes)", self.0.len())
    }
}

impl Detail {
    /// Keeps at most [`DETAIL_LIMIT`] bytes of `text`, cut at a character.
    pub fn new(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(DETAIL_LIMIT)].to_owned())
    }

    /// The kept words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of a provider's deadlines passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Until the request was accepted.
    Connect,
    /// Until the first token, word or sample.
    FirstResult,
    /// From one result to the next.
    BetweenResults,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::FirstResult => "first-result",
            Self::BetweenResults => "between-results",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_capped_at_a_character() {
        let long = "é".repeat(DETAIL_LIMIT);
        let kept = Detail::new(&long);
        assert!(kept.as_str().len() <= DETAIL_LIMIT);
        assert!(kept.as_str().chars().all(|c| c == 'é'));
    }

    #[test]
    fn display_never_quotes_the_detail() {
        let error =
            ProviderError::Refused { vendor: "openai", status: 400, detail: Detail::new("prompt of the caller") };
        assert_eq!(error.to_string(), "openai answered 400");
        assert!(!format!("{error:?}").contains("prompt"));
        let error = ProviderError::engine("piper", "speaking", "prompt of the caller");
        assert_eq!(error.to_string(), "piper failed while it was speaking");
    }
}
