//! Text and phonemes around Piper: parts of a clause for espeak-ng, and phonemes as the voice's numbers.
//! It must never fail on a phoneme: what the voice does not know is left out and counted.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Longest part given to espeak-ng in one line, in bytes; it reads lines of 1,000.
const LONGEST_PART: usize = 800;

/// A Piper voice's JSON.
#[derive(Debug, Deserialize)]
pub(super) struct VoiceConfig {
    pub(super) audio: Audio,
    pub(super) espeak: Espeak,
    #[serde(default)]
    pub(super) inference: Inference,
    phoneme_id_map: BTreeMap<String, Vec<i64>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Audio {
    pub(super) sample_rate: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Espeak {
    pub(super) voice: String,
}

/// How freely the voice speaks.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Inference {
    pub(super) noise_scale: f32,
    pub(super) length_scale: f32,
    pub(super) noise_w: f32,
}

impl Default for Inference {
    fn default() -> Self {
        Self { noise_scale: 0.667, length_scale: 1.0, noise_w: 0.8 }
    }
}

/// A stretch of a clause without punctuation, and the mark after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) mark: char,
}

/// Cuts a clause at the punctuation that a voice lets hear. espeak-ng would swallow it.
pub(super) fn parts(clause: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut text = String::new();
    let mut chars = clause.chars().peekable();
    while let Some(c) = chars.next() {
        let at_end = chars.peek().is_none_or(|next| !next.is_alphanumeric());
        match audible_mark(c) {
            Some(mark) if at_end && !(c == '.' && is_title(&text)) => close(&mut parts, &mut text, mark),
            // The dot of a title would end espeak-ng's clause.
            Some(_) if c == '.' && at_end => {}
            _ if text.len() >= LONGEST_PART && c.is_whitespace() || text.len() >= LONGEST_PART + 100 => {
                close(&mut parts, &mut text, ',')
            }
            _ => text.push(if is_spoken(c) { c } else { ' ' }),
        }
    }
    close(&mut parts, &mut text, '.');
    parts
}

fn close(parts: &mut Vec<Part>, text: &mut String, mark: char) {
    let done = std::mem::take(text);
    let done = done.trim();
    if done.chars().any(char::is_alphanumeric) {
        parts.push(Part { text: done.to_owned(), mark });
    } else if let Some(last) = parts.last_mut()
        && !done.is_empty()
    {
        last.mark = mark;
    }
}

fn audible_mark(c: char) -> Option<char> {
    Some(match c {
        '.' | '…' | '।' => '.',
        '!' => '!',
        '?' => '?',
        ',' | '—' | '–' => ',',
        ';' => ';',
        ':' => ':',
        _ => return None,
    })
}

/// espeak-ng reads `[[…]]` as phonemes and a line break as the end, and would name each emoji and asterisk.
fn is_spoken(c: char) -> bool {
    let markup = matches!(c, '[' | ']' | '<' | '>' | '*' | '_' | '`' | '~' | '|');
    let pictogram = c >= '\u{2190}' && !c.is_alphanumeric();
    !(c.is_control() || markup || pictogram)
}

fn is_title(text: &str) -> bool {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or("");
    matches!(word.to_lowercase().as_str(), "mr" | "mrs" | "ms" | "dr" | "prof" | "st" | "sr" | "jr")
}

impl VoiceConfig {
    /// The voice's numbers for `spoken` (phonemes of each part and the mark after it): begin and end
    /// marks around, padding between, as Piper was trained.
    ///
    /// Returns how many phonemes the voice does not know, too.
    pub(super) fn ids(&self, spoken: &[(String, char)]) -> (Vec<i64>, usize) {
        let pad = self.symbol('_').unwrap_or(&[0]);
        let mut ids = Vec::new();
        let mut unknown = 0;
        let mut put = |symbol: char, ids: &mut Vec<i64>| match self.symbol(symbol) {
            Some(numbers) => {
                ids.extend_from_slice(numbers);
                ids.extend_from_slice(pad);
            }
            None => unknown += 1,
        };
        put('^', &mut ids);
        for (index, (phonemes, mark)) in spoken.iter().enumerate() {
            if index > 0 {
                put(' ', &mut ids);
            }
            for symbol in without_language_switches(phonemes) {
                put(symbol, &mut ids);
            }
            put(*mark, &mut ids);
        }
        ids.extend_from_slice(self.symbol('$').unwrap_or(&[]));
        (ids, unknown)
    }

    fn symbol(&self, symbol: char) -> Option<&[i64]> {
        self.phoneme_id_map.get(symbol.encode_utf8(&mut [0; 4]) as &str).map(Vec::as_slice)
    }
}

/// espeak-ng writes `(en)` where it changes languages.
fn without_language_switches(phonemes: &str) -> impl Iterator<Item = char> {
    let mut within = false;
    phonemes.trim().chars().filter(move |&c| {
        let hidden = within || c == '(';
        within = c == '(' || within && c != ')';
        !hidden && c != '\u{200d}'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parts(clause: &str, expect: &[(&str, char)]) {
        let got = parts(clause);
        let got: Vec<(&str, char)> = got.iter().map(|p| (p.text.as_str(), p.mark)).collect();
        assert_eq!(got, expect, "{clause}");
    }

    #[test]
    fn clauses_in_parts() {
        check_parts("", &[]);
        check_parts("Hello", &[("Hello", '.')]);
        check_parts("Hello Priya, this is Maya.", &[("Hello Priya", ','), ("this is Maya", '.')]);
        check_parts("At 10:30, for 1,200.50 rupees?", &[("At 10:30", ','), ("for 1,200.50 rupees", '?')]);
        check_parts("Hello Mr. Rao!", &[("Hello Mr Rao", '!')]);
        check_parts("Well... yes — of course", &[("Well", '.'), ("yes", ','), ("of course", '.')]);
        check_parts("[[phonemes]] <b>\nhere", &[("phonemes    b  here", '.')]);
        check_parts("**Great** news 🙂!", &[("Great   news", '!')]);
        check_parts("ठीक है।", &[("ठीक है", '.')]);
        check_parts("...!", &[]);
    }

    #[test]
    fn parts_fit_a_line_of_espeak() {
        for text in ["word ".repeat(1_000), "x".repeat(5_000)] {
            assert!(parts(&text).iter().all(|part| part.text.len() <= LONGEST_PART + 100));
        }
    }

    fn config() -> VoiceConfig {
        serde_json::from_str(
            r#"{"audio":{"sample_rate":22050},"espeak":{"voice":"en-us"},
                "phoneme_id_map":{"_":[0],"^":[1],"$":[2]," ":[3],",":[8],".":[10],"?":[13],"h":[20],"i":[21],"ˈ":[120]}}"#,
        )
        .unwrap()
    }

    fn check_ids(spoken: &[(&str, char)], expect: &[i64], unknown: usize) {
        let spoken: Vec<(String, char)> = spoken.iter().map(|(p, m)| ((*p).to_owned(), *m)).collect();
        assert_eq!(config().ids(&spoken), (expect.to_vec(), unknown), "{spoken:?}");
    }

    #[test]
    fn phonemes_as_numbers() {
        check_ids(&[], &[1, 0, 2], 0);
        check_ids(&[("hi", '.')], &[1, 0, 20, 0, 21, 0, 10, 0, 2], 0);
        check_ids(&[("hˈi", ','), ("i", '?')], &[1, 0, 20, 0, 120, 0, 21, 0, 8, 0, 3, 0, 21, 0, 13, 0, 2], 0);
        check_ids(&[("(en)h(fr)i", '.')], &[1, 0, 20, 0, 21, 0, 10, 0, 2], 0);
        check_ids(&[("hXi\u{200d}", '.')], &[1, 0, 20, 0, 21, 0, 10, 0, 2], 1);
    }

    #[test]
    fn scales_have_defaults() {
        assert_eq!(config().inference, Inference { noise_scale: 0.667, length_scale: 1.0, noise_w: 0.8 });
    }
}
