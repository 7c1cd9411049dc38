//! How long each stage of a reply took, from the end of the customer's speech to the first packet.
//! It must never read a clock: every moment is handed in.

use std::time::{Duration, Instant};

use domain::result::TurnTimings;

use crate::transcript::seconds;

/// The reply being timed, and those that are done.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    running: Option<Running>,
    done: Vec<TurnTimings>,
    turns: u32,
}

#[derive(Debug)]
struct Running {
    speech_end: Instant,
    timings: TurnTimings,
    /// The utterance that answers; known once there is something to say.
    utterance: Option<u32>,
}

impl Timings {
    /// A turn of the customer's ended at `speech_end`, `at` after the answer; its words were final at `final_at`.
    pub(crate) fn begin(&mut self, speech_end: Instant, at: Duration, final_at: Option<Instant>) {
        self.turns += 1;
        let timings = TurnTimings {
            turn: self.turns,
            speech_end: seconds(at),
            final_transcript_ms: final_at.map(|final_at| since(speech_end, final_at)),
            ..TurnTimings::default()
        };
        self.running = Some(Running { speech_end, timings, utterance: None });
    }

    /// Takes the turn back: the customer went on.
    pub(crate) fn withdraw(&mut self) {
        if self.running.take().is_some() {
            self.turns -= 1;
        }
    }

    /// The first token was there, or the script decided.
    pub(crate) fn first_token(&mut self, now: Instant) {
        if let Some(running) = &mut self.running
            && running.timings.first_token_ms.is_none()
        {
            running.timings.first_token_ms = Some(since(running.speech_end, now));
        }
    }

    pub(crate) fn answered_by(&mut self, utterance: u32) {
        if let Some(running) = &mut self.running
            && running.utterance.is_none()
        {
            running.utterance = Some(utterance);
        }
    }

    pub(crate) fn first_audio(&mut self, utterance: u32, now: Instant) {
        if let Some(running) = self.running.as_mut().filter(|running| running.utterance == Some(utterance))
            && running.timings.first_audio_ms.is_none()
        {
            running.timings.first_audio_ms = Some(since(running.speech_end, now));
        }
    }

    /// The reply sounds: its timings are complete.
    pub(crate) fn first_packet(&mut self, utterance: u32, now: Instant) -> Option<TurnTimings> {
        let mut running = self.running.take_if(|running| running.utterance == Some(utterance))?;
        running.timings.first_packet_ms = Some(since(running.speech_end, now));
        self.done.push(running.timings.clone());
        Some(running.timings)
    }

    /// Gives up on the running reply: what is known of it is kept.
    pub(crate) fn close(&mut self) -> Option<TurnTimings> {
        let running = self.running.take()?;
        self.done.push(running.timings.clone());
        Some(running.timings)
    }

    pub(crate) fn all(&self) -> Vec<TurnTimings> {
        self.done.clone()
    }
}

fn since(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u32::MAX)
}
