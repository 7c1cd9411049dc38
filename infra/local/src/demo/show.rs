//! What a person sees of the demo, on standard error. It must never write to standard output: that is for programs.

use std::path::Path;

use media::wav::Wav;
use serde_json::Value;
use server::provider::speech::SpeechStatus;

use super::scene::Scene;
use super::verdict::{Check, Evidence, seconds};
use crate::cli::note;
use crate::phone::{Ending, Happening, PhoneEvent};

/// Columns that a line fills at most.
const WIDTH: usize = 108;
/// Where a line's text begins: behind time and speaker.
const INDENT: usize = 18;

/// Colours of a terminal, by what they mean here.
#[derive(Debug, Clone, Copy)]
enum Ink {
    Dim,
    Bold,
    Bot,
    Customer,
    Good,
    Bad,
}

/// Writes lines, with colours or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    coloured: bool,
}

impl Screen {
    pub(super) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Dim => "2",
            Ink::Bold => "1",
            Ink::Bot => "36",
            Ink::Customer => "33",
            Ink::Good => "32",
            Ink::Bad => "1;31",
        };
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn heading(self, text: &str) {
        note(&format!("\n{}", self.ink(Ink::Bold, text)));
    }

    fn fact(self, name: &str, text: &str) {
        note(&format!("  {} {text}", self.ink(Ink::Dim, &format!("{name:<10}"))));
    }

    pub(super) fn title(self) {
        note(
            &self.ink(
                Ink::Bold,
                "Ringfleet demo: a bot calls a customer about a payment. All of it runs on this machine.",
            ),
        );
    }

    pub(super) fn warn(self, text: &str) {
        note(&format!("{} {text}", self.ink(Ink::Bad, "WARNING")));
    }

    pub(super) fn scene(self, scene: &Scene, speech: &SpeechStatus) {
        let ready = scene.platform.ready();
        note("");
        self.fact("platform", &format!("{}, SIP {}", ready.http, ready.sip.as_deref().unwrap_or("none")));
        self.fact(
            "customer",
            &format!("the built-in test phone, sip:{}, behind a digest password", scene.phone.address),
        );
        self.fact("CRM", &scene.sink.url());
        let voices = if speech.tts.is_empty() { "nobody".to_owned() } else { speech.tts.join(", ") };
        self.fact("speech", &format!("{} listens, {voices} speaks", speech.stt.unwrap_or("nobody")));
        self.fact("brain", "scripted: the bot follows its dialogue, no language model");
    }

    pub(super) fn request(self, body: &Value) {
        self.heading("POST /api/v1/dialout");
        self.json(body);
    }

    pub(super) fn answer(self, body: &Value) {
        note(&format!("  {} {body}", self.ink(Ink::Good, "200")));
        self.heading("The call, as the customer's phone hears the bot and says its own lines");
    }

    pub(super) fn happening(self, event: &PhoneEvent) {
        let at = event.at;
        let phone = |text: &str| self.line(at.as_secs_f64(), "phone", Ink::Dim, text);
        match &event.what {
            Happening::Challenged => phone("an INVITE came; it asks for a password"),
            Happening::WrongPassword => phone("the password was wrong: 403"),
            Happening::Refused { code } => phone(&format!("the call can't be taken: {code}")),
            Happening::Ringing { from } => phone(&format!("rings: {from} is calling")),
            Happening::Answered => phone("answered"),
            Happening::Handicapped { what } => phone(&format!("goes on without {what}")),
            Happening::Heard(heard) => self.line(heard.from.as_secs_f64(), "bot", Ink::Bot, &heard.text),
            Happening::Says { text } => self.line(at.as_secs_f64(), "customer", Ink::Customer, text),
            Happening::Ended(ending) => phone(match ending {
                Ending::Cancelled => "the caller gave up",
                Ending::Caller => "the bot hung up",
                Ending::Customer => "the customer hung up",
                Ending::Lost => "the line is dead",
            }),
        }
    }

    fn line(self, seconds: f64, who: &str, ink: Ink, text: &str) {
        let time = format!("{}:{:02}", seconds as u64 / 60, seconds as u64 % 60);
        let head = format!("{time:>6}  {who:<8}");
        for (index, part) in wrapped(text, WIDTH - INDENT).iter().enumerate() {
            let head = if index == 0 { head.as_str() } else { "" };
            let part = if matches!(ink, Ink::Dim) { self.ink(Ink::Dim, part) } else { part.clone() };
            note(&format!("{}  {part}", self.ink(ink, &format!("{head:<16}"))));
        }
    }

    pub(super) fn timings(self, evidence: &Evidence) {
        let turns = evidence.result["latency"].as_array().cloned().unwrap_or_default();
        if turns.is_empty() {
            return;
        }
        self.heading("How fast the bot answered: milliseconds from the end of the customer's speech");
        note(&self.ink(Ink::Dim, "  words known  decided  voice ready  on the wire   after the customer's words"));
        for turn in &turns {
            let ms = |field: &str| turn[field].as_u64().map_or_else(|| "-".to_owned(), |ms| ms.to_string());
            let words = words_before(evidence, turn["speech_end"].as_f64().unwrap_or_default());
            note(&format!(
                "  {:>11}  {:>7}  {:>11}  {}   {words}",
                ms("final_transcript_ms"),
                ms("first_token_ms"),
                ms("first_audio_ms"),
                self.ink(Ink::Bold, &format!("{:>11}", ms("first_packet_ms"))),
            ));
        }
    }

    pub(super) fn push(self, evidence: &Evidence) {
        let Some(push) = &evidence.push else { return };
        let (ink, verified) = match &push.fault {
            None => (Ink::Good, "signature verified".to_owned()),
            Some(fault) => (Ink::Bad, fault.clone()),
        };
        self.heading("What the CRM was sent, through the bot's key mapper");
        note(&format!("  {}", self.ink(ink, &format!("{} {verified}", push.status))));
        self.json(&push.body);
    }

    fn json(self, body: &Value) {
        let body = serde_json::to_string_pretty(body).unwrap_or_default();
        for line in body.lines() {
            note(&format!("  {}", without_token(line)));
        }
    }

    pub(super) fn recording(self, evidence: &Evidence) {
        let (Some(path), Ok(bytes)) = (&evidence.wav, &evidence.recording) else { return };
        let length = Wav::read(bytes).map_or_else(|error| error.to_string(), |wav| format!("{:.1} s", seconds(&wav)));
        // Below the working folder the short name is the one to type.
        let here = std::env::current_dir().ok();
        let path = here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
        self.heading("Recording");
        note(&format!("  {} ({length}; left the customer, right the bot)", path.display()));
    }

    pub(super) fn kept(self, folder: &Path, admin_key: &str) {
        self.heading("Data");
        note(&format!("  kept in {0}; go on with it: ringfleet up --data {0}", folder.display()));
        note(&format!("  admin key: {admin_key}"));
    }

    pub(super) fn verdict(self, checks: &[Check], listens: bool) {
        note("");
        for check in checks {
            match &check.fault {
                None => note(&format!("  {} {}", self.ink(Ink::Good, "ok  "), check.what)),
                Some(fault) => note(&format!("  {} {}: {fault}", self.ink(Ink::Bad, "FAIL"), check.what)),
            }
        }
        let failed = checks.iter().filter(|check| check.fault.is_some()).count();
        note("");
        match (failed, listens) {
            (0, _) => note(&self.ink(Ink::Good, "All of it worked.")),
            (_, false) => self.warn(
                "a call was placed, but without the speech recognition model nobody understood anybody. \
                 Run ./quickstart, or `ringfleet models fetch`, and try again.",
            ),
            (failed, true) => self.warn(&format!("{failed} of {} checks failed; see above.", checks.len())),
        }
    }
}

/// A line of JSON without the token of a URL: whoever has that may listen.
fn without_token(line: &str) -> String {
    match line.split_once("?token=") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            format!("{before}?token=…{rest}")
        }
        None => line.to_owned(),
    }
}

/// The customer's words that ended by then, as the platform understood them.
fn words_before(evidence: &Evidence, speech_end: f64) -> &str {
    let entries = evidence.transcript("customer");
    entries.iter().rfind(|(at, _)| *at <= speech_end).map_or("", |(_, text)| text)
}

/// Cuts at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("it begins with one line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.into_iter().flat_map(|line| folded(&line, width)).collect()
}

/// Cuts anywhere, for what has no spaces.
fn folded(line: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width).map(|part| part.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped() {
        let check = |text: &str, width: usize, expect: &[&str]| assert_eq!(wrapped(text, width), expect, "{text:?}");
        check("one two three", 20, &["one two three"]);
        check("one two three", 8, &["one two", "three"]);
        check("one  two", 3, &["one", "two"]);
        check("abcdefgh", 3, &["abc", "def", "gh"]);
        check("", 3, &[""]);
    }

    #[test]
    fn tokens_of_urls_are_not_shown() {
        assert_eq!(without_token(r#""a": "http://x/y.wav?token=5dde92c3","#), r#""a": "http://x/y.wav?token=…","#);
        assert_eq!(without_token(r#""a": "b""#), r#""a": "b""#);
    }

    #[test]
    fn colours_are_off_without_a_terminal() {
        assert_eq!(Screen::new(false).ink(Ink::Bot, "x"), "x");
        assert_eq!(Screen::new(true).ink(Ink::Bot, "x"), "\u{1b}[36mx\u{1b}[0m");
    }
}
