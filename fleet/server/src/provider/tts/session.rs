//! One bot voice on the shared threads: text in, clauses out to be spoken, audio events back in order.
//! It must never block its caller, or send anything of an utterance after it was cancelled.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::clauses::{Clause, Clauses, Pause};
use super::pool::SynthesiserPool;
use super::shape::pause_samples;
use super::{EVENT_CAPACITY, Tts, TtsEvent, TtsInput, TtsSession, UtteranceId};
use crate::provider::OUTPUT_RATE;
use crate::provider::config::VoiceSpec;
use crate::provider::error::ProviderError;
use crate::provider::timing::{self, Kind};

/// Characters a call may have waiting to be spoken: some ten minutes.
const LONGEST_WAITING: usize = 10_000;

/// Synthesis by engines of this machine.
#[derive(Debug)]
pub struct LocalTts {
    pool: Arc<SynthesiserPool>,
}

impl LocalTts {
    /// Sessions on `pool`.
    pub fn new(pool: SynthesiserPool) -> Self {
        Self { pool: Arc::new(pool) }
    }
}

impl Tts for LocalTts {
    fn open(&self, voice: &VoiceSpec) -> Result<TtsSession, ProviderError> {
        let engine =
            self.pool.engine_for(voice).ok_or(ProviderError::Unavailable { what: "the engine of this voice" })?;
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let session =
            Arc::new(Shared { events: sender, voice: voice.clone(), vendor: engine.word(), state: Mutex::default() });
        Ok(TtsSession { input: Arc::new(LocalInput { session, pool: Arc::clone(&self.pool) }), events })
    }
}

/// What the call's side and the threads share about a session.
pub(super) struct Shared {
    events: mpsc::Sender<TtsEvent>,
    voice: VoiceSpec,
    vendor: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they are spoken; only the first is being worked on.
    utterances: VecDeque<Utterance>,
    /// Whether the session is in the queue or in a thread's hands.
    busy: bool,
    serial: u64,
    waiting_chars: usize,
}

struct Utterance {
    id: UtteranceId,
    /// Tells it from an earlier one of the same id.
    serial: u64,
    text: Clauses,
    clauses: VecDeque<Clause>,
    last: bool,
    /// When its first clause was complete.
    ready: Option<Instant>,
    /// When its first audio was out, and how much has been since.
    first_audio: Option<Instant>,
    audio_out: Duration,
    /// Pause before the next clause.
    pause: Pause,
}

/// A clause to be spoken.
pub(super) struct Work {
    pub(super) ticket: Ticket,
    pub(super) text: String,
}

/// Which utterance a clause is of.
pub(super) struct Ticket {
    serial: u64,
    pause_after: Pause,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("voice", &self.voice).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn voice(&self) -> &VoiceSpec {
        &self.voice
    }

    /// The next clause; `None` if there is nothing to say for now.
    pub(super) fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        if self.events.is_closed() {
            state.utterances.clear();
        }
        self.finish_spoken(&mut state);
        let State { utterances, waiting_chars, busy, .. } = &mut *state;
        let work = utterances.front_mut().and_then(|utterance| {
            let clause = utterance.clauses.pop_front()?;
            *waiting_chars = waiting_chars.saturating_sub(clause.text.len());
            Some(Work { ticket: Ticket { serial: utterance.serial, pause_after: clause.pause }, text: clause.text })
        });
        *busy = work.is_some();
        work
    }

    /// Sends what was spoken, unless it was cancelled meanwhile; says when the session's next clause is due.
    pub(super) fn deliver(
        &self,
        ticket: Ticket,
        text: String,
        spoken: Result<Arc<[i16]>, ProviderError>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        if let Some(utterance) = state.utterances.iter_mut().find(|utterance| utterance.serial == ticket.serial) {
            let id = utterance.id;
            match spoken {
                Ok(samples) => {
                    let samples = utterance.place(samples, ticket.pause_after, self.vendor);
                    self.send(TtsEvent::Audio { utterance: id, samples, text });
                }
                Err(error) => {
                    state.remove(ticket.serial);
                    self.send(TtsEvent::Failed { utterance: id, error });
                }
            }
        }
        self.finish_spoken(&mut state);
        let due = state.due();
        state.busy = due.is_some();
        due
    }

    /// There was no room in the queue: everything that waits has failed.
    pub(super) fn refuse(&self) {
        let mut state = self.lock();
        state.busy = false;
        state.waiting_chars = 0;
        for utterance in std::mem::take(&mut state.utterances) {
            timing::count_failure(Kind::Tts, self.vendor, "overloaded");
            self.send(TtsEvent::Failed {
                utterance: utterance.id,
                error: ProviderError::Overloaded { vendor: self.vendor },
            });
        }
    }

    /// Ends the utterances at the front that are all out.
    fn finish_spoken(&self, state: &mut State) {
        while let Some(utterance) = state.utterances.front().filter(|u| u.last && u.clauses.is_empty()) {
            let id = utterance.id;
            state.utterances.pop_front();
            self.send(TtsEvent::Done { utterance: id });
        }
    }

    /// A closed channel is a call that is over; a full one is a call that stopped reading.
    fn send(&self, event: TtsEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            timing::count_failure(Kind::Tts, self.vendor, "event_dropped");
        }
    }

    /// A panic while it was held left at worst an utterance unfinished.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the first utterance's next clause must be there; `None` if it has none.
    fn due(&self) -> Option<Instant> {
        let first = self.utterances.front().filter(|utterance| !utterance.clauses.is_empty())?;
        Some(first.first_audio.map_or_else(|| first.ready.unwrap_or_else(Instant::now), |at| at + first.audio_out))
    }

    fn remove(&mut self, serial: u64) {
        if let Some(index) = self.utterances.iter().position(|utterance| utterance.serial == serial) {
            let removed = self.utterances.remove(index);
            let chars: usize = removed.iter().flat_map(|u| &u.clauses).map(|clause| clause.text.len()).sum();
            self.waiting_chars = self.waiting_chars.saturating_sub(chars);
        }
    }

    fn utterance(&mut self, id: UtteranceId) -> &mut Utterance {
        let index = self.utterances.iter().position(|utterance| utterance.id == id && !utterance.last);
        let index = index.unwrap_or_else(|| {
            self.serial += 1;
            self.utterances.push_back(Utterance::new(id, self.serial));
            self.utterances.len() - 1
        });
        &mut self.utterances[index]
    }
}

impl Utterance {
    fn new(id: UtteranceId, serial: u64) -> Self {
        Self {
            id,
            serial,
            text: Clauses::new(),
            clauses: VecDeque::new(),
            last: false,
            ready: None,
            first_audio: None,
            audio_out: Duration::ZERO,
            pause: Pause::None,
        }
    }

    /// Puts the pause that is due before `samples`, and keeps the books of when they run out.
    fn place(&mut self, samples: Arc<[i16]>, pause_after: Pause, vendor: &'static str) -> Arc<[i16]> {
        let now = Instant::now();
        if self.first_audio.is_none() {
            self.first_audio = Some(now);
            if let Some(ready) = self.ready {
                timing::record(Kind::Tts, vendor, "first_audio", now.saturating_duration_since(ready));
            }
        }
        let silence = pause_samples(std::mem::replace(&mut self.pause, pause_after));
        let samples = if silence == 0 {
            samples
        } else {
            std::iter::repeat_n(0, silence).chain(samples.iter().copied()).collect()
        };
        self.audio_out += Duration::from_secs_f64(samples.len() as f64 / f64::from(OUTPUT_RATE));
        samples
    }
}

/// The call's side of a session.
struct LocalInput {
    session: Arc<Shared>,
    pool: Arc<SynthesiserPool>,
}

impl TtsInput for LocalInput {
    fn say(&self, id: UtteranceId, text: &str, last: bool) -> Result<(), ProviderError> {
        let overloaded = ProviderError::Overloaded { vendor: self.session.vendor };
        let mut state = self.session.lock();
        if state.waiting_chars + text.len() > LONGEST_WAITING {
            return Err(overloaded);
        }
        let utterance = state.utterance(id);
        let mut clauses = utterance.text.push(text);
        if last {
            clauses.extend(utterance.text.finish());
            utterance.last = true;
        }
        if !clauses.is_empty() && utterance.ready.is_none() {
            utterance.ready = Some(Instant::now());
        }
        let chars: usize = clauses.iter().map(|clause| clause.text.len()).sum();
        utterance.clauses.extend(clauses);
        state.waiting_chars += chars;
        if state.busy {
            return Ok(());
        }
        self.session.finish_spoken(&mut state);
        let Some(due) = state.due() else { return Ok(()) };
        state.busy = true;
        drop(state);
        if self.pool.submit(Arc::clone(&self.session), due) {
            return Ok(());
        }
        timing::count_failure(Kind::Tts, self.session.vendor, "overloaded");
        let mut state = self.session.lock();
        state.busy = false;
        state.utterances.clear();
        state.waiting_chars = 0;
        Err(overloaded)
    }

    fn cancel(&self, id: UtteranceId) {
        let mut state = self.session.lock();
        while let Some(serial) =
            state.utterances.iter().find(|utterance| utterance.id == id).map(|utterance| utterance.serial)
        {
            state.remove(serial);
        }
        if state.busy {
            return;
        }
        // What waited behind it may go on.
        self.session.finish_spoken(&mut state);
        let Some(due) = state.due() else { return };
        state.busy = true;
        drop(state);
        if !self.pool.submit(Arc::clone(&self.session), due) {
            self.session.refuse();
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
