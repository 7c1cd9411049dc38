//! Dates as people name them, relative to the date at the bot's place.
//! It must never return a date that does not exist, and reads 5/6 as the fifth of June, as in India.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use super::number;
use super::words::words;

/// Finds the day an answer names. A day without a year is the next one to come, today included.
pub(crate) fn date(text: &str, today: Date) -> Option<Date> {
    if let Some(date) = written(text, today) {
        return Some(date);
    }
    let all = without_denied(words(text));
    let takes_back = |word: &String| matches!(word.as_str(), "no" | "sorry" | "actually" | "mean" | "rather");
    let after = all.iter().rposition(takes_back).map(|at| &all[at + 1..]);
    after.and_then(|rest| spoken(rest, today)).or_else(|| spoken(&all, today))
}

/// "not tomorrow, Friday": the denied word is taken out.
fn without_denied(mut words: Vec<String>) -> Vec<String> {
    while let Some(at) = words.iter().position(|word| word == "not") {
        let end = (at + 2).min(words.len());
        words.drain(at..end);
    }
    words
}

fn spoken(words: &[String], today: Date) -> Option<Date> {
    by_month_name(words, today)
        .or_else(|| by_month_end(words, today))
        .or_else(|| by_day_of_month(words, today))
        .or_else(|| by_day_word(words, today))
        .or_else(|| by_distance(words, today))
        .or_else(|| by_weekday(words, today))
        .or_else(|| by_next(words, today))
}

/// `2026-05-01`, `1/5/2026`, `1-5`, `1.5.26`.
fn written(text: &str, today: Date) -> Option<Date> {
    text.split_whitespace().find_map(|piece| {
        let piece = piece.trim_matches(|c: char| !c.is_ascii_digit());
        let separator = ['-', '/', '.'].into_iter().find(|separator| piece.contains(*separator))?;
        let parts: Vec<i16> = piece.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        match (parts.as_slice(), separator) {
            ([year, month, day], _) if *year >= 1000 => make(*year, *month, *day),
            ([day, month, year], _) => make(if *year < 100 { 2000 + *year } else { *year }, *month, *day),
            ([day, month], '/') => upcoming(*month, *day, today),
            _ => None,
        }
    })
}

fn make(year: i16, month: i16, day: i16) -> Option<Date> {
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// The next such day, today included.
fn upcoming(month: i16, day: i16, today: Date) -> Option<Date> {
    // Eight years hold a 29 February wherever today is.
    (today.year()..=today.year().saturating_add(8))
        .filter_map(|year| make(year, month, day))
        .find(|date| *date >= today)
}

fn month(word: &str) -> Option<i16> {
    Some(match word {
        "january" | "jan" => 1,
        "february" | "feb" => 2,
        "march" | "mar" => 3,
        "april" | "apr" => 4,
        "may" => 5,
        "june" | "jun" => 6,
        "july" | "jul" => 7,
        "august" | "aug" => 8,
        "september" | "sep" | "sept" => 9,
        "october" | "oct" => 10,
        "november" | "nov" => 11,
        "december" | "dec" => 12,
        _ => return None,
    })
}

/// A day of the month at a position, as an ordinal or a number, and how many words it takes.
fn day_at(words: &[String], at: usize) -> Option<(i16, usize)> {
    if let Some(ordinal) = ordinal_at(words, at) {
        return Some(ordinal);
    }
    let found = number::find(words.get(at..(at + 2).min(words.len()))?);
    let first = found.first().filter(|one| one.start == 0)?;
    let day: i16 = first.text().parse().ok()?;
    if (1..=31).contains(&day) {
        return Some((day, first.end));
    }
    // "5 26" was joined: try the first word alone.
    let alone: i16 = number::find(&words[at..=at]).first()?.text().parse().ok()?;
    (1..=31).contains(&alone).then_some((alone, 1))
}

/// "5th", "fifth", "twenty first".
fn ordinal_at(words: &[String], at: usize) -> Option<(i16, usize)> {
    const ORDINALS: [&str; 20] = [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
        "thirteenth",
        "fourteenth",
        "fifteenth",
        "sixteenth",
        "seventeenth",
        "eighteenth",
        "nineteenth",
        "twentieth",
    ];
    let ordinal =
        |word: &str| ORDINALS.iter().position(|other| *other == word).and_then(|at| i16::try_from(at + 1).ok());
    let word = words.get(at)?.as_str();
    if let Some(digits) = ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending))
        && let Ok(day) = digits.parse()
    {
        return (1..=31).contains(&day).then_some((day, 1));
    }
    let tens = match word {
        "twenty" => 20,
        "thirty" => 30,
        "thirtieth" => return Some((30, 1)),
        _ => return ordinal(word).map(|day| (day, 1)),
    };
    let ones = words.get(at + 1).and_then(|next| ordinal(next)).filter(|ones| *ones < 10)?;
    (tens + ones <= 31).then_some((tens + ones, 2))
}

/// "the fifth of May", "May 5th, 2027", "5 May".
fn by_month_name(words: &[String], today: Date) -> Option<Date> {
    words.iter().enumerate().find_map(|(at, word)| {
        let month = month(word)?;
        // The furthest first: "twenty first of" is not "first of".
        let before = (1..=4).rev().find_map(|back| {
            let start = at.checked_sub(back)?;
            let (day, length) = day_at(words, start)?;
            let between = &words[start + length..at];
            (between.is_empty() || between == ["of"]).then_some(day)
        });
        let behind = || {
            let article = usize::from(words.get(at + 1).is_some_and(|word| word == "the"));
            day_at(words, at + 1 + article).map(|(day, length)| (day, at + 1 + article + length))
        };
        let (day, end) = before.map(|day| (day, at + 1)).or_else(behind)?;
        match year_at(words, end) {
            Some(year) => make(year, month, day),
            None => upcoming(month, day, today),
        }
    })
}

/// "2026", "twenty twenty six".
fn year_at(words: &[String], at: usize) -> Option<i16> {
    let found = number::find(words.get(at..(at + 3).min(words.len()))?);
    let year: i16 = found.first().filter(|one| one.start == 0)?.text().parse().ok()?;
    (2000..2100).contains(&year).then_some(year)
}

/// "end of the month", "month end", "last day of next month".
fn by_month_end(words: &[String], today: Date) -> Option<Date> {
    let has = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    let month = words.iter().any(|word| word == "month");
    let end = has(&["month", "end"])
        || has(&["months", "end"])
        || month && (has(&["end", "of"]) || has(&["last", "day"]) || has(&["last", "date"]));
    if !end {
        return None;
    }
    let months = i32::from(has(&["next", "month"]));
    Some(today.first_of_month().checked_add(months.months()).ok()?.last_of_month())
}

/// "the fifth", "on 5th", "5th of next month".
fn by_day_of_month(words: &[String], today: Date) -> Option<Date> {
    let (at, (day, length)) = (0..words.len()).find_map(|at| Some((at, ordinal_at(words, at)?)))?;
    // "first I have to…", "one second", "the second week" name no day.
    let next = words.get(at + length).map(String::as_str);
    if matches!(next, Some("i" | "we" | "let" | "week" | "time" | "one")) || (at > 0 && words[at - 1] == "one") {
        return None;
    }
    if words.windows(2).any(|pair| pair == ["next", "month"]) {
        let first = today.first_of_month().checked_add(1.month()).ok()?;
        return make(first.year(), i16::from(first.month()), day);
    }
    let mut first = today.first_of_month();
    // Within a year every day of the month exists at least seven times.
    for _ in 0..12 {
        match make(first.year(), i16::from(first.month()), day) {
            Some(date) if date >= today => return Some(date),
            _ => first = first.checked_add(1.month()).ok()?,
        }
    }
    None
}

fn by_day_word(words: &[String], today: Date) -> Option<Date> {
    let has = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    let days = if has(&["day", "after", "tomorrow"]) || has(&["parso"]) || has(&["parson"]) {
        2
    } else if has(&["tomorrow"]) || has(&["kal"]) || has(&["tomorow"]) || has(&["कल"]) {
        1
    } else if has(&["today"])
        || has(&["tonight"])
        || has(&["aaj"])
        || has(&["right", "now"])
        || has(&["immediately"])
        || has(&["आज"])
    {
        0
    } else if has(&["day", "before", "yesterday"]) {
        -2
    } else if has(&["yesterday"]) {
        -1
    } else {
        return None;
    };
    today.checked_add(days.days()).ok()
}

/// "in three days", "after a week", "do din mein".
fn by_distance(words: &[String], today: Date) -> Option<Date> {
    let (at, unit) = words.iter().enumerate().find_map(|(at, word)| {
        let unit = match word.as_str() {
            "days" | "day" | "din" => 1,
            "weeks" | "week" | "hafte" | "hafta" => 7,
            "months" | "month" | "mahine" => 0,
            _ => return None,
        };
        (at > 0).then_some((at, unit))
    })?;
    let before = &words[..at];
    let count: i32 = match before.last().map(String::as_str) {
        Some("a" | "one" | "ek") => 1,
        Some("do") => 2,
        Some("of") if before.iter().any(|word| word == "couple") => 2,
        Some("couple") => 2,
        Some("few") => 3,
        Some("teen") => 3,
        Some("char") => 4,
        _ => number::find(before)
            .last()
            .filter(|one| one.end == before.len())?
            .text()
            .parse()
            .ok()
            .filter(|count| *count <= 1000)?,
    };
    let span = if unit == 0 { count.months() } else { (count * unit).days() };
    today.checked_add(span).ok()
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mondays" | "somvar" | "somwar" => Weekday::Monday,
        "tuesday" | "tuesdays" | "mangalvar" | "mangalwar" => Weekday::Tuesday,
        "wednesday" | "wednesdays" | "budhvar" | "budhwar" => Weekday::Wednesday,
        "thursday" | "thursdays" | "guruvar" | "guruwar" => Weekday::Thursday,
        "friday" | "fridays" | "shukravar" | "shukrawar" => Weekday::Friday,
        "saturday" | "saturdays" | "shanivar" | "shaniwar" => Weekday::Saturday,
        "sunday" | "sundays" | "ravivar" | "raviwar" | "itvar" => Weekday::Sunday,
        _ => return None,
    })
}

/// "Friday", "this Friday", "coming Friday": the first after today. "Next Friday": the one of next week (Monday to Sunday).
fn by_weekday(words: &[String], today: Date) -> Option<Date> {
    let (at, day) = words.iter().enumerate().find_map(|(at, word)| Some((at, weekday(word)?)))?;
    let near = today.nth_weekday(1, day).ok()?;
    let says_next =
        at > 0 && words[at - 1] == "next" || words[at + 1..].windows(2).any(|pair| pair == ["next", "week"]);
    if !says_next {
        return Some(near);
    }
    let monday = today.checked_add((7 - i32::from(today.weekday().to_monday_zero_offset())).days()).ok()?;
    monday.checked_add(i32::from(day.to_monday_zero_offset()).days()).ok()
}

/// "next week", "next month", "weekend".
fn by_next(words: &[String], today: Date) -> Option<Date> {
    let has = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    if has(&["next", "week"]) || has(&["agle", "hafte"]) {
        today.checked_add(7.days()).ok()
    } else if has(&["next", "month"]) || has(&["agle", "mahine"]) {
        today.checked_add(1.month()).ok()
    } else if has(&["weekend"]) {
        today.nth_weekday(1, Weekday::Saturday).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Wednesday.
    const TODAY: &str = "2026-04-15";

    fn check(text: &str, expect: &str) {
        let today = TODAY.parse().unwrap();
        assert_eq!(date(text, today).map(|date| date.to_string()).as_deref(), Some(expect), "{text:?}");
    }

    #[test]
    fn day_words() {
        check("Today.", "2026-04-15");
        check("I'll do it tonight.", "2026-04-15");
        check("Tomorrow.", "2026-04-16");
        check("The day after tomorrow.", "2026-04-17");
        check("Kal.", "2026-04-16");
        check("Parso.", "2026-04-17");
        check("aaj hi", "2026-04-15");
        check("I paid it yesterday.", "2026-04-14");
        check("Right now.", "2026-04-15");
    }

    #[test]
    fn weekdays() {
        check("Friday.", "2026-04-17");
        check("On Monday.", "2026-04-20");
        check("This Friday.", "2026-04-17");
        check("Wednesday.", "2026-04-22");
        check("Next Friday.", "2026-04-24");
        check("Next Monday.", "2026-04-20");
        check("Next Wednesday.", "2026-04-22");
        check("Friday next week.", "2026-04-24");
        check("By Sunday evening.", "2026-04-19");
        check("shukravar ko", "2026-04-17");
    }

    #[test]
    fn months() {
        check("The fifth of May.", "2026-05-05");
        check("May 5th.", "2026-05-05");
        check("5 May", "2026-05-05");
        check("May the fifth.", "2026-05-05");
        check("On the twenty first of April.", "2026-04-21");
        check("April fifteenth.", "2026-04-15");
        check("April 14.", "2027-04-14");
        check("10 March.", "2027-03-10");
        check("May 5th, 2027.", "2027-05-05");
        check("5th May twenty twenty seven", "2027-05-05");
        check("Thirty first December.", "2026-12-31");
        check("29 February", "2028-02-29");
    }

    #[test]
    fn days_of_the_month() {
        check("The fifth.", "2026-05-05");
        check("On the 20th.", "2026-04-20");
        check("By the 15th.", "2026-04-15");
        check("31st.", "2026-05-31");
        check("The 10th of next month.", "2026-05-10");
        check("At the end of the month.", "2026-04-30");
        check("Month end.", "2026-04-30");
        check("End of next month.", "2026-05-31");
        check("Friday the 17th.", "2026-04-17");
    }

    #[test]
    fn distances() {
        check("In three days.", "2026-04-18");
        check("After 2 days.", "2026-04-17");
        check("In a week.", "2026-04-22");
        check("Within two weeks.", "2026-04-29");
        check("In a couple of days.", "2026-04-17");
        check("do din mein", "2026-04-17");
        check("In ten days' time.", "2026-04-25");
        check("In one month.", "2026-05-15");
        check("Next week.", "2026-04-22");
        check("Next month.", "2026-05-15");
        check("On the weekend.", "2026-04-18");
    }

    #[test]
    fn written_dates_are_day_first() {
        check("2026-05-01", "2026-05-01");
        check("1/5/2026", "2026-05-01");
        check("on 5/6", "2026-06-05");
        check("01-05-26.", "2026-05-01");
        check("1.5.2026", "2026-05-01");
    }

    #[test]
    fn corrections() {
        check("Tomorrow. No, Friday.", "2026-04-17");
        check("Not tomorrow, Friday.", "2026-04-17");
        check("No, I can pay tomorrow.", "2026-04-16");
    }

    #[test]
    fn no_date() {
        let today: Date = TODAY.parse().unwrap();
        for text in [
            "",
            "Yes.",
            "I may pay.",
            "I don't know.",
            "31 February",
            "35/35",
            "one second",
            "First I have to check.",
            "99/99/9999",
            "2026-13-45",
            "in 99999999999 days",
        ] {
            assert_eq!(date(text, today), None, "{text:?}");
        }
    }
}
