//! Vonage Voice API, an NCCO's `connect` to a WebSocket.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, binary, parsed, text};
use crate::ws::pcm::{doubled, from_bytes, halved, to_bytes};

/// 20 ms at 16 kHz: messages of any other length are noise to it.
const MESSAGE: usize = 640;

#[derive(Debug)]
pub(super) struct Vonage;

impl Carrier for Vonage {
    fn name(&self) -> &'static str {
        "vonage"
    }

    fn credential(&self) -> Credential {
        Credential::Query
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        vec![super::json(&json!({
            "event": "websocket:connected", "content-type": "audio/l16;rate=16000",
            "customer_name": "Peter", "loan_number": "LN123456", "from": CALLER, "to": DID
        }))]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        vec![Message::binary(to_bytes(&doubled(samples)))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        if !message.is_text() {
            let bytes = binary(&message)?;
            ensure!(bytes.len() == MESSAGE, "a message of {} bytes", bytes.len());
            return Ok(vec![Got::Audio(halved(&from_bytes(bytes)?))]);
        }
        let message = parsed(&message)?;
        match text(&message, "/action")? {
            "clear" => Ok(vec![Got::Clear]),
            "notify" => {
                ensure!(message["payload"].is_object(), "a notification without payload: {message}");
                Ok(vec![Got::Mark(message["payload"].to_string())])
            }
            other => bail!("{other:?} is no action of Vonage: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        let payload: serde_json::Value = serde_json::from_str(mark).unwrap_or_default();
        vec![super::json(&json!({"event": "websocket:notify", "payload": payload}))]
    }

    fn cleared(&mut self, _marks: &[String]) -> Vec<Message> {
        vec![super::json(&json!({"event": "websocket:cleared"}))]
    }
}
