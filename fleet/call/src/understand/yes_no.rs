//! Yes or no, in the many ways people say it.
//! It must never take a question or a hesitation for an answer.

use super::words::words;

/// Decided as a whole before single words are looked at.
const PHRASES: &[(&[&str], Option<bool>)] = &[
    (&["no", "problem"], Some(true)),
    (&["no", "issue"], Some(true)),
    (&["no", "issues"], Some(true)),
    (&["not", "a", "problem"], Some(true)),
    (&["why", "not"], Some(true)),
    (&["go", "ahead"], Some(true)),
    (&["of", "course"], Some(true)),
    (&["no", "doubt"], Some(true)),
    (&["thats", "me"], Some(true)),
    (&["thats", "right"], Some(true)),
    (&["you", "are", "right"], Some(true)),
    (&["koi", "baat", "nahi"], Some(true)),
    (&["kyon", "nahi"], Some(true)),
    (&["kyun", "nahi"], Some(true)),
    (&["not", "sure"], None),
    (&["dont", "know"], None),
    (&["no", "idea"], None),
    (&["pata", "nahi"], None),
    (&["may", "be"], None),
    (&["who", "is", "this"], None),
    (&["who", "is", "it"], None),
    (&["right", "now"], None),
    (&["right", "away"], None),
    (&["all", "right"], Some(true)),
    (&["wrong", "number"], Some(false)),
    (&["no", "one"], Some(false)),
    (&["call", "me", "later"], Some(false)),
    (&["call", "back", "later"], Some(false)),
];

const YES: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yup",
    "yea",
    "ya",
    "yah",
    "yess",
    "yas",
    "sure",
    "ok",
    "okay",
    "okey",
    "correct",
    "right",
    "alright",
    "definitely",
    "absolutely",
    "certainly",
    "surely",
    "exactly",
    "indeed",
    "fine",
    "true",
    "affirmative",
    "agreed",
    "agree",
    "speaking",
    "confirmed",
    "confirm",
    "haan",
    "haa",
    "haanji",
    "hanji",
    "han",
    "ji",
    "theek",
    "thik",
    "sahi",
    "bilkul",
    "zaroor",
    "zarur",
    "achha",
    "accha",
    "हाँ",
    "हां",
    "जी",
    "ठीक",
    "सही",
    "बिल्कुल",
    "ज़रूर",
];
const NO: &[&str] = &[
    "no",
    "nope",
    "nah",
    "naa",
    "not",
    "never",
    "dont",
    "doesnt",
    "didnt",
    "cant",
    "cannot",
    "wont",
    "isnt",
    "wasnt",
    "arent",
    "havent",
    "hasnt",
    "couldnt",
    "wouldnt",
    "shouldnt",
    "incorrect",
    "wrong",
    "negative",
    "false",
    "refuse",
    "unable",
    "nahi",
    "nahin",
    "nai",
    "nahee",
    "mat",
    "नहीं",
    "ना",
    "मत",
    "गलत",
    "galat",
];
/// Yes only when nothing stronger is said: "this is Rahul", "I can".
const WEAK_YES: &[&[&str]] = &[
    &["this", "is"],
    &["it", "is"],
    &["i", "am"],
    &["im"],
    &["i", "can"],
    &["i", "will"],
    &["ill"],
    &["i", "do"],
    &["i", "have"],
    &["i", "did"],
    &["we", "can"],
    &["we", "will"],
    &["you", "can"],
    &["i", "think", "so"],
    &["please", "do"],
    &["sounds", "good"],
    &["tell", "me"],
    &["bol", "raha"],
    &["bol", "rahi"],
    &["main", "hi"],
    &["kar", "dunga"],
    &["kar", "dungi"],
];
const WEAK_NO: &[&[&str]] = &[
    &["busy"],
    &["later"],
    &["driving"],
    &["in", "a", "meeting"],
    &["somebody", "else"],
    &["someone", "else"],
    &["baad", "mein"],
];

/// Reads an answer: the first decisive word counts, unless it is taken back at once ("yeah, no").
pub(crate) fn yes_no(text: &str) -> Option<bool> {
    let words = words(text);
    let votes = votes(&words);
    let decided = match votes.as_slice() {
        [(first, a), (second, b), ..] if a != b && second - first == 1 => Some(*b),
        [(_, first), ..] => Some(*first),
        [] => None,
    };
    decided.or_else(|| weak(&words))
}

/// Each decisive word or phrase, by position.
fn votes(words: &[String]) -> Vec<(usize, bool)> {
    let mut votes = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let phrase = PHRASES.iter().find(|(phrase, _)| starts_with(&words[at..], phrase));
        if let Some((phrase, meaning)) = phrase {
            votes.extend(meaning.map(|meaning| (at, meaning)));
            at += phrase.len();
            continue;
        }
        let word = words[at].as_str();
        // "theek nahi hai", "sahi nahi": the denial behind the word is what counts.
        let denied = words.get(at + 1).is_some_and(|next| matches!(next.as_str(), "nahi" | "nahin" | "नहीं"));
        if NO.contains(&word) {
            votes.push((at, false));
        } else if YES.contains(&word) && !denied {
            votes.push((at, true));
        }
        at += 1;
    }
    votes
}

fn weak(words: &[String]) -> Option<bool> {
    let says =
        |phrases: &[&[&str]]| phrases.iter().any(|phrase| words.windows(phrase.len()).any(|window| window == *phrase));
    let unsure = words.iter().any(|word| {
        matches!(word.as_str(), "maybe" | "perhaps" | "who" | "what" | "why" | "shayad" | "idea" | "sure" | "know")
    });
    match (unsure, says(WEAK_NO), says(WEAK_YES)) {
        (true, ..) => None,
        (_, true, _) => Some(false),
        (_, false, true) => Some(true),
        (_, false, false) => None,
    }
}

fn starts_with(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len() && words[..phrase.len()] == *phrase
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: Option<bool>, texts: &[&str]) {
        for text in texts {
            assert_eq!(yes_no(text), expect, "{text:?}");
        }
    }

    #[test]
    fn yes() {
        check(
            Some(true),
            &[
                "Yes.",
                "Yeah.",
                "Yep, that's me.",
                "Yes, this is Rahul.",
                "This is Rahul speaking.",
                "Speaking.",
                "Sure.",
                "Okay.",
                "Ok, go ahead.",
                "No problem.",
                "Why not?",
                "Of course.",
                "That's right.",
                "Correct.",
                "Yes, I don't mind.",
                "Haan.",
                "Haan ji.",
                "Ji haan, bol raha hoon.",
                "Theek hai.",
                "Bilkul.",
                "हाँ",
                "जी हाँ",
                "I am.",
                "Yes, I can do that.",
                "I will.",
                "Absolutely!",
                "Yeah, sure, no problem.",
                "All right.",
                "Yes, right now is fine.",
                "It is.",
                "I think so.",
                "Koi baat nahi.",
                "Main hi bol raha hoon.",
                "Um, yes.",
                "Sounds good.",
                "No, yes.",
            ],
        );
    }

    #[test]
    fn no() {
        check(
            Some(false),
            &[
                "No.",
                "Nope.",
                "No, sorry.",
                "No, I can't.",
                "I can't right now.",
                "Not today.",
                "Yeah, no.",
                "Wrong number.",
                "You have the wrong number.",
                "I don't think so.",
                "This is not Rahul.",
                "He isn't here.",
                "Nahi.",
                "Nahin, abhi nahi.",
                "नहीं",
                "I won't pay.",
                "Never.",
                "I'm busy.",
                "I am in a meeting.",
                "Call me later.",
                "Sahi nahi hai.",
                "No one by that name here.",
                "I am busy right now.",
            ],
        );
    }

    #[test]
    fn neither() {
        check(
            None,
            &[
                "",
                "What?",
                "Who is this?",
                "Maybe.",
                "I'm not sure.",
                "I don't know.",
                "Hello?",
                "Tomorrow.",
                "What is this about?",
                "Pata nahi.",
                "Rahul Sharma.",
            ],
        );
    }
}
