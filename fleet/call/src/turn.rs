//! When the customer's turn is over: a delay after the end of speech that depends on what was said.
//! It must never be one flat number.

use std::time::Duration;

use crate::understand::words::words;

/// What kind of answer the bot waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    Anything,
    /// Yes, no, or one of a few choices: often a single word.
    Short,
    /// A number, which people say in groups with pauses between them.
    Digits,
    Date,
}

/// Words after which nobody has finished.
const UNFINISHED: &[&str] = &[
    "and", "or", "but", "because", "so", "um", "uh", "uhm", "hmm", "er", "erm", "the", "a", "an", "my", "your", "to",
    "of", "in", "on", "at", "for", "with", "is", "are", "if", "that", "then", "like", "about", "around", "maybe",
    "from", "i", "we", "its", "aur", "toh", "lekin", "kyunki", "matlab", "ki", "ka", "agar", "double", "triple",
    "point",
];
/// As above, but a full stop after them is believed.
const SOFT: &[&str] = &["that", "so", "in", "on", "then", "maybe", "it", "hmm", "toh", "is", "are", "i", "my"];

/// The answer is understood and complete.
const UNDERSTOOD: Duration = Duration::from_millis(250);
const QUESTION: Duration = Duration::from_millis(350);
const SENTENCE: Duration = Duration::from_millis(500);
const UNDERSTOOD_LONG: Duration = Duration::from_millis(400);
/// Recognisers end most texts with a full stop, so one behind a word or two says little.
const FRAGMENT: Duration = Duration::from_millis(650);
const OPEN_END: Duration = Duration::from_millis(800);
const DIGITS: Duration = Duration::from_millis(1100);
const LISTING: Duration = Duration::from_millis(1200);
const HESITATION: Duration = Duration::from_millis(1600);

/// How long after the end of speech the turn is over.
pub(crate) fn end_delay(text: &str, expectation: Expectation, understood: bool) -> Duration {
    let trimmed = text.trim_end();
    let stopped = trimmed.ends_with(['.', '?', '!', '।']) && !trimmed.ends_with("..");
    let words = words(trimmed);
    let Some(last) = words.last() else { return OPEN_END };
    let trails_off = trimmed.ends_with("..") || trimmed.ends_with(['…', '-', '—']);
    let unfinished = UNFINISHED.contains(&last.as_str()) && !(stopped && SOFT.contains(&last.as_str()));
    let amount_named = expectation == Expectation::Digits && understood && is_currency(last);
    if amount_named {
        return UNDERSTOOD_LONG;
    }
    if trails_off || (unfinished && !understood_whole(expectation, understood, words.len())) {
        return HESITATION;
    }
    if expectation == Expectation::Digits && ends_in_digits(last) {
        return DIGITS;
    }
    if understood_whole(expectation, understood, words.len()) && (stopped || words.len() <= 2) {
        return UNDERSTOOD;
    }
    if understood && (stopped || expectation == Expectation::Short) {
        return UNDERSTOOD_LONG;
    }
    match trimmed.chars().last() {
        Some('?') => QUESTION,
        Some(',' | ':' | ';') => LISTING,
        _ if stopped && words.len() > 2 => SENTENCE,
        _ if stopped => FRAGMENT,
        _ => OPEN_END,
    }
}

/// A short answer to a question that wants one.
fn understood_whole(expectation: Expectation, understood: bool, words: usize) -> bool {
    understood && expectation == Expectation::Short && words <= 4
}

fn is_currency(word: &str) -> bool {
    matches!(word, "rupees" | "rupee" | "rs" | "dollars" | "bucks" | "rupaye" | "only")
}

fn ends_in_digits(word: &str) -> bool {
    word.ends_with(|c: char| c.is_ascii_digit()) || crate::understand::number::is_number_word(word)
}

/// What a question of a model's asks for, as far as its first words tell.
pub(crate) fn expectation_of(said: &str) -> Expectation {
    let Some(question) = said.trim_end().strip_suffix('?') else { return Expectation::Anything };
    let sentence = question.rsplit(['.', '!', '?']).next().unwrap_or(question);
    let words = words(sentence);
    let first =
        words.iter().map(String::as_str).find(|word| !matches!(*word, "and" | "so" | "ok" | "okay" | "hello" | "hi"));
    match first {
        Some(
            "is" | "are" | "am" | "do" | "does" | "did" | "can" | "could" | "will" | "would" | "have" | "has" | "shall"
            | "should" | "may",
        ) => Expectation::Short,
        _ => Expectation::Anything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_what_was_said() {
        use Expectation::*;
        let check = |text: &str, expectation, understood, expect: Duration| {
            assert_eq!(end_delay(text, expectation, understood), expect, "{text:?} {expectation:?} {understood}");
        };
        check("Yes.", Short, true, UNDERSTOOD);
        check("Yes", Short, true, UNDERSTOOD);
        check("Yes, this is Rahul.", Short, true, UNDERSTOOD);
        check("I can pay", Short, true, UNDERSTOOD_LONG);
        check("Yes, that is me speaking right now.", Short, true, UNDERSTOOD_LONG);
        check("Yes and", Short, false, HESITATION);
        check("I think, um", Anything, false, HESITATION);
        check("I was going to...", Anything, false, HESITATION);
        check("I was going to pay because", Anything, false, HESITATION);
        check("I will pay on Friday.", Anything, false, SENTENCE);
        check("I will pay on Friday.", Date, true, UNDERSTOOD_LONG);
        check("I will pay on", Date, false, HESITATION);
        check("Who is this?", Anything, false, QUESTION);
        check("Rahul.", Anything, false, FRAGMENT);
        check("I will pay", Anything, false, OPEN_END);
        check("apples, pears,", Anything, false, LISTING);
        check("nine eight seven six", Digits, true, DIGITS);
        check("98765.", Digits, true, DIGITS);
        check("fifteen thousand", Digits, true, DIGITS);
        check("fifteen thousand rupees", Digits, true, UNDERSTOOD_LONG);
        check("double", Digits, false, HESITATION);
        check("", Anything, false, OPEN_END);
    }

    #[test]
    fn a_models_question_tells_what_it_wants() {
        let check = |said: &str, expect| assert_eq!(expectation_of(said), expect, "{said:?}");
        check("Hello. Am I speaking with Rahul?", Expectation::Short);
        check("Okay, can you pay today?", Expectation::Short);
        check("When can you pay?", Expectation::Anything);
        check("Thank you.", Expectation::Anything);
    }
}
