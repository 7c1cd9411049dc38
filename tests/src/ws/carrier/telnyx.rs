//! Telnyx media streaming over WebSocket, bidirectional in RTP mode. Its messages may come in another order than they were
//! sent: this carrier swaps two of every eight.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, DID, Got, base64, members, parsed, payload, text};
use crate::ws::pcm::{from_alaw, to_alaw};

const STREAM: &str = "32de0dea-53cb-4b21-89a4-9e1819c043bc";

#[derive(Debug, Default)]
pub(super) struct Telnyx {
    sequence: u64,
    chunk: u64,
    held: Option<Message>,
}

impl Telnyx {
    fn numbered(&mut self, mut message: Value) -> Message {
        self.sequence += 1;
        message["sequence_number"] = json!(self.sequence.to_string());
        message["stream_id"] = json!(STREAM);
        super::json(&message)
    }
}

impl Carrier for Telnyx {
    fn name(&self) -> &'static str {
        "telnyx"
    }

    /// Its messages tell the codec of what it sends, and not the one that it wants.
    fn query(&self) -> &'static str {
        "codec=alaw"
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let start = json!({"event": "start", "start": {
            "user_id": "3e6f995f-85f7-4705-9741-53b116d28237",
            "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
            "call_session_id": "ff55a038-6f5d-11ef-9692-02420aeffb1f", "from": CALLER, "to": DID,
            "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
            "custom_parameters": {"customer_name": "Peter", "loan_number": "LN123456"}, "tags": ["TAG1"],
            "media_format": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1}
        }});
        vec![super::json(&json!({"event": "connected", "version": "1.0.0"})), self.numbered(start)]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        self.chunk += 1;
        let bytes: Vec<u8> = samples.iter().copied().map(to_alaw).collect();
        let media = json!({"track": "inbound", "chunk": self.chunk.to_string(),
                           "timestamp": (self.chunk * 20).to_string(), "payload": base64(&bytes)});
        let message = self.numbered(json!({"event": "media", "media": media}));
        match self.chunk % 8 {
            5 => {
                self.held = Some(message);
                Vec::new()
            }
            _ => std::iter::once(message).chain(self.held.take()).collect(),
        }
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let message = parsed(&message)?;
        match text(&message, "/event")? {
            "media" => {
                members(&message["media"], &["payload"])?;
                let bytes = payload(&message, "/media/payload")?;
                // From 20 ms to 30 s.
                ensure!((160..=240_000).contains(&bytes.len()), "a chunk of {} bytes", bytes.len());
                Ok(vec![Got::Audio(bytes.into_iter().map(from_alaw).collect())])
            }
            "mark" => Ok(vec![Got::Mark(text(&message, "/mark/name")?.to_owned())]),
            "clear" => Ok(vec![Got::Clear]),
            other => bail!("{other:?} is no message to Telnyx: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        vec![self.numbered(json!({"event": "mark", "mark": {"name": mark}}))]
    }

    fn cleared(&mut self, marks: &[String]) -> Vec<Message> {
        marks.iter().map(|mark| self.numbered(json!({"event": "mark", "mark": {"name": mark}}))).collect()
    }
}
