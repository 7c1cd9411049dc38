//! The world's numbering plans: which digits make a number, and whose.
//! It must never strip a digit on suspicion: a prefix goes only where the number fits better without it.
//!
//! The library's own parser is asked as one voice among several: it strips the default country's trunk prefix from
//! numbers of other countries, too (`+7 812 …` and `+39 02 …` would lose a digit).

use phonenumber::metadata::DATABASE;
use phonenumber::{Metadata, Type};

use super::PhoneError;

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

/// A country calling code and a national significant number behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) code: u16,
    pub(super) national: String,
}

/// How well digits fit their country's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Impossible,
    /// Some kind of number has that length: ranges open faster than any database learns of them.
    Possible,
    /// The plan's general pattern matches.
    General,
    /// A kind's own pattern matches.
    Assigned,
}

/// Reads the plans in.
pub(super) fn read_in() {
    let _ = DATABASE.region(&1);
}

/// Splits an international number's digits at its country calling code (those are prefix-free).
pub(super) fn split(digits: &str) -> Option<Parts> {
    (1..=3).find_map(|length| {
        let code: u16 = digits.get(..length)?.parse().ok().filter(|_| !digits.starts_with('0'))?;
        DATABASE.region(&code)?;
        Some(Parts { code, national: digits[length..].to_owned() })
    })
}

/// Reads an international number's digits (no `+`, no international prefix).
pub(super) fn international(digits: &str) -> Result<Parts, PhoneError> {
    let parts = split(digits).ok_or(PhoneError::Unreadable)?;
    let bare = main_region(parts.code).and_then(|region| without_trunk_prefix(region, &parts));
    best([Some(parts), bare].into_iter().flatten())
}

/// Reads digits as somebody in `country` would dial them; `typed` is the text they come from.
pub(super) fn national(typed: &str, digits: &str, country: phonenumber::country::Id) -> Result<Parts, PhoneError> {
    let home =
        DATABASE.by_id(country.as_ref()).ok_or_else(|| PhoneError::UnknownCountry(country.as_ref().to_owned()))?;
    let abroad = home.international_prefix().and_then(|prefix| prefix.find(digits));
    if let Some(prefix) = abroad.filter(|found| found.start() == 0) {
        return international(&digits[prefix.end()..]);
    }
    let code = home.country_code();
    let as_typed = Parts { code, national: digits.to_owned() };
    let bare = without_trunk_prefix(home, &as_typed);
    // The parser knows carrier codes and the mobile prefixes of some countries.
    let parsed = phonenumber::parse(Some(country), typed)
        .ok()
        .map(|number| Parts { code: number.country().code(), national: number.national().to_string() });
    let with_code = digits.strip_prefix(&code.to_string()).map(|rest| Parts { code, national: rest.to_owned() });
    let with_both = with_code.as_ref().and_then(|parts| without_trunk_prefix(home, parts));
    let voices = [Some(as_typed), bare, parsed.filter(|p| p.code == code), with_code, with_both];
    best(voices.into_iter().flatten())
}

/// The one that fits best; of equals, the first.
fn best(candidates: impl Iterator<Item = Parts>) -> Result<Parts, PhoneError> {
    let ranked = candidates.map(|parts| (fit(&parts), parts));
    let best = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best {
        Some((Fit::Impossible, parts)) if parts.national.len() <= 3 => Err(PhoneError::ShortCode),
        Some((Fit::Impossible, _)) | None => Err(PhoneError::Impossible),
        Some((_, parts)) => Ok(parts),
    }
}

fn without_trunk_prefix(region: &Metadata, parts: &Parts) -> Option<Parts> {
    let rest = parts.national.strip_prefix(region.national_prefix()?)?;
    Some(Parts { code: parts.code, national: rest.to_owned() })
}

fn fit(parts: &Parts) -> Fit {
    let Parts { code, national } = parts;
    // 15 digits are E.164's limit, three the longest emergency codes.
    if national.len() <= 3 || code.to_string().len() + national.len() > 15 {
        return Fit::Impossible;
    }
    if region_of(parts).is_some_and(|region| is_assigned(region, national)) {
        return Fit::Assigned;
    }
    let Some(main) = main_region(*code) else {
        return Fit::Impossible;
    };
    let general = main.descriptors().general().national_number().find(national);
    let possible = is_possible(*code, national.len());
    match general {
        Some(found) if possible && found.range() == (0..national.len()) => Fit::General,
        // Where numbers begin with 0 (Italy), the patterns above know it.
        _ if possible && !national.starts_with('0') => Fit::Possible,
        _ => Fit::Impossible,
    }
}

fn regions(code: u16) -> Vec<&'static Metadata> {
    let names = DATABASE.region(&code).unwrap_or_default();
    // Every code that is of no country has the one name 001, so those are found by code.
    if names == ["001"] {
        return DATABASE.by_code(&code).unwrap_or_default();
    }
    names.into_iter().filter_map(|name| DATABASE.by_id(name)).collect()
}

fn main_region(code: u16) -> Option<&'static Metadata> {
    regions(code).into_iter().next()
}

/// The region of a country calling code that a number belongs to. Smaller regions are known by their leading digits;
/// what is none of theirs and has the main region's shape is the main region's.
fn region_of(parts: &Parts) -> Option<&'static Metadata> {
    let regions = regions(parts.code);
    let main = *regions.first()?;
    if regions.len() == 1 {
        return Some(main);
    }
    let own = regions.into_iter().find(|region| match region.leading_digits() {
        Some(digits) => digits.find(&parts.national).is_some_and(|found| found.start() == 0),
        None => is_assigned(region, &parts.national),
    });
    own.or_else(|| main.descriptors().general().is_match(&parts.national).then_some(main))
}

fn is_assigned(region: &Metadata, national: &str) -> bool {
    let kinds = KINDS.iter().filter_map(|&kind| region.descriptors().get(kind));
    region.descriptors().general().is_match(national) && kinds.into_iter().any(|kind| kind.is_match(national))
}

fn is_possible(code: u16, length: usize) -> bool {
    let regions = regions(code);
    let kinds = regions.iter().flat_map(|r| KINDS.iter().filter_map(|&kind| r.descriptors().get(kind)));
    kinds.flat_map(|kind| kind.possible_length()).any(|&possible| usize::from(possible) == length)
}

/// ISO 3166-1 alpha-2 of the number's region; `None` for numbers of no country, and where a country calling code is
/// shared and no region's shape matches.
pub(super) fn country(parts: &Parts) -> Option<String> {
    let id = region_of(parts)?.id();
    (id != "001").then(|| id.to_owned())
}

/// Whether the number lies in a range for premium-rate services.
pub(super) fn is_premium(parts: &Parts) -> bool {
    let premium = region_of(parts).and_then(|region| region.descriptors().get(Type::PremiumRate));
    premium.is_some_and(|kind| kind.is_match(&parts.national))
}
