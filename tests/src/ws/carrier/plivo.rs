//! Plivo Audio Streaming, bidirectional; Vobiz speaks the same.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, base64, members, must_be, of_ulaw, parsed, payload, text, ulaw};

const STREAM: &str = "20170ada-f610-433b-8758-c02a2aab3662";
const CALL: &str = "1b7c4d2a-3c5b-4d6e-8f90-a1b2c3d4e5f6";

#[derive(Debug, Default)]
pub(super) struct Plivo {
    sequence: u64,
}

impl Plivo {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Carrier for Plivo {
    fn name(&self) -> &'static str {
        "plivo"
    }

    fn credential(&self) -> Credential {
        Credential::Query
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let extra = format!("customer_name=Peter;loan_number=LN123456;from={CALLER};to={DID}");
        vec![super::json(&json!({
            "sequenceNumber": 0, "event": "start", "extra_headers": extra,
            "start": {"callId": CALL, "streamId": STREAM, "accountId": "MAXXXXXXXXXXXXXXXXXX", "tracks": ["inbound"],
                      "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000}}
        }))]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        let sequence = self.next();
        let media = json!({"track": "inbound", "timestamp": (1_700_000_000_000 + sequence * 20).to_string(),
                           "chunk": sequence, "payload": base64(&ulaw(samples))});
        let message = json!({"sequenceNumber": sequence, "streamId": STREAM, "event": "media", "media": media, "extra_headers": ""});
        vec![super::json(&message)]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let message = parsed(&message)?;
        match text(&message, "/event")? {
            "playAudio" => {
                must_be(&message, "/media/contentType", "audio/x-mulaw")?;
                ensure!(message["media"]["sampleRate"] == 8000, "{message}");
                let bytes = payload(&message, "/media/payload")?;
                ensure!(!bytes.is_empty(), "audio without bytes");
                Ok(vec![Got::Audio(of_ulaw(&bytes))])
            }
            "checkpoint" => {
                members(&message, &["event", "streamId", "name"])?;
                must_be(&message, "/streamId", STREAM)?;
                Ok(vec![Got::Mark(text(&message, "/name")?.to_owned())])
            }
            "clearAudio" => must_be(&message, "/streamId", STREAM).map(|()| vec![Got::Clear]),
            other => bail!("{other:?} is no message to Plivo: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        let sequence = self.next();
        vec![super::json(
            &json!({"sequenceNumber": sequence, "event": "playedStream", "streamId": STREAM, "name": mark}),
        )]
    }

    /// Checkpoints of what was thrown away do not come back.
    fn cleared(&mut self, _marks: &[String]) -> Vec<Message> {
        let sequence = self.next();
        vec![super::json(&json!({"sequenceNumber": sequence, "event": "clearedAudio", "streamId": STREAM}))]
    }
}
