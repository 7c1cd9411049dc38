//! FreeSWITCH's `mod_audio_stream`: perhaps a text of the dialplan's, then audio in binary messages; what the bot says goes
//! back as base64 in JSON. It must never send more than 8,000 bytes in one message.
//!
//! ```text
//! IN  the `metadata` of `uuid_audio_stream start`, and what `send_text` sends: JSON or not
//! OUT {"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"<base64>"}}
//! OUT {"type":"killAudio"}
//! ```

use domain::call::Direction;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::json::Object;
use crate::name::Name;
use crate::opening::{Collected, Known, direction_word};
use crate::payload::{encode, encoded_len, key};
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};
use crate::words::Parties;

const DEFAULT_RATE: u32 = 8_000;
/// The module handles each message as a file to be played, so few and long ones.
const CHUNK_MS: u32 = 100;
/// Longest audio of a message: with base64 and what is around it less than 8,000 bytes.
const MAX_CHUNK: usize = 5_880;
const KILL: &str = r#"{"type":"killAudio"}"#;

#[derive(Debug)]
pub(crate) struct Freeswitch {
    /// `?rate=`: the module does not say it.
    rate: Option<u32>,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    rate: u32,
    intake: Intake,
    cutter: Cutter,
}

impl Freeswitch {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { rate: settings.rate, stream: None }
    }

    fn text(&mut self, text: &str, out: &mut Out) -> Result<(), Violation> {
        let is_json = text.trim_start().starts_with('{');
        if self.stream.is_some() {
            // The dialplan may send whatever it likes; of that only a key means something.
            let message = is_json.then(|| Object::read(text)).transpose()?;
            match message.as_ref().and_then(pressed) {
                Some(key) => out.events.push_back(Event::Dtmf(key)),
                None => out.lose(Loss::Unknown),
            }
            return Ok(());
        }
        let mut collected = Collected::default();
        if !is_json {
            if !text.trim().is_empty() {
                collected.text("metadata", text.trim())?;
            }
            return self.open(collected, Parties::default(), None, out);
        }
        let message = Object::read(text)?;
        collected.object(&message, &[])?;
        let rate = ["sampleRate", "sample_rate", "rate"].into_iter().find_map(|name| message.number(name));
        let rate = rate.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX));
        self.open(collected, Parties::among(&message), rate, out)
    }

    fn open(&mut self, said: Collected, parties: Parties, rate: Option<u32>, out: &mut Out) -> Result<(), Violation> {
        let rate = self.rate.or(rate).unwrap_or(DEFAULT_RATE);
        let format = Format::new(Encoding::L16, rate);
        if !format.is_telephony() {
            return Err(Violation::protocol("the rate of the audio must be 8000 to 64000 Hz"));
        }
        let known = Known {
            caller_id: parties.caller.as_deref(),
            did: parties.did.as_deref(),
            stream_id: parties.call.as_deref(),
            call_direction: Some(direction_word(Direction::Inbound)),
        };
        let fields = said.with(&known);
        let rule = Rule::every(CHUNK_MS, format);
        let rule = Rule { frame: rule.frame.min(MAX_CHUNK), silence: None, ..rule };
        self.stream = Some(Stream { rate, intake: Intake::mono(format), cutter: Cutter::new(rule) });
        let opening = Opening {
            dialect: Name::Freeswitch,
            stream_id: parties.call.clone(),
            call_ref: parties.call,
            caller: parties.caller,
            did: parties.did,
            direction: Direction::Inbound,
            fields,
            hears: format,
            plays: format,
            confirms_marks: false,
        };
        out.events.push_back(Event::Opened(Box::new(opening)));
        out.events.push_back(Event::Answered);
        Ok(())
    }
}

impl Dialect for Freeswitch {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let audio = match frame {
            Frame::Text(text) => return self.text(&text, out),
            Frame::Binary(audio) => audio,
        };
        if self.stream.is_none() {
            self.open(Collected::default(), Parties::default(), None, out)?;
        }
        if let Some(stream) = &mut self.stream {
            stream.intake.hear(audio, out);
        }
        Ok(())
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match command {
            Command::Audio(audio) => stream.cutter.audio(audio),
            Command::SpurtEnd => stream.cutter.end(),
            Command::Clear => {
                stream.cutter.clear();
                out.frames.push_back(Frame::Text(KILL.to_owned()));
            }
            // Closing the socket hangs up.
            Command::HangUp { .. } => {}
            Command::Mark(_) | Command::Dtmf(_) | Command::Transfer { .. } => {
                return Err(Unsupported { command: command.word(), dialect: Name::Freeswitch });
            }
        }
        while let Some(cut) = stream.cutter.next() {
            if let Cut::Audio(audio) = cut {
                out.frames.push_back(Frame::Text(stream_audio(audio, stream.rate)));
            }
        }
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities { clear: true, ..Abilities::default() }
    }
}

fn stream_audio(audio: &[u8], rate: u32) -> String {
    let mut text = String::with_capacity(96 + encoded_len(audio.len()));
    text.push_str(r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":"#);
    text.push_str(&rate.to_string());
    text.push_str(r#","audioData":""#);
    encode(audio, &mut text);
    text.push_str("\"}}");
    text
}

/// `{"event":"dtmf","digit":"5"}`, or `dtmf` in place of `digit`: what dialplans send for a key.
fn pressed(message: &Object<'_>) -> Option<char> {
    if message.text("event")? != "dtmf" {
        return None;
    }
    key(&message.text("digit").or_else(|| message.text("dtmf"))?)
}
