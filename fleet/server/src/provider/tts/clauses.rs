//! Cuts text that arrives in pieces into clauses to speak.
//!
//! The first clause is cut early, so that the first audio is; later ones at sentences, where a
//! voice sounds best. It must never change the words: clauses joined by spaces are the text.

/// A first clause may end at a comma once it has this many characters.
const FIRST_SHORTEST: usize = 8;
/// A later clause may end at a comma once it has this many.
const LATER_SHORTEST: usize = 120;
/// Without any punctuation a clause is cut at a space before this many.
const FIRST_LONGEST: usize = 90;
const LATER_LONGEST: usize = 220;

/// A full stop after one of these ends no sentence.
const ABBREVIATIONS: &[&str] =
    &["mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "no", "e.g", "i.e", "approx", "dept"];

/// How long to wait before what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pause {
    /// Within a sentence, at punctuation.
    Comma,
    /// After a sentence.
    Sentence,
    /// The text goes on without any.
    None,
}

/// Something to speak in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    pub text: String,
    pub pause: Pause,
}

/// The text of one utterance, as far as it has come.
#[derive(Debug, Default)]
pub struct Clauses {
    waiting: String,
    past_first: bool,
}

impl Clauses {
    /// Nothing said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece and takes out the clauses that are complete with it.
    pub fn push(&mut self, piece: &str) -> Vec<Clause> {
        self.waiting.push_str(piece);
        let mut clauses = Vec::new();
        while let Some((end, pause)) = self.boundary() {
            let rest = self.waiting.split_off(end);
            let text = std::mem::replace(&mut self.waiting, rest);
            self.take(&text, pause, &mut clauses);
        }
        clauses
    }

    /// Takes out what is left.
    pub fn finish(&mut self) -> Option<Clause> {
        let mut clauses = self.push("");
        let text = std::mem::take(&mut self.waiting);
        self.take(&text, Pause::Sentence, &mut clauses);
        clauses.pop()
    }

    fn take(&mut self, text: &str, pause: Pause, clauses: &mut Vec<Clause>) {
        let text = text.trim();
        // Lone punctuation and symbols have no sound.
        if text.chars().any(char::is_alphanumeric) {
            self.past_first = true;
            clauses.push(Clause { text: text.to_owned(), pause });
        }
    }

    /// Where the first clause that is surely complete ends, in bytes.
    fn boundary(&self) -> Option<(usize, Pause)> {
        let (shortest, longest) =
            if self.past_first { (LATER_SHORTEST, LATER_LONGEST) } else { (FIRST_SHORTEST, FIRST_LONGEST) };
        let text = self.waiting.as_str();
        let mut last_space = None;
        let mut count = 0;
        for (index, c) in text.char_indices() {
            let end = index + c.len_utf8();
            if c == '\n' {
                return Some((end, Pause::Sentence));
            }
            // A comma at the end of a piece may be that of a number.
            let followed_by_space = closing_end(text, end).filter(|&end| text[end..].starts_with(char::is_whitespace));
            match (c, followed_by_space) {
                ('.' | '!' | '?' | '…' | '।', Some(end)) if c != '.' || ends_sentence(&text[..index]) => {
                    return Some((end, Pause::Sentence));
                }
                (',' | ';' | ':' | '—', Some(end)) if count >= shortest => return Some((end, Pause::Comma)),
                _ => {}
            }
            if c.is_whitespace() {
                last_space = Some(end);
            }
            count += 1;
            if count > longest {
                return Some((
                    last_space.filter(|&space| !text[..space].trim().is_empty()).unwrap_or(end),
                    Pause::None,
                ));
            }
        }
        None
    }
}

/// End of the closing quotes and brackets that begin at `start`; `None` if the text ends there.
fn closing_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let closing = |c: char| matches!(c, '"' | '\'' | ')' | ']' | '”' | '’');
    rest.char_indices().find(|(_, c)| !closing(*c)).map(|(offset, _)| start + offset)
}

/// Whether a full stop after `before` ends a sentence rather than an abbreviation, initial or list number.
fn ends_sentence(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or("");
    let lower = word.to_lowercase();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    let list_number = before.trim().len() == word.len() && !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    !(ABBREVIATIONS.contains(&lower.as_str()) || initial || list_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clauses joined by their pauses: `,` `.` or `~` for none.
    fn cut(pieces: impl Iterator<Item = String>) -> String {
        let mut clauses = Clauses::new();
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(clauses.push(&piece));
        }
        all.extend(clauses.finish());
        let mark = |clause: &Clause| match clause.pause {
            Pause::Comma => "[,]",
            Pause::Sentence => "[.]",
            Pause::None => "[~]",
        };
        all.iter().map(|clause| format!("{}{}", clause.text, mark(clause))).collect::<Vec<_>>().join(" ")
    }

    /// Whole, and character by character, the cuts are the same.
    fn check(text: &str, expect: &str) {
        assert_eq!(cut(std::iter::once(text.to_owned())), expect, "whole: {text}");
        assert_eq!(cut(text.chars().map(String::from)), expect, "in characters: {text}");
    }

    #[test]
    fn sentences() {
        check("", "");
        check("  ", "");
        check("Hello", "Hello[.]");
        check("Hi. I am Maya.", "Hi.[.] I am Maya.[.]");
        check("Really?! Yes.", "Really?![.] Yes.[.]");
        check("One\nTwo", "One[.] Two[.]");
        check("He said \"no.\" Then left.", "He said \"no.\"[.] Then left.[.]");
        check("नमस्ते। आप कैसे हैं?", "नमस्ते।[.] आप कैसे हैं?[.]");
    }

    #[test]
    fn the_first_clause_is_small() {
        check(
            "Hello Priya, this is Maya, from the bank. Is it you, Priya?",
            "Hello Priya,[,] this is Maya, from the bank.[.] Is it you, Priya?[.]",
        );
        check("Yes, I see, thank you.", "Yes, I see,[,] thank you.[.]");
    }

    #[test]
    fn what_is_no_end_of_a_sentence() {
        check("Mr. Rao and Dr. Sen. Next.", "Mr. Rao and Dr. Sen.[.] Next.[.]");
        check("It costs 1,200.50 rupees at 10:30 today.", "It costs 1,200.50 rupees at 10:30 today.[.]");
        check("Ask J. Smith. And I. Done.", "Ask J. Smith.[.] And I.[.] Done.[.]");
        check("1. First. 2. Second.", "1. First.[.] 2. Second.[.]");
        check("Visit example.com now.", "Visit example.com now.[.]");
    }

    #[test]
    fn what_has_no_sound_is_left_out() {
        check("Hello. -- ... 🙂 Bye.", "Hello.[.] 🙂 Bye.[.]");
        check("!!! ???", "");
    }

    #[test]
    fn long_text_is_cut() {
        let text = "word ".repeat(100);
        let mut clauses = Clauses::new();
        let got = clauses.push(&text);
        assert!(got[0].text.len() <= FIRST_LONGEST && got.len() == 2);
        for clause in &got {
            assert!(clause.text.len() <= LATER_LONGEST && clause.text.ends_with("word") && clause.pause == Pause::None);
        }
        let endless = "x".repeat(1_000);
        let mut clauses = Clauses::new();
        let mut got: String = clauses.push(&endless).into_iter().map(|c| c.text).collect();
        got.extend(clauses.finish().map(|c| c.text));
        assert_eq!(got, endless);
        let long = format!("Hello there, {}, then more of it follows here.", "and so on ".repeat(12).trim_end());
        assert_eq!(cut(std::iter::once(long)).matches("[,]").count(), 2);
    }
}
