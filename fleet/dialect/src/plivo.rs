//! Plivo Audio Streaming, which Vobiz speaks too: no `connected`, `playAudio` instead of `media`, checkpoints as marks.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::carrier::{Words, format_of};
use crate::event::Opening;
use crate::format::{Encoding, Format};
use crate::json::{Object, quoted};
use crate::name::Name;
use crate::opening::{CALLED, CALLER, Collected, DIRECTION, Introduction, direction};
use crate::payload;
use crate::settings::Settings;
use crate::violation::Violation;

/// Plivo puts it before the names of extra headers.
const PREFIX: &str = "X-PH-";

#[derive(Debug)]
pub(crate) struct Plivo;

impl Words for Plivo {
    const NAME: Name = Name::Plivo;
    const STREAM: &'static str = "streamId";
    const PLAYED: &'static str = "playedStream";
    const CLEARED: Option<&'static str> = Some("clearedAudio");
    const SENDS_DTMF: bool = true;

    fn open(
        mut fields: Collected,
        message: &Object<'_>,
        start: &Object<'_>,
        _: &Settings,
    ) -> Result<Opening, Violation> {
        let Some(stream) = start.first_text(&["streamId"]).or_else(|| message.first_text(&["streamId"])) else {
            return Err(Violation::protocol("a plivo start message has start.streamId"));
        };
        let format = format_of(start.object("mediaFormat"), "sampleRate", Format::new(Encoding::Mulaw, 8000))?;
        if !matches!(format.encoding, Encoding::Mulaw | Encoding::L16) {
            return Err(Violation::protocol("plivo audio is audio/x-mulaw or audio/x-l16"));
        }
        let headers = extra_headers(message)?;
        let header = |names: &[&str]| {
            let named = |name: &&str| headers.iter().find(|(header, value)| header == name && !value.is_empty());
            names.iter().find_map(named).map(|(_, value)| value.clone()).or_else(|| start.first_text(names))
        };
        let (caller, did, call) = (header(CALLER), header(CALLED), start.first_text(&["callId"]));
        let direction = direction(header(DIRECTION).as_deref());
        for (name, value) in &headers {
            fields.text(name, value)?;
        }
        fields.object(start, &["mediaFormat", "tracks"])?;
        if let Some(account) = start.text("accountId") {
            fields.text("account_id", &account)?;
        }
        Ok(Introduction { stream, call, caller, did, direction }.opening(Self::NAME, fields, format, format))
    }

    fn mark_name<'a>(message: &Object<'a>) -> Option<Cow<'a, str>> {
        message.text("name")
    }

    fn media(stream: &str, plays: Format, audio: &[u8]) -> String {
        let kind = if plays.encoding == Encoding::L16 { "audio/x-l16" } else { "audio/x-mulaw" };
        let mut text = String::with_capacity(128 + stream.len() + payload::encoded_len(audio.len()));
        let _ = write!(
            text,
            r#"{{"event":"playAudio","media":{{"contentType":"{kind}","sampleRate":{},"payload":""#,
            plays.rate
        );
        payload::encode(audio, &mut text);
        let _ = write!(text, r#""}},"streamId":{stream}}}"#);
        text
    }

    fn mark(stream: &str, name: &str) -> String {
        format!(r#"{{"event":"checkpoint","streamId":{stream},"name":"{name}"}}"#)
    }

    fn clear(stream: &str) -> String {
        format!(r#"{{"event":"clearAudio","streamId":{stream}}}"#)
    }

    fn dtmf(_: &str, key: char) -> Option<String> {
        Some(format!(r#"{{"event":"sendDTMF","dtmf":{}}}"#, quoted(key.encode_utf8(&mut [0; 4]))))
    }
}

/// `k=v;k2=v2`, or a JSON object; each header under its name, and without Plivo's prefix if it has it.
fn extra_headers(message: &Object<'_>) -> Result<Vec<(String, String)>, Violation> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| {
        headers.push((name.to_owned(), value.to_owned()));
        if let Some(bare) = name.strip_prefix(PREFIX) {
            headers.push((bare.to_owned(), value.to_owned()));
        }
    };
    let member =
        ["extra_headers", "extraHeaders"].into_iter().find(|name| message.get(name).is_some()).unwrap_or_default();
    let text = message.text(member).unwrap_or_default();
    let nested = if text.trim_start().starts_with('{') { Some(Object::read(&text)?) } else { None };
    if let Some(object) = nested.as_ref().or_else(|| message.object(member)) {
        for (name, value) in object.members() {
            add(name, &value.text().unwrap_or(Cow::Borrowed(value.raw().get())));
        }
        return Ok(headers);
    }
    for pair in text.split([';', ',']) {
        if let Some((name, value)) = pair.split_once('=') {
            add(name.trim(), value.trim());
        }
    }
    Ok(headers)
}
