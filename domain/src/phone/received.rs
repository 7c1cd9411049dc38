//! Numbers as a carrier hands them over: the user part of a SIP URI, in whatever spelling the carrier likes.
//! It must never settle on one reading where the digits allow for two: whoever knows its numbers picks.

use super::{E164, MAX_TYPED, parse_dialled};
use crate::trunk::NumberFormat;

/// Digits below which nothing is read as an international number without `+`.
const INTERNATIONAL_DIGITS: usize = 8;

/// What the user part of a SIP or tel URI may mean as a number, likeliest first: in the country's own spelling, and as
/// E.164 without its `+`. `format`: how the trunk writes numbers. Empty for a name, a short code, or anything else.
pub fn readings(user: &str, country: &str, format: NumberFormat) -> Vec<E164> {
    // Parameters of the number (RFC 3966 §5.1), as in `+9111;phone-context=…`.
    let number = user.split(';').next().unwrap_or_default().trim();
    let spelled = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '(' | ')' | ' ');
    if number.is_empty() || number.len() > MAX_TYPED || !number.chars().all(spelled) {
        return Vec::new();
    }
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let international = (number.starts_with('+') || digits.len() >= INTERNATIONAL_DIGITS)
        .then(|| E164::parse(&format!("+{digits}")).ok())
        .flatten();
    let local = parse_dialled(number, country).ok().map(|dialled| dialled.e164);
    let first_international = number.starts_with('+') || format == NumberFormat::E164;
    let ordered = if first_international { [international, local] } else { [local, international] };
    let mut found: Vec<E164> = Vec::new();
    for number in ordered.into_iter().flatten() {
        if !found.contains(&number) {
            found.push(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriers_spelling_is_read() {
        use NumberFormat::{E164 as Bare, National, PlusE164, ZeroNational};
        let check = |user: &str, country: &str, format: NumberFormat, expect: &[&str]| {
            let found = readings(user, country, format);
            assert_eq!(found.iter().map(E164::as_str).collect::<Vec<_>>(), expect, "{user} {country} {format:?}");
        };
        check("+911140001234", "IN", PlusE164, &["+911140001234"]);
        check("+911140001234;npdi;rn=+9111", "IN", PlusE164, &["+911140001234"]);
        check("+91-11-4000-1234", "US", PlusE164, &["+911140001234"]);
        check("911140001234", "IN", Bare, &["+911140001234"]);
        check("00911140001234", "IN", PlusE164, &["+911140001234"]);
        check("01140001234", "IN", ZeroNational, &["+911140001234"]);
        check("1140001234", "IN", National, &["+911140001234", "+1140001234"]);
        check("1140001234", "IN", Bare, &["+1140001234", "+911140001234"]);
        check("2025550123", "US", National, &["+12025550123", "+2025550123"]);
        for nobody in ["", "acme", "bot@x", "112", "100", "+", "1".repeat(41).as_str()] {
            check(nobody, "IN", PlusE164, &[]);
        }
        check("911140001234", "XX", PlusE164, &["+911140001234"]);
    }
}
