//! Whether speech over the bot is an interruption: it must last, hold words, and be neither an echo nor a murmur.
//! It must never stop the bot for a cough, a "mm-hm" or the bot's own voice.

use std::time::Duration;

use domain::bot::Interruption;

use crate::understand::words::words;

/// Sound this alike to what is played is the bot itself: echoes score above about 0.8, other speech around 0.55.
const ECHO_LIKENESS: f32 = 0.72;
/// Sound this unlike is somebody else, whatever the words.
const NO_ECHO: f32 = 0.62;
/// Share of words that also occur in what the bot says, in order, above which they are the bot's own.
const ECHO_WORDS: f32 = 0.7;
/// Speech that began this early in the opening is a greeting.
pub(crate) const GREETING_GRACE: Duration = Duration::from_millis(1200);
/// Content words that make even an early "hello" an interruption.
const GREETING_WORDS: usize = 5;

/// Said to show that one listens, in English and Hindi.
const BACKCHANNEL: &[&str] = &[
    "mm",
    "mmm",
    "hm",
    "hmm",
    "mhm",
    "mmhmm",
    "uh",
    "huh",
    "uhhuh",
    "um",
    "ah",
    "aha",
    "oh",
    "ok",
    "okay",
    "right",
    "yeah",
    "yes",
    "yep",
    "ya",
    "sure",
    "fine",
    "good",
    "great",
    "nice",
    "alright",
    "correct",
    "see",
    "i",
    "got",
    "it",
    "haan",
    "han",
    "haa",
    "ha",
    "hanji",
    "haanji",
    "ji",
    "achha",
    "accha",
    "acha",
    "theek",
    "thik",
    "hai",
    "sahi",
    "bilkul",
    "हाँ",
    "हां",
    "जी",
    "अच्छा",
    "ठीक",
    "है",
    "हम्म",
];
const GREETING: &[&str] = &[
    "hello",
    "hi",
    "hey",
    "hallo",
    "helo",
    "namaste",
    "namaskar",
    "good",
    "morning",
    "afternoon",
    "evening",
    "हेलो",
    "हैलो",
    "नमस्ते",
];
/// These stop the bot at once, however short.
const STOP: &[&[&str]] = &[
    &["stop"],
    &["wait"],
    &["hold", "on"],
    &["excuse", "me"],
    &["one", "second"],
    &["one", "minute"],
    &["listen"],
    &["ruko"],
    &["rukiye"],
    &["suno"],
    &["suniye"],
    &["ek", "minute"],
    &["wrong", "number"],
];

/// Speech over the bot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlap<'a> {
    /// What it was recognised as so far.
    pub(crate) heard: &'a str,
    pub(crate) lasted: Duration,
    /// Average likeness to what is being played, if it was measured.
    pub(crate) echo: Option<f32>,
    /// What the bot is saying.
    pub(crate) bot: &'a str,
    /// It began within [`GREETING_GRACE`] of the opening's start.
    pub(crate) greeting: bool,
}

/// Whether it stops the bot.
pub(crate) fn interrupts(rule: &Interruption, overlap: Overlap<'_>) -> bool {
    if !rule.enabled || overlap.echo.is_some_and(|likeness| likeness >= ECHO_LIKENESS) {
        return false;
    }
    let words = words(overlap.heard);
    if is_echo(&words, overlap.bot, overlap.echo) {
        return false;
    }
    let content = words.iter().filter(|word| !is_filler(word) && !is_greeting(word)).count();
    if overlap.greeting && content < GREETING_WORDS {
        return false;
    }
    if STOP.iter().any(|stop| words.windows(stop.len()).any(|window| window == *stop)) {
        return true;
    }
    let long_enough = overlap.lasted >= Duration::from_millis(u64::from(rule.min_speech_ms));
    let murmur = !words.is_empty() && content == 0;
    long_enough && !murmur && words.len() >= usize::try_from(rule.min_words).unwrap_or(usize::MAX)
}

/// Whether the words only show that somebody listens (or greet): no turn of their own.
pub(crate) fn is_backchannel(text: &str) -> bool {
    words(text).iter().all(|word| is_filler(word) || is_greeting(word))
}

/// Whether the words are a greeting alone: "hello?".
pub(crate) fn is_greeting_only(text: &str) -> bool {
    let words = words(text);
    !words.is_empty() && words.iter().all(|word| is_greeting(word))
}

/// Whether the words are the bot's own, come back.
pub(crate) fn is_bots_own(heard: &str, bot: &str, echo: Option<f32>) -> bool {
    is_echo(&words(heard), bot, echo)
}

fn is_echo(heard: &[String], bot: &str, likeness: Option<f32>) -> bool {
    // A customer who repeats what he hears does not sound like it.
    if heard.len() < 3 || likeness.is_some_and(|likeness| likeness < NO_ECHO) {
        return false;
    }
    let said = words(bot);
    let mut from = 0;
    let mut found = 0;
    for word in heard {
        if let Some(at) = said[from..].iter().position(|other| other == word) {
            from += at + 1;
            found += 1;
        }
    }
    found as f32 / heard.len() as f32 >= ECHO_WORDS
}

fn is_filler(word: &str) -> bool {
    BACKCHANNEL.contains(&word)
}

fn is_greeting(word: &str) -> bool {
    GREETING.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOT: &str = "Your loan payment of fifteen thousand rupees is due on Friday. Can you pay it today?";

    #[test]
    fn words_and_duration_make_an_interruption() {
        let check = |heard: &str, ms: u64, echo: f32, greeting: bool, expect: bool| {
            let echo = (echo > 0.0).then_some(echo);
            let overlap = Overlap { heard, lasted: Duration::from_millis(ms), echo, bot: BOT, greeting };
            assert_eq!(interrupts(&Interruption::default(), overlap), expect, "{heard:?} {ms} {echo:?} {greeting}");
        };
        check("I already paid", 900, 0.0, false, true);
        check("I already paid", 300, 0.0, false, false);
        check("I already", 900, 0.0, false, false);
        check("", 2000, 0.0, false, false);
        check("okay okay okay okay", 2000, 0.0, false, false);
        check("haan ji theek hai", 2000, 0.0, false, false);
        check("yes okay but I paid", 2000, 0.0, false, true);
        check("stop", 200, 0.0, false, true);
        check("hold on", 200, 0.0, false, true);
        check("wait", 200, 0.9, false, false);
        check("I already paid", 900, 0.9, false, false);
        check("payment of fifteen thousand", 900, 0.0, false, false);
        check("payment of fifteen thousand", 900, 0.1, false, true);
        check("loan payment of fifteen thousand rupees is do on Friday", 900, 0.0, false, false);
        check("Hello? Who is this?", 1500, 0.0, true, false);
        check("Hello, please take me off this list right now", 1500, 0.0, true, true);
    }

    #[test]
    fn the_bots_settings_count() {
        let check = |rule: Interruption, heard: &str, ms: u64, expect: bool| {
            let overlap = Overlap { heard, lasted: Duration::from_millis(ms), echo: None, bot: BOT, greeting: false };
            assert_eq!(interrupts(&rule, overlap), expect, "{rule:?} {heard:?}");
        };
        let rule = |enabled, min_words, min_speech_ms| Interruption { enabled, min_words, min_speech_ms };
        check(rule(false, 0, 0), "stop talking to me now", 5000, false);
        check(rule(true, 0, 400), "", 500, true);
        check(rule(true, 0, 400), "", 300, false);
        check(rule(true, 1, 0), "paid", 100, true);
        check(rule(true, 1, 0), "mm", 100, false);
        check(rule(true, 6, 0), "I have already paid it", 3000, false);
    }

    #[test]
    fn murmurs_are_told_from_turns() {
        let check = |text: &str, expect: bool| assert_eq!(is_backchannel(text), expect, "{text:?}");
        check("Mm-hmm.", true);
        check("Okay.", true);
        check("Haan ji, achha.", true);
        check("हाँ जी", true);
        check("Hello?", true);
        check("", true);
        check("No.", false);
        check("Okay, tomorrow.", false);
    }
}
