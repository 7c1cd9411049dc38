//! Genesys AudioHook v2, as its Audio Connector uses it: the client opens and closes, the server asks it to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, DID, Got, binary, must_be, of_ulaw, parsed, text, ulaw};

const ID: &str = "e160e428-53e2-487c-977d-96989bf5c99d";
/// It limits how many messages a second it takes, so packets are no shorter than this.
const PACKET: usize = 1_600;

#[derive(Debug, Default)]
pub(super) struct Genesys {
    sequence: u64,
    /// `seq` of the server's last message.
    server: u64,
    opened: bool,
    closing: bool,
    closed: bool,
    pinged: u64,
    answered: u64,
    samples: u64,
    waiting: Vec<u8>,
}

impl Genesys {
    fn message(&mut self, kind: &str, parameters: &Value) -> Message {
        self.sequence += 1;
        super::json(&json!({
            "version": "2", "type": kind, "seq": self.sequence, "serverseq": self.server, "id": ID,
            "position": format!("PT{:.3}S", self.samples as f64 / 8000.0), "parameters": parameters
        }))
    }

    fn control(&mut self, message: &Value) -> Result<Vec<Got>> {
        must_be(message, "/version", "2")?;
        must_be(message, "/id", ID)?;
        let seq = message["seq"].as_u64().context("seq is no number")?;
        ensure!(seq == self.server + 1, "seq {seq} after {}", self.server);
        self.server = seq;
        let seen = message["clientseq"].as_u64().context("clientseq is no number")?;
        ensure!(seen <= self.sequence, "clientseq {seen}, and only {} were sent", self.sequence);
        ensure!(message["parameters"].is_object(), "no parameters in {message}");
        let kind = text(message, "/type")?;
        ensure!(self.opened || kind == "opened", "{kind} before opened");
        match kind {
            "opened" => {
                let expect = json!([{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}]);
                ensure!(message["parameters"]["media"] == expect, "another medium was chosen: {message}");
                ensure!(message["parameters"]["startPaused"] == false, "{message}");
                self.opened = true;
                Ok(Vec::new())
            }
            "pong" => {
                self.answered += 1;
                Ok(Vec::new())
            }
            "event" => {
                let entities = message["parameters"]["entities"].as_array().context("an event without entities")?;
                let barges = entities.iter().filter(|entity| entity["type"] == "barge_in").count();
                Ok((barges > 0).then_some(Got::Clear).into_iter().collect())
            }
            "disconnect" => {
                must_be(message, "/parameters/reason", "completed")?;
                self.closing = true;
                let close = self.message("close", &json!({"reason": "disconnect"}));
                Ok(vec![Got::HangUp, Got::Reply(close)])
            }
            "closed" => {
                ensure!(self.closing, "closed, and nobody had asked");
                self.closed = true;
                // The client closes the connection.
                Ok(vec![Got::Reply(Message::Close(None))])
            }
            "resumed" | "updated" => Ok(Vec::new()),
            other => bail!("{other:?} is no message of a server: {message}"),
        }
    }
}

impl Carrier for Genesys {
    fn name(&self) -> &'static str {
        "genesys"
    }

    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("Audiohook-Organization-Id", "d7934305-0972-4844-938e-9060eef73d05"),
            ("Audiohook-Correlation-Id", "e160e428-53e2-487c-977d-96989bf5c99d"),
            ("Audiohook-Session-Id", ID),
        ]
    }

    fn is_told_of_the_end(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let medium = |format: &str, channels: Value| json!({"type": "audio", "format": format, "channels": channels, "rate": 8000});
        let open = json!({
            "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
            "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
            "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": CALLER, "aniName": "Peter", "dnis": DID},
            "media": [medium("PCMU", json!(["external"]))],
            "language": "en-US", "customConfig": {},
            "inputVariables": {"customer_name": "Peter", "loan_number": "LN123456"}
        });
        vec![self.message("open", &open)]
    }

    /// 100 ms at a time, once the session is open.
    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        if !self.opened || self.closing {
            return Vec::new();
        }
        self.waiting.extend(ulaw(samples));
        self.samples += samples.len() as u64;
        if self.waiting.len() < 800 { Vec::new() } else { vec![Message::binary(std::mem::take(&mut self.waiting))] }
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        if message.is_text() {
            return self.control(&parsed(&message)?);
        }
        let bytes = binary(&message)?;
        ensure!(self.opened && !self.closing, "audio while the session is not open");
        ensure!((PACKET..=64_000).contains(&bytes.len()), "a packet of {} bytes", bytes.len());
        Ok(vec![Got::Audio(of_ulaw(bytes))])
    }

    fn tick(&mut self, at: Duration) -> Vec<Message> {
        let due = u64::try_from(at.as_millis()).unwrap_or_default() / 5000;
        if !self.opened || self.closing || due <= self.pinged {
            return Vec::new();
        }
        self.pinged += 1;
        vec![self.message("ping", &json!({}))]
    }

    fn finish(&self) -> Result<()> {
        ensure!(self.closed, "the session was never closed");
        ensure!(self.answered > 0 && self.answered + 1 >= self.pinged, "{} of {} pings", self.answered, self.pinged);
        Ok(())
    }
}
