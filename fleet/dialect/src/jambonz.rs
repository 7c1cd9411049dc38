//! jambonz' `listen` (FreeSWITCH's `mod_audio_fork`): the call's attributes in one text, then audio in binary messages both
//! ways. It must never send the sample −1: the module marks places in its queue with that value, and would take it for one.
//!
//! ```text
//! IN  {"callSid":…,"from":…,"to":…,"direction":"inbound","sampleRate":8000,"mixType":"mono", …metadata of the verb}
//! IN  {"event":"dtmf","dtmf":"5","duration":"1600"}
//! IN  {"type":"mark","data":{"name":"7","event":"playout"|"cleared"}}
//! OUT {"type":"mark","data":{"name":"7"}}    {"type":"killAudio"}    {"type":"disconnect"}
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use domain::call::Direction;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::json::Object;
use crate::marks::Marks;
use crate::name::Name;
use crate::opening::{Collected, Known, direction, direction_word};
use crate::payload::key;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

const DEFAULT_RATE: u32 = 8_000;
/// Marks lie between the samples of the module's queue, so they survive only where it does not resample: on the 8 kHz of a
/// telephone call.
const MARKED_RATE: u32 = 8_000;
/// After a `killAudio` the module swallows as many later marks as it had cleared. Audio is paced, so what was sent so long
/// ago was heard.
const MARK_LOST: Duration = Duration::from_secs(2);
/// Marks whose time is remembered; `Marks` lets older ones go by itself.
const MAX_SENT: usize = 256;
/// The module holds audio back until it has 80 ms, so the end of a spurt needs that much behind it to be played.
const TAIL_MS: u32 = 80;
const KILL: &str = r#"{"type":"killAudio"}"#;
const DISCONNECT: &str = r#"{"type":"disconnect"}"#;

#[derive(Debug)]
pub(crate) struct Jambonz {
    /// `?rate=`: what `bidirectionalAudio.sampleRate` is where it differs from `sampleRate`; it is not said.
    rate: Option<u32>,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    plays: Format,
    intake: Intake,
    cutter: Cutter,
    marks: Marks,
    /// When marks were sent, oldest first.
    sent: VecDeque<(u64, Duration)>,
    /// Audio was sent since the last tail.
    sounding: bool,
}

impl Jambonz {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { rate: settings.rate, stream: None }
    }

    fn message(&mut self, text: &str, out: &mut Out) -> Result<(), Violation> {
        let message = Object::read(text)?;
        let Some(stream) = &mut self.stream else { return self.open(&message, out) };
        if message.text("event").as_deref() == Some("dtmf") {
            let digit = message.text("dtmf").or_else(|| message.object("dtmf")?.text("digit"));
            match digit.and_then(|digit| key(&digit)) {
                Some(digit) => out.events.push_back(Event::Dtmf(digit)),
                None => out.lose(Loss::Unknown),
            }
            return Ok(());
        }
        match (message.text("type").as_deref(), message.object("data")) {
            // Whether it was played or cleared depends on whether it was sent before a `killAudio`.
            (Some("mark"), Some(data)) => match data.text("name") {
                Some(name) if stream.back(&name, out) => {}
                _ => out.lose(Loss::Foreign),
            },
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }

    fn open(&mut self, attributes: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let rate = attributes.number("sampleRate").map_or(Ok(DEFAULT_RATE), u32::try_from).unwrap_or(0);
        let hears = Format::new(Encoding::L16, rate);
        let plays = Format { rate: self.rate.unwrap_or(rate), ..hears };
        if !hears.is_telephony() || !plays.is_telephony() {
            return Err(Violation::protocol("the sampleRate must be 8000 to 64000 Hz"));
        }
        let direction = direction(attributes.text("direction").as_deref());
        let (from, to) = (attributes.first_text(&["from"]), attributes.first_text(&["to"]));
        let (caller, did) = if direction == Direction::Outbound { (to, from) } else { (from, to) };
        let sid = attributes.first_text(&["callSid", "call_sid"]);
        let known = Known {
            caller_id: caller.as_deref(),
            did: did.as_deref(),
            stream_id: sid.as_deref(),
            call_direction: Some(direction_word(direction)),
        };
        let mut collected = Collected::default();
        collected.object(attributes, &[])?;
        let fields = collected.with(&known);
        let stereo = attributes.text("mixType").is_some_and(|mix| mix == "stereo");
        self.stream = Some(Stream {
            plays,
            // Of two channels the first is the caller's.
            intake: Intake::one_of(hears, if stereo { 2 } else { 1 }, 0),
            cutter: Cutter::new(Rule { silence: None, ..Rule::every(20, plays) }),
            marks: Marks::default(),
            sent: VecDeque::new(),
            sounding: false,
        });
        let opening = Opening {
            dialect: Name::Jambonz,
            stream_id: sid.clone(),
            call_ref: sid,
            caller,
            did,
            direction,
            fields,
            hears,
            plays,
            confirms_marks: plays.rate == MARKED_RATE,
        };
        out.events.push_back(Event::Opened(Box::new(opening)));
        out.events.push_back(Event::Answered);
        Ok(())
    }
}

impl Dialect for Jambonz {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        match (frame, &mut self.stream) {
            (Frame::Text(text), _) => self.message(&text, out),
            (Frame::Binary(audio), Some(stream)) => {
                stream.intake.hear(audio, out);
                Ok(())
            }
            (Frame::Binary(_), None) => {
                out.lose(Loss::Early);
                Ok(())
            }
        }
    }

    fn command(&mut self, at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match command {
            Command::Audio(audio) => stream.cutter.audio(audio),
            Command::SpurtEnd => stream.cutter.end(),
            Command::Mark(id) if stream.plays.rate == MARKED_RATE => {
                out.events.extend(stream.cutter.mark(id).map(Event::MarkCleared));
            }
            Command::Clear => {
                out.events.extend(stream.cutter.clear().into_iter().map(Event::MarkCleared));
                stream.marks.clear();
                stream.sounding = false;
                out.frames.push_back(Frame::Text(KILL.to_owned()));
            }
            Command::HangUp { .. } => out.frames.push_back(Frame::Text(DISCONNECT.to_owned())),
            Command::Mark(_) | Command::Dtmf(_) | Command::Transfer { .. } => {
                return Err(Unsupported { command: command.word(), dialect: Name::Jambonz });
            }
        }
        stream.send(at, out);
        if matches!(command, Command::SpurtEnd) {
            stream.send_tail(out);
        }
        Ok(())
    }

    fn can(&self) -> Abilities {
        let marks = self.stream.as_ref().is_some_and(|stream| stream.plays.rate == MARKED_RATE);
        Abilities { clear: true, marks, in_band_hangup: true, ..Abilities::default() }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let (_, sent) = self.stream.as_ref()?.sent.front()?;
        Some(*sent + MARK_LOST)
    }

    fn handle_timeout(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while let Some((id, sent)) = stream.sent.front().copied()
            && sent + MARK_LOST <= at.since_open
        {
            stream.back(&id.to_string(), out);
        }
        Ok(())
    }
}

impl Stream {
    fn send(&mut self, at: Moment, out: &mut Out) {
        while let Some(cut) = self.cutter.next() {
            let frame = match cut {
                Cut::Audio(audio) => {
                    self.sounding = true;
                    Frame::Binary(without_the_marker(audio).into())
                }
                Cut::Mark(id) => {
                    if self.sent.len() == MAX_SENT {
                        self.sent.pop_front();
                    }
                    self.sent.push_back((id, at.since_open));
                    let name = self.marks.ask(id, out);
                    Frame::Text(format!(r#"{{"type":"mark","data":{{"name":"{name}"}}}}"#))
                }
            };
            out.frames.push_back(frame);
        }
    }

    /// A mark is back, or given up; `false` when it was not in the air.
    fn back(&mut self, name: &str, out: &mut Out) -> bool {
        self.sent.retain(|(id, _)| name.parse() != Ok(*id));
        self.marks.back(name, out)
    }

    fn send_tail(&mut self, out: &mut Out) {
        if std::mem::take(&mut self.sounding) {
            let tail = vec![0; self.plays.bytes(TAIL_MS).unwrap_or_default()];
            out.frames.push_back(Frame::Binary(tail.into()));
        }
    }
}

/// The same audio with 0 for −1: nobody hears a difference of one step.
fn without_the_marker(audio: &[u8]) -> Vec<u8> {
    let mut samples = audio.to_vec();
    samples.chunks_exact_mut(2).filter(|sample| **sample == [0xFF, 0xFF]).for_each(|sample| sample.fill(0));
    samples
}
