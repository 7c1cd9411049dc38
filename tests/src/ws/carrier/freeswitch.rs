//! FreeSWITCH's mod_audio_stream with metadata and playback.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{CALLER, Carrier, Credential, DID, Got, must_be, parsed, payload, text};
use crate::ws::pcm::{from_bytes, to_bytes};

/// It reads into a buffer of 8 kB.
const LONGEST: usize = 8_192;

#[derive(Debug)]
pub(super) struct Freeswitch;

impl Carrier for Freeswitch {
    fn name(&self) -> &'static str {
        "freeswitch"
    }

    /// Its metadata may be anything, JSON of others too: nothing tells it from them.
    fn query(&self) -> &'static str {
        "dialect=freeswitch"
    }

    fn credential(&self) -> Credential {
        Credential::Query
    }

    fn open(&mut self) -> Vec<Message> {
        vec![super::json(
            &json!({"customer_name": "Peter", "loan_number": "LN123456", "caller_id": CALLER, "did": DID}),
        )]
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        vec![Message::binary(to_bytes(samples))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        ensure!(message.len() < LONGEST, "a message of {} bytes", message.len());
        let message = parsed(&message)?;
        match text(&message, "/type")? {
            "streamAudio" => {
                must_be(&message, "/data/audioDataType", "raw")?;
                ensure!(message["data"]["sampleRate"] == 8000, "{message}");
                let bytes = payload(&message, "/data/audioData")?;
                ensure!(!bytes.is_empty(), "a piece without audio");
                Ok(vec![Got::Audio(from_bytes(&bytes)?)])
            }
            "killAudio" => Ok(vec![Got::Clear]),
            other => bail!("{other:?} is no message to mod_audio_stream: {message}"),
        }
    }
}
