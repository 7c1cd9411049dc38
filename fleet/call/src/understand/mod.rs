//! What an answer means, for each kind a script can expect: English with Indian usage and everyday Hindi words.
//! It must never guess: an answer that is not understood is asked for again.

pub(crate) mod amount;
pub(crate) mod choice;
pub(crate) mod date;
pub(crate) mod number;
pub(crate) mod repeat;
pub(crate) mod words;
pub(crate) mod yes_no;

use std::collections::BTreeMap;

use domain::bot::Expect;
use jiff::civil::Date;

/// An understood answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What the result keeps: `yes`, `15000`, `2026-05-01`, a choice's name, the words themselves.
    pub(crate) value: String,
}

/// Reads `text` as an answer of the expected kind. `today` is the date at the bot's place.
pub(crate) fn answer(
    expect: Expect,
    text: &str,
    choices: &BTreeMap<String, Vec<String>>,
    today: Option<Date>,
) -> Option<Answer> {
    let value = match expect {
        Expect::YesNo => yes_no::yes_no(text).map(|yes| if yes { "yes" } else { "no" }.to_owned()),
        Expect::Number => number::number(text),
        Expect::Amount => amount::amount(text),
        Expect::Date => date::date(text, today?).map(|date| date.to_string()),
        Expect::Choice => choice::choice(text, choices).map(str::to_owned),
        Expect::FreeText => free_text(text),
    }?;
    Some(Answer { value })
}

/// Anything but bare hesitation.
fn free_text(text: &str) -> Option<String> {
    let hesitation =
        |word: &String| matches!(word.as_str(), "um" | "uh" | "uhm" | "hmm" | "hm" | "mm" | "er" | "ah" | "hello");
    let words = words::words(text);
    (!words.iter().all(hesitation)).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_is_anything_but_hesitation() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(free_text(text).as_deref(), expect, "{text:?}");
        check(" I lost my job. ", Some("I lost my job."));
        check("Um...", None);
        check("Hello?", None);
        check("", None);
    }
}
