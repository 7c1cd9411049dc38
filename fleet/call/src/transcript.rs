//! The conversation as it was heard: of the bot what was played, of the customer what was understood.
//! It must never hold a word that the bot only meant to say.

use std::time::Duration;

use domain::result::{Speaker, TranscriptEntry};
use domain::secret::Personal;

use crate::io::{Message, Role};

/// Entries in the order in which they became known.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    entries: Vec<TranscriptEntry>,
    /// The customer's entry that still grows.
    open_customer: Option<usize>,
}

/// An entry that is new or has changed, and its index.
pub(crate) type Change = (usize, TranscriptEntry);

impl Transcript {
    /// Adds what the customer was understood to say: to the running turn's entry, or as a new one.
    pub(crate) fn customer(&mut self, text: &str, from: Duration) -> Change {
        let index = match self.open_customer {
            Some(index) => {
                let entry = &mut self.entries[index];
                entry.text.0.push(' ');
                entry.text.0.push_str(text);
                index
            }
            None => self.open(Speaker::Customer, text.to_owned(), from),
        };
        self.open_customer = Some(index);
        (index, self.entries[index].clone())
    }

    /// The customer's next words start a new entry.
    pub(crate) fn close_customer(&mut self) {
        self.open_customer = None;
    }

    /// The customer's last entry goes on after all.
    pub(crate) fn reopen_customer(&mut self) {
        self.open_customer = self.entries.iter().rposition(|entry| entry.speaker == Speaker::Customer);
    }

    /// The customer was understood at least once.
    pub(crate) fn has_customer(&self) -> bool {
        self.entries.iter().any(|entry| entry.speaker == Speaker::Customer)
    }

    /// Sets what was played of a bot's utterance; `entry` is the one it had before.
    pub(crate) fn bot(&mut self, entry: Option<usize>, heard: &str, from: Duration) -> Change {
        let index = match entry {
            Some(index) => {
                self.entries[index].text.0 = heard.to_owned();
                index
            }
            None => self.open(Speaker::Bot, heard.to_owned(), from),
        };
        (index, self.entries[index].clone())
    }

    /// By time, as the result gives it.
    pub(crate) fn sorted(&self) -> Vec<TranscriptEntry> {
        let mut entries = self.entries.clone();
        entries.sort_by(|a, b| a.timestamp.total_cmp(&b.timestamp));
        entries
    }

    /// The conversation for a model: by time, neighbours of one speaker joined.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        for entry in self.sorted() {
            let role = match entry.speaker {
                Speaker::Bot => Role::Assistant,
                Speaker::Customer => Role::User,
            };
            match messages.last_mut() {
                Some(last) if last.role == role => {
                    last.text.push(' ');
                    last.text.push_str(&entry.text.0);
                }
                _ => messages.push(Message { role, text: entry.text.0 }),
            }
        }
        messages
    }

    fn open(&mut self, speaker: Speaker, text: String, at: Duration) -> usize {
        self.entries.push(TranscriptEntry { speaker, text: Personal(text), timestamp: seconds(at) });
        self.entries.len() - 1
    }
}

/// Seconds to the millisecond.
pub(crate) fn seconds(at: Duration) -> f64 {
    at.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn finals_of_a_turn_grow_one_entry_and_the_next_turn_opens_another() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.customer("Yes", at(1000)).0, 0);
        let (index, entry) = transcript.customer("this is him.", at(2000));
        assert_eq!((index, entry.text.0.as_str(), entry.timestamp), (0, "Yes this is him.", 1.0));
        transcript.close_customer();
        assert_eq!(transcript.customer("Hello", at(3000)).0, 1);
    }

    #[test]
    fn the_result_is_by_time_and_the_model_reads_joined_roles() {
        let mut transcript = Transcript::default();
        let (bot, _) = transcript.bot(None, "Hello,", at(1000));
        transcript.customer("Hello?", at(500));
        transcript.bot(Some(bot), "Hello, is this Rahul?", at(1000));
        transcript.bot(None, "Are you there?", at(9000));
        let texts: Vec<String> = transcript.sorted().into_iter().map(|entry| entry.text.0).collect();
        assert_eq!(texts, ["Hello?", "Hello, is this Rahul?", "Are you there?"]);
        let messages = transcript.messages();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].text, "Hello, is this Rahul? Are you there?");
    }
}
