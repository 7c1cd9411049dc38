//! Phone numbers: what a client typed becomes E.164 or is refused; what leaves is written as the carrier wants it.
//! It must never hand text to the number library whose characters were not checked first.

mod plan;
mod received;
mod rule;

pub use received::readings;
pub use rule::{NumberRule, NumberRuleError};

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::trunk::NumberFormat;

/// Longest text that is looked at.
pub const MAX_TYPED: usize = 40;
/// No full number has fewer digits, country code included (Niue's and Ascension's have 7): such are short codes.
const MIN_DIGITS: usize = 7;

/// Why a text is no number to be called.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PhoneError {
    #[error("a phone number is required")]
    Empty,
    #[error("a phone number has at most 40 characters")]
    TooLong,
    #[error("a phone number has only digits, +, spaces, parentheses, dots and dashes")]
    Character,
    #[error("not a phone number")]
    Unreadable,
    #[error("emergency and short codes are never called")]
    ShortCode,
    #[error("no number of that country has that length")]
    Impossible,
    #[error("{0:?} is no country code of ISO 3166-1")]
    UnknownCountry(String),
}

impl PhoneError {
    /// The machine word of a 422 answer.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Empty => "phone_number_missing",
            Self::TooLong | Self::Character | Self::Unreadable => "phone_number_parsing",
            Self::ShortCode => "phone_number_short_code",
            Self::Impossible => "phone_number_impossible",
            Self::UnknownCountry(_) => "unknown_country",
        }
    }
}

/// An E.164 number: `+`, a country code, at most 15 digits in all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct E164(String);

impl E164 {
    /// Reads `+` and 2 to 15 digits of which the first is not 0; nothing else.
    ///
    /// # Errors
    /// [`PhoneError::Unreadable`] for anything else.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError::Unreadable)?;
        let fits =
            (2..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(PhoneError::Unreadable) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits after the `+`.
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    fn value(&self) -> u64 {
        self.digits().bytes().fold(0, |sum, b| sum * 10 + u64::from(b - b'0'))
    }
}

impl TryFrom<String> for E164 {
    type Error = PhoneError;
    fn try_from(text: String) -> Result<Self, PhoneError> {
        Self::parse(&text)
    }
}

impl From<E164> for String {
    fn from(number: E164) -> String {
        number.0
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Numbers are personal: logs see the last two digits only.
impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E164(…{})", &self.0[self.0.len() - 2..])
    }
}

/// A number that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    pub e164: E164,
    /// ISO 3166-1 alpha-2, upper case; `None` where the number belongs to no country or to one not known.
    pub country: Option<String>,
    /// Whether calling it costs more than a call: its owner is paid for it.
    pub premium: bool,
}

/// Reads the world's numbering plans in, which takes a processor some 70 ms: so that it is done when the first number comes.
/// Without it, that number waits.
pub fn prepare() {
    plan::read_in();
}

/// Reads what somebody typed as a number to call, with `default_country` (ISO 3166-1 alpha-2) for national spellings.
///
/// # Errors
/// Says why it is no number to be called.
pub fn parse_dialled(typed: &str, default_country: &str) -> Result<Dialled, PhoneError> {
    let typed = typed.trim_matches(' ');
    check_characters(typed)?;
    let country = country_id(default_country)?;
    let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
    match digits.len() {
        0 => return Err(PhoneError::Unreadable),
        1..MIN_DIGITS => return Err(PhoneError::ShortCode),
        _ => {}
    }
    let parts =
        if typed.contains('+') { plan::international(&digits)? } else { plan::national(typed, &digits, country)? };
    let e164 = E164::parse(&format!("+{}{}", parts.code, parts.national))?;
    Ok(Dialled { country: plan::country(&parts), premium: plan::is_premium(&parts), e164 })
}

fn check_characters(typed: &str) -> Result<(), PhoneError> {
    if typed.is_empty() {
        return Err(PhoneError::Empty);
    }
    if typed.len() > MAX_TYPED {
        return Err(PhoneError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b' ' | b'(' | b')' | b'.' | b'-');
    if !typed.bytes().all(allowed) {
        return Err(PhoneError::Character);
    }
    match typed.rfind('+') {
        Some(at) if typed[..at].contains(|c: char| c != '(' && c != ' ') => Err(PhoneError::Character),
        _ => Ok(()),
    }
}

fn country_id(code: &str) -> Result<phonenumber::country::Id, PhoneError> {
    code.parse().map_err(|_| PhoneError::UnknownCountry(code.to_owned()))
}

/// Whether `code` is a country of ISO 3166-1 (alpha-2, upper case) with phone numbers of its own.
pub fn is_country(code: &str) -> bool {
    country_id(code).is_ok()
}

/// Writes a number towards a carrier. What is not E.164 (a raw default number) is written as it is.
pub fn write(number: &str, format: NumberFormat) -> String {
    let Ok(e164) = E164::parse(number) else {
        return number.to_owned();
    };
    match format {
        NumberFormat::PlusE164 | NumberFormat::Raw => e164.0,
        NumberFormat::E164 => e164.digits().to_owned(),
        NumberFormat::National => national(&e164),
        NumberFormat::ZeroNational => format!("0{}", national(&e164)),
    }
}

/// The ways in which a number may have been written down: as E.164, as a carrier writes it, as people dial it.
pub fn spellings(number: &E164) -> Vec<String> {
    let national = national(number);
    let mut all = vec![
        number.as_str().to_owned(),
        number.digits().to_owned(),
        format!("00{}", number.digits()),
        format!("0{national}"),
        national,
    ];
    all.sort();
    all.dedup();
    all
}

/// The national significant number; the whole digits where the country code is not known.
fn national(number: &E164) -> String {
    plan::split(number.digits()).map_or_else(|| number.digits().to_owned(), |parts| parts.national)
}

#[cfg(test)]
mod tests;
