//! Compares what was said with what was recognised. It must never demand that a recogniser spells like a dictionary.

/// Lower-case words without marks; a hyphen joins, as recognisers write `to-morrow` and `good-bye`.
pub(super) fn words(text: &str) -> Vec<String> {
    let letters = |c: char| if matches!(c, '\'' | '’' | '-') { None } else { Some(c) };
    let text: String = text.chars().filter_map(letters).flat_map(char::to_lowercase).collect();
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether the words of `phrase` are in `heard`, in their order; others may stand between.
pub(super) fn holds(heard: &[String], phrase: &[String]) -> bool {
    let mut rest = heard.iter();
    !phrase.is_empty() && phrase.iter().all(|word| rest.any(|other| alike(other, word)))
}

/// Whether each word of `name` was heard, as far as a recogniser spells a name it never saw.
pub fn name_heard(heard: &str, name: &str) -> bool {
    let heard = words(heard);
    let near = |word: &String| heard.iter().any(|other| distance(other, word) <= word.chars().count().div_ceil(3));
    let name = words(name);
    !name.is_empty() && name.iter().all(near)
}

/// Word error rate of `heard` against `said`: 0 is all right; more than 1 is possible. Numbers are left out: what is
/// written `4500` is spoken, and recognised, in words.
pub fn error_rate(said: &str, heard: &str) -> f64 {
    let plain = |text| words(text).into_iter().filter(|word| !is_number(word)).collect::<Vec<_>>();
    let (said, heard) = (plain(said), plain(heard));
    distance_of(&said, &heard) as f64 / said.len().max(1) as f64
}

fn is_number(word: &str) -> bool {
    const NUMBERS: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
        sixteen seventeen eighteen nineteen hundred thousand first second third fourth fifth sixth seventh eighth ninth \
        tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth";
    const TENS: &[&str] = &["twent", "thirt", "fort", "fift", "sixt", "sevent", "eight", "ninet"];
    // Also "twentieth", and "twentyfive", which had a hyphen.
    let tens = |start: &&str| word.strip_prefix(*start).is_some_and(|rest| rest.starts_with(['y', 'i']));
    word.contains(|c: char| c.is_ascii_digit())
        || NUMBERS.split(' ').any(|number| number == word)
        || TENS.iter().any(tens)
}

/// Equal, or long and one letter apart.
fn alike(a: &str, b: &str) -> bool {
    a == b || (a.chars().count().min(b.chars().count()) >= 5 && distance(a, b) <= 1)
}

fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().collect::<Vec<_>>();
    distance_of(&letters(a), &letters(b))
}

/// Levenshtein's distance.
fn distance_of<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_into_words() {
        let check = |text: &str, expect: &[&str]| assert_eq!(words(text), expect, "{text:?}");
        check("Yes, I don't.", &["yes", "i", "dont"]);
        check("15,000 rupees!", &["15", "000", "rupees"]);
        check("Good-bye!", &["goodbye"]);
        check(" … ", &[]);
    }

    #[test]
    fn phrases_are_held_in_order() {
        let check = |heard: &str, phrase: &str, expect: bool| {
            assert_eq!(holds(&words(heard), &words(phrase)), expect, "{heard:?} {phrase:?}");
        };
        check("When can you pay it?", "when pay", true);
        check("Pay when you can.", "when pay", false);
        check("Which payments?", "payment", true);
        check("A card?", "cart", false);
        check("Anything.", "", false);
    }

    #[test]
    fn names_are_heard_though_misspelt() {
        let check = |heard: &str, expect: bool| assert_eq!(name_heard(heard, "Rahul Sharma"), expect, "{heard:?}");
        check("Am I speaking with Rahul Sharma?", true);
        check("Am I speaking with Raul Sharma?", true);
        check("Am I speaking with Rahool Charma?", true);
        check("Am I speaking with Sharma?", false);
        check("Am I speaking with you?", false);
        check("", false);
    }

    #[test]
    fn errors_are_counted_in_words() {
        let check = |said: &str, heard: &str, expect: f64| {
            assert!((error_rate(said, heard) - expect).abs() < 1e-9, "{said:?} {heard:?}")
        };
        check("Yes, this is Rahul.", "yes this is rahul", 0.0);
        check("Yes, this is Rahul.", "Yes, this is Raul.", 0.25);
        check("red blue", "red", 0.5);
        check("red", "red green blue", 2.0);
        check("Due tomorrow.", "due to-morrow", 0.0);
        check("Pay 4500 on the 25th.", "Pay four thousand five hundred on the twenty-fifth.", 0.0);
        check("Pay 4500 today.", "Play four thousand five hundred today.", 0.5);
        check("", "", 0.0);
    }
}
