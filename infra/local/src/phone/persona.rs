//! What a virtual customer says: answers by what was heard, else in a default order.
//! It must never know of audio, time or SIP: words go in, words come out.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use super::words::{holds, words};

/// The customer of the demo.
const RAHUL: &str = include_str!("rahul.toml");
/// How often one line is said, when the caller asks for it again and again.
const MAX_TIMES: u8 = 3;

/// A scripted customer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    pub name: String,
    /// Said right after the answer; empty: the customer waits to be spoken to.
    #[serde(default)]
    pub greeting: String,
    /// What the customer says, in the order of the talk as it is expected.
    pub lines: Vec<Line>,
    /// When one of these is heard the talk is over: nothing more is said.
    #[serde(default)]
    pub farewells: Vec<String>,
}

/// One thing the customer may say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub says: String,
    /// Said when one of these is heard: its words in this order, others may stand between.
    #[serde(default)]
    pub hears: Vec<String>,
    /// Whether it may also be said in its turn, when nothing that was heard fits any line.
    #[serde(default = "yes")]
    pub in_turn: bool,
    /// The customer hangs up once it was said.
    #[serde(default)]
    pub hang_up: bool,
}

fn yes() -> bool {
    true
}

/// Why a text is no persona.
#[derive(Debug, Error)]
pub enum PersonaError {
    #[error("the persona {path} can't be read: {cause}")]
    File { path: String, cause: std::io::Error },
    #[error("not a persona: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("a persona says something: give it at least one line with words")]
    Mute,
}

impl Persona {
    /// Rahul Sharma, who owes a payment and will make it.
    pub fn rahul() -> Self {
        Self::parse(RAHUL).expect("a constant that a test reads")
    }

    /// Reads a persona in TOML.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PersonaError> {
        let persona: Self = toml::from_str(text)?;
        let mute = persona.lines.is_empty() || persona.lines.iter().any(|line| words(&line.says).is_empty());
        if mute { Err(PersonaError::Mute) } else { Ok(persona) }
    }

    /// Reads a persona's file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, PersonaError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| PersonaError::File { path: path.display().to_string(), cause })?;
        Self::parse(&text)
    }
}

/// What the customer does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Say {
        text: String,
        /// The customer hangs up once it was said.
        hang_up: bool,
    },
    /// Nothing: the caller's words called for no answer.
    Silence,
    /// The caller has said goodbye.
    Farewell,
}

/// One talk of a persona: what was said of its lines so far.
#[derive(Debug, Clone)]
pub struct Conversation {
    persona: Arc<Persona>,
    /// How often each line was said.
    said: Vec<u8>,
    over: bool,
}

impl Conversation {
    pub fn new(persona: Arc<Persona>) -> Self {
        let said = vec![0; persona.lines.len()];
        Self { persona, said, over: false }
    }

    /// Answers what the caller has just said. Of all lines that fit, the one whose phrase has the most words wins; of
    /// several, the first that was said least.
    pub fn reply(&mut self, heard: &str) -> Reply {
        let heard = words(heard);
        if self.over || heard.is_empty() {
            return Reply::Silence;
        }
        if self.persona.farewells.iter().any(|phrase| holds(&heard, &words(phrase))) {
            self.over = true;
            return Reply::Farewell;
        }
        match self.fitting(&heard).or_else(|| self.in_turn()) {
            Some(at) => {
                self.said[at] += 1;
                let line = &self.persona.lines[at];
                self.over = line.hang_up;
                Reply::Say { text: line.says.clone(), hang_up: line.hang_up }
            }
            None => Reply::Silence,
        }
    }

    /// Whether something fits what was heard; else a person waits a little for more.
    pub fn knows_an_answer(&self, heard: &str) -> bool {
        let heard = words(heard);
        let farewell = || self.persona.farewells.iter().any(|phrase| holds(&heard, &words(phrase)));
        self.over || farewell() || self.fitting(&heard).is_some()
    }

    fn fitting(&self, heard: &[String]) -> Option<usize> {
        let lines = self.persona.lines.iter().enumerate().filter(|(at, _)| self.said[*at] < MAX_TIMES);
        let fits = lines.filter_map(|(at, line)| Some((at, longest_held(line, heard)?)));
        fits.min_by_key(|(at, length)| (std::cmp::Reverse(*length), self.said[*at], *at)).map(|(at, _)| at)
    }

    fn in_turn(&self) -> Option<usize> {
        self.persona.lines.iter().zip(&self.said).position(|(line, said)| line.in_turn && *said == 0)
    }
}

/// Words of the longest phrase of `line` that was heard.
fn longest_held(line: &Line, heard: &[String]) -> Option<usize> {
    let phrases = line.hears.iter().map(|phrase| words(phrase));
    phrases.filter(|phrase| holds(heard, phrase)).map(|phrase| phrase.len()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `talk` (heard, expected answer) through one conversation.
    fn check(persona: &Persona, talk: &[(&str, &str)]) {
        let mut conversation = Conversation::new(Arc::new(persona.clone()));
        for (heard, expect) in talk {
            let said = match conversation.reply(heard) {
                Reply::Say { text, hang_up: false } => text,
                Reply::Say { text, hang_up: true } => format!("{text} (hangs up)"),
                Reply::Silence => String::new(),
                Reply::Farewell => "(farewell)".to_owned(),
            };
            assert_eq!(said, *expect, "{heard:?} in {talk:?}");
        }
    }

    fn persona() -> Persona {
        Persona::parse(
            r#"
            name = "Test"
            farewells = ["goodbye", "have a nice day"]
            [[lines]]
            hears = ["am i speaking", "is this"]
            says = "Yes."
            [[lines]]
            hears = ["when pay"]
            says = "Tomorrow."
            [[lines]]
            hears = ["sorry say again"]
            says = "I said yes."
            in_turn = false
            [[lines]]
            hears = ["wrong person"]
            says = "Leave me alone."
            in_turn = false
            hang_up = true
            [[lines]]
            hears = ["how would you like to pay"]
            says = "By card."
            "#,
        )
        .unwrap()
    }

    #[test]
    fn answers_follow_what_was_heard() {
        check(&persona(), &[("Hello. Am I speaking with Test?", "Yes."), ("When can you pay?", "Tomorrow.")]);
        check(&persona(), &[("When can you pay it?", "Tomorrow."), ("Am I speaking with Test?", "Yes.")]);
        check(&persona(), &[("How would you like to pay? When will you pay?", "By card.")]);
        check(&persona(), &[("Is this Test?", "Yes."), ("Sorry, can you say that again?", "I said yes.")]);
        check(&persona(), &[("You are the wrong person!", "Leave me alone. (hangs up)"), ("When can you pay?", "")]);
    }

    #[test]
    fn what_fits_nothing_is_answered_in_turn() {
        check(&persona(), &[("Mumble.", "Yes."), ("Mumble.", "Tomorrow."), ("Mumble.", "By card."), ("Mumble.", "")]);
        check(&persona(), &[("When will you pay?", "Tomorrow."), ("Mumble.", "Yes."), ("Mumble.", "By card.")]);
    }

    #[test]
    fn a_question_may_be_asked_again() {
        let again = ("When can you pay?", "Tomorrow.");
        check(&persona(), &[again, again, again, ("When can you pay?", "Yes.")]);
    }

    #[test]
    fn nothing_is_said_to_silence_or_after_goodbye() {
        check(&persona(), &[("", ""), ("...", ""), ("Is this Test?", "Yes.")]);
        check(&persona(), &[("You pay when you like. Goodbye.", "(farewell)"), ("When can you pay?", "")]);
        check(&persona(), &[("Have a very nice day!", "(farewell)")]);
    }

    #[test]
    fn what_is_no_question_of_its_is_not_answered_at_once() {
        let check = |heard: &str, expect: bool| {
            assert_eq!(Conversation::new(Arc::new(persona())).knows_an_answer(heard), expect, "{heard:?}");
        };
        check("Thank you.", false);
        check("Thank you. When can you pay?", true);
        check("Goodbye!", true);
        check("", false);
    }

    #[test]
    fn personas_are_judged() {
        let rahul = Persona::rahul();
        assert!(rahul.lines.len() >= 3 && !rahul.farewells.is_empty());
        let check = |text: &str, expect: &str| {
            let error = Persona::parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("name = 'x'\nlines = []", "at least one line");
        check("name = 'x'\n[[lines]]\nsays = ' '", "at least one line");
        check("name = 'x'", "missing field `lines`");
        check("name = 'x'\nvoice = 'y'\n[[lines]]\nsays = 'a'", "unknown field `voice`");
        let error = Persona::read(Path::new("/nonexistent/persona.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/persona.toml"), "{error}");
    }
}
