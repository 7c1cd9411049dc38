//! Vonage Voice API and Audio Connector: JSON about the call, audio in binary messages of exactly 20 ms.
//! It must never send another length: Vonage plays each message as 20 ms.
//!
//! ```text
//! IN  {"event":"websocket:connected","content-type":"audio/l16;rate=16000", …what the NCCO has in `headers`}
//! IN  {"event":"websocket:dtmf","digit":"5","duration":260}
//! IN  {"event":"websocket:notify","payload":{"mark":7}}    {"event":"websocket:cleared"}
//! OUT {"action":"notify","payload":{"mark":7}}             {"action":"clear"}
//! ```

use bytes::Bytes;
use domain::call::Direction;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::json::Object;
use crate::marks::Marks;
use crate::name::Name;
use crate::opening::{Collected, Known, direction_word};
use crate::payload::key;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};
use crate::words::Parties;

const DEFAULT_RATE: u32 = 16_000;
const CLEAR: &str = r#"{"action":"clear"}"#;

#[derive(Debug)]
pub(crate) struct Vonage {
    /// For a dialler that does not say its rate.
    rate: u32,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    intake: Intake,
    cutter: Cutter,
    marks: Marks,
}

impl Vonage {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { rate: settings.rate.unwrap_or(DEFAULT_RATE), stream: None }
    }

    fn message(&mut self, text: &str, out: &mut Out) -> Result<(), Violation> {
        let message = Object::read(text)?;
        let event = message.text("event").unwrap_or_default();
        let Some(stream) = &mut self.stream else {
            return if event == "websocket:connected" { self.open(&message, out) } else { lost(Loss::Early, out) };
        };
        match &*event {
            "websocket:dtmf" => match digit(&message) {
                Some(digit) => out.events.push_back(Event::Dtmf(digit)),
                None => out.lose(Loss::Unknown),
            },
            "websocket:notify" => match message.object("payload").and_then(|payload| payload.text("mark")) {
                Some(mark) if stream.marks.back(&mark, out) => {}
                _ => out.lose(Loss::Foreign),
            },
            "websocket:cleared" => stream.marks.all_cleared(out),
            "websocket:connected" => out.lose(Loss::Duplicate),
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }

    fn open(&mut self, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let said = message.text("content-type").map_or(Some(self.rate), |words| rate_of(&words));
        let rate = said.filter(|rate| matches!(rate, 8_000 | 16_000 | 24_000 | 48_000)).ok_or_else(|| {
            Violation::protocol("the content-type must be audio/l16;rate=8000, 16000, 24000 or 48000")
        })?;
        let format = Format::new(Encoding::L16, rate);
        let parties = Parties::among(message);
        let known = Known {
            caller_id: parties.caller.as_deref(),
            did: parties.did.as_deref(),
            stream_id: parties.call.as_deref(),
            call_direction: Some(direction_word(Direction::Inbound)),
        };
        let mut collected = Collected::default();
        collected.object(message, &["event"])?;
        let fields = collected.with(&known);
        self.stream = Some(Stream {
            intake: Intake::mono(format),
            cutter: Cutter::new(Rule::every(20, format)),
            marks: Marks::default(),
        });
        let opening = Opening {
            dialect: Name::Vonage,
            stream_id: parties.call.clone(),
            call_ref: parties.call,
            caller: parties.caller,
            did: parties.did,
            direction: Direction::Inbound,
            fields,
            hears: format,
            plays: format,
            confirms_marks: true,
        };
        out.events.push_back(Event::Opened(Box::new(opening)));
        out.events.push_back(Event::Answered);
        Ok(())
    }
}

impl Dialect for Vonage {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        match (frame, &mut self.stream) {
            (Frame::Text(text), _) => self.message(&text, out),
            (Frame::Binary(audio), Some(stream)) => {
                stream.intake.hear(audio, out);
                Ok(())
            }
            (Frame::Binary(_), None) => lost(Loss::Early, out),
        }
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match command {
            Command::Audio(audio) => stream.cutter.audio(audio),
            Command::SpurtEnd => stream.cutter.end(),
            Command::Mark(id) => out.events.extend(stream.cutter.mark(id).map(Event::MarkCleared)),
            Command::Clear => {
                out.events.extend(stream.cutter.clear().into_iter().map(Event::MarkCleared));
                stream.marks.clear();
                out.frames.push_back(Frame::Text(CLEAR.to_owned()));
            }
            // Closing the socket hangs up.
            Command::HangUp { .. } => {}
            Command::Dtmf(_) | Command::Transfer { .. } => {
                return Err(Unsupported { command: command.word(), dialect: Name::Vonage });
            }
        }
        while let Some(cut) = stream.cutter.next() {
            let frame = match cut {
                Cut::Audio(audio) => Frame::Binary(Bytes::copy_from_slice(audio)),
                Cut::Mark(id) => {
                    let name = stream.marks.ask(id, out);
                    Frame::Text(format!(r#"{{"action":"notify","payload":{{"mark":{name}}}}}"#))
                }
            };
            out.frames.push_back(frame);
        }
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities { clear: true, marks: true, ..Abilities::default() }
    }
}

fn lost(why: Loss, out: &mut Out) -> Result<(), Violation> {
    out.lose(why);
    Ok(())
}

/// Some send it one level deeper.
fn digit(message: &Object<'_>) -> Option<char> {
    let word = message.text("digit").or_else(|| message.object("dtmf")?.text("digit"))?;
    key(&word)
}

/// The rate of `audio/l16;rate=16000`; `None` for what is not linear audio.
fn rate_of(content_type: &str) -> Option<u32> {
    if Encoding::parse(content_type) != Some(Encoding::L16) {
        return None;
    }
    let parameters = content_type.split(';').skip(1);
    let said = parameters.filter_map(|parameter| parameter.trim().strip_prefix("rate=")).next();
    said.map_or(Some(DEFAULT_RATE), |rate| rate.trim().parse().ok())
}
