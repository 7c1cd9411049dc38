//! What the bot is saying: utterances in their order, how much of each was heard, and what is left when one is cut.
//! It must never take a word for heard that playout has not reported.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::io::{MouthCommand, MouthEvent};

/// Playout slower than this, after `STALL_MARGIN`, is a stall. Characters a second; speech has 12 to 18.
const SLOWEST_SPEECH: u32 = 8;
/// Longest wait for synthesis and playout on top of the time the text itself takes.
const STALL_MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Opening,
    Reply,
    /// A silence prompt.
    Prompt,
    /// Bridges the wait for a late reply.
    Filler,
    /// The last words of the call.
    Goodbye,
}

/// Something the bot says, whole or as it is being produced.
#[derive(Debug, Clone)]
pub(crate) struct Utterance {
    pub(crate) id: u32,
    pub(crate) purpose: Purpose,
    pub(crate) text: String,
    /// Bytes of `text` that were played; a character boundary.
    pub(crate) heard: usize,
    /// What was heard of it before it was cut and resumed.
    before: String,
    /// Its entry in the transcript, once anything of it was heard.
    pub(crate) entry: Option<usize>,
    /// As much of `heard` as that entry holds.
    pub(crate) written: usize,
    pub(crate) started: Option<Instant>,
    /// Nothing is added any more.
    complete: bool,
    /// The last sign of progress.
    touched: Instant,
}

impl Utterance {
    /// Everything of it that was heard, before and after a cut.
    pub(crate) fn heard_text(&self) -> String {
        join(&self.before, self.text[..self.heard].trim_end())
    }

    /// What was not heard, from the start of the word in which it was cut.
    pub(crate) fn unheard_text(&self) -> &str {
        let inside_word = self.text[self.heard..].starts_with(|c: char| !c.is_whitespace());
        let start = match self.text[..self.heard].rfind(char::is_whitespace) {
            Some(space) if inside_word => space,
            None if inside_word => 0,
            _ => self.heard,
        };
        self.text[start..].trim_start()
    }

    fn stalls_at(&self) -> Option<Instant> {
        let left = self.text.len() - self.heard;
        (self.complete || left > 0).then(|| self.touched + speaking_time(left, SLOWEST_SPEECH) + STALL_MARGIN)
    }

    fn advance(&mut self, piece: &str) {
        self.heard = advance(&self.text, self.heard, piece);
    }
}

fn join(a: &str, b: &str) -> String {
    if a.is_empty() || b.is_empty() { format!("{a}{b}") } else { format!("{a} {b}") }
}

/// How long `characters` take at `per_second`.
pub(crate) fn speaking_time(characters: usize, per_second: u32) -> Duration {
    Duration::from_secs(u64::try_from(characters).unwrap_or(u64::MAX).min(1_000_000)) / per_second
}

/// An utterance stopped in the middle, kept until it is known whether to go on with it.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) utterance: Utterance,
    /// Playout has said how far it came.
    reported: bool,
    /// It may still be gone on with.
    resumable: bool,
}

/// What a mouth event changed.
#[derive(Debug)]
pub(crate) enum News {
    Nothing,
    FirstAudio(u32),
    Started(u32),
    /// More of an utterance was heard.
    Heard(u32),
    /// The stopped utterance said how far it came.
    CutReported(u32),
    /// Wholly heard; gone from the queue.
    Finished(Utterance),
    /// Could not be said; gone from the queue.
    Failed(Utterance),
}

/// The bot's side of the line.
#[derive(Debug, Default)]
pub(crate) struct Mouth {
    /// The first one sounds or is about to.
    queue: VecDeque<Utterance>,
    cut: Option<Cut>,
    last_id: u32,
    /// What was said last, for telling its echo.
    last_text: String,
}

impl Mouth {
    /// Queues an utterance; more may be appended unless `complete`.
    pub(crate) fn say(&mut self, now: Instant, purpose: Purpose, text: &str, complete: bool) -> (u32, MouthCommand) {
        self.last_id += 1;
        let id = self.last_id;
        self.queue.push_back(Utterance {
            id,
            purpose,
            text: text.to_owned(),
            heard: 0,
            before: String::new(),
            entry: None,
            written: 0,
            started: None,
            complete,
            touched: now,
        });
        (id, MouthCommand::Say { utterance: id, text: text.to_owned(), last: complete })
    }

    /// Adds to an utterance that is still being said; `None` if it is not, for example because it was stopped.
    pub(crate) fn append(&mut self, now: Instant, id: u32, text: &str, complete: bool) -> Option<MouthCommand> {
        let utterance = self.queue.iter_mut().find(|utterance| utterance.id == id)?;
        if utterance.heard >= utterance.text.len() {
            utterance.touched = now;
        }
        if !text.is_empty() && !utterance.text.is_empty() {
            utterance.text.push(' ');
        }
        utterance.text.push_str(text);
        utterance.complete |= complete;
        Some(MouthCommand::Say { utterance: id, text: text.to_owned(), last: complete })
    }

    /// Makes a queued utterance the last words of the call.
    pub(crate) fn make_goodbye(&mut self, id: u32) {
        if let Some(utterance) = self.queue.iter_mut().find(|utterance| utterance.id == id) {
            utterance.purpose = Purpose::Goodbye;
        }
    }

    /// Stops at once. What was being said can be resumed until [`Self::forget_cut`].
    pub(crate) fn stop(&mut self) -> Option<MouthCommand> {
        let mut first = self.queue.pop_front()?;
        for later in self.queue.drain(..) {
            if first.purpose == Purpose::Filler {
                first = later;
            } else if later.purpose != Purpose::Filler {
                first.text.push(' ');
                first.text.push_str(&later.text);
                first.complete = later.complete;
            }
        }
        self.last_text.clone_from(&first.text);
        self.cut = Some(Cut { utterance: first, reported: false, resumable: true });
        Some(MouthCommand::Stop)
    }

    /// Goes on with what was stopped, from the word in which it was cut; `None` when all of it had been heard.
    pub(crate) fn resume(&mut self, now: Instant) -> Option<(u32, MouthCommand)> {
        let old = self.cut.take_if(|cut| cut.resumable)?.utterance;
        let rest = old.unheard_text().to_owned();
        if rest.is_empty() {
            return None;
        }
        let (id, command) = self.say(now, old.purpose, &rest, old.complete);
        if let Some(utterance) = self.find(id) {
            utterance.entry = old.entry;
            let heard = old.text.len() - rest.len();
            utterance.before = join(&old.before, old.text[..heard].trim_end());
        }
        Some((id, command))
    }

    /// What was stopped will not be gone on with; how much of it was heard may still be on its way.
    pub(crate) fn forget_cut(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.resumable = false;
        }
    }

    /// What was stopped and may be gone on with.
    pub(crate) fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref().filter(|cut| cut.resumable)
    }

    /// What sounds right now.
    pub(crate) fn sounding(&self) -> Option<&Utterance> {
        self.queue.front().filter(|utterance| utterance.started.is_some())
    }

    /// How much is left to be heard.
    pub(crate) fn unheard_characters(&self) -> usize {
        self.queue.iter().map(|utterance| utterance.unheard_text().chars().count()).sum()
    }

    /// What the bot says, or said last.
    pub(crate) fn recent_text(&self) -> &str {
        self.queue.front().map_or(&self.last_text, |utterance| &utterance.text)
    }

    /// Something sounds or is about to.
    pub(crate) fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A stop whose end is not reported yet, of something that did sound.
    pub(crate) fn awaits_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| !cut.reported && cut.utterance.started.is_some())
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Utterance> {
        let cut = self.cut.as_ref().map(|cut| &cut.utterance);
        self.queue.iter().chain(cut).find(|utterance| utterance.id == id)
    }

    pub(crate) fn set_entry(&mut self, id: u32, entry: usize) {
        if let Some(utterance) = self.find(id) {
            utterance.entry = Some(entry);
            utterance.written = utterance.heard;
        }
    }

    /// When what is being said counts as failed if nothing more is heard of it.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        self.queue.front()?.stalls_at()
    }

    /// Takes the first utterance out: it stalled.
    pub(crate) fn give_up(&mut self) -> Option<Utterance> {
        self.queue.pop_front()
    }

    pub(crate) fn take_event(&mut self, now: Instant, event: &MouthEvent) -> News {
        let (MouthEvent::FirstAudio { utterance: id }
        | MouthEvent::Started { utterance: id }
        | MouthEvent::Played { utterance: id, .. }
        | MouthEvent::Finished { utterance: id }
        | MouthEvent::Cut { utterance: id, .. }
        | MouthEvent::Failed { utterance: id }) = event;
        let Some(utterance) = self.find(*id) else { return News::Nothing };
        utterance.touched = now;
        match event {
            MouthEvent::FirstAudio { .. } => News::FirstAudio(*id),
            MouthEvent::Started { .. } if utterance.started.is_some() => News::Nothing,
            MouthEvent::Started { .. } => {
                utterance.started = Some(now);
                News::Started(*id)
            }
            MouthEvent::Played { text, .. } => {
                utterance.started.get_or_insert(now);
                utterance.advance(text);
                News::Heard(*id)
            }
            MouthEvent::Cut { heard, .. } => {
                utterance.advance(heard);
                self.cut_reported(*id)
            }
            MouthEvent::Finished { .. } => self.finished(*id),
            MouthEvent::Failed { .. } => self.remove(*id).map_or(News::Nothing, News::Failed),
        }
    }

    fn cut_reported(&mut self, id: u32) -> News {
        match &mut self.cut {
            Some(cut) if cut.utterance.id == id => {
                cut.reported = true;
                News::CutReported(id)
            }
            // Nobody told it to stop: what is left of it will never sound.
            _ => self.remove(id).map_or(News::Nothing, News::Finished),
        }
    }

    fn finished(&mut self, id: u32) -> News {
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.utterance.id == id) {
            // It crossed our stop: all that was sent had been heard.
            if cut.utterance.complete {
                cut.utterance.heard = cut.utterance.text.len();
            }
            cut.reported = true;
            return News::CutReported(id);
        }
        match self.remove(id) {
            Some(mut utterance) => {
                self.last_text.clone_from(&utterance.text);
                utterance.heard = utterance.text.len();
                News::Finished(utterance)
            }
            None => News::Nothing,
        }
    }

    fn find(&mut self, id: u32) -> Option<&mut Utterance> {
        let cut = self.cut.as_mut().map(|cut| &mut cut.utterance);
        self.queue.iter_mut().chain(cut).find(|utterance| utterance.id == id)
    }

    fn remove(&mut self, id: u32) -> Option<Utterance> {
        let index = self.queue.iter().position(|utterance| utterance.id == id)?;
        self.queue.remove(index)
    }
}

/// Where in `text` playout is after `piece`, which began at `from`.
///
/// Voices may report a piece with other spacing or marks than it was sent with, so letters and digits are what counts.
fn advance(text: &str, from: usize, piece: &str) -> usize {
    let mut wanted = piece.chars().filter(|c| c.is_alphanumeric()).count();
    if wanted == 0 {
        return from;
    }
    let mut end = from;
    for (offset, c) in text[from..].char_indices() {
        if wanted == 0 && (c.is_whitespace() || c.is_alphanumeric()) {
            break;
        }
        if c.is_alphanumeric() {
            wanted -= 1;
        }
        end = from + offset + c.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playout_advances_by_letters() {
        let check = |text: &str, pieces: &[&str], expect: &str| {
            let end = pieces.iter().fold(0, |from, piece| advance(text, from, piece));
            assert_eq!(&text[..end], expect, "{text:?} {pieces:?}");
        };
        check("Hello, Rahul. How are you?", &["Hello, Rahul."], "Hello, Rahul.");
        check("Hello, Rahul. How are you?", &["Hello Rahul", "how are"], "Hello, Rahul. How are");
        check("Hello, Rahul. How are you?", &["Hello, Ra"], "Hello, Ra");
        check("Hello", &["Hello", "there and more"], "Hello");
        check("Hello", &["", "…"], "");
        check("नमस्ते राहुल", &["नमस्ते"], "नमस्ते");
    }

    #[test]
    fn a_cut_is_resumed_from_the_word_it_fell_into() {
        let check = |heard: &str, expect: Option<&str>| {
            let now = crate::tests::epoch();
            let mut mouth = Mouth::default();
            let (id, _) = mouth.say(now, Purpose::Reply, "Your loan is due on Friday.", true);
            mouth.take_event(now, &MouthEvent::Started { utterance: id });
            assert_eq!(mouth.stop(), Some(MouthCommand::Stop));
            mouth.take_event(now, &MouthEvent::Cut { utterance: id, heard: heard.to_owned() });
            let resumed = mouth.resume(now).map(|(new, _)| mouth.get(new).unwrap().text.clone());
            assert_eq!(resumed.as_deref(), expect, "{heard:?}");
        };
        check("", Some("Your loan is due on Friday."));
        check("Your loan is", Some("due on Friday."));
        check("Your loan is du", Some("due on Friday."));
        check("Yo", Some("Your loan is due on Friday."));
        check("Your loan is due on Friday.", None);
    }

    #[test]
    fn a_resumed_utterance_remembers_what_was_heard_before() {
        let now = crate::tests::epoch();
        let mut mouth = Mouth::default();
        let (id, _) = mouth.say(now, Purpose::Reply, "One two. Three four.", true);
        mouth.take_event(now, &MouthEvent::Started { utterance: id });
        mouth.take_event(now, &MouthEvent::Played { utterance: id, text: "One two.".to_owned() });
        mouth.stop();
        assert_eq!(mouth.append(now, id, "More.", true), None);
        mouth.take_event(now, &MouthEvent::Cut { utterance: id, heard: "Thr".to_owned() });
        let (id, command) = mouth.resume(now).unwrap();
        assert_eq!(command, MouthCommand::Say { utterance: 2, text: "Three four.".to_owned(), last: true });
        mouth.take_event(now, &MouthEvent::Played { utterance: id, text: "Three four.".to_owned() });
        assert_eq!(mouth.get(id).unwrap().heard_text(), "One two. Three four.");
    }

    #[test]
    fn a_filler_is_never_resumed() {
        let now = crate::tests::epoch();
        let mut mouth = Mouth::default();
        mouth.say(now, Purpose::Filler, "One moment.", true);
        mouth.say(now, Purpose::Reply, "It is due today.", true);
        mouth.stop();
        let (_, command) = mouth.resume(now).unwrap();
        assert_eq!(command, MouthCommand::Say { utterance: 3, text: "It is due today.".to_owned(), last: true });
    }

    #[test]
    fn events_of_unknown_utterances_are_nothing() {
        let now = crate::tests::epoch();
        let mut mouth = Mouth::default();
        for event in [
            MouthEvent::Started { utterance: 9 },
            MouthEvent::Finished { utterance: 9 },
            MouthEvent::Failed { utterance: 9 },
            MouthEvent::Cut { utterance: 9, heard: "x".to_owned() },
        ] {
            assert!(matches!(mouth.take_event(now, &event), News::Nothing));
        }
    }
}
