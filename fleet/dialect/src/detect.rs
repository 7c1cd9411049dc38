//! Which protocol a dialler speaks, told from its sub-protocol and its first messages, which it keeps as they came.
//! It must never lose a message: all of them are replayed to the codec.

use std::mem;

use crate::frame::Frame;
use crate::json::Object;
use crate::name::Name;
use crate::settings::Moment;
use crate::violation::Violation;

/// Most messages that are kept while nothing decides.
const MAX_HELD: usize = 16;
/// Most bytes of them.
const MAX_HELD_BYTES: usize = 128 * 1024;

/// The protocol that a sub-protocol decides.
pub(crate) fn by_subprotocol(subprotocol: Option<&str>) -> Option<Name> {
    match subprotocol? {
        // The last is what its module has unless it is told otherwise.
        "audio.jambonz.org" | "audiostream.drachtio.org" | "audio.drachtio.org" => Some(Name::Jambonz),
        _ => None,
    }
}

/// The messages so far, none of which decided.
#[derive(Debug, Default)]
pub(crate) struct Detection {
    held: Vec<(Moment, Frame)>,
    bytes: usize,
    /// A JSON object that is no message of any protocol: metadata, if audio follows.
    metadata: bool,
}

impl Detection {
    /// Keeps the message, and tells the protocol if it decides.
    pub(crate) fn take(&mut self, at: Moment, frame: Frame) -> Result<Option<Name>, Violation> {
        let verdict = match &frame {
            Frame::Binary(_) => Some(self.by_binary()?),
            Frame::Text(text) => self.by_text(text)?,
        };
        self.bytes += frame.len();
        if verdict.is_none() && (self.held.len() + 1 >= MAX_HELD || self.bytes > MAX_HELD_BYTES) {
            return Err(Violation::protocol("the first messages don't say which protocol this is; add ?dialect="));
        }
        self.held.push((at, frame));
        Ok(verdict)
    }

    /// Hands over everything that was kept, in order.
    pub(crate) fn held(&mut self) -> Vec<(Moment, Frame)> {
        mem::take(&mut self.held)
    }

    fn by_binary(&self) -> Result<Name, Violation> {
        match self.held.is_empty() {
            true => Ok(Name::Raw),
            false if self.metadata => Ok(Name::Freeswitch),
            false => Err(Violation::kind("a binary message, but nothing before it says which protocol this is")),
        }
    }

    fn by_text(&mut self, text: &str) -> Result<Option<Name>, Violation> {
        let start = text.trim_start();
        if start.starts_with("MEDIA_START") {
            return Ok(Some(Name::Asterisk));
        }
        if !start.starts_with(['{', '[']) {
            if self.held.is_empty() {
                return Ok(Some(Name::Freeswitch));
            }
            return Err(Violation::protocol("a text that is not JSON, after messages that are"));
        }
        let message = Object::read(text)?;
        let name = of_message(&message);
        self.metadata = self.held.is_empty() && message.get("event").is_none() && message.get("type").is_none();
        Ok(name)
    }
}

/// What the peer evidently speaks when that is not what was asked for. `connected` alone is weak: any field may be custom.
pub(crate) fn contradiction(asked: Name, frame: &Frame) -> Option<Name> {
    let Frame::Text(text) = frame else { return None };
    // Their first text is whatever the caller of the module likes.
    if matches!(asked, Name::Raw | Name::Freeswitch) {
        return None;
    }
    if text.trim_start().starts_with("MEDIA_START") {
        return (asked != Name::Asterisk).then_some(Name::Asterisk);
    }
    let message = Object::read(text).ok()?;
    let spoken = of_message(&message)?;
    let is_weak = message.text("event").is_some_and(|event| event == "connected")
        && (asked == Name::Native || spoken != Name::Native);
    (spoken != asked && !is_weak).then_some(spoken)
}

/// The protocol that a JSON message decides.
fn of_message(message: &Object<'_>) -> Option<Name> {
    let Some(event) = message.text("event") else {
        let has = |name| message.get(name).is_some();
        return match message.text("type").as_deref() {
            Some("open") if has("version") => Some(Name::Genesys),
            _ if has("callSid") && has("sampleRate") => Some(Name::Jambonz),
            _ => None,
        };
    };
    match &*event {
        "MEDIA_START" => Some(Name::Asterisk),
        "websocket:connected" => Some(Name::Vonage),
        "connected" => of_connected(message),
        "start" => of_start(message),
        "answer" | "hangup-call" => Some(Name::Native),
        "media" if message.text("payload").is_some() => Some(Name::Native),
        _ => None,
    }
}

fn of_connected(message: &Object<'_>) -> Option<Name> {
    let has = |name: &str| message.get(name).is_some();
    if ["callerId", "did", "callDirection", "streamId"].into_iter().any(has) {
        return Some(Name::Native);
    }
    if message.text("protocol").is_some_and(|protocol| protocol == "Call") {
        return Some(Name::Twilio);
    }
    (has("version") && message.len() == 2).then_some(Name::Telnyx)
}

fn of_start(message: &Object<'_>) -> Option<Name> {
    let Some(start) = message.object("start") else {
        return (message.get("mediaFormat").is_some() || message.get("streamId").is_some()).then_some(Name::Native);
    };
    let has = |name: &str| start.get(name).is_some();
    match () {
        () if has("call_control_id") => Some(Name::Telnyx),
        () if has("stream_sid") => Some(Name::Exotel),
        () if has("streamSid") => Some(Name::Twilio),
        () if has("callId") && has("streamId") => Some(Name::Plivo),
        () => None,
    }
}
