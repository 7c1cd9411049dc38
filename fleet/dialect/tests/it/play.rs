//! Plays a script of a fixture folder against a session. One line is one step:
//!
//! ```text
//! ? dialect=native chunk_ms=100     a new session, its settings
//! @ 3.02                            time passes, up to so many seconds since the socket opened
//! < in-01-connected.json            the dialler sends this file
//! ! audio 320                       the leg asks for something
//! = answered                        the next event that came out
//! > out-01-media.json               the next frame that came out is this file, member by member
//! f caller_id=+91…                  a field of the opening
//! ~ foreign=1                       frames dropped so far, by reason
//! x 1008 some words                 the step before was refused, with these words in the reason
//! # …                               a comment
//! ```
//! Whatever comes out has to be named before the next step.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dialect::{Command, Ending, Event, Frame, HangUp, Moment, Opening, Out, Session, Settings, Violation};
use domain::variables::stringify;

/// The wall clock when the socket opens: 2026-04-24 14:30:00 UTC.
const OPENED_AT: i64 = 1_777_041_000;

pub(crate) fn settings() -> Settings {
    Settings { id: "ours".to_owned(), ..Settings::default() }
}

pub(crate) fn at(since_open: Duration) -> Moment {
    let wall = jiff::Timestamp::from_second(OPENED_AT).unwrap() + since_open;
    Moment { since_open, wall }
}

pub(crate) fn fixture(dialect: &str, file: &str) -> Frame {
    let path = folder(dialect).join(file);
    if file.ends_with(".bin") {
        return Frame::Binary(fs::read(&path).unwrap().into());
    }
    Frame::Text(fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim_end().to_owned())
}

pub(crate) fn folder(dialect: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", dialect].iter().collect()
}

/// So many bytes that tell where they lie.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

pub(crate) fn script(dialect: &str, file: &str) {
    let text = fs::read_to_string(folder(dialect).join(file)).unwrap();
    let mut play = Play::new(dialect, settings());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        play.place = format!("{dialect}/{file}:{}: {line}", n + 1);
        let (kind, rest) = line.split_at(1);
        play.step(kind, rest.trim());
    }
    play.place = format!("{dialect}/{file}: the end");
    play.nothing_is_left();
}

struct Play {
    dialect: String,
    place: String,
    session: Session,
    out: Out,
    now: Duration,
    opening: Option<Opening>,
    refused: Option<Violation>,
}

impl Play {
    fn new(dialect: &str, settings: Settings) -> Self {
        Self {
            dialect: dialect.to_owned(),
            place: String::new(),
            session: Session::new(settings),
            out: Out::new(),
            now: Duration::ZERO,
            opening: None,
            refused: None,
        }
    }

    fn step(&mut self, kind: &str, rest: &str) {
        match kind {
            "#" => {}
            "?" => {
                self.nothing_is_left();
                *self =
                    Self { place: std::mem::take(&mut self.place), ..Self::new(&self.dialect, read_settings(rest)) };
            }
            "@" => {
                self.nothing_is_left();
                let until = Duration::from_secs_f64(rest.parse().unwrap());
                while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
                    self.now = self.now.max(due);
                    let handled = self.session.handle_timeout(at(self.now), &mut self.out);
                    self.refused = handled.err();
                }
                self.now = until;
            }
            "<" => {
                self.nothing_is_left();
                let frame = fixture(&self.dialect, rest);
                self.refused = self.session.receive(at(self.now), frame, &mut self.out).err();
            }
            "!" => {
                self.nothing_is_left();
                let (word, argument) = rest.split_once(' ').unwrap_or((rest, ""));
                self.command(word, argument);
            }
            "=" => {
                let event = self.out.events.pop_front().unwrap_or_else(|| panic!("{}: no event came", self.place));
                assert_eq!(self.named(event), rest, "{}", self.place);
            }
            ">" => {
                let sent = self.out.frames.pop_front().unwrap_or_else(|| panic!("{}: nothing was sent", self.place));
                assert_eq!(plain(sent), plain(fixture(&self.dialect, rest)), "{}", self.place);
            }
            "f" => {
                let (name, expect) = rest.split_once('=').unwrap();
                let opening = self.opening.as_ref().unwrap_or_else(|| panic!("{}: not open", self.place));
                assert_eq!(opening.fields.get(name).map(stringify).as_deref(), Some(expect), "{}", self.place);
            }
            "~" => assert_eq!(self.dropped(), rest, "{}", self.place),
            "x" => {
                let violation = self.refused.take().unwrap_or_else(|| panic!("{}: was not refused", self.place));
                let (code, words) = rest.split_once(' ').unwrap();
                assert!(
                    violation.code.to_string() == code && violation.reason.contains(words),
                    "{}: {violation}",
                    self.place
                );
            }
            _ => panic!("{}: no such step", self.place),
        }
    }

    fn command(&mut self, word: &str, argument: &str) {
        let audio = if word == "audio" { pattern(argument.parse().unwrap()) } else { Vec::new() };
        let command = match word {
            "audio" => Command::Audio(&audio),
            "end" => Command::SpurtEnd,
            "mark" => Command::Mark(argument.parse().unwrap()),
            "clear" => Command::Clear,
            "dtmf" => Command::Dtmf(argument.parse().unwrap()),
            "transfer" => Command::Transfer { to: argument },
            "hangup" => Command::HangUp { reason: Ending::Completed },
            "cannot" => return self.cannot(argument),
            _ => panic!("{}: no such command", self.place),
        };
        let done = self.session.command(at(self.now), command, &mut self.out);
        assert_eq!(done, Ok(()), "{}", self.place);
    }

    fn cannot(&mut self, word: &str) {
        let command = match word {
            "mark" => Command::Mark(1),
            "dtmf" => Command::Dtmf('1'),
            "transfer" => Command::Transfer { to: "+91" },
            "audio" => Command::Audio(&[0; 320]),
            _ => panic!("{}: no such command", self.place),
        };
        assert!(self.session.command(at(self.now), command, &mut self.out).is_err(), "{}", self.place);
    }

    fn named(&mut self, event: Event) -> String {
        match event {
            Event::Opened(opening) => {
                let or_not = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let format = |format: dialect::Format| format!("{}/{}", format.encoding.as_str(), format.rate);
                let words = format!(
                    "opened {} stream={} call={} caller={} did={} {:?} hears={} plays={} marks={}",
                    opening.dialect,
                    or_not(&opening.stream_id),
                    or_not(&opening.call_ref),
                    or_not(&opening.caller),
                    or_not(&opening.did),
                    opening.direction,
                    format(opening.hears),
                    format(opening.plays),
                    opening.confirms_marks,
                );
                self.opening = Some(*opening);
                words
            }
            Event::Answered => "answered".to_owned(),
            Event::Audio(audio) => {
                let start: String = audio.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                format!("audio {} {start}", audio.len())
            }
            Event::Dtmf(key) => format!("dtmf {key}"),
            Event::MarkPlayed(id) => format!("played {id}"),
            Event::MarkCleared(id) => format!("cleared {id}"),
            Event::Flow(on) => format!("flow {on}"),
            Event::Hold(on) => format!("hold {on}"),
            Event::HungUp(HangUp::Customer) => "hungup customer".to_owned(),
            Event::HungUp(HangUp::Dialler { by }) => format!("hungup dialler {by}"),
        }
    }

    fn dropped(&self) -> String {
        let dropped = self.out.dropped;
        let all = [
            ("unknown", dropped.unknown),
            ("early", dropped.early),
            ("after_end", dropped.after_end),
            ("duplicate", dropped.duplicate),
            ("late", dropped.late),
            ("foreign", dropped.foreign),
            ("complaint", dropped.complaint),
        ];
        let some: Vec<String> = all.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name}={n}")).collect();
        some.join(" ")
    }

    #[track_caller]
    fn nothing_is_left(&mut self) {
        let place = self.place.clone();
        assert_eq!(self.refused, None, "before {place}");
        let events: Vec<String> =
            std::mem::take(&mut self.out.events).into_iter().map(|event| self.named(event)).collect();
        assert!(events.is_empty(), "before {place}: {events:?}");
        let frames: Vec<String> = self.out.frames.drain(..).map(plain).collect();
        assert!(frames.is_empty(), "before {place}: {frames:?}");
    }
}

fn read_settings(words: &str) -> Settings {
    let mut settings = settings();
    for (name, value) in words.split_whitespace().map(|word| word.split_once('=').unwrap()) {
        match name {
            "dialect" => settings.dialect = Some(value.parse().unwrap()),
            "chunk_ms" => settings.chunk_ms = value.parse().unwrap(),
            "codec" => settings.codec = dialect::Encoding::parse(value),
            "rate" => settings.rate = Some(value.parse().unwrap()),
            "subprotocol" => settings.subprotocol = Some(value.to_owned()),
            _ => panic!("no such setting: {name}"),
        }
    }
    settings
}

/// JSON without white space, its members in their order and of their types.
fn plain(frame: Frame) -> String {
    match frame {
        Frame::Text(text) => {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            value.to_string()
        }
        Frame::Binary(bytes) => format!("{bytes:?}"),
    }
}
