//! The carriers whose protocols are one idea in different words: `start`, then base64 audio in JSON both ways, marks that
//! come back, and a `clear`. What differs is in their [`Words`]. It must never know a vendor.

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, HangUp, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::json::{Object, quoted};
use crate::marks::Marks;
use crate::name::Name;
use crate::opening::Collected;
use crate::payload;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

/// What a carrier of this family says in its own way.
pub(crate) trait Words: Debug + Send {
    const NAME: Name;
    /// The member that names the stream in every message.
    const STREAM: &'static str;
    /// The event that gives a mark back.
    const PLAYED: &'static str;
    /// The event that says that everything was taken back, where marks don't come back one by one.
    const CLEARED: Option<&'static str> = None;
    /// Linear audio has its high byte first.
    const BIG_ENDIAN: bool = false;
    /// Members of `connected` that are the protocol's own and nobody's custom field.
    const CONNECTED: &[&str] = &["event", "protocol", "version"];
    /// Whether keys can be sent to the caller.
    const SENDS_DTMF: bool = false;

    /// Reads `start`; `fields` has what earlier messages said.
    fn open(
        fields: Collected,
        message: &Object<'_>,
        start: &Object<'_>,
        settings: &Settings,
    ) -> Result<Opening, Violation>;

    /// How audio is cut.
    fn rule(plays: Format) -> Rule {
        Rule::every(20, plays)
    }

    /// The name of the mark in a `PLAYED` event.
    fn mark_name<'a>(message: &Object<'a>) -> Option<Cow<'a, str>> {
        message.object("mark")?.text("name")
    }

    /// Who hung up, by a `stop` event.
    fn hung_up(_message: &Object<'_>) -> HangUp {
        HangUp::Customer
    }

    /// Writes a media message. `stream` is a quoted JSON string in all of these.
    fn media(stream: &str, plays: Format, audio: &[u8]) -> String;
    fn mark(stream: &str, name: &str) -> String;
    fn clear(stream: &str) -> String;
    fn dtmf(_stream: &str, _key: char) -> Option<String> {
        None
    }
}

/// Members of `start` itself that are some carrier's own.
const START: &[&str] = &[
    "event",
    "start",
    "sequenceNumber",
    "sequence_number",
    "streamSid",
    "stream_sid",
    "streamId",
    "stream_id",
    "extra_headers",
    "extraHeaders",
];

/// A carrier's codec.
#[derive(derive_more::Debug)]
pub(crate) struct Carrier<W> {
    #[debug(skip)]
    settings: Settings,
    words: std::marker::PhantomData<W>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Before `start`.
    Waiting {
        fields: Collected,
    },
    Streaming(Box<Stream>),
}

/// A stream that has started.
#[derive(Debug)]
struct Stream {
    id: String,
    quoted: String,
    hears: Format,
    plays: Format,
    cutter: Cutter,
    marks: Marks,
}

impl<W: Words> Carrier<W> {
    pub(crate) fn new(settings: &Settings) -> Self {
        let stage = Stage::Waiting { fields: Collected::default() };
        Self { settings: settings.clone(), words: std::marker::PhantomData, stage }
    }

    pub(crate) fn has_started(&self) -> bool {
        matches!(self.stage, Stage::Streaming(_))
    }

    /// Takes a message that was read already.
    pub(crate) fn take(&mut self, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let event = message.text("event").unwrap_or_default();
        match (&*event, &mut self.stage) {
            ("connected", Stage::Waiting { fields }) => fields.object(message, W::CONNECTED),
            ("start", _) => self.start(message, out),
            (_, Stage::Waiting { .. }) => {
                let is_media = event == "media";
                out.lose(if is_media { Loss::Early } else { Loss::Unknown });
                Ok(())
            }
            (_, Stage::Streaming(stream)) => stream.take::<W>(&event, message, out),
        }
    }

    fn start(&mut self, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let Some(start) = message.object("start") else {
            return Err(Violation::protocol(format!("a {} start message has an object named start", W::NAME)));
        };
        let mut fields = match &mut self.stage {
            Stage::Waiting { fields } => std::mem::take(fields),
            Stage::Streaming(stream) => return stream.started_again::<W>(message, start, out),
        };
        fields.object(message, START)?;
        let opening = W::open(fields, message, start, &self.settings)?;
        let id = opening.stream_id.clone().unwrap_or_else(|| self.settings.id.clone());
        self.stage = Stage::Streaming(Box::new(Stream {
            quoted: quoted(&id),
            id,
            hears: opening.hears,
            plays: opening.plays,
            cutter: Cutter::new(W::rule(opening.plays)),
            marks: Marks::default(),
        }));
        out.events.extend([Event::Opened(Box::new(opening)), Event::Answered]);
        Ok(())
    }
}

impl Stream {
    fn take<W: Words>(&mut self, event: &str, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        if message.text(W::STREAM).is_some_and(|id| id != self.id.as_str()) {
            out.lose(Loss::Foreign);
            return Ok(());
        }
        match event {
            "media" => return self.media::<W>(message, out),
            "dtmf" => match message.object("dtmf").and_then(|dtmf| payload::key(&dtmf.text("digit")?)) {
                Some(key) => out.events.push_back(Event::Dtmf(key)),
                None => out.lose(Loss::Unknown),
            },
            "stop" => out.events.push_back(Event::HungUp(W::hung_up(message))),
            "error" => out.lose(Loss::Complaint),
            "connected" => out.lose(Loss::Duplicate),
            event if event == W::PLAYED => {
                if !W::mark_name(message).is_some_and(|name| self.marks.back(&name, out)) {
                    out.lose(Loss::Unknown);
                }
            }
            event if Some(event) == W::CLEARED => self.marks.all_cleared(out),
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }

    fn media<W: Words>(&self, message: &Object<'_>, out: &mut Out) -> Result<(), Violation> {
        let media = message.object("media");
        let Some((media, text)) = media.and_then(|media| Some((media, media.text("payload")?))) else {
            return Err(Violation::protocol(format!("a {} media message has media.payload, a base64 string", W::NAME)));
        };
        // Of a stream with both tracks the other one is what we said ourselves.
        if media.text("track").is_some_and(|track| track.starts_with("outbound")) {
            out.lose(Loss::Foreign);
            return Ok(());
        }
        let mut audio = payload::decode(&text, self.hears)?;
        if W::BIG_ENDIAN && self.hears.encoding == Encoding::L16 {
            audio = swapped(&audio);
        }
        if !audio.is_empty() {
            out.events.push_back(Event::Audio(audio));
        }
        Ok(())
    }

    fn started_again<W: Words>(
        &self,
        message: &Object<'_>,
        start: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Violation> {
        let again = message.text(W::STREAM).or_else(|| start.text(W::STREAM));
        if again.is_some_and(|id| id != self.id.as_str()) {
            return Err(Violation::protocol("a second start names another stream: one socket carries one call"));
        }
        out.lose(Loss::Duplicate);
        Ok(())
    }

    /// Sends what can be sent.
    fn pump<W: Words>(&mut self, out: &mut Out) {
        while let Some(cut) = self.cutter.next() {
            let text = match cut {
                Cut::Audio(audio) if W::BIG_ENDIAN && self.plays.encoding == Encoding::L16 => {
                    W::media(&self.quoted, self.plays, &swapped(audio))
                }
                Cut::Audio(audio) => W::media(&self.quoted, self.plays, audio),
                Cut::Mark(id) => W::mark(&self.quoted, &self.marks.ask(id, out)),
            };
            out.frames.push_back(Frame::Text(text));
        }
    }

    fn clear<W: Words>(&mut self, out: &mut Out) {
        out.events.extend(self.cutter.clear().into_iter().map(Event::MarkCleared));
        self.marks.clear();
        out.frames.push_back(Frame::Text(W::clear(&self.quoted)));
    }
}

impl<W: Words> Dialect for Carrier<W> {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        self.take(&Object::read(text_of(&frame, W::NAME)?)?, out)
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let unsupported = Unsupported { command: command.word(), dialect: W::NAME };
        let Stage::Streaming(stream) = &mut self.stage else { return Err(unsupported) };
        match command {
            Command::Audio(audio) => stream.cutter.audio(audio),
            Command::SpurtEnd => stream.cutter.end(),
            Command::Mark(id) => out.events.extend(stream.cutter.mark(id).map(Event::MarkCleared)),
            Command::Clear => stream.clear::<W>(out),
            Command::Dtmf(key) => {
                let text = W::dtmf(&stream.quoted, key).ok_or(unsupported)?;
                out.frames.push_back(Frame::Text(text));
            }
            // Closing the socket is how the bot hangs up.
            Command::HangUp { .. } => return Ok(()),
            Command::Transfer { .. } => return Err(unsupported),
        }
        stream.pump::<W>(out);
        Ok(())
    }

    fn can(&self) -> Abilities {
        Abilities { clear: true, marks: true, transfer: false, in_band_hangup: false, dtmf: W::SENDS_DTMF }
    }
}

/// The text of a message of a protocol that has no other.
pub(crate) fn text_of(frame: &Frame, name: Name) -> Result<&str, Violation> {
    match frame {
        Frame::Text(text) => Ok(text),
        Frame::Binary(_) => {
            Err(Violation::kind(format!("{name} carries audio as base64 in JSON text messages, not in binary ones")))
        }
    }
}

/// The format that a carrier announces, `rate` being its member for Hz; what it leaves open is `usual`.
pub(crate) fn format_of(announced: Option<&Object<'_>>, rate: &str, usual: Format) -> Result<Format, Violation> {
    let encoding = match announced.and_then(|format| format.text("encoding")) {
        None => usual.encoding,
        Some(word) => Encoding::parse(&word)
            .ok_or_else(|| Violation::protocol("the announced encoding is none of L16, mulaw, alaw, G722, Opus"))?,
    };
    let rate = announced.and_then(|format| format.number(rate)).unwrap_or(u64::from(usual.rate));
    match u32::try_from(rate) {
        // The 8000 that some say is the clock of its RTP packets.
        Ok(_) if encoding == Encoding::G722 => Ok(Format::new(encoding, 16_000)),
        Ok(rate @ 8_000..=48_000) => Ok(Format::new(encoding, rate)),
        _ => Err(Violation::protocol("the sample rate is not between 8000 and 48000 Hz")),
    }
}

fn swapped(audio: &[u8]) -> Bytes {
    let mut other = BytesMut::from(audio);
    for sample in other.chunks_exact_mut(2) {
        sample.swap(0, 1);
    }
    other.freeze()
}
