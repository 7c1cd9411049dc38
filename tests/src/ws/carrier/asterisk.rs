//! Asterisk's chan_websocket with JSON control messages. It asks the platform once to stop, and to go on after a while.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, binary, of_ulaw, parsed, text, ulaw};

const CONNECTION: &str = "media_connection1";
const CHANNEL: &str = "1761245643.1";
/// The channel is bridged, and audio flows, so long after the start.
const BRIDGED: Duration = Duration::from_millis(600);
/// A longer message kills the call.
const LONGEST: usize = 65_500;
/// A longer text is passed over.
const LONGEST_TEXT: usize = 128;
/// Bytes of 20 ms.
const OPTIMAL: usize = 160;
/// How long it wants no audio, 20 ms each.
const PAUSE: usize = 25;
/// Messages that may be under way when it says so.
const UNDER_WAY: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Asterisk {
    bridged: bool,
    buffering: bool,
    received: usize,
    /// Ticks that the pause still lasts; none: there was none yet.
    pause: Option<usize>,
    in_pause: usize,
    hung_up: bool,
}

impl Asterisk {
    fn event(&self, name: &str, more: &Value) -> Message {
        let mut event = json!({"event": name, "channel_id": CHANNEL});
        for (name, value) in more.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        super::json(&event)
    }

    fn command(&mut self, message: &Value) -> Result<Vec<Got>> {
        match text(message, "/command")? {
            "ANSWER" | "REPORT_QUEUE_DRAINED" | "GET_STATUS" => Ok(Vec::new()),
            "HANGUP" => {
                self.hung_up = true;
                Ok(vec![Got::HangUp, Got::Reply(Message::Close(None))])
            }
            "START_MEDIA_BUFFERING" => {
                ensure!(!self.buffering, "buffering is started twice");
                self.buffering = true;
                Ok(Vec::new())
            }
            "STOP_MEDIA_BUFFERING" => {
                ensure!(self.buffering, "buffering is stopped, and was not started");
                self.buffering = false;
                let id = message["correlation_id"].clone();
                Ok(vec![Got::Reply(self.event("MEDIA_BUFFERING_COMPLETED", &json!({"correlation_id": id})))])
            }
            "FLUSH_MEDIA" => {
                self.buffering = false;
                Ok(vec![Got::Clear])
            }
            "MARK_MEDIA" => Ok(vec![Got::Mark(text(message, "/correlation_id")?.to_owned())]),
            other => bail!("{other:?} is no command of Asterisk: {message}"),
        }
    }
}

impl Carrier for Asterisk {
    fn name(&self) -> &'static str {
        "asterisk"
    }

    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        vec![("Sec-WebSocket-Protocol", "media")]
    }

    fn credential(&self) -> Credential {
        Credential::Basic
    }

    fn can_mark(&self) -> bool {
        true
    }

    fn is_told_of_the_end(&self) -> bool {
        true
    }

    fn open(&mut self) -> Vec<Message> {
        let variables = json!({"customer_name": "Peter", "loan_number": "LN123456", "from": CALLER, "to": DID,
                               "MEDIA_WEBSOCKET_CONNECTION_ID": CONNECTION});
        let start = json!({"connection_id": CONNECTION, "channel": "WebSocket/media_connection1/0x5140001a0040",
                           "format": "ulaw", "optimal_frame_size": OPTIMAL, "ptime": 20, "channel_variables": variables});
        vec![self.event("MEDIA_START", &start)]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        if self.bridged { vec![Message::binary(ulaw(samples))] } else { Vec::new() }
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        if message.is_text() {
            ensure!(message.len() <= LONGEST_TEXT, "a command of {} bytes", message.len());
            return self.command(&parsed(&message)?);
        }
        let bytes = binary(&message)?;
        ensure!(self.bridged, "audio before the channel is bridged");
        ensure!(!bytes.is_empty() && bytes.len() <= LONGEST, "a message of {} bytes", bytes.len());
        // It cuts what is buffered; else it only fills a short frame up.
        ensure!(self.buffering || bytes.len() <= OPTIMAL, "{} bytes without buffering", bytes.len());
        self.received += 1;
        if self.pause.is_some_and(|left| left > 0) {
            self.in_pause += 1;
            ensure!(self.in_pause <= UNDER_WAY, "audio comes though XOFF was sent");
        }
        Ok(vec![Got::Audio(of_ulaw(bytes))])
    }

    fn played(&mut self, mark: &str) -> Vec<Message> {
        vec![self.event("MEDIA_MARK_PROCESSED", &json!({"correlation_id": mark}))]
    }

    fn tick(&mut self, at: Duration) -> Vec<Message> {
        self.bridged |= at >= BRIDGED;
        match &mut self.pause {
            None if self.received > 20 => {
                self.pause = Some(PAUSE);
                vec![self.event("MEDIA_XOFF", &json!({}))]
            }
            Some(left) if *left > 0 => {
                *left -= 1;
                if *left > 0 { Vec::new() } else { vec![self.event("MEDIA_XON", &json!({}))] }
            }
            _ => Vec::new(),
        }
    }

    fn finish(&self) -> Result<()> {
        ensure!(self.hung_up && self.pause == Some(0), "hung up: {}, pause: {:?}", self.hung_up, self.pause);
        Ok(())
    }
}
