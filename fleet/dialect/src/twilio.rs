//! Twilio Media Streams, as `<Connect><Stream>` speaks it: μ-law at 8 kHz, 20 ms a message.

use std::fmt::Write as _;

use crate::carrier::{Words, format_of};
use crate::event::Opening;
use crate::format::{Encoding, Format};
use crate::json::Object;
use crate::name::Name;
use crate::opening::{CALLED, CALLER, Collected, DIRECTION, Introduction, direction};
use crate::payload;
use crate::settings::Settings;
use crate::violation::Violation;

#[derive(Debug)]
pub(crate) struct Twilio;

impl Words for Twilio {
    const NAME: Name = Name::Twilio;
    const STREAM: &'static str = "streamSid";
    const PLAYED: &'static str = "mark";

    fn open(
        mut fields: Collected,
        message: &Object<'_>,
        start: &Object<'_>,
        _: &Settings,
    ) -> Result<Opening, Violation> {
        let Some(stream) = start.first_text(&["streamSid"]).or_else(|| message.first_text(&["streamSid"])) else {
            return Err(Violation::protocol("a twilio start message has start.streamSid"));
        };
        let format = format_of(start.object("mediaFormat"), "sampleRate", Format::new(Encoding::Mulaw, 8000))?;
        let custom = start.object("customParameters");
        let said = |names| custom.and_then(|custom| custom.first_text(names)).or_else(|| start.first_text(names));
        let (caller, did, call) = (said(CALLER), said(CALLED), start.first_text(&["callSid"]));
        let direction = direction(said(DIRECTION).as_deref());
        if let Some(custom) = custom {
            fields.object(custom, &[])?;
        }
        fields.object(start, &["customParameters", "mediaFormat", "tracks"])?;
        for (name, member) in [("call_sid", "callSid"), ("account_sid", "accountSid"), ("stream_sid", "streamSid")] {
            if let Some(text) = start.text(member) {
                fields.text(name, &text)?;
            }
        }
        Ok(Introduction { stream, call, caller, did, direction }.opening(Self::NAME, fields, format, format))
    }

    fn media(stream: &str, _: Format, audio: &[u8]) -> String {
        let mut text = String::with_capacity(64 + stream.len() + payload::encoded_len(audio.len()));
        let _ = write!(text, r#"{{"event":"media","streamSid":{stream},"media":{{"payload":""#);
        payload::encode(audio, &mut text);
        text.push_str("\"}}");
        text
    }

    fn mark(stream: &str, name: &str) -> String {
        format!(r#"{{"event":"mark","streamSid":{stream},"mark":{{"name":"{name}"}}}}"#)
    }

    fn clear(stream: &str) -> String {
        format!(r#"{{"event":"clear","streamSid":{stream}}}"#)
    }
}
