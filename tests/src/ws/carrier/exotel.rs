//! Exotel AgentStream, the Voicebot applet.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, base64, must_be, parsed, payload, text};
use crate::ws::pcm::{from_bytes, to_bytes};

const STREAM: &str = "5f3b1c1e0d6f4f7f9a2f1c1e0d6f4f7f";
const CALL: &str = "c14a1ad7c0e0d0e0a1f4b1c1e0d6f4f7";
/// A chunk may have this many bytes, and only whole lots of 320.
const CHUNK: std::ops::RangeInclusive<usize> = 3_200..=100_000;

#[derive(Debug, Default)]
pub(super) struct Exotel {
    sequence: u64,
    chunk: u64,
    /// The caller's audio comes in chunks of 100 ms.
    waiting: Vec<i16>,
}

impl Exotel {
    fn numbered(&mut self, mut message: Value) -> Message {
        self.sequence += 1;
        message["sequence_number"] = json!(self.sequence.to_string());
        message["stream_sid"] = json!(STREAM);
        super::json(&message)
    }
}

impl Carrier for Exotel {
    fn name(&self) -> &'static str {
        "exotel"
    }

    fn credential(&self) -> Credential {
        Credential::Basic
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let start = json!({"event": "start", "start": {
            "stream_sid": STREAM, "call_sid": CALL, "account_sid": "ringfleet1", "from": CALLER, "to": DID,
            "custom_parameters": {"customer_name": "Peter", "loan_number": "LN123456"},
            "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}
        }});
        vec![super::json(&json!({"event": "connected"})), self.numbered(start)]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        self.waiting.extend(samples);
        if self.waiting.len() < 800 {
            return Vec::new();
        }
        self.chunk += 1;
        let bytes = to_bytes(&std::mem::take(&mut self.waiting));
        let media = json!({"chunk": self.chunk.to_string(), "timestamp": (self.chunk * 100).to_string(), "payload": base64(&bytes)});
        vec![self.numbered(json!({"event": "media", "media": media}))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let message = parsed(&message)?;
        must_be(&message, "/stream_sid", STREAM)?;
        match text(&message, "/event")? {
            "media" => {
                let bytes = payload(&message, "/media/payload")?;
                let length = bytes.len();
                ensure!(CHUNK.contains(&length) && length.is_multiple_of(320), "a chunk of {length} bytes");
                Ok(vec![Got::Audio(from_bytes(&bytes)?)])
            }
            "mark" => Ok(vec![Got::Mark(text(&message, "/mark/name")?.to_owned())]),
            "clear" => Ok(vec![Got::Clear]),
            other => bail!("{other:?} is no message to Exotel: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        vec![self.numbered(json!({"event": "mark", "mark": {"name": mark}}))]
    }

    fn cleared(&mut self, marks: &[String]) -> Vec<Message> {
        marks.iter().map(|mark| self.numbered(json!({"event": "mark", "mark": {"name": mark}}))).collect()
    }
}
