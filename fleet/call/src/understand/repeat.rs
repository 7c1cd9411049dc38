//! Whether the customer only asks to hear it again.
//! It must never swallow an answer: it is asked only when no answer was understood.

use super::words::words;

const PHRASES: &[&[&str]] = &[
    &["repeat"],
    &["say", "again"],
    &["say", "that", "again"],
    &["say", "it", "again"],
    &["come", "again"],
    &["pardon"],
    &["what", "did", "you", "say"],
    &["didnt", "hear"],
    &["didnt", "catch"],
    &["didnt", "get"],
    &["cant", "hear"],
    &["cannot", "hear"],
    &["did", "not", "hear"],
    &["did", "not", "get"],
    &["not", "audible"],
    &["once", "more"],
    &["one", "more", "time"],
    &["phir", "se"],
    &["fir", "se"],
    &["dobara"],
    &["sunai", "nahi"],
];
/// Alone they ask for it too.
const ALONE: &[&[&str]] = &[
    &["what"],
    &["sorry"],
    &["sorry", "what"],
    &["huh"],
    &["excuse", "me"],
    &["hello"],
    &["hello", "hello"],
    &["kya"],
    &["kya", "bola"],
    &["i", "am", "sorry"],
    &["im", "sorry"],
];

pub(crate) fn asks_to_repeat(text: &str) -> bool {
    let words = words(text);
    ALONE.iter().any(|phrase| words == *phrase)
        || PHRASES.iter().any(|phrase| words.windows(phrase.len()).any(|window| window == *phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_is_recognised() {
        let check = |text: &str, expect: bool| assert_eq!(asks_to_repeat(text), expect, "{text:?}");
        check("Sorry?", true);
        check("Could you repeat that, please?", true);
        check("What did you say?", true);
        check("I can't hear you.", true);
        check("Hello? Hello?", true);
        check("Kya?", true);
        check("Phir se boliye.", true);
        check("Sorry, I can't pay.", false);
        check("What is this about?", false);
        check("", false);
    }
}
