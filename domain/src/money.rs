//! Amounts of money, exact. They are in whatever currency the deployment's prices are.
//! It must never let an amount pass through a binary fraction.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Micro-units in a unit.
const UNIT: u64 = 1_000_000;
/// The largest amount, units: nobody spends more in a day, and sums stay far from their end.
const LARGEST: u64 = 1_000_000_000;

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an amount is written in decimals, e.g. 12.50, with at most six of them and at most 1000000000")]
pub struct MoneyError;

/// An amount, in millionths; on the wire a text such as `12.5`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "12.5")]
pub struct Money(u64);

impl Money {
    pub const ZERO: Self = Self(0);

    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Reads decimals: `12`, `12.5`, `0.000001`.
    ///
    /// # Errors
    /// [`MoneyError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 10) || !digits(fraction, 6) {
            return Err(MoneyError);
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| MoneyError);
        let micros = number(whole)? * UNIT + number(&format!("{fraction:0<6}"))?;
        if micros > LARGEST * UNIT { Err(MoneyError) } else { Ok(Self(micros)) }
    }

    /// `count` times as much.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl TryFrom<String> for Money {
    type Error = MoneyError;
    fn try_from(text: String) -> Result<Self, MoneyError> {
        Self::parse(&text)
    }
}

impl From<Money> for String {
    fn from(amount: Money) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % UNIT);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / UNIT),
            fraction => write!(f, "{}.{fraction}", self.0 / UNIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_decimals() {
        let check = |text: &str, expect: Result<u64, ()>| {
            let read = Money::parse(text);
            assert_eq!(read.map(Money::as_micros).map_err(|_| ()), expect, "{text}");
            if let Ok(amount) = read {
                assert_eq!(Money::parse(&amount.to_string()), Ok(amount));
            }
        };
        check("0", Ok(0));
        check("12", Ok(12_000_000));
        check("12.5", Ok(12_500_000));
        check("0.000001", Ok(1));
        check("1000000000", Ok(1_000_000_000_000_000));
        for wrong in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "0.0000001", "1000000000.000001", "99999999999"]
        {
            check(wrong, Err(()));
        }
        assert_eq!(Money::micros(12_500_000).to_string(), "12.5");
    }
}
