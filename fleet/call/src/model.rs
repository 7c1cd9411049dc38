//! The language-model brain: what is asked of the model, and its tokens cut into pieces that can be spoken.
//! It must never speak for a turn that is not certain yet: what a speculative turn brings waits here.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::io::{BrainCommand, Message, Role};
use crate::transcript::Transcript;
use crate::transfer::TRANSFER_CALL;
use crate::turn::{Expectation, expectation_of};

/// The tool with which a model ends the call.
pub const END_CALL: &str = "end_call";

/// The JSON Schema of [`END_CALL`]'s arguments, for the shell that offers it to a model.
pub fn end_call_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "Why the call is over, in a few words."},
            "message": {"type": "string", "description": "The last words to say before hanging up; leave out if you have said goodbye already."}
        }
    })
}

/// First token later than this: the bot says that it is still there.
pub(crate) const FILLER_AFTER: Duration = Duration::from_millis(1200);
/// No event of the model for this long counts as failed.
pub(crate) const BRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Said while a reply is late, in turn.
const FILLERS: &[&str] = &["One moment, please.", "Just a second.", "Let me see."];
/// Appended to every system prompt: what any model must know about being on the telephone.
const TELEPHONE: &str = "You are speaking on the telephone. Answer in one to three short spoken sentences, without lists, markup or emoji. \
Ask one thing at a time. When the conversation is over, say goodbye and call the tool end_call.";

/// A model's part of a call.
#[derive(Debug, Default)]
pub(crate) struct ModelBrain {
    system: String,
    last_turn: u32,
    thinking: Option<Thinking>,
    fillers: usize,
    /// What the model said last.
    said: String,
    /// Transfer targets that the customer could not be given to.
    refused: BTreeSet<String>,
    /// Everything that tools set.
    collected: Map<String, Value>,
}

/// A question the model was asked and what came of it so far.
#[derive(Debug)]
pub(crate) struct Thinking {
    pub(crate) turn: u32,
    /// The customer's words it answers.
    asked: String,
    last_event: Instant,
    /// When the turn became certain; a speculative one is not yet.
    committed: Option<Instant>,
    pub(crate) first_token: Option<Instant>,
    sentences: Sentences,
    ready: VecDeque<String>,
    /// What is spoken of it.
    pub(crate) utterance: Option<u32>,
    /// The tool that was called.
    end: Option<ReplyEnd>,
    filled: bool,
    done: bool,
}

/// How a model's reply ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyEnd {
    /// The customer's turn.
    Over,
    /// The call, after these words.
    HangUp(String),
    /// The bot's part of it, after these words: the customer is given to the transfer target of this name.
    Transfer { target: String, message: String },
}

impl ModelBrain {
    pub(crate) fn set_system(&mut self, prompt: &str) {
        self.system =
            if prompt.trim().is_empty() { TELEPHONE.to_owned() } else { format!("{}\n\n{TELEPHONE}", prompt.trim()) };
    }

    /// Asks the model to answer `asked`, with the conversation as it was heard.
    pub(crate) fn think(
        &mut self,
        now: Instant,
        transcript: &Transcript,
        asked: String,
        committed: bool,
    ) -> BrainCommand {
        self.last_turn += 1;
        self.thinking = Some(Thinking {
            turn: self.last_turn,
            asked,
            last_event: now,
            committed: committed.then_some(now),
            first_token: None,
            sentences: Sentences::default(),
            ready: VecDeque::new(),
            utterance: None,
            end: None,
            filled: false,
            done: false,
        });
        let mut messages = vec![Message { role: Role::System, text: self.instructions() }];
        messages.extend(transcript.messages());
        BrainCommand::Think { turn: self.last_turn, messages }
    }

    /// Makes the speculative answer to exactly these words the real one.
    pub(crate) fn commit(&mut self, now: Instant, asked: &str) -> bool {
        match &mut self.thinking {
            Some(thinking) if thinking.committed.is_none() && thinking.asked == asked => {
                thinking.committed = Some(now);
                true
            }
            _ => false,
        }
    }

    /// Forgets the running turn.
    pub(crate) fn cancel(&mut self) -> Option<BrainCommand> {
        let thinking = self.thinking.take()?;
        (!thinking.done).then_some(BrainCommand::Cancel { turn: thinking.turn })
    }

    pub(crate) fn thinking(&self) -> Option<&Thinking> {
        self.thinking.as_ref()
    }

    pub(crate) fn thinking_mut(&mut self) -> Option<&mut Thinking> {
        self.thinking.as_mut()
    }

    /// A certain turn is being answered.
    pub(crate) fn is_answering(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.committed.is_some())
    }

    /// A guess is being answered that other words have made wrong.
    pub(crate) fn guessed_wrong(&self, words: &str) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.committed.is_none() && thinking.asked != words)
    }

    pub(crate) fn is_guessing(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.committed.is_none())
    }

    pub(crate) fn token(&mut self, now: Instant, turn: u32, text: &str) {
        if let Some(thinking) = self.of_turn(turn) {
            thinking.last_event = now;
            if !text.trim().is_empty() {
                thinking.first_token.get_or_insert(now);
            }
            let pieces = thinking.sentences.push(text);
            thinking.ready.extend(pieces);
        }
    }

    /// Takes a tool call; answers with a warning if there is no such tool.
    pub(crate) fn tool(
        &mut self,
        now: Instant,
        turn: u32,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Option<String> {
        let thinking = self.of_turn(turn)?;
        thinking.last_event = now;
        let text = |field: &str| arguments.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let message = spoken(&text("message"));
        thinking.end = Some(match name {
            END_CALL => ReplyEnd::HangUp(message),
            TRANSFER_CALL => ReplyEnd::Transfer { target: text("target").to_lowercase(), message },
            _ => return Some(format!("the model called {name:?}, which is no tool")),
        });
        thinking.first_token.get_or_insert(now);
        let reason = text("reason");
        if !reason.is_empty() {
            self.collected.insert("end_call_reason".to_owned(), Value::String(reason));
        }
        None
    }

    pub(crate) fn done(&mut self, now: Instant, turn: u32) {
        if let Some(thinking) = self.of_turn(turn) {
            thinking.last_event = now;
            thinking.done = true;
            let rest = thinking.sentences.flush();
            thinking.ready.extend(rest);
        }
    }

    /// The next piece to speak of a certain turn.
    pub(crate) fn next_piece(&mut self) -> Option<String> {
        let thinking = self.thinking.as_mut().filter(|thinking| thinking.committed.is_some())?;
        let piece = thinking.ready.pop_front()?;
        if thinking.utterance.is_none() {
            self.said.clear();
        }
        if !self.said.is_empty() {
            self.said.push(' ');
        }
        self.said.push_str(&piece);
        Some(piece)
    }

    /// Ends a certain turn of which everything was spoken; answers with its utterance, if it had any.
    pub(crate) fn take_finished(&mut self) -> Option<(Option<u32>, ReplyEnd)> {
        let thinking = self
            .thinking
            .take_if(|thinking| thinking.done && thinking.committed.is_some() && thinking.ready.is_empty())?;
        Some((thinking.utterance, thinking.end.unwrap_or(ReplyEnd::Over)))
    }

    /// When to bridge the wait for a certain turn.
    pub(crate) fn filler_at(&self) -> Option<Instant> {
        let thinking = self.thinking.as_ref()?;
        let waiting = thinking.first_token.is_none() && !thinking.filled && !thinking.asked.is_empty();
        thinking.committed.filter(|_| waiting).map(|at| at + FILLER_AFTER)
    }

    pub(crate) fn filler(&mut self) -> &'static str {
        if let Some(thinking) = &mut self.thinking {
            thinking.filled = true;
        }
        self.fillers += 1;
        FILLERS[(self.fillers - 1) % FILLERS.len()]
    }

    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        self.thinking.as_ref().filter(|thinking| !thinking.done).map(|thinking| thinking.last_event + BRAIN_PATIENCE)
    }

    pub(crate) fn expectation(&self) -> Expectation {
        expectation_of(&self.said)
    }

    /// What was said in the model's place, for what is expected next.
    pub(crate) fn set_said(&mut self, text: &str) {
        text.clone_into(&mut self.said);
    }

    /// A transfer did not happen; the model is told from its next question on.
    pub(crate) fn refused(&mut self, target: &str) {
        self.refused.insert(target.to_owned());
    }

    /// The system message: the bot's prompt, and what has become impossible in this call.
    fn instructions(&self) -> String {
        let mut text = self.system.clone();
        for target in &self.refused {
            text.push_str(&format!(
                "\n\nThe transfer to {target:?} did not happen, and the customer was told so. \
                 Go on without it; don't try it again."
            ));
        }
        text
    }

    pub(crate) fn collected(&self) -> &Map<String, Value> {
        &self.collected
    }

    fn of_turn(&mut self, turn: u32) -> Option<&mut Thinking> {
        self.thinking.as_mut().filter(|thinking| thinking.turn == turn && !thinking.done)
    }
}

/// Cuts a stream of tokens where a voice can begin: after sentences, and once after a clause so that it begins early.
#[derive(Debug, Default)]
struct Sentences {
    pending: String,
    cut_one: bool,
}

/// A first clause shorter than this would sound chopped.
const SHORTEST_CLAUSE: usize = 24;
/// No piece is longer, whatever its marks. Bytes.
const LONGEST_PIECE: usize = 280;

impl Sentences {
    fn push(&mut self, token: &str) -> Vec<String> {
        self.pending.extend(token.chars().filter(|c| !is_markup(*c)));
        let mut pieces = Vec::new();
        while let Some(end) = self.end_of_piece() {
            let piece = spoken(&self.pending[..end]);
            self.pending.drain(..end);
            if !piece.is_empty() {
                self.cut_one = true;
                pieces.push(piece);
            }
        }
        pieces
    }

    fn flush(&mut self) -> Option<String> {
        let piece = spoken(&std::mem::take(&mut self.pending));
        (!piece.is_empty()).then_some(piece)
    }

    /// Where the first piece ends; a mark counts only once something follows it.
    fn end_of_piece(&self) -> Option<usize> {
        for (at, c) in self.pending.char_indices() {
            let mut end = at + c.len_utf8();
            let mut rest = self.pending[end..].chars().peekable();
            while let Some(quote) = rest.next_if(|next| matches!(next, '"' | '\'' | '”' | '’' | ')')) {
                end += quote.len_utf8();
            }
            let spaced = rest.peek().is_some_and(|next| next.is_whitespace());
            let sentence = matches!(c, '!' | '?' | '।') || c == '.' && !is_abbreviation(&self.pending[..at]);
            let clause = matches!(c, ',' | ';' | ':' | '—') && !self.cut_one && at >= SHORTEST_CLAUSE;
            if c == '\n' && at > 0 || spaced && (sentence || clause) {
                return Some(end);
            }
        }
        if self.pending.len() <= LONGEST_PIECE {
            return None;
        }
        let limit = (0..=LONGEST_PIECE).rev().find(|at| self.pending.is_char_boundary(*at))?;
        self.pending[..limit].rfind(' ').filter(|at| *at > 0).or(Some(limit))
    }
}

/// Whether a full stop behind `text` ends no sentence: "Mr.", "Rs.", "e.g.", "1."
fn is_abbreviation(text: &str) -> bool {
    let word = text.rsplit(|c: char| c.is_whitespace() || c == '.').next().unwrap_or(text);
    let lower = word.to_lowercase();
    let list_number = text.trim() == word && !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "I";
    list_number
        || letter
        || matches!(lower.as_str(), "mr" | "mrs" | "ms" | "dr" | "rs" | "no" | "st" | "vs" | "approx" | "ltd" | "pvt")
}

fn is_markup(c: char) -> bool {
    matches!(c, '*' | '#' | '`' | '_' | '\u{1F300}'..='\u{1FAFF}')
}

/// Takes out what a voice can't say.
fn spoken(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !is_markup(*c)).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().any(char::is_alphanumeric) { plain } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_speakable_pieces() {
        let check = |text: &str, expect: &[&str]| {
            // The same pieces however the text is cut into tokens.
            for size in [1, 3, 1000] {
                let mut sentences = Sentences::default();
                let chars: Vec<char> = text.chars().collect();
                let mut pieces: Vec<String> = Vec::new();
                for token in chars.chunks(size) {
                    pieces.extend(sentences.push(&token.iter().collect::<String>()));
                }
                pieces.extend(sentences.flush());
                assert_eq!(pieces, expect, "{text:?} by {size}");
            }
        };
        check("Hello. How are you?", &["Hello.", "How are you?"]);
        check("It is Rs. 500.50 today. OK?", &["It is Rs. 500.50 today.", "OK?"]);
        check("Mr. Sharma is in.", &["Mr. Sharma is in."]);
        check("At 5 p.m. on Friday.", &["At 5 p.m. on Friday."]);
        check(
            "Thank you for your patience, Rahul, I have found it. Done, then, or is there more?",
            &["Thank you for your patience,", "Rahul, I have found it.", "Done, then, or is there more?"],
        );
        check("**Sure!** Let me see.", &["Sure!", "Let me see."]);
        check("He said \"yes.\" Then he left.", &["He said \"yes.\"", "Then he left."]);
        check("1. First\n2. Second", &["1. First", "2. Second"]);
        check("नमस्ते। आप कैसे हैं?", &["नमस्ते।", "आप कैसे हैं?"]);
        check("", &[]);
        check(" \n ", &[]);
    }

    #[test]
    fn text_without_marks_is_cut_all_the_same() {
        let mut sentences = Sentences::default();
        let pieces = sentences.push(&"word ".repeat(200));
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST_PIECE) && pieces.len() >= 3);
        let mut sentences = Sentences::default();
        assert!(!sentences.push(&"é".repeat(400)).is_empty());
    }

    #[test]
    fn events_of_other_turns_are_dropped() {
        let now = crate::tests::epoch();
        let mut brain = ModelBrain::default();
        let transcript = Transcript::default();
        brain.think(now, &transcript, "hi".to_owned(), true);
        brain.think(now, &transcript, "hi there".to_owned(), true);
        brain.token(now, 1, "Old. Words.");
        brain.token(now, 2, "New. ");
        assert_eq!(brain.next_piece().as_deref(), Some("New."));
        assert_eq!(brain.next_piece(), None);
        brain.done(now, 1);
        assert_eq!(brain.take_finished(), None);
        brain.done(now, 2);
        assert_eq!(brain.take_finished(), Some((None, ReplyEnd::Over)));
    }

    #[test]
    fn a_guess_is_spoken_only_once_it_is_certain() {
        let now = crate::tests::epoch();
        let mut brain = ModelBrain::default();
        brain.think(now, &Transcript::default(), "yes".to_owned(), false);
        brain.token(now, 1, "Good. ");
        assert_eq!(brain.next_piece(), None);
        assert!(brain.guessed_wrong("yes but"));
        assert!(!brain.commit(now, "yes but"));
        assert!(brain.commit(now, "yes"));
        assert_eq!(brain.next_piece().as_deref(), Some("Good."));
    }
}
