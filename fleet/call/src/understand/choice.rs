//! Which of a few named choices was meant.
//! It must never pick between two that were both named.

use std::collections::BTreeMap;

use super::words::words;

/// Finds the one choice that `text` names, by its own name or one of its words.
///
/// The longest match wins; of several equally long ones of different choices the last after a correction, else none.
/// Long words may differ by one letter, as recognisers mishear.
pub(crate) fn choice<'a>(text: &str, choices: &'a BTreeMap<String, Vec<String>>) -> Option<&'a str> {
    let heard = words(text);
    let mut found: Vec<Match<'a>> = Vec::new();
    for (name, keywords) in choices {
        let phrases = std::iter::once(name).chain(keywords);
        let matches = phrases.flat_map(|phrase| matches(&heard, &words(&phrase.replace('_', " "))));
        found.extend(matches.map(|(at, length)| Match { name, at, length }));
    }
    if let Some(correction) =
        heard.iter().rposition(|word| matches!(word.as_str(), "no" | "sorry" | "actually" | "rather" | "mean"))
        && found.iter().any(|one| one.at > correction)
    {
        found.retain(|one| one.at > correction);
    }
    let longest = found.iter().map(|one| one.length).max()?;
    let mut best = found.iter().filter(|one| one.length == longest);
    let first = best.next()?;
    best.all(|other| other.name == first.name).then_some(first.name)
}

struct Match<'a> {
    name: &'a str,
    at: usize,
    length: usize,
}

/// Where `phrase` occurs and isn't denied.
fn matches(heard: &[String], phrase: &[String]) -> Vec<(usize, usize)> {
    if phrase.is_empty() || heard.len() < phrase.len() {
        return Vec::new();
    }
    (0..=heard.len() - phrase.len())
        .filter(|&at| heard[at..at + phrase.len()].iter().zip(phrase).all(|(a, b)| alike(a, b)))
        .filter(|&at| at == 0 || phrase[0] == "not" || !matches!(heard[at - 1].as_str(), "not" | "dont" | "without"))
        .map(|at| (at, phrase.len()))
        .collect()
}

/// Equal, or long and one letter apart.
fn alike(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() < 5 || long.len() - short.len() > 1 {
        return false;
    }
    let head = short.iter().zip(&long).take_while(|(x, y)| x == y).count();
    let skip = usize::from(long.len() == short.len());
    short[(head + skip).min(short.len())..] == long[(head + 1).min(long.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> BTreeMap<String, Vec<String>> {
        let one = |name: &str, words: &[&str]| (name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect());
        BTreeMap::from([
            one("online", &["upi", "net banking", "card", "1"]),
            one("cash", &["branch", "in person", "2"]),
            one("net_salary", &["net salary"]),
            one("call_back", &["call me back", "later"]),
        ])
    }

    #[test]
    fn the_named_choice_is_found() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(choice(text, &choices()), expect, "{text:?}");
        check("Online, please.", Some("online"));
        check("I'll pay by UPI.", Some("online"));
        check("I'll come to the branch.", Some("cash"));
        check("Onlin.", Some("online"));
        check("2", Some("cash"));
        check("Net banking.", Some("online"));
        check("Please call me back.", Some("call_back"));
        check("call back", Some("call_back"));
        check("Not online, cash.", Some("cash"));
        check("Cash, no, online.", Some("online"));
        check("Cash or online.", None);
        check("Neither of them.", None);
        check("", None);
    }
}
