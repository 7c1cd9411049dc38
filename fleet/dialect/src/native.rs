//! The platform's own protocol, as the integration guide has it: JSON text messages, audio as base64 of linear PCM at
//! 8 kHz. It must never keep a caller waiting for an `answer` that a dialler does not send.

mod words;

use std::time::Duration;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, HangUp, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::json::Object;
use crate::name::Name;
use crate::opening::{Collected, Known, direction};
use crate::payload;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

use words::Words;

/// The only format of the protocol.
const FORMAT: Format = Format::new(Encoding::L16, 8000);
/// The bot speaks this long after the last of `connected` and `start` if neither `answer` nor media came.
const ANSWER_AFTER: Duration = Duration::from_secs(3);
/// A `connected` without `streamId` waits this long for a `start` that has it.
const START_AFTER: Duration = Duration::from_secs(1);
/// Longest word of who hung up, characters.
const MAX_BY: usize = 64;

/// The native codec.
#[derive(derive_more::Debug)]
pub(crate) struct Native {
    #[debug(skip)]
    settings: Settings,
    stage: Stage,
    /// Of the last acknowledgement.
    sequence: i64,
}

#[derive(Debug)]
enum Stage {
    /// Before `connected`.
    Waiting,
    /// `connected` did not name the stream; `start` may.
    Nameless {
        introduced: Box<Introduced>,
        until: Duration,
    },
    Open(Box<Line>),
}

/// Who calls, as `connected` (and `start`) said it.
#[derive(Debug, Default)]
struct Introduced {
    fields: Collected,
    caller: Option<String>,
    did: Option<String>,
    stream_id: Option<String>,
    direction: Option<String>,
    has_start: bool,
}

/// A call that has begun.
#[derive(Debug)]
struct Line {
    stream_id: Option<String>,
    has_start: bool,
    /// When the bot speaks without being told to; `None` once it may.
    answer_at: Option<Duration>,
    words: Words,
    cutter: Cutter,
}

impl Native {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), stage: Stage::Waiting, sequence: 0 }
    }

    fn connected(&mut self, at: Moment, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let known = match &self.stage {
            Stage::Waiting => return self.introduce(at, message, out),
            Stage::Nameless { .. } => None,
            Stage::Open(line) => line.stream_id.as_deref(),
        };
        again(known, message, out)
    }

    fn introduce(&mut self, at: Moment, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let mut introduced = Introduced {
            caller: message.first_text(&["callerId"]),
            did: message.first_text(&["did"]),
            stream_id: message.first_text(&["streamId"]),
            direction: message.first_text(&["callDirection"]),
            ..Introduced::default()
        };
        introduced.fields.object(message, &["event"])?;
        if introduced.stream_id.is_some() {
            self.open(at, introduced, out);
        } else {
            self.stage = Stage::Nameless { introduced: Box::new(introduced), until: at.since_open + START_AFTER };
        }
        self.acknowledge(at, "connected-received", out);
        Ok(())
    }

    fn start(&mut self, at: Moment, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        check_format(message)?;
        let stream_id = message.first_text(&["streamId"]);
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            // A dialler that only sends `start` is as good as one that only sends `connected`.
            Stage::Waiting => {
                let mut introduced = Introduced { stream_id, has_start: true, ..Introduced::default() };
                introduced.caller = message.first_text(&["callerId"]);
                introduced.did = message.first_text(&["did"]);
                introduced.direction = message.first_text(&["callDirection"]);
                introduced.fields.object(message, &["event", "mediaFormat"])?;
                self.open(at, introduced, out);
            }
            Stage::Nameless { mut introduced, .. } => {
                introduced.stream_id = stream_id;
                introduced.has_start = true;
                introduced.fields.object(message, &["event", "mediaFormat"])?;
                self.open(at, *introduced, out);
            }
            Stage::Open(mut line) => {
                let known = line.stream_id.take().or_else(|| stream_id.clone());
                let is_same = stream_id.is_none() || stream_id == known;
                let was_started = std::mem::replace(&mut line.has_start, true);
                line.stream_id = known;
                self.stage = Stage::Open(line);
                if !is_same {
                    return Err(Violation::protocol("start names another streamId: one socket carries one call"));
                }
                if was_started {
                    out.lose(Loss::Duplicate);
                    return Ok(());
                }
            }
        }
        if let Stage::Open(line) = &mut self.stage {
            line.started(at, stream_id_of(message).as_deref());
        }
        self.acknowledge(at, "start-received", out);
        Ok(())
    }

    fn open(&mut self, at: Moment, introduced: Introduced, out: &mut Out) {
        let Introduced { fields, caller, did, stream_id, direction: word, has_start } = introduced;
        let known = Known {
            caller_id: caller.as_deref(),
            did: did.as_deref(),
            stream_id: stream_id.as_deref(),
            call_direction: word.as_deref(),
        };
        let words = Words::new(&known, &self.settings.id);
        out.events.push_back(Event::Opened(Box::new(Opening {
            dialect: Name::Native,
            call_ref: None,
            direction: direction(word.as_deref()),
            fields: fields.with(&known),
            stream_id: stream_id.clone(),
            caller,
            did,
            hears: FORMAT,
            plays: FORMAT,
            confirms_marks: false,
        })));
        self.stage = Stage::Open(Box::new(Line {
            stream_id,
            has_start,
            answer_at: Some(at.since_open + ANSWER_AFTER),
            words,
            cutter: Cutter::new(Rule::every(self.settings.chunk_ms, FORMAT)),
        }));
    }

    /// Goes on without a `start`, for whatever comes next.
    fn no_longer_nameless(&mut self, at: Moment, out: &mut Out) {
        if let Stage::Nameless { introduced, .. } = &mut self.stage {
            let introduced = std::mem::take(&mut **introduced);
            self.open(at, introduced, out);
        }
    }

    /// Sequence numbers are wall-clock milliseconds that never repeat.
    fn acknowledge(&mut self, at: Moment, name: &str, out: &mut Out) {
        self.sequence = at.wall.as_millisecond().max(self.sequence + 1);
        let text = match &self.stage {
            Stage::Open(line) => line.words.mark(self.sequence, name),
            Stage::Nameless { .. } | Stage::Waiting => {
                Words::new(&Known::default(), &self.settings.id).mark(self.sequence, name)
            }
        };
        out.frames.push_back(Frame::Text(text));
    }

    fn on_the_line(&mut self, at: Moment, event: &str, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        self.no_longer_nameless(at, out);
        let Stage::Open(line) = &mut self.stage else {
            return Err(Violation::protocol("the first native message is connected (or start)"));
        };
        match event {
            "media" => return line.media(message, out),
            "answer" => {
                line.answer(out);
                self.acknowledge(at, "answer-received", out);
            }
            "dtmf" => match message.text("digit").and_then(|digit| payload::key(&digit)) {
                Some(key) => out.events.push_back(Event::Dtmf(key)),
                None => out.lose(Loss::Unknown),
            },
            "hangup-call" => out.events.push_back(Event::HungUp(hung_up(message))),
            // The dialler names places in its own audio: nothing of ours hangs on them.
            "mark" => {}
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }
}

impl Line {
    /// `start` came: it may name the stream, and the wait for an answer begins anew.
    fn started(&mut self, at: Moment, stream_id: Option<&str>) {
        if let Some(id) = stream_id {
            self.words.name_stream(id);
        }
        if let Some(answer_at) = &mut self.answer_at {
            *answer_at = at.since_open + ANSWER_AFTER;
        }
    }

    fn answer(&mut self, out: &mut Out) {
        if self.answer_at.take().is_some() {
            out.events.push_back(Event::Answered);
        }
    }

    fn media(&mut self, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let Some(text) = message.text("payload") else {
            return Err(Violation::protocol("a native media message has a payload, a base64 string, at its top level"));
        };
        let audio = payload::decode(&text, FORMAT)?;
        self.answer(out);
        if !audio.is_empty() {
            out.events.push_back(Event::Audio(audio));
        }
        Ok(())
    }

    /// Sends what can be sent.
    fn pump(&mut self, at: Moment, out: &mut Out) {
        loop {
            let behind = self.cutter.whole_frames().saturating_sub(1);
            match self.cutter.next() {
                None => return,
                Some(Cut::Audio(audio)) => {
                    out.frames.push_back(Frame::Text(self.words.media(at.wall, audio, behind)));
                }
                // Never asked for: `command` refuses marks.
                Some(Cut::Mark(id)) => out.events.push_back(Event::MarkCleared(id)),
            }
        }
    }
}

impl Dialect for Native {
    fn receive(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let message = Object::read(crate::carrier::text_of(&frame, Name::Native)?)?;
        let Some(event) = message.text("event") else {
            return Err(Violation::protocol("a native message says what it is in event"));
        };
        match &*event {
            "connected" => self.connected(at, &message, out),
            "start" => self.start(at, &message, out),
            event => self.on_the_line(at, event, &message, out),
        }
    }

    fn command(&mut self, at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let unsupported = Unsupported { command: command.word(), dialect: Name::Native };
        let Stage::Open(line) = &mut self.stage else { return Err(unsupported) };
        match command {
            Command::Audio(audio) => line.cutter.audio(audio),
            Command::SpurtEnd => line.cutter.end(),
            Command::Clear => {
                line.cutter.clear();
                out.frames.push_back(Frame::Text(line.words.media_stop()));
            }
            Command::HangUp { .. } => {
                line.cutter.clear();
                out.frames.push_back(Frame::Text(line.words.media_stop()));
                out.frames.push_back(Frame::Text(line.words.hangup()));
            }
            Command::Transfer { to } => out.frames.push_back(Frame::Text(line.words.transfer(to))),
            Command::Mark(_) | Command::Dtmf(_) => return Err(unsupported),
        }
        line.pump(at, out);
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities { clear: true, marks: false, transfer: true, in_band_hangup: true, dtmf: false }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Waiting => None,
            Stage::Nameless { until, .. } => Some(*until),
            Stage::Open(line) => line.answer_at,
        }
    }

    fn handle_timeout(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        if let Stage::Nameless { until, .. } = &self.stage
            && at.since_open >= *until
        {
            // The wait for a name is part of the wait for an answer.
            let connected_at = until.saturating_sub(START_AFTER);
            self.no_longer_nameless(Moment { since_open: connected_at, ..at }, out);
        }
        if let Stage::Open(line) = &mut self.stage
            && line.answer_at.is_some_and(|answer_at| at.since_open >= answer_at)
        {
            line.answer(out);
        }
        Ok(())
    }
}

fn stream_id_of(message: &Object<'_>) -> Option<String> {
    message.first_text(&["streamId"])
}

/// The same introduction again is harmless; another one is not.
fn again(known: Option<&str>, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
    let stream_id = stream_id_of(message);
    if known.is_some() && stream_id.is_some() && stream_id.as_deref() != known {
        return Err(Violation::protocol("a second connected names another streamId: one socket carries one call"));
    }
    out.lose(Loss::Duplicate);
    Ok(())
}

fn check_format(start: &Object<'_>) -> Result<(), Violation> {
    let Some(format) = start.object("mediaFormat") else { return Ok(()) };
    let is_linear = format.text("encoding").is_none_or(|word| Encoding::parse(&word) == Some(Encoding::L16));
    let is = |name: &str, expect: u64| format.get(name).is_none() || format.number(name) == Some(expect);
    if is_linear && is("sampleRate", 8000) && is("channels", 1) && is("bitsPerSample", 16) {
        return Ok(());
    }
    Err(Violation::protocol("native audio is LINEAR, sampleRate 8000, channels 1, 16 bits: mediaFormat says otherwise"))
}

fn hung_up(message: &Object<'_>) -> HangUp {
    match message.text("disconnectedBy") {
        Some(by) if !by.is_empty() && !by.eq_ignore_ascii_case("customer") => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ') { c } else { '?' };
            HangUp::Dialler { by: by.chars().take(MAX_BY).map(plain).collect() }
        }
        _ => HangUp::Customer,
    }
}
