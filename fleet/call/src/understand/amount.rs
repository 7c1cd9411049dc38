//! An amount of money within an answer.
//! It must never mistake a date or a count of days for it when an amount was named.

use super::number::{Found, corrected, find, plain};
use super::words::words;

const CURRENCY: &[&str] =
    &["rupees", "rupee", "rs", "inr", "rupaye", "rupaya", "dollars", "dollar", "bucks", "usd", "euros", "pounds"];
const MINOR: &[&str] = &["paise", "paisa", "cents", "cent"];
/// What behind a number makes it no money.
const OTHER: &[&str] = &[
    "days",
    "day",
    "weeks",
    "week",
    "months",
    "month",
    "years",
    "hours",
    "hour",
    "minutes",
    "minute",
    "times",
    "percent",
    "am",
    "pm",
    "oclock",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Reads an amount in whole units, with two decimals where there are any: `15000`, `99.50`.
pub(crate) fn amount(text: &str) -> Option<String> {
    let words = words(text);
    let found = corrected(&words, find(&words));
    let stands_by =
        |found: &Found, list: &[&str]| words.get(found.end).is_some_and(|next| list.contains(&next.as_str()));
    let behind = |found: &Found| found.start.checked_sub(1).is_some_and(|at| CURRENCY.contains(&words[at].as_str()));
    let minor = found.iter().find(|one| stands_by(one, MINOR)).cloned();
    let major: Vec<&Found> = found.iter().filter(|one| Some(*one) != minor.as_ref()).collect();
    let named = major.iter().find(|one| stands_by(one, CURRENCY) || behind(one));
    let largest = || major.iter().filter(|one| !stands_by(one, OTHER)).max_by_key(|one| one.value);
    let value = match named.or_else(largest) {
        Some(one) => one.value,
        None => minor.as_ref().map(|_| 0)?,
    };
    let value = value.checked_add(minor.map_or(0, |one| one.value / 100))?;
    let text = plain(value);
    Some(match text.split_once('.') {
        Some((whole, part)) if part.len() == 1 => format!("{whole}.{part}0"),
        _ => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(amount(text).as_deref(), expect, "{text:?}");
        check("Fifteen thousand rupees.", Some("15000"));
        check("₹15,000.", Some("15000"));
        check("Rs. 500", Some("500"));
        check("I can pay 5000.", Some("5000"));
        check("I can pay 2000 rupees on the 5th.", Some("2000"));
        check("On 15 May I pay 500 rupees.", Some("500"));
        check("In 2 days, 750.", Some("750"));
        check("One and a half lakh", Some("150000"));
        check("ninety nine rupees and fifty paise", Some("99.50"));
        check("99.5", Some("99.50"));
        check("fifty paise", Some("0.50"));
        check("five thousand, no, six thousand rupees", Some("6000"));
        check("do hazaar rupaye", Some("2000"));
        check("Nothing.", None);
        check("In 2 days.", None);
    }
}
