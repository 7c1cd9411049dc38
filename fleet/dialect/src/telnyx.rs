//! Telnyx Media Streaming: what it sends may come in any order, and linear audio has its high byte first.

use std::fmt::Write as _;
use std::time::Duration;

use crate::carrier::{Carrier, Words, format_of, text_of};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::json::Object;
use crate::name::Name;
use crate::opening::{Collected, Introduction, direction};
use crate::order::{Order, Turn};
use crate::payload;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

/// Telnyx's codec: the order of messages, and then a carrier like others.
#[derive(Debug)]
pub(crate) struct Telnyx {
    carrier: Carrier<Spoken>,
    order: Order<String>,
}

impl Telnyx {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { carrier: Carrier::new(settings), order: Order::default() }
    }

    /// Takes the messages whose turn has come.
    fn drain(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        while let Some(text) = self.order.pop(at.since_open) {
            self.carrier.take(&Object::read(&text)?, out)?;
        }
        Ok(())
    }
}

impl Dialect for Telnyx {
    fn receive(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let text = text_of(&frame, Name::Telnyx)?;
        let message = Object::read(text)?;
        let number = message.number("sequence_number");
        let is_start = message.text("event").is_some_and(|event| event == "start");
        match number {
            // Messages without a number, and the one that all others are counted from, have no turn to wait for.
            None => self.carrier.take(&message, out)?,
            Some(number) if is_start && !self.carrier.has_started() => {
                self.carrier.take(&message, out)?;
                self.order.begin(number);
            }
            Some(number) => {
                if self.carrier.has_started() {
                    self.order.begin_with(number);
                }
                match self.order.turn(number) {
                    Turn::Now => self.carrier.take(&message, out)?,
                    Turn::Later => self.order.keep(at.since_open, number, text.to_owned()),
                    Turn::Never(why) => out.lose(why),
                }
            }
        }
        self.drain(at, out)
    }

    fn command(&mut self, at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        self.carrier.command(at, command, out)
    }

    fn can(&self) -> Abilities {
        self.carrier.can()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.order.poll_timeout()
    }

    fn handle_timeout(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        self.drain(at, out)
    }
}

/// Telnyx's words.
#[derive(Debug)]
struct Spoken;

impl Words for Spoken {
    const NAME: Name = Name::Telnyx;
    const STREAM: &'static str = "stream_id";
    const PLAYED: &'static str = "mark";
    const BIG_ENDIAN: bool = true;
    /// The token that Telnyx authenticates with stays out of variables.
    const CONNECTED: &[&str] = &["event", "protocol", "version", "connected", "x-telnyx-streaming-auth-token"];

    fn open(
        mut fields: Collected,
        message: &Object<'_>,
        start: &Object<'_>,
        settings: &Settings,
    ) -> Result<Opening, Violation> {
        let Some(stream) = message.first_text(&["stream_id"]).or_else(|| start.first_text(&["stream_id"])) else {
            return Err(Violation::protocol("a telnyx start message has stream_id"));
        };
        let hears = format_of(start.object("media_format"), "sample_rate", Format::new(Encoding::Mulaw, 8000))?;
        let custom = start.object("custom_parameters");
        let (caller, did) = (start.first_text(&["from"]), start.first_text(&["to"]));
        let said = custom.and_then(|custom| custom.first_text(&["direction", "call_direction", "callDirection"]));
        let direction = direction(said.or_else(|| start.first_text(&["direction"])).as_deref());
        if let Some(custom) = custom {
            fields.object(custom, &[])?;
        }
        fields.object(start, &["custom_parameters", "media_format"])?;
        let call = start.first_text(&["call_control_id", "call_session_id"]);
        Ok(Introduction { stream, call, caller, did, direction }.opening(Self::NAME, fields, hears, plays(settings)?))
    }

    fn media(_: &str, _: Format, audio: &[u8]) -> String {
        let mut text = String::with_capacity(48 + payload::encoded_len(audio.len()));
        let _ = write!(text, r#"{{"event":"media","media":{{"payload":""#);
        payload::encode(audio, &mut text);
        text.push_str("\"}}");
        text
    }

    fn mark(_: &str, name: &str) -> String {
        format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#)
    }

    fn clear(_: &str) -> String {
        r#"{"event":"clear"}"#.to_owned()
    }
}

/// `media_format` tells how the caller is heard: whatever the caller's network uses. What Telnyx wants to be sent is its
/// `stream_bidirectional_codec`, which no message tells and which is PCMU unless asked for: `?codec=` and `?rate=` say it.
fn plays(settings: &Settings) -> Result<Format, Violation> {
    let encoding = settings.codec.unwrap_or(Encoding::Mulaw);
    let usual = match encoding {
        Encoding::L16 | Encoding::G722 => 16_000,
        Encoding::Mulaw | Encoding::Alaw => 8_000,
        Encoding::Opus => 48_000,
    };
    format_of(None, "", Format::new(encoding, settings.rate.unwrap_or(usual)))
}
