//! Our side of a case: a session, and the coding that a leg does around it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dialect::{Command, Encoding, Ending, Event, Format, Frame, Moment, Opening, Out, Session, Settings};
use media::Codec;
use serde_json::Value;

use super::wire::{Carrier, Step};

/// What came of a step, on either side.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Nothing,
    /// What the carrier sent, as linear samples at the rate of the wire.
    Audio(Vec<i16>, u32),
    Key(char),
    /// A message to the carrier.
    Text(Value),
    Binary(Vec<u8>),
}

impl Answer {
    /// Reads what `oracle.py` prints.
    pub(super) fn theirs(found: &Value, carrier: &Carrier) -> Result<Self> {
        let member = |name: &str| found[name].as_str();
        let bytes = |text: &str| STANDARD.decode(text).context("not base64");
        if found.is_null() {
            return Ok(Self::Nothing);
        }
        if let Some(text) = member("text") {
            return Ok(Self::Text(serde_json::from_str(text)?));
        }
        if let Some(binary) = member("binary") {
            return Ok(Self::Binary(bytes(binary)?));
        }
        if let Some(key) = member("dtmf") {
            return Ok(Self::Key(key.chars().next().context("an empty key")?));
        }
        let audio = bytes(member("audio").context("an answer that nobody knows")?)?;
        let rate = found["rate"].as_u64().context("no rate")?;
        ensure!(rate == u64::from(carrier.format.rate), "pipecat changed the rate to {rate}");
        Ok(Self::Audio(linear(Format::new(Encoding::L16, carrier.format.rate), &audio), carrier.format.rate))
    }
}

/// A call of ours.
pub(super) struct Call<'a> {
    carrier: &'a Carrier,
    session: Session,
    pub(super) opening: Option<Opening>,
}

impl<'a> Call<'a> {
    /// Nobody says which protocol it is: that is found out too.
    pub(super) fn new(carrier: &'a Carrier) -> Self {
        Self { carrier, session: Session::new(Settings::default()), opening: None }
    }

    pub(super) fn take(&mut self, step: &Step) -> Result<Answer> {
        let at = Moment { since_open: Duration::from_secs(1), wall: jiff::Timestamp::UNIX_EPOCH };
        let mut out = Out::new();
        if let Some(frame) = self.carrier.message(step) {
            self.session.receive(at, frame, &mut out)?;
        } else {
            let coded;
            let command = match step {
                Step::SayAudio => {
                    coded = self.code(&self.carrier.speech())?;
                    Command::Audio(&coded)
                }
                Step::Interrupt => Command::Clear,
                _ => Command::HangUp { reason: Ending::Completed },
            };
            self.session.command(at, command, &mut out)?;
        }
        self.answer(out)
    }

    fn answer(&mut self, out: Out) -> Result<Answer> {
        let mut answers = Vec::new();
        for event in out.events {
            match event {
                Event::Opened(opening) => {
                    ensure!(opening.hears == self.carrier.format, "it is heard as {:?}", opening.hears);
                    ensure!(opening.plays == self.carrier.format, "it is played as {:?}", opening.plays);
                    self.opening = Some(*opening);
                }
                Event::Audio(audio) => {
                    answers.push(Answer::Audio(linear(self.carrier.format, &audio), self.carrier.format.rate));
                }
                Event::Dtmf(key) => answers.push(Answer::Key(key)),
                _ => {}
            }
        }
        for frame in out.frames {
            answers.push(match frame {
                Frame::Text(text) => Answer::Text(serde_json::from_str(&text)?),
                Frame::Binary(bytes) => Answer::Binary(bytes.to_vec()),
            });
        }
        match answers.len() {
            0 => Ok(Answer::Nothing),
            1 => Ok(answers.remove(0)),
            many => bail!("{} answers to one step of {}: {answers:?}", many, self.carrier.name),
        }
    }

    fn code(&self, samples: &[i16]) -> Result<Vec<u8>> {
        let format = self.opening.as_ref().context("nobody is there yet")?.plays;
        let Some(codec) = codec(format) else {
            return Ok(samples.iter().flat_map(|sample| sample.to_le_bytes()).collect());
        };
        let mut bytes = vec![0; samples.len()];
        codec.encode(samples, &mut bytes);
        Ok(bytes)
    }
}

fn codec(format: Format) -> Option<Codec> {
    match format.encoding {
        Encoding::Mulaw => Some(Codec::Pcmu),
        Encoding::Alaw => Some(Codec::Pcma),
        _ => None,
    }
}

fn linear(format: Format, bytes: &[u8]) -> Vec<i16> {
    let Some(codec) = codec(format) else {
        return bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    };
    let mut samples = vec![0; bytes.len()];
    codec.decode(bytes, &mut samples);
    samples
}
