//! jambonz, the verb `listen` with bidirectional streaming.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, binary, members, parsed, text};
use crate::ws::pcm::{from_bytes, to_bytes};

#[derive(Debug)]
pub(super) struct Jambonz;

impl Carrier for Jambonz {
    fn name(&self) -> &'static str {
        "jambonz"
    }

    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        vec![("Sec-WebSocket-Protocol", "audio.jambonz.org")]
    }

    fn credential(&self) -> Credential {
        Credential::Basic
    }

    fn is_told_of_the_end(&self) -> bool {
        true
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        vec![super::json(&json!({
            "callSid": "0f1b4a1e-2b3c-4d5e-8f60-718293a4b5c6", "direction": "inbound", "from": CALLER, "to": DID,
            "callId": "4a1e2b3c@carrier.example.com", "sipStatus": 200, "sipReason": "OK", "callStatus": "in-progress",
            "accountSid": "9351f46a-678c-43f5-b8a6-d4eb58d131af", "applicationSid": "1c1e0d6f-4f7f-4a2f-8c1e-0d6f4f7f9a2f",
            "sampleRate": 8000, "mixType": "mono", "customer_name": "Peter", "loan_number": "LN123456"
        }))]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        vec![Message::binary(to_bytes(samples))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        if !message.is_text() {
            let bytes = binary(&message)?;
            ensure!(!bytes.is_empty(), "an empty message");
            let samples = from_bytes(bytes)?;
            // Its module would take that sample for a mark.
            ensure!(!samples.contains(&-1), "a sample of -1");
            return Ok(vec![Got::Audio(samples)]);
        }
        let message = parsed(&message)?;
        match text(&message, "/type")? {
            "killAudio" => members(&message, &["type"]).map(|()| vec![Got::Clear]),
            // jambonz closes the connection.
            "disconnect" => Ok(vec![Got::HangUp, Got::Reply(Message::Close(None))]),
            "mark" => Ok(vec![Got::Mark(text(&message, "/data/name")?.to_owned())]),
            "clearMarks" => Ok(Vec::new()),
            other => bail!("{other:?} is no message to jambonz: {message}"),
        }
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        vec![super::json(&json!({"type": "mark", "data": {"name": mark, "event": "playout"}}))]
    }

    fn cleared(&mut self, marks: &[String]) -> Vec<Message> {
        let cleared = |mark: &String| super::json(&json!({"type": "mark", "data": {"name": mark, "event": "cleared"}}));
        marks.iter().map(cleared).collect()
    }
}
