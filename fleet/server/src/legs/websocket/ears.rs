//! What the dialler's caller says, from bytes to 8 kHz samples. It must never wait for whoever listens.

use bytes::Bytes;
use dialect::{Format, Violation};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::flood::Tempo;
use super::line::Line;
use crate::audio::{Heard, Transcoder, Unsupported};

pub(super) struct Ears {
    decoder: Transcoder,
    tempo: Tempo,
}

impl Ears {
    /// Of a dialler that sends this.
    ///
    /// # Errors
    /// Nobody here can read it.
    pub(super) fn new(format: Format) -> Result<Self, Unsupported> {
        Ok(Self { decoder: Transcoder::new(format.encoding, format.rate)?, tempo: Tempo::new(Instant::now()) })
    }

    /// Passes a piece on; what finds no room is lost and counted.
    ///
    /// # Errors
    /// When more comes than anybody can have said.
    pub(super) fn hear<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bytes: &Bytes,
        heard: &mpsc::Sender<Heard>,
        line: &Line<S>,
    ) -> Result<(), Violation> {
        // 16-bit samples at 8 kHz are as many bytes again at most; higher rates make fewer of them.
        let mut samples = Vec::with_capacity(bytes.len());
        self.decoder.decode(bytes, &mut samples);
        self.tempo.note(Instant::now(), samples.len())?;
        if let Err(TrySendError::Full(_)) = heard.try_send(Heard { samples }) {
            line.dropped("call_slow", 1);
        }
        Ok(())
    }
}
