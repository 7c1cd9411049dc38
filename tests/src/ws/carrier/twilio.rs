//! Twilio Media Streams, bidirectional (`<Connect><Stream>`).

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, DID, Got, base64, members, must_be, of_ulaw, parsed, payload, text, ulaw};

const STREAM: &str = "MZ18ad3ab5a668481ce02b83e7395059f0";
const CALL: &str = "CA7c1c8e7b0ef5d1ee0b0b2b1f2b1f2b1f";
const ACCOUNT: &str = "ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX";

#[derive(Debug, Default)]
pub(super) struct Twilio {
    sequence: u64,
    chunk: u64,
}

impl Twilio {
    fn numbered(&mut self, mut message: Value) -> Message {
        self.sequence += 1;
        message["sequenceNumber"] = json!(self.sequence.to_string());
        message["streamSid"] = json!(STREAM);
        super::json(&message)
    }
}

impl Carrier for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let start = json!({"event": "start", "start": {
            "accountSid": ACCOUNT, "streamSid": STREAM, "callSid": CALL, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"customer_name": "Peter", "loan_number": "LN123456", "from": CALLER, "to": DID}
        }});
        vec![super::json(&json!({"event": "connected", "protocol": "Call", "version": "1.0.0"})), self.numbered(start)]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        self.chunk += 1;
        let media = json!({"track": "inbound", "chunk": self.chunk.to_string(),
                           "timestamp": (self.chunk * 20).to_string(), "payload": base64(&ulaw(samples))});
        vec![self.numbered(json!({"event": "media", "media": media}))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let message = parsed(&message)?;
        must_be(&message, "/streamSid", STREAM)?;
        match text(&message, "/event")? {
            "media" => {
                members(&message, &["event", "streamSid", "media"])?;
                members(&message["media"], &["payload"])?;
                let bytes = payload(&message, "/media/payload")?;
                ensure!(!bytes.is_empty() && bytes.len().is_multiple_of(160), "{} bytes are no frames", bytes.len());
                Ok(vec![Got::Audio(of_ulaw(&bytes))])
            }
            "mark" => {
                members(&message, &["event", "streamSid", "mark"])?;
                Ok(vec![Got::Mark(text(&message, "/mark/name")?.to_owned())])
            }
            "clear" => members(&message, &["event", "streamSid"]).map(|()| vec![Got::Clear]),
            other => bail!("{other:?} is no message to Twilio: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        vec![self.numbered(json!({"event": "mark", "mark": {"name": mark}}))]
    }

    /// All pending marks come back at once.
    fn cleared(&mut self, marks: &[String]) -> Vec<Message> {
        marks.iter().map(|mark| self.numbered(json!({"event": "mark", "mark": {"name": mark}}))).collect()
    }
}
