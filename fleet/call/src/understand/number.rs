//! Numbers as people say them: digits, words, lakh and crore, digit by digit.
//! It must never turn a long number into a float: digits stay digits.

use super::words::words;

/// Values are kept in ten-thousandths, so that "2.75 lakh" is exact.
const SCALE: u128 = 10_000;
/// More digits than any number that is dictated has.
const MOST_DIGITS: usize = 30;

/// A number within an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// In ten-thousandths; 0 for dictated digits too long to count with.
    pub(crate) value: u128,
    /// Dictated digits, leading zeros kept, when no "hundred" or "lakh" was in it.
    pub(crate) digits: Option<String>,
    /// Word positions, half-open.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Found {
    /// As the result keeps it: `15000`, `2.5`, `007`.
    pub(crate) fn text(&self) -> String {
        self.digits.clone().unwrap_or_else(|| plain(self.value))
    }
}

/// The number an answer gives; after a correction ("five, no, six") the corrected one.
pub(crate) fn number(text: &str) -> Option<String> {
    let words = words(text);
    corrected(&words, find(&words)).first().map(Found::text)
}

/// Writes ten-thousandths in the shortest decimal spelling.
pub(crate) fn plain(value: u128) -> String {
    let text = format!("{}.{:04}", value / SCALE, value % SCALE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Drops the numbers that were taken back.
pub(crate) fn corrected(words: &[String], found: Vec<Found>) -> Vec<Found> {
    let takes_back = |word: &String| {
        matches!(word.as_str(), "no" | "sorry" | "actually" | "mean" | "rather" | "correction" | "nahi" | "not")
    };
    let mut from = 0;
    for (index, pair) in found.windows(2).enumerate() {
        if words[pair[0].end..pair[1].start].iter().any(takes_back) {
            from = index + 1;
        }
    }
    found.into_iter().skip(from).collect()
}

/// Every number in a text, in order; groups of dictated digits are one number.
pub(crate) fn find(words: &[String]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let Some(next) = dictated(words, at).or_else(|| cardinal(words, at)) else {
            at += 1;
            continue;
        };
        at = next.end;
        match found.last_mut() {
            Some(last) if last.end == next.start && joins(last, &next) => join(last, &next),
            _ => found.push(next),
        }
    }
    found.retain(|one| !is_pronoun(words, one));
    found
}

pub(crate) fn is_number_word(word: &str) -> bool {
    small(word).is_some() || multiplier(word).is_some() || repeats(word).is_some()
}

fn joins(a: &Found, b: &Found) -> bool {
    let length = |found: &Found| found.digits.as_ref().map(String::len);
    matches!((length(a), length(b)), (Some(a), Some(b)) if a + b <= MOST_DIGITS)
}

fn join(a: &mut Found, b: &Found) {
    let digits = a.digits.take().unwrap_or_default() + b.digits.as_deref().unwrap_or_default();
    a.value = digits.parse::<u128>().ok().and_then(|value| value.checked_mul(SCALE)).unwrap_or(0);
    a.digits = Some(digits);
    a.end = b.end;
}

/// "one" in "this one", "no one", "one moment" counts nothing.
fn is_pronoun(words: &[String], found: &Found) -> bool {
    if found.end - found.start != 1 || words[found.start] != "one" {
        return false;
    }
    let before = found.start.checked_sub(1).map(|at| words[at].as_str());
    let after = words.get(found.end).map(String::as_str);
    matches!(before, Some("this" | "that" | "no" | "the" | "which" | "any" | "some" | "every"))
        || matches!(after, Some("moment" | "second" | "minute" | "more" | "thing"))
}

/// "double five", "triple zero", and "oh" among digits.
fn dictated(words: &[String], at: usize) -> Option<Found> {
    let word = words[at].as_str();
    if let Some(times) = repeats(word) {
        let digit = words.get(at + 1).and_then(|next| small(next)).filter(|digit| *digit < 10)?;
        return Some(digits(digit.to_string().repeat(times), at, at + 2));
    }
    let beside_digit =
        |other: Option<&String>| other.is_some_and(|word| small(word).is_some() || repeats(word).is_some());
    if matches!(word, "oh" | "o") && (at > 0 && beside_digit(words.get(at - 1)) || beside_digit(words.get(at + 1))) {
        return Some(digits("0".to_owned(), at, at + 1));
    }
    // Numerals with a leading zero, or too long to be an amount, are dictated.
    let numeral = word.bytes().all(|byte| byte.is_ascii_digit()) && (word.starts_with('0') || word.len() > 9);
    (numeral && word.len() <= MOST_DIGITS).then(|| digits(word.to_owned(), at, at + 1))
}

fn digits(text: String, start: usize, end: usize) -> Found {
    let value = text.parse::<u128>().ok().and_then(|value| value.checked_mul(SCALE)).unwrap_or(0);
    Found { value, digits: Some(text), start, end }
}

/// A spoken number under construction.
#[derive(Default)]
struct Cardinal {
    total: u128,
    group: Option<u128>,
    /// The smallest unit so far; what follows must be smaller.
    unit: u128,
    scaled: bool,
    decimals: bool,
}

/// Reads the longest number that starts at `at`.
fn cardinal(words: &[String], start: usize) -> Option<Found> {
    let mut number = Cardinal { unit: u128::MAX, ..Cardinal::default() };
    let mut at = start;
    while let Some(word) = words.get(at) {
        let taken = number.take(words, at, word)?;
        if taken == 0 {
            break;
        }
        at += taken;
    }
    if at == start {
        return None;
    }
    let value = number.total.checked_add(number.group.unwrap_or(0))?;
    let digits = (!number.scaled && !number.decimals && value.is_multiple_of(SCALE)).then(|| plain(value));
    Some(Found { value, digits, start, end: at })
}

impl Cardinal {
    /// Takes what stands at `at`; answers how many words that were, 0 at the end of the number, `None` if too large.
    fn take(&mut self, words: &[String], at: usize, word: &str) -> Option<usize> {
        if let Some(unit) = multiplier_at(words, at) {
            return self.multiply(unit);
        }
        if let Some(half) = hindi_half(words, at) {
            return Some(self.add(half));
        }
        match word {
            "and" | "aur" => return Some(self.and(words, at)),
            "point" if self.group.is_some() && !self.decimals => return Some(self.point(words, at)),
            "half" if self.group.is_none() && self.total == 0 && followed_by_unit(words, at + 1) => {
                self.group = Some(SCALE / 2);
                self.decimals = true;
                let article = words.get(at + 1).is_some_and(|next| next == "a");
                return Some(1 + usize::from(article));
            }
            _ => {}
        }
        let value = match small_at(words, at) {
            Some(value) => u128::from(value) * SCALE,
            None => match numeral(word) {
                Some(value) => value,
                None => return Some(0),
            },
        };
        Some(self.add(value))
    }

    /// Adds a number below a hundred, or a numeral, if it can follow.
    fn add(&mut self, value: u128) -> usize {
        match self.group {
            None if self.total == 0 || value < self.unit.saturating_mul(SCALE) => self.group = Some(value),
            Some(group) if !self.decimals && fits_behind(group, value) => self.group = Some(group + value),
            _ => return 0,
        }
        self.decimals |= !value.is_multiple_of(SCALE);
        1
    }

    fn multiply(&mut self, unit: u128) -> Option<usize> {
        self.scaled = true;
        if unit == 100 {
            let group = self.group.unwrap_or(SCALE);
            // "five hundred hundred" is none.
            if group >= 100 * SCALE || (self.group.is_none() && self.total > 0 && self.unit <= 100) {
                return Some(0);
            }
            self.group = Some(group.checked_mul(100)?);
            self.decimals = false;
            return Some(1);
        }
        if unit < self.unit {
            let group = match self.group.take() {
                Some(group) => group,
                None if self.total == 0 => SCALE,
                None => return Some(0),
            };
            self.total = self.total.checked_add(group.checked_mul(unit)?)?;
            self.unit = unit;
        } else {
            // "two thousand crore".
            let group = self.group.take().unwrap_or(0);
            self.total = self.total.checked_add(group)?.checked_mul(unit)?;
            self.unit = unit;
        }
        self.decimals = false;
        Some(1)
    }

    /// "one hundred and five", "two and a half lakh"; any other "and" ends the number.
    fn and(&mut self, words: &[String], at: usize) -> usize {
        if self.group.is_none() && self.total == 0 {
            return 0;
        }
        let next = |offset: usize| words.get(at + offset).map(String::as_str);
        if (next(1), next(2)) == (Some("a"), Some("half")) {
            if let Some(group) = &mut self.group {
                *group += SCALE / 2;
                self.decimals = true;
                return 3;
            }
            return 0;
        }
        let follows = next(1).and_then(small).is_some_and(|value| value > 0);
        let may_follow = match self.group {
            Some(group) => group >= 100 * SCALE && group % (100 * SCALE) == 0,
            None => true,
        };
        usize::from(follows && may_follow && self.scaled)
    }

    fn point(&mut self, words: &[String], at: usize) -> usize {
        let mut place = SCALE;
        let mut taken = 1;
        while let Some(digit) = words.get(at + taken).and_then(|word| small(word)).filter(|digit| *digit < 10) {
            place /= 10;
            if let Some(group) = &mut self.group {
                *group += u128::from(digit) * place;
            }
            taken += 1;
        }
        self.decimals = taken > 1;
        if taken > 1 { taken } else { 0 }
    }
}

/// Whether `value` can be said behind `group`: "twenty" + "five", "two hundred" + "fifty".
fn fits_behind(group: u128, value: u128) -> bool {
    let (group, value) = (group / SCALE, value / SCALE);
    let behind_tens = (20..100).contains(&(group % 100)) && group.is_multiple_of(10) && (1..10).contains(&value);
    let behind_hundreds = group >= 100 && group.is_multiple_of(100) && (1..100).contains(&value);
    behind_tens || behind_hundreds
}

fn followed_by_unit(words: &[String], at: usize) -> bool {
    let article = usize::from(words.get(at).is_some_and(|word| word == "a"));
    words.get(at + article).is_some_and(|word| multiplier(word).is_some())
}

/// "dhai lakh" = 2.5, "dedh hazaar" = 1.5; only before a unit.
fn hindi_half(words: &[String], at: usize) -> Option<u128> {
    let value = match words[at].as_str() {
        "dedh" | "derh" => SCALE * 3 / 2,
        "dhai" | "dhaai" | "adhai" => SCALE * 5 / 2,
        "sava" => SCALE * 5 / 4,
        _ => return None,
    };
    followed_by_unit(words, at + 1).then_some(value)
}

fn repeats(word: &str) -> Option<usize> {
    match word {
        "double" => Some(2),
        "triple" | "treble" => Some(3),
        _ => None,
    }
}

/// A number below a hundred at a position: English anywhere, Hindi only where it can't be an English word.
fn small_at(words: &[String], at: usize) -> Option<u32> {
    let word = words[at].as_str();
    small(word).or_else(|| hindi(word).filter(|_| words.get(at + 1).is_some_and(|next| multiplier(next).is_some())))
}

fn small(word: &str) -> Option<u32> {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    if let Some(value) = ONES.iter().position(|one| *one == word) {
        return u32::try_from(value).ok();
    }
    if let Some(tens) = TENS.iter().position(|ten| *ten == word) {
        return u32::try_from(tens * 10 + 20).ok();
    }
    match word {
        "nought" | "nil" => Some(0),
        "fourty" => Some(40),
        _ if word.len() == 1 => word.parse().ok(),
        _ => None,
    }
}

/// Everyday Hindi numbers; several are English words too, so they count only before a unit.
fn hindi(word: &str) -> Option<u32> {
    Some(match word {
        "ek" => 1,
        "do" => 2,
        "teen" | "tin" => 3,
        "char" | "chaar" => 4,
        "paanch" | "panch" => 5,
        "chhe" | "che" | "chah" => 6,
        "saat" | "sat" => 7,
        "aath" | "ath" => 8,
        "nau" => 9,
        "das" => 10,
        "barah" => 12,
        "pandrah" => 15,
        "bees" => 20,
        "pachees" | "pachis" => 25,
        "tees" => 30,
        "chalis" => 40,
        "pachas" | "pachaas" => 50,
        "saath" => 60,
        "sattar" => 70,
        "assi" => 80,
        "nabbe" => 90,
        _ => return None,
    })
}

fn multiplier(word: &str) -> Option<u128> {
    Some(match word {
        "hundred" | "hundreds" | "sau" => 100,
        "thousand" | "thousands" | "k" | "hazaar" | "hazar" | "hajar" => 1_000,
        "lakh" | "lakhs" | "lac" | "lacs" | "lack" => 100_000,
        "million" | "millions" => 1_000_000,
        "crore" | "crores" | "cr" | "karod" => 10_000_000,
        "billion" | "billions" => 1_000_000_000,
        _ => return None,
    })
}

/// A unit at a position; "k" and "lack" only behind a number.
fn multiplier_at(words: &[String], at: usize) -> Option<u128> {
    let word = words[at].as_str();
    let behind_number =
        at > 0 && (small(&words[at - 1]).is_some() || numeral(&words[at - 1]).is_some() || words[at - 1] == "half");
    multiplier(word).filter(|_| behind_number || !matches!(word, "k" | "lack" | "cr"))
}

/// A numeral in ten-thousandths.
fn numeral(word: &str) -> Option<u128> {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 15 || part.len() > 4 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    format!("{whole}{part:0<4}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(number(text).as_deref(), Some(expect), "{text:?}");
    }

    #[test]
    fn numerals() {
        check("15000", "15000");
        check("15,000.", "15000");
        check("1,50,000", "150000");
        check("It's 42.", "42");
        check("2.5", "2.5");
        check("98765 43210", "9876543210");
        check("007", "007");
        check("15k", "15000");
        check("2 lakh", "200000");
        check("2.75 lakhs", "275000");
        check("15 thousand", "15000");
        check("123456789012345678", "123456789012345678");
    }

    #[test]
    fn words_of_all_sizes() {
        check("five", "5");
        check("Twenty five.", "25");
        check("twenty-five", "25");
        check("one hundred", "100");
        check("a hundred and five", "105");
        check("two hundred fifty", "250");
        check("fifteen hundred", "1500");
        check("fifteen thousand", "15000");
        check("fifteen thousand five hundred", "15500");
        check("one lakh twenty three thousand four hundred and fifty six", "123456");
        check("two crore", "20000000");
        check("two thousand crore", "20000000000");
        check("one and a half lakh", "150000");
        check("two point five lakh", "250000");
        check("half a lakh", "50000");
        check("three point one four", "3.14");
        check("five thousand and twenty", "5020");
        check("thousand", "1000");
        check("zero", "0");
        check("one million two hundred thousand", "1200000");
    }

    #[test]
    fn hindi_units() {
        check("do hazaar", "2000");
        check("paanch sau", "500");
        check("dhai lakh", "250000");
        check("dedh hazaar", "1500");
        check("ek lakh", "100000");
        check("pandrah hazaar", "15000");
    }

    #[test]
    fn digit_by_digit() {
        check("nine eight seven six", "9876");
        check("nine eight double seven six", "98776");
        check("triple zero one", "0001");
        check("one oh five", "105");
        check("twenty five thirty", "2530");
        check("It is one two three, four five six.", "123456");
    }

    #[test]
    fn corrections_and_other_words() {
        check("five, no, six", "6");
        check("two thousand, sorry, three thousand", "3000");
        check("I have two kids and five dogs", "2");
        check("this one is four", "4");
        check("one moment, it's seven", "7");
    }

    #[test]
    fn no_number() {
        for text in ["", "Hello.", "No one.", "I do not know.", "to be", "point", "and a half", "char", "double", "k"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn absurd_numbers_neither_panic_nor_wrap() {
        let long = "nine ".repeat(400);
        assert!(number(&long).is_some());
        number(&"crore ".repeat(100));
        number(&"9999999999999 crore ".repeat(50));
        number(&"hundred thousand million billion ".repeat(50));
    }
}
