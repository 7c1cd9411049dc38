//! Phone numbers: what a client typed becomes E.164 or is refused; what leaves is written as the carrier wants it.
//! It must never hand text to the number library whose characters were not checked first.

use std::fmt;

use phonenumber::Type;
use phonenumber::metadata::DATABASE;
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
        let fits = (2..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(PhoneError::Unreadable)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits after the `+`.
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    fn value(&self) -> u64 {
        self.digits()
            .bytes()
            .fold(0, |sum, b| sum * 10 + u64::from(b - b'0'))
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
}

/// Reads what somebody typed as a number to call, with `default_country` (ISO 3166-1 alpha-2) for national spellings.
///
/// # Errors
/// Says why it is no number to be called.
pub fn parse_dialled(typed: &str, default_country: &str) -> Result<Dialled, PhoneError> {
    let typed = typed.trim_matches(' ');
    check_characters(typed)?;
    let country = country_id(default_country)?;
    if (1..MIN_DIGITS).contains(&typed.bytes().filter(u8::is_ascii_digit).count()) {
        return Err(PhoneError::ShortCode);
    }
    let number = phonenumber::parse(Some(country), typed).map_err(|_| PhoneError::Unreadable)?;
    let national = number.national().to_string();
    // An emergency code behind a country code.
    if national.len() <= 3 {
        return Err(PhoneError::ShortCode);
    }
    let code = number.country().code();
    let e164 = E164::parse(&format!("+{code}{national}")).map_err(|_| PhoneError::Impossible)?;
    if !is_possible(code, national.len()) {
        return Err(PhoneError::Impossible);
    }
    let country = number.country().id().map(|id| id.as_ref().to_owned());
    Ok(Dialled { e164, country })
}

fn check_characters(typed: &str) -> Result<(), PhoneError> {
    if typed.is_empty() {
        return Err(PhoneError::Empty);
    }
    if typed.len() > MAX_TYPED {
        return Err(PhoneError::TooLong);
    }
    let allowed =
        |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b' ' | b'(' | b')' | b'.' | b'-');
    if !typed.bytes().all(allowed) {
        return Err(PhoneError::Character);
    }
    match typed.rfind('+') {
        Some(at) if typed[..at].contains(|c: char| c != '(' && c != ' ') => {
            Err(PhoneError::Character)
        }
        _ => Ok(()),
    }
}

fn country_id(code: &str) -> Result<phonenumber::country::Id, PhoneError> {
    code.parse()
        .map_err(|_| PhoneError::UnknownCountry(code.to_owned()))
}

/// Whether `code` is a country of ISO 3166-1 (alpha-2, upper case) with phone numbers of its own.
pub fn is_country(code: &str) -> bool {
    country_id(code).is_ok()
}

/// Kinds of numbers that can be called from anywhere.
const KINDS: [Type; 10] = [
    Type::FixedLine,
    Type::Mobile,
    Type::TollFree,
    Type::PremiumRate,
    Type::SharedCost,
    Type::PersonalNumber,
    Type::Voip,
    Type::Pager,
    Type::Uan,
    Type::Voicemail,
];

/// Whether any region of a country calling code has numbers of `length` digits (without the code).
/// By length only: number ranges open faster than any database learns of them.
fn is_possible(code: u16, length: usize) -> bool {
    let regions = DATABASE.by_code(&code).unwrap_or_default();
    let lengths = regions.iter().flat_map(|region| {
        KINDS
            .iter()
            .filter_map(|&kind| region.descriptors().get(kind))
    });
    lengths
        .flat_map(|kind| kind.possible_length())
        .any(|&possible| usize::from(possible) == length)
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

/// The national significant number; the whole digits where the country code is not known.
fn national(number: &E164) -> String {
    phonenumber::parse(None, number.as_str()).map_or_else(
        |_| number.digits().to_owned(),
        |parsed| parsed.national().to_string(),
    )
}

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
    #[error(
        "a number rule is an E.164 number, a range (+911234000000-+911234999999) or a prefix (+911234*)"
    )]
    Shape,
    #[error(
        "both ends of a range have the same number of digits, and the first is not above the last"
    )]
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
            return if fits {
                Ok(Self::Prefix(prefix.to_owned()))
            } else {
                Err(NumberRuleError::Shape)
            };
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
                first.0.len() == number.0.len()
                    && (first.value()..=last.value()).contains(&number.value())
            }
            Self::Prefix(prefix) => number.0.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests;
