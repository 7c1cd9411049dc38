//! Exotel AgentStream (Voicebot applet): linear audio at 8, 16 or 24 kHz, in snake_case and with numbers as strings.

use std::fmt::Write as _;

use crate::carrier::{Words, format_of};
use crate::cut::Rule;
use crate::event::{HangUp, Opening};
use crate::format::{Encoding, Format};
use crate::json::Object;
use crate::name::Name;
use crate::opening::{Collected, Introduction, direction};
use crate::payload;
use crate::settings::Settings;
use crate::violation::Violation;

/// Every payload is a multiple of this, bytes.
const UNIT: usize = 320;
/// Smallest payload that plays without gaps, bytes.
const LEAST: usize = 3_200;

#[derive(Debug)]
pub(crate) struct Exotel;

impl Words for Exotel {
    const NAME: Name = Name::Exotel;
    const STREAM: &'static str = "stream_sid";
    const PLAYED: &'static str = "mark";

    fn open(
        mut fields: Collected,
        message: &Object<'_>,
        start: &Object<'_>,
        settings: &Settings,
    ) -> Result<Opening, Violation> {
        let Some(stream) = start.first_text(&["stream_sid"]).or_else(|| message.first_text(&["stream_sid"])) else {
            return Err(Violation::protocol("an exotel start message has start.stream_sid"));
        };
        let plays = format(start, settings)?;
        let custom = start.object("custom_parameters");
        let (caller, did, call) =
            (start.first_text(&["from"]), start.first_text(&["to"]), start.first_text(&["call_sid"]));
        let direction = direction(start.first_text(&["direction", "call_direction"]).as_deref());
        if let Some(custom) = custom {
            fields.object(custom, &[])?;
        }
        fields.object(start, &["custom_parameters", "media_format"])?;
        Ok(Introduction { stream, call, caller, did, direction }.opening(Self::NAME, fields, plays, plays))
    }

    fn rule(plays: Format) -> Rule {
        Rule { frame: LEAST, unit: UNIT, least: LEAST, silence: plays.silence() }
    }

    fn hung_up(message: &Object<'_>) -> HangUp {
        // `callended`: the caller did; `stopped`: the flow went on to its next applet.
        match message.object("stop").and_then(|stop| stop.text("reason")).as_deref() {
            Some("stopped") => HangUp::Dialler { by: "stopped".to_owned() },
            _ => HangUp::Customer,
        }
    }

    fn media(stream: &str, _: Format, audio: &[u8]) -> String {
        let mut text = String::with_capacity(64 + stream.len() + payload::encoded_len(audio.len()));
        let _ = write!(text, r#"{{"event":"media","stream_sid":{stream},"media":{{"payload":""#);
        payload::encode(audio, &mut text);
        text.push_str("\"}}");
        text
    }

    fn mark(stream: &str, name: &str) -> String {
        format!(r#"{{"event":"mark","stream_sid":{stream},"mark":{{"name":"{name}"}}}}"#)
    }

    fn clear(stream: &str) -> String {
        format!(r#"{{"event":"clear","stream_sid":{stream}}}"#)
    }
}

/// Linear at the announced rate; `?sample-rate=` stands in where none is announced. Exotel says `raw`, `base64` or
/// `audio/x-raw` of the same linear audio.
fn format(start: &Object<'_>, settings: &Settings) -> Result<Format, Violation> {
    let usual = Format::new(Encoding::L16, settings.rate.unwrap_or(8000));
    let format = format_of(start.object("media_format"), "sample_rate", usual)?;
    if format.encoding != Encoding::L16 || !matches!(format.rate, 8_000 | 16_000 | 24_000) {
        return Err(Violation::protocol("exotel audio is linear (audio/x-raw) at 8000, 16000 or 24000 Hz"));
    }
    Ok(format)
}
