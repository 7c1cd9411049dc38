//! Audio in binary messages and nothing else, for diallers without a protocol; `?codec=` and `?rate=` say how it is coded.
//! It must never send or read a text.

use bytes::Bytes;
use domain::call::Direction;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::name::Name;
use crate::opening::{Collected, Known, direction_word};
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

#[derive(Debug)]
pub(crate) struct Raw {
    format: Format,
    intake: Intake,
    /// `None` where a message is a packet of the codec, which can't be cut.
    cutter: Option<Cutter>,
    opened: bool,
}

impl Raw {
    pub(crate) fn new(settings: &Settings) -> Self {
        let encoding = settings.codec.unwrap_or(Encoding::L16);
        let format = Format::new(encoding, settings.rate.unwrap_or(encoding.usual_rate()));
        Self {
            format,
            intake: Intake::mono(format),
            cutter: format
                .bytes(settings.chunk_ms)
                .map(|_| Cutter::new(Rule { silence: None, ..Rule::every(settings.chunk_ms, format) })),
            opened: false,
        }
    }

    fn open(&mut self, out: &mut Out) {
        self.opened = true;
        let known = Known { call_direction: Some(direction_word(Direction::Inbound)), ..Known::default() };
        let opening = Opening {
            dialect: Name::Raw,
            stream_id: None,
            call_ref: None,
            caller: None,
            did: None,
            direction: Direction::Inbound,
            fields: Collected::default().with(&known),
            hears: self.format,
            plays: self.format,
            confirms_marks: false,
        };
        out.events.push_back(Event::Opened(Box::new(opening)));
        out.events.push_back(Event::Answered);
    }
}

impl Dialect for Raw {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let Frame::Binary(audio) = frame else {
            return Err(Violation::kind("raw audio comes in binary messages only; another ?dialect= has texts"));
        };
        if !self.format.is_telephony() {
            return Err(Violation::protocol("?rate= must be 8000 to 64000 Hz"));
        }
        if !self.opened {
            self.open(out);
        }
        self.intake.hear(audio, out);
        Ok(())
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        match (command, &mut self.cutter) {
            (Command::Audio(audio), Some(cutter)) => cutter.audio(audio),
            (Command::Audio(audio), None) => out.frames.push_back(Frame::Binary(Bytes::copy_from_slice(audio))),
            (Command::SpurtEnd, Some(cutter)) => cutter.end(),
            // Closing the socket hangs up.
            (Command::SpurtEnd, None) | (Command::HangUp { .. }, _) => {}
            (Command::Mark(_) | Command::Clear | Command::Dtmf(_) | Command::Transfer { .. }, _) => {
                return Err(Unsupported { command: command.word(), dialect: Name::Raw });
            }
        }
        while let Some(cut) = self.cutter.as_mut().and_then(Cutter::next) {
            if let Cut::Audio(audio) = cut {
                out.frames.push_back(Frame::Binary(Bytes::copy_from_slice(audio)));
            }
        }
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities::default()
    }
}
