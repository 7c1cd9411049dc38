//! Nothing but audio both ways: L16 of 8 kHz, as the URL says.

use anyhow::{Result, ensure};
use tokio_tungstenite::tungstenite::Message;

use super::{Carrier, Credential, Got, binary};
use crate::ws::pcm::{from_bytes, to_bytes};

#[derive(Debug)]
pub(super) struct Raw;

impl Carrier for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn query(&self) -> &'static str {
        "codec=l16&rate=8000"
    }

    fn credential(&self) -> Credential {
        Credential::Query
    }

    fn can_clear(&self) -> bool {
        false
    }

    fn has_fields(&self) -> bool {
        false
    }

    fn open(&mut self) -> Vec<Message> {
        Vec::new()
    }

    fn say(&mut self, samples: &[i16]) -> Vec<Message> {
        vec![Message::binary(to_bytes(samples))]
    }

    fn take(&mut self, message: Message) -> Result<Vec<Got>> {
        let bytes = binary(&message)?;
        ensure!(!bytes.is_empty(), "an empty message");
        Ok(vec![Got::Audio(from_bytes(bytes)?)])
    }
}
