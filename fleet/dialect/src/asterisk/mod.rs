//! Asterisk's `chan_websocket`: audio in binary messages, events and commands in texts, as JSON or as plain words.
//! It must never send a message over 65,500 bytes (that kills the call) nor a text over 128 (that is ignored), and the bot
//! must never speak before audio flows: until the channel is bridged nobody hears it.
//!
//! ```text
//! IN  MEDIA_START, DTMF_END, MEDIA_XOFF, MEDIA_XON, MEDIA_MARK_PROCESSED, QUEUE_DRAINED, STATUS, ERROR
//! OUT ANSWER, MARK_MEDIA, FLUSH_MEDIA, HANGUP
//! ```
//! `START_MEDIA_BUFFERING` is for senders that don't cut: what we send are whole frames of the announced size, and a last
//! short one, which Asterisk fills up by itself.

mod words;

use bytes::Bytes;
use domain::call::Direction;

use crate::cut::{Cut, Cutter, Rule};
use crate::dialect::{Abilities, Dialect};
use crate::event::{Command, Event, Loss, Opening, Out};
use crate::format::{Encoding, Format};
use crate::frame::Frame;
use crate::intake::Intake;
use crate::marks::Marks;
use crate::name::Name;
use crate::opening::{Collected, Known, direction_word};
use crate::payload::key;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

use words::{Message, Style};

const MAX_MESSAGE: u64 = 65_500;
const DEFAULT_PTIME: u32 = 20;

#[derive(Debug)]
pub(crate) struct Asterisk {
    /// `?codec=` and `?rate=`: the first releases of `chan_websocket` don't say the format.
    unsaid: Format,
    channel: Option<Channel>,
}

#[derive(Debug)]
struct Channel {
    style: Style,
    intake: Intake,
    /// `None` where a message is a packet of the codec ("passthrough"): then Asterisk keeps no queue and no marks.
    cutter: Option<Cutter>,
    marks: Marks,
    /// The first audio has come: the channel is bridged.
    bridged: bool,
}

impl Asterisk {
    pub(crate) fn new(settings: &Settings) -> Self {
        let encoding = settings.codec.unwrap_or(Encoding::Mulaw);
        Self { unsaid: Format::new(encoding, settings.rate.unwrap_or(encoding.usual_rate())), channel: None }
    }

    fn text(&mut self, text: &str, out: &mut Out) -> Result<(), Violation> {
        let message = Message::read(text)?;
        let Some(channel) = &mut self.channel else {
            if message.event() == "MEDIA_START" {
                return self.open(&message, out);
            }
            out.lose(Loss::Early);
            return Ok(());
        };
        match &*message.event() {
            "DTMF_END" => match message.text("digit").and_then(|digit| key(&digit)) {
                Some(digit) => out.events.push_back(Event::Dtmf(digit)),
                None => out.lose(Loss::Unknown),
            },
            "MEDIA_XOFF" => out.events.push_back(Event::Flow(false)),
            "MEDIA_XON" => out.events.push_back(Event::Flow(true)),
            "MEDIA_MARK_PROCESSED" => match message.correlation() {
                Some(name) if channel.marks.back(&name, out) => {}
                _ => out.lose(Loss::Foreign),
            },
            "QUEUE_DRAINED" | "MEDIA_BUFFERING_COMPLETED" | "STATUS" => {}
            "ERROR" => out.lose(Loss::Complaint),
            "MEDIA_START" => out.lose(Loss::Duplicate),
            _ => out.lose(Loss::Unknown),
        }
        Ok(())
    }

    fn open(&mut self, start: &Message<'_>, out: &mut Out) -> Result<(), Violation> {
        let style = start.style();
        let format = start.text("format").map_or(Some(self.unsaid), |name| format_of(&name));
        let Some(format) = format.filter(|format| format.is_telephony()) else {
            out.frames.push_back(style.command("HANGUP"));
            return Err(Violation::protocol("the format must be ulaw, alaw, g722, opus, slin, or slin12 to slin48"));
        };
        let cutter = match format.bytes(DEFAULT_PTIME) {
            None => None,
            Some(usual) => Some(Cutter::new(frame_rule(start.number("optimal_frame_size"), usual)?)),
        };
        let parties = start.parties();
        // The connection's id is the same for every call of one dialplan; the channel's is not.
        let id = start.text("channel_id").or_else(|| start.text("connection_id"));
        let known = Known {
            caller_id: parties.caller.as_deref(),
            did: parties.did.as_deref(),
            stream_id: id.as_deref(),
            call_direction: Some(direction_word(Direction::Inbound)),
        };
        let mut collected = Collected::default();
        start.collect(&mut collected)?;
        let fields = collected.with(&known);
        let confirms_marks = cutter.is_some();
        self.channel =
            Some(Channel { style, intake: Intake::mono(format), cutter, marks: Marks::default(), bridged: false });
        let opening = Opening {
            dialect: Name::Asterisk,
            stream_id: id.clone(),
            call_ref: id,
            caller: parties.caller,
            did: parties.did,
            direction: Direction::Inbound,
            fields,
            hears: format,
            plays: format,
            confirms_marks,
        };
        out.events.push_back(Event::Opened(Box::new(opening)));
        // Dialled with option `n` it waits for this; otherwise it is answered already, and nothing happens.
        out.frames.push_back(style.command("ANSWER"));
        Ok(())
    }
}

impl Dialect for Asterisk {
    fn receive(&mut self, _at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let audio = match frame {
            Frame::Text(text) => return self.text(&text, out),
            Frame::Binary(audio) => audio,
        };
        let Some(channel) = &mut self.channel else {
            out.lose(Loss::Early);
            return Ok(());
        };
        if !channel.bridged {
            channel.bridged = true;
            out.events.push_back(Event::Answered);
        }
        channel.intake.hear(audio, out);
        Ok(())
    }

    fn command(&mut self, _at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        let unsupported = Err(Unsupported { command: command.word(), dialect: Name::Asterisk });
        match (command, &mut channel.cutter) {
            (Command::HangUp { .. }, _) => out.frames.push_back(channel.style.command("HANGUP")),
            (Command::Dtmf(_) | Command::Transfer { .. }, _) => return unsupported,
            (Command::Mark(_) | Command::Clear, None) => return unsupported,
            (Command::Audio(packet), None) => out.frames.push_back(Frame::Binary(Bytes::copy_from_slice(packet))),
            (Command::SpurtEnd, None) => {}
            (Command::Audio(audio), Some(cutter)) => cutter.audio(audio),
            (Command::SpurtEnd, Some(cutter)) => cutter.end(),
            (Command::Mark(id), Some(cutter)) => out.events.extend(cutter.mark(id).map(Event::MarkCleared)),
            (Command::Clear, Some(cutter)) => {
                out.frames.push_back(channel.style.command("FLUSH_MEDIA"));
                out.events.extend(cutter.clear().into_iter().map(Event::MarkCleared));
                // Asterisk throws its marks away with the audio and says nothing of them.
                channel.marks.clear();
                channel.marks.all_cleared(out);
            }
        }
        channel.send(out);
        Ok(())
    }

    fn can(&self) -> Abilities {
        let queues = self.channel.as_ref().is_none_or(|channel| channel.cutter.is_some());
        Abilities { clear: queues, marks: queues, in_band_hangup: true, ..Abilities::default() }
    }
}

impl Channel {
    fn send(&mut self, out: &mut Out) {
        let Some(cutter) = &mut self.cutter else { return };
        while let Some(cut) = cutter.next() {
            let frame = match cut {
                Cut::Audio(audio) => Frame::Binary(Bytes::copy_from_slice(audio)),
                Cut::Mark(id) => self.style.mark(&self.marks.ask(id, out)),
            };
            out.frames.push_back(frame);
        }
    }
}

/// Frames of the announced size, in bytes.
fn frame_rule(announced: Option<u64>, usual: usize) -> Result<Rule, Violation> {
    let frame = match announced {
        None => usual,
        Some(size @ 1..=MAX_MESSAGE) => usize::try_from(size).unwrap_or(usual),
        Some(_) => return Err(Violation::protocol("optimal_frame_size must be 1 to 65500 bytes")),
    };
    Ok(Rule { frame, unit: frame, least: frame, silence: None })
}

/// Asterisk's names of formats.
fn format_of(name: &str) -> Option<Format> {
    Some(match name {
        "ulaw" => Format::new(Encoding::Mulaw, 8_000),
        "alaw" => Format::new(Encoding::Alaw, 8_000),
        "g722" => Format::new(Encoding::G722, 16_000),
        "opus" => Format::new(Encoding::Opus, 48_000),
        "slin" | "slin8" => Format::new(Encoding::L16, 8_000),
        "slin12" => Format::new(Encoding::L16, 12_000),
        "slin16" => Format::new(Encoding::L16, 16_000),
        "slin24" => Format::new(Encoding::L16, 24_000),
        "slin32" => Format::new(Encoding::L16, 32_000),
        "slin44" => Format::new(Encoding::L16, 44_100),
        "slin48" => Format::new(Encoding::L16, 48_000),
        _ => return None,
    })
}
