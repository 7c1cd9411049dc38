//! What the bot says, from samples to the dialler's frames, and what of it was heard.
//! It must never pace: a frame goes out when it comes.

use dialect::{Abilities, Command, Opening};
use media::StreamEvent;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::cadence::Cadence;
use super::line::Line;
use super::marks::{Marks, Reached};
use crate::audio::{Said, Transcoder, Unsupported};

pub(super) struct Voice {
    encoder: Transcoder,
    bytes: Vec<u8>,
    cadence: Cadence,
    marks: Marks,
    can: Abilities,
    /// For the call, until they are passed on.
    events: Vec<StreamEvent>,
    /// Nothing of what was said may still sound: it was cut.
    cut: bool,
}

impl Voice {
    /// For a dialler that was introduced like this.
    ///
    /// # Errors
    /// It wants to be sent what nobody here can write.
    pub(super) fn new(opening: &Opening, can: Abilities) -> Result<Self, Unsupported> {
        Ok(Self {
            encoder: Transcoder::new(opening.plays.encoding, opening.plays.rate)?,
            bytes: Vec::new(),
            cadence: Cadence::default(),
            marks: Marks::new(opening.confirms_marks && can.marks),
            can,
            events: Vec::new(),
            cut: false,
        })
    }

    pub(super) fn say<S: AsyncRead + AsyncWrite + Unpin>(&mut self, now: Instant, said: Said, line: &mut Line<S>) {
        match said {
            Said::Frame(samples) => {
                self.cut = false;
                let due = self.cadence.frame(now);
                self.bytes.clear();
                self.encoder.encode(&samples, &mut self.bytes);
                ask(line, Command::Audio(&self.bytes), Some(due));
            }
            Said::SpurtEnd => {
                self.cadence.spurt_ended();
                if self.held_back() {
                    ask(line, Command::Audio(&self.bytes), Some(now));
                }
                ask(line, Command::SpurtEnd, Some(now));
            }
            Said::Mark { id, at_sample } => {
                let sounds_until = self.cadence.sounds_until().unwrap_or(now);
                match self.marks.reach(now, id, at_sample, sounds_until) {
                    Reached::Report(event) => self.events.push(event),
                    Reached::Send { forgotten } => {
                        self.events.extend(forgotten);
                        ask(line, Command::Mark(id), None);
                    }
                }
            }
            Said::Cut { at_sample } => {
                self.cut = true;
                self.held_back();
                line.wire.drop_audio();
                if self.can.clear {
                    ask(line, Command::Clear, None);
                }
                self.marks.cut(now, at_sample, self.cadence.last(), &mut self.events);
                self.cadence.spurt_ended();
            }
            Said::Cleared { id, at_sample } => self.events.push(self.marks.cleared(id, at_sample)),
        }
    }

    /// Takes the last samples of a spurt out of the encoder, which must not open the next one; false when there are none.
    fn held_back(&mut self) -> bool {
        self.bytes.clear();
        self.encoder.flush(&mut self.bytes);
        !self.bytes.is_empty()
    }

    /// As [`Self::say`] when nobody is left to be told: only what was heard is still of interest.
    pub(super) fn say_no_more(&mut self, now: Instant, said: Said) {
        match said {
            Said::Frame(_) | Said::SpurtEnd => {}
            Said::Cut { at_sample } => self.marks.cut(now, at_sample, self.cadence.last(), &mut self.events),
            // It was reached after the end: nobody heard what is before it.
            Said::Mark { id, at_sample } | Said::Cleared { id, at_sample } => {
                self.events.push(self.marks.cleared(id, at_sample));
            }
        }
    }

    pub(super) fn confirmed(&mut self, now: Instant, id: u64) {
        self.marks.confirm(now, id, &mut self.events);
    }

    pub(super) fn dropped(&mut self, id: u64) {
        self.marks.dropped(id, &mut self.events);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.marks.deadline()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        self.marks.forget(now, &mut self.events);
    }

    /// Until when the bot's last word sounds at the earliest, where the dialler does not say; none if it was cut, or if
    /// the dialler has said that all was played.
    pub(super) fn last_word(&self) -> Option<Instant> {
        if self.cut || self.marks.are_confirmed() { None } else { self.cadence.sounds_until() }
    }

    /// Passes on what the call has to know.
    pub(super) fn report(&mut self, to: &mpsc::Sender<StreamEvent>) {
        for event in self.events.drain(..) {
            if let Err(TrySendError::Full(_)) = to.try_send(event) {
                metrics::counter!("ringfleet_media_events_dropped_total").increment(1);
            }
        }
    }
}

fn ask<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, command: Command<'_>, due: Option<Instant>) {
    if let Err(unsupported) = line.command(command, due) {
        tracing::debug!(%unsupported, "not asked of the dialler");
    }
}
