//! Genesys Cloud AudioHook, version 2 (Audio Connector and Monitor): numbered JSON messages, audio in binary ones.
//! It must never send an audio packet shorter than 200 ms (Genesys limits how many messages a second it takes), and never
//! take a connection probe for a call.
//!
//! ```text
//! IN  open   OUT opened       IN  close   OUT closed      IN  ping    OUT pong
//! IN  update OUT updated      IN  pause   OUT resumed     IN  paused, resumed, discarded, dtmf, error, playback_…
//! OUT event{barge_in}         OUT disconnect, upon which Genesys says close
//! ```

mod message;
mod open;

use std::time::Duration;

use bytes::Bytes;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Ending, Event, HangUp, Loss, Out};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::json::Object;
use crate::name::Name;
use crate::payload::key;
use crate::settings::Moment;
use crate::violation::{Unsupported, Violation};

use message::{BargeIn, Closed, Disconnect, Nothing, Numbers, OutputVariables};

/// Shortest audio packet: 1,600 bytes of μ-law.
const PACKET_MS: u32 = 200;
/// After an error 429 that does not say how long to be quiet, …
const QUIET: Duration = Duration::from_secs(1);
/// … and the longest that is believed.
const MAX_QUIET: Duration = Duration::from_secs(10);
/// Longest word that is repeated.
const MAX_WORD: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Genesys {
    numbers: Numbers,
    stage: Stage,
    /// Told to Genesys with `disconnect`, and again with `closed`.
    outcome: Option<OutputVariables>,
    held: bool,
    /// Genesys has had too much; until then nothing is sent.
    quiet_until: Option<Duration>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Opening,
    /// Genesys only looks whether somebody is here.
    Probe,
    Open(Stream),
    Closed,
}

#[derive(Debug)]
struct Stream {
    intake: Intake,
    cutter: Cutter,
}

impl Genesys {
    fn text(&mut self, at: Moment, text: &str, out: &mut Out) -> Result<(), Violation> {
        let message = Object::read(text).map_err(|violation| self.refuse(violation, out))?;
        self.numbers.heard(&message).map_err(|violation| self.refuse(violation, out))?;
        let parameters = message.object("parameters");
        let kind = message.text("type").unwrap_or_default();
        match (&*kind, &self.stage) {
            ("open", Stage::Opening) => return self.open(parameters, out).map_err(|why| self.refuse(why, out)),
            ("open", _) => out.lose(Loss::Duplicate),
            ("ping", _) => self.say("pong", &Nothing {}, out),
            ("close", _) => self.close(parameters, out),
            (_, Stage::Opening) => out.lose(Loss::Early),
            ("update", _) => self.say("updated", &Nothing {}, out),
            ("pause", _) => self.say("resumed", &Nothing {}, out),
            ("paused", _) => self.hold(true, out),
            ("resumed", _) => self.hold(false, out),
            ("dtmf", _) => match parameters.and_then(|p| p.text("digit")).and_then(|digit| key(&digit)) {
                Some(digit) => out.events.push_back(Event::Dtmf(digit)),
                None => out.lose(Loss::Unknown),
            },
            ("error", _) => self.error(at, parameters, out),
            ("discarded" | "playback_started" | "playback_completed", _) => {}
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }

    fn hold(&mut self, held: bool, out: &mut Out) {
        if self.held != held {
            self.held = held;
            out.events.push_back(Event::Hold(held));
        }
    }

    fn error(&mut self, at: Moment, parameters: Option<&Object<'_>>, out: &mut Out) {
        out.lose(Loss::Complaint);
        let Some(parameters) = parameters.filter(|parameters| parameters.number("code") == Some(429)) else { return };
        let said = parameters.text("retryAfter").and_then(|word| message::seconds(&word));
        let until = at.since_open + said.unwrap_or(QUIET).min(MAX_QUIET);
        if self.quiet_until.replace(until).is_none() {
            out.events.push_back(Event::Flow(false));
        }
    }

    fn close(&mut self, parameters: Option<&Object<'_>>, out: &mut Out) {
        let reason = parameters.and_then(|parameters| parameters.text("reason")).unwrap_or_default();
        match self.outcome.clone() {
            Some(outcome) => self.say("closed", &Closed { outcome }, out),
            None => self.say("closed", &Nothing {}, out),
        }
        self.stage = Stage::Closed;
        out.events.push_back(Event::HungUp(match &*reason {
            "end" => HangUp::Customer,
            other => HangUp::Dialler { by: other.chars().take(MAX_WORD).collect() },
        }));
    }

    fn disconnect(&mut self, ending: Ending, outcome: OutputVariables, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome.clone());
        self.say("disconnect", &Disconnect::of(ending, outcome), out);
    }

    /// Tells Genesys, as its protocol wants, that it is cut off.
    fn refuse(&mut self, violation: Violation, out: &mut Out) -> Violation {
        if self.outcome.is_none() {
            self.say("disconnect", &Disconnect::refusing(&violation.reason), out);
        }
        violation
    }

    fn say(&mut self, kind: &'static str, parameters: &impl serde::Serialize, out: &mut Out) {
        out.frames.push_back(Frame::Text(self.numbers.message(kind, parameters)));
    }
}

impl Dialect for Genesys {
    fn receive(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        match (frame, &mut self.stage) {
            (Frame::Text(text), _) => return self.text(at, &text, out),
            (Frame::Binary(audio), Stage::Open(stream)) => stream.intake.hear(audio, out),
            (Frame::Binary(_), _) => out.lose(Loss::Early),
        }
        Ok(())
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let Stage::Open(stream) = &mut self.stage else { return Ok(()) };
        match command {
            // Nobody hears it.
            Command::Audio(_) if self.held || self.outcome.is_some() => {}
            Command::Audio(audio) => stream.cutter.audio(audio),
            Command::SpurtEnd => stream.cutter.end(),
            Command::Clear => {
                stream.cutter.clear();
                self.say("event", &BargeIn::default(), out);
                return Ok(());
            }
            Command::Transfer { to } => {
                let outcome = OutputVariables { action: "transfer", transfer_to: Some(to.to_owned()) };
                self.disconnect(Ending::Completed, outcome, out);
                return Ok(());
            }
            Command::HangUp { reason } => {
                self.disconnect(reason, OutputVariables { action: "finished", transfer_to: None }, out);
                return Ok(());
            }
            Command::Mark(_) | Command::Dtmf(_) => {
                return Err(Unsupported { command: command.word(), dialect: Name::Genesys });
            }
        }
        while let Some(cut) = stream.cutter.next() {
            if let Cut::Audio(audio) = cut {
                out.frames.push_back(Frame::Binary(Bytes::copy_from_slice(audio)));
            }
        }
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities { clear: true, transfer: true, in_band_hangup: true, ..Abilities::default() }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.quiet_until
    }

    fn handle_timeout(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        if self.quiet_until.is_some_and(|until| until <= at.since_open) {
            self.quiet_until = None;
            out.events.push_back(Event::Flow(true));
        }
        Ok(())
    }
}

impl Stream {
    fn new(intake: Intake, plays: crate::format::Format) -> Self {
        Self { intake, cutter: Cutter::new(Rule::every(PACKET_MS, plays)) }
    }
}
