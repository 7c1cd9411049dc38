//! Which numbers a trunk owns: DIDs, ranges and prefixes.
//! It must never normalise: rules and numbers meet in E.164.

use thiserror::Error;

use super::E164;

/// One entry of a trunk's `numbers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberRule {
    Did(E164),
    /// Both ends belong to it and have the same number of digits.
    Range {
        first: E164,
        last: E164,
    },
    /// `+` and leading digits.
    Prefix(String),
}

/// Why a text is no number rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NumberRuleError {
    #[error("a number rule is an E.164 number, a range (+911234000000-+911234999999) or a prefix (+911234*)")]
    Shape,
    #[error("both ends of a range have the same number of digits, and the first is not above the last")]
    Range,
}

impl NumberRule {
    /// Reads a DID, a range or a prefix.
    ///
    /// # Errors
    /// Says what a rule looks like.
    pub fn parse(text: &str) -> Result<Self, NumberRuleError> {
        let number = |text: &str| E164::parse(text.trim()).map_err(|_| NumberRuleError::Shape);
        if let Some(prefix) = text.strip_suffix('*') {
            let digits = prefix.strip_prefix('+').unwrap_or_default();
            let fits = (1..=14).contains(&digits.len())
                && !digits.starts_with('0')
                && digits.bytes().all(|b| b.is_ascii_digit());
            return if fits { Ok(Self::Prefix(prefix.to_owned())) } else { Err(NumberRuleError::Shape) };
        }
        let Some((first, last)) = text.split_once('-') else {
            return number(text).map(Self::Did);
        };
        let (first, last) = (number(first)?, number(last)?);
        if first.0.len() != last.0.len() || first > last {
            return Err(NumberRuleError::Range);
        }
        Ok(Self::Range { first, last })
    }

    pub fn matches(&self, number: &E164) -> bool {
        match self {
            Self::Did(did) => did == number,
            Self::Range { first, last } => {
                first.0.len() == number.0.len() && (first.value()..=last.value()).contains(&number.value())
            }
            Self::Prefix(prefix) => number.0.starts_with(prefix),
        }
    }
}
