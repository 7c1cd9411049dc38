//! What comes out of a session, and what is asked of it. It must never hold behaviour beyond queues and counters.

use std::collections::VecDeque;

use bytes::Bytes;
use domain::call::Direction;
use domain::variables::Fields;

use crate::format::Format;
use crate::frame::Frame;
use crate::name::Name;

/// Who calls whom, and how they sound: all that a dialler said before the first word.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub struct Opening {
    pub dialect: Name,
    /// The dialler's name for the stream: a second socket with the same one replaces the first.
    pub stream_id: Option<String>,
    /// The dialler's name for the call.
    pub call_ref: Option<String>,
    /// The customer's number, as it came.
    #[debug("(personal)")]
    pub caller: Option<String>,
    /// The number that was called, as it came.
    pub did: Option<String>,
    /// Inbound unless the dialler says that it called the customer.
    pub direction: Direction,
    /// `call.*`: everything the dialler said, under the names as sent; what every dialect has (`caller_id`, `did`,
    /// `stream_id`, `call_direction`) also in snake_case.
    pub fields: Fields,
    /// What the dialler sends.
    pub hears: Format,
    /// What it wants to be sent.
    pub plays: Format,
    /// Whether marks come back as [`Event::MarkPlayed`] or [`Event::MarkCleared`].
    pub confirms_marks: bool,
}

/// Something that the dialler or its caller did.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub enum Event {
    /// Once, before every other.
    Opened(Box<Opening>),
    /// The bot may speak: once.
    Answered,
    /// In `Opening::hears`, in order.
    #[debug("Audio({} bytes)", _0.len())]
    Audio(Bytes),
    /// `0`–`9`, `*`, `#`, `A`–`D`.
    Dtmf(#[debug("(personal)")] char),
    /// All that was sent before this mark was heard.
    MarkPlayed(u64),
    /// What was sent before this mark was taken back before it was heard.
    MarkCleared(u64),
    /// `false`: stop sending, the dialler's queue is full; `true`: go on.
    Flow(bool),
    Hold(bool),
    /// Terminal: nothing comes after it.
    HungUp(HangUp),
}

/// Who ended the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HangUp {
    /// The caller, as far as the protocol tells.
    Customer,
    /// The dialler says that somebody else did: the word that it used, at most 64 characters.
    Dialler { by: String },
}

/// How the bot's side of the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Completed,
    /// By a fault of ours.
    Failed,
}

/// What the leg wants the dialler to do.
#[derive(derive_more::Debug, Clone, Copy)]
pub enum Command<'a> {
    /// In `Opening::plays`, any length; the dialect cuts it by its own rules.
    #[debug("Audio({} bytes)", _0.len())]
    Audio(&'a [u8]),
    /// Nothing more follows now: what was collected is sent, padded as the protocol wants.
    SpurtEnd,
    /// Tell when all audio up to here was heard. Waits for the frame that holds it.
    Mark(u64),
    /// Take back what was sent and not heard.
    Clear,
    Dtmf(#[debug("(personal)")] char),
    Transfer {
        #[debug("(personal)")]
        to: &'a str,
    },
    HangUp {
        reason: Ending,
    },
}

impl Command<'_> {
    /// The word for it in a refusal.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Audio(_) => "audio",
            Self::SpurtEnd => "the end of a spurt",
            Self::Mark(_) => "mark",
            Self::Clear => "clear",
            Self::Dtmf(_) => "DTMF",
            Self::Transfer { .. } => "transfer",
            Self::HangUp { .. } => "hang-up",
        }
    }
}

/// Why a frame was dropped and not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A message that the protocol may have and we don't know.
    Unknown,
    /// Media before the stream had started.
    Early,
    /// Anything after the end.
    AfterEnd,
    /// The same message again.
    Duplicate,
    /// Too late to be put in order.
    Late,
    /// Of another stream, or of a track that we don't listen to.
    Foreign,
    /// The dialler reports that something of ours was wrong.
    Complaint,
}

/// How many frames were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    pub unknown: u64,
    pub early: u64,
    pub after_end: u64,
    pub duplicate: u64,
    pub late: u64,
    pub foreign: u64,
    pub complaint: u64,
}

/// Where a session puts what it has to tell. Whoever calls the session drains both queues after each call.
#[derive(Debug, Default)]
pub struct Out {
    pub events: VecDeque<Event>,
    pub frames: VecDeque<Frame>,
    pub dropped: Dropped,
}

impl Out {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a frame that is dropped.
    pub(crate) fn lose(&mut self, why: Loss) {
        let dropped = &mut self.dropped;
        let count = match why {
            Loss::Unknown => &mut dropped.unknown,
            Loss::Early => &mut dropped.early,
            Loss::AfterEnd => &mut dropped.after_end,
            Loss::Duplicate => &mut dropped.duplicate,
            Loss::Late => &mut dropped.late,
            Loss::Foreign => &mut dropped.foreign,
            Loss::Complaint => &mut dropped.complaint,
        };
        *count += 1;
    }
}
