//! The platform's own protocol, as `docs/websocket.md` tells it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, DID, Got, base64, members, must_be, parsed, payload, text};
use crate::ws::pcm::{from_bytes, to_bytes};

/// A dialler that speaks it.
#[derive(Debug)]
pub struct Native {
    stream: String,
    /// The `chunk` of the last audio.
    chunk: Option<u64>,
    /// What the platform has confirmed, in order.
    confirmed: Vec<String>,
    stopped: bool,
    over: bool,
}

impl Native {
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), chunk: None, confirmed: Vec::new(), stopped: false, over: false }
    }

    /// The messages that open a call.
    pub fn opening(stream: &str) -> [Value; 3] {
        let format = json!({"encoding": "LINEAR", "sampleRate": 8000, "channels": 1});
        [
            json!({"event": "connected", "callerId": CALLER, "did": DID, "callDirection": "incoming", "streamId": stream,
                   "customer_name": "Peter", "loan_number": "LN123456"}),
            json!({"event": "start", "streamId": stream, "mediaFormat": format}),
            json!({"event": "answer"}),
        ]
    }

    /// 20 ms of audio.
    pub fn media(samples: &[i16]) -> Value {
        json!({"event": "media", "payload": base64(&to_bytes(samples))})
    }

    fn audio(&mut self, message: &Value) -> Result<Got> {
        members(
            message,
            &[
                "event",
                "chunk",
                "did",
                "payload",
                "timestamp",
                "streamId",
                "callerId",
                "chunk_durn_ms",
                "callDirection",
                "encoding",
                "RevMediaQ",
                "source",
            ],
        )?;
        must_be(message, "/streamId", &self.stream)?;
        for (at, expect) in [("/callerId", CALLER), ("/did", DID), ("/callDirection", "incoming")] {
            must_be(message, at, expect)?;
        }
        must_be(message, "/encoding", "LINEAR")?;
        must_be(message, "/source", "ai")?;
        ensure!(message["RevMediaQ"].is_u64(), "RevMediaQ is {}", message["RevMediaQ"]);
        let timestamp = text(message, "/timestamp")?;
        ensure!(timestamp.len() == 19 && timestamp.as_bytes()[10] == b' ', "timestamp is {timestamp:?}");
        let chunk = message["chunk"].as_u64().context("chunk is no number")?;
        // What was numbered and then thrown away leaves a gap.
        let fits = |last: u64| chunk == last + 1 || self.stopped && chunk > last;
        ensure!(self.chunk.is_none_or(fits), "chunk {chunk} after {:?}, stopped: {}", self.chunk, self.stopped);
        self.chunk = Some(chunk);
        let bytes = payload(message, "/payload")?;
        let length = message["chunk_durn_ms"].as_u64().context("chunk_durn_ms is no number")?;
        ensure!(length == 20 && bytes.len() == 320, "{} bytes in {length} ms", bytes.len());
        self.stopped = false;
        Ok(Got::Audio(from_bytes(&bytes)?))
    }

    fn of_this_call(&self, message: &Value, names: &[&str]) -> Result<()> {
        members(message, names)?;
        must_be(message, "/streamId", &self.stream)?;
        must_be(message, "/callerId", CALLER)
    }
}

impl Carrier for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn is_told_of_the_end(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        Self::opening(&self.stream).iter().map(super::json).collect()
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        vec![super::json(&Self::media(samples))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let message = parsed(&message)?;
        ensure!(!self.over, "{message} after the end of the call");
        match text(&message, "/event")? {
            "reverse-media" => Ok(vec![self.audio(&message)?]),
            "reverse-media-stop" => {
                self.of_this_call(&message, &["event", "callerId", "streamId"])?;
                self.stopped = true;
                Ok(vec![Got::Clear])
            }
            "reverse-hangup-call" => {
                self.of_this_call(&message, &["event", "callerId", "streamId", "source", "message"])?;
                ensure!(self.stopped, "hung up without reverse-media-stop");
                self.over = true;
                Ok(vec![Got::HangUp])
            }
            "mark" => {
                members(&message, &["event", "sequenceNumber", "streamId", "mark"])?;
                self.confirmed.push(text(&message, "/mark/name")?.to_owned());
                Ok(Vec::new())
            }
            other => bail!("{other:?} is no message of the protocol: {message}"),
        }
    }

    fn finish(&self) -> Result<()> {
        let expect = ["connected-received", "start-received", "answer-received"];
        ensure!(self.confirmed == expect, "confirmed were {:?}", self.confirmed);
        Ok(())
    }
}
