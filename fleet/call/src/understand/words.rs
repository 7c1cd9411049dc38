//! Cuts recognised text into lower-case words and plain numbers.
//! It must never interpret them.

/// Words without marks; digits without grouping commas; `₹` as `rs`; `15k` as `15`, `k`; `5th` stays whole.
pub(crate) fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = rejoined(text).chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_ascii_digit() {
            at = number(&chars, at, &mut words);
        } else if is_letter(c) {
            let end =
                (at..chars.len()).find(|&i| !is_letter(chars[i]) && !is_apostrophe(chars[i])).unwrap_or(chars.len());
            words.push(chars[at..end].iter().filter(|c| !is_apostrophe(**c)).collect());
            at = end;
        } else {
            match c {
                '₹' => words.push("rs".to_owned()),
                '$' => words.push("dollars".to_owned()),
                '%' => words.push("percent".to_owned()),
                _ => {}
            }
            at += 1;
        }
    }
    words
}

/// In lower case; recognisers also write `to-morrow`, as books of a hundred years ago do.
fn rejoined(text: &str) -> String {
    let text: String = text.chars().flat_map(char::to_lowercase).collect();
    text.replace("to-day", "today").replace("to-morrow", "tomorrow").replace("to-night", "tonight")
}

/// Reads a number and an ordinal ending; answers where it ends.
fn number(chars: &[char], start: usize, words: &mut Vec<String>) -> usize {
    let mut text = String::new();
    let mut at = start;
    while let Some(&c) = chars.get(at) {
        let digits_after = chars[at + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
        match c {
            _ if c.is_ascii_digit() => text.push(c),
            // "15,000" and "1,50,000" are grouped; "9,8,7" is a list.
            ',' if digits_after == 2 || digits_after == 3 => {}
            '.' if digits_after > 0 => text.push('.'),
            _ => break,
        }
        at += 1;
    }
    let ending: String = chars[at..].iter().take_while(|c| is_letter(**c)).collect();
    if matches!(ending.as_str(), "st" | "nd" | "rd" | "th") {
        text.push_str(&ending);
        at += ending.len();
    }
    words.push(text);
    at
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’')
}

/// Letters, and the signs that make up Indic words.
fn is_letter(c: char) -> bool {
    c.is_alphabetic() || ('\u{0900}'..='\u{0DFF}').contains(&c) && c != '।'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_into_words() {
        let check = |text: &str, expect: &[&str]| assert_eq!(words(text), expect, "{text:?}");
        check("Yes, I don't.", &["yes", "i", "dont"]);
        check("₹15,000/-", &["rs", "15000"]);
        check("1,50,000 on 5th May", &["150000", "on", "5th", "may"]);
        check("9,8,7", &["9", "8", "7"]);
        check("15k, 2.5 lakh", &["15", "k", "2.5", "lakh"]);
        check("twenty-five", &["twenty", "five"]);
        check("Day after to-morrow.", &["day", "after", "tomorrow"]);
        check("98765 43210.", &["98765", "43210"]);
        check("जी हाँ।", &["जी", "हाँ"]);
        check("", &[]);
        check("…", &[]);
    }
}
