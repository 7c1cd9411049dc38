//! One leg's recognition on the shared threads: audio in, segments out to be decoded, events back.
//! Taking audio costs a voice detection and a queue entry; it must never wait or run the model.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::decodes::{Decode, Decodes, Outcome, Purpose};
use super::pool::{Job, RecogniserPool};
use super::segmenter::{Cue, FRAME, SegmentConfig, Segmenter};
use super::voice::Ear;
use super::{EVENT_CAPACITY, Stt, SttEvent, SttInput, SttSession};
use crate::provider::error::ProviderError;
use crate::provider::timing::{self, Kind};

/// Places in the event channel that partials may not take from finals.
const RESERVED_EVENTS: usize = 32;

const SAMPLES_PER_MS: u64 = super::moonshine::RATE as u64 / 1000;

/// Recognition by models in this process.
pub struct LocalStt {
    pool: Arc<RecogniserPool>,
    config: SegmentConfig,
    /// Primary language subtags the model knows.
    languages: &'static [&'static str],
}

impl fmt::Debug for LocalStt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStt").field("pool", &self.pool).field("languages", &self.languages).finish_non_exhaustive()
    }
}

impl LocalStt {
    /// Sessions on `pool`, whose models know `languages` (primary subtags, lower case).
    pub fn new(pool: RecogniserPool, config: SegmentConfig, languages: &'static [&'static str]) -> Self {
        Self { pool: Arc::new(pool), config, languages }
    }

    fn open_with(&self, ear: Ear) -> SttSession {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let session = Arc::new(Shared { events: sender, vendor: self.pool.vendor(), state: Mutex::default() });
        SttSession { input: Box::new(self.input(session, ear)), events }
    }

    fn input(&self, session: Arc<Shared>, ear: Ear) -> LocalInput {
        LocalInput {
            session,
            pool: Arc::clone(&self.pool),
            ear,
            segmenter: Segmenter::new(self.config),
            audio: Vec::new(),
            audio_from: 0,
            cues: Vec::new(),
        }
    }
}

impl Stt for LocalStt {
    fn open(&self, rate: u32, language: &str) -> Result<SttSession, ProviderError> {
        let vendor = self.pool.vendor();
        let primary = language.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase();
        if !primary.is_empty() && !self.languages.contains(&primary.as_str()) {
            return Err(ProviderError::Unsupported { vendor, what: "language" });
        }
        let ear = Ear::new(rate).ok_or(ProviderError::Unsupported { vendor, what: "sample rate" })?;
        Ok(self.open_with(ear))
    }

    fn vendor(&self) -> &'static str {
        self.pool.vendor()
    }
}

/// What the call's side and the threads share about a session.
pub(super) struct Shared {
    events: mpsc::Sender<SttEvent>,
    vendor: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    decodes: Decodes,
    /// When the oldest segment that still awaits its final was over, for the histogram.
    ended: Option<Instant>,
}

impl Shared {
    pub(super) fn is_wanted(&self, decode: &Decode) -> bool {
        !self.events.is_closed() && self.lock().decodes.is_wanted(decode)
    }

    pub(super) fn skip(&self, decode: &Decode) {
        self.lock().decodes.skip(decode);
    }

    pub(super) fn complete(&self, decode: &Decode, outcome: Outcome) {
        let mut state = self.lock();
        let mut events = Vec::new();
        state.decodes.complete(decode, outcome, &mut events);
        self.emit(&mut state, events);
    }

    /// Sends under the lock, so that events leave in the order in which they came about.
    fn emit(&self, state: &mut State, events: Vec<SttEvent>) {
        for event in events {
            if matches!(event, SttEvent::Partial { .. }) && self.events.capacity() < RESERVED_EVENTS {
                timing::count_failure(Kind::Stt, self.vendor, "partial_dropped");
                continue;
            }
            if matches!(event, SttEvent::Final { .. } | SttEvent::Failed { .. })
                && let Some(ended) = state.ended.take()
            {
                timing::record(Kind::Stt, self.vendor, "final", ended.elapsed());
            }
            // A closed channel is a call that is over; a full one is a call that stopped reading.
            if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
                timing::count_failure(Kind::Stt, self.vendor, "event_dropped");
            }
        }
    }

    /// A panic while it was held left at worst a segment unfinished.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call's side of a session.
struct LocalInput {
    session: Arc<Shared>,
    pool: Arc<RecogniserPool>,
    ear: Ear,
    segmenter: Segmenter,
    /// 16 kHz audio that may still be decoded.
    audio: Vec<f32>,
    /// Position of its first sample.
    audio_from: u64,
    cues: Vec<Cue>,
}

impl SttInput for LocalInput {
    fn push(&mut self, samples: &[i16]) {
        let Self { ear, segmenter, audio, cues, .. } = self;
        ear.listen(samples, |frame, probability| {
            audio.extend_from_slice(frame);
            segmenter.frame(probability, cues);
        });
        self.follow_cues();
        self.forget();
    }

    fn endpoint(&mut self) {
        self.segmenter.endpoint(&mut self.cues);
        self.follow_cues();
    }
}

impl LocalInput {
    fn follow_cues(&mut self) {
        for cue in std::mem::take(&mut self.cues) {
            match cue {
                Cue::Started { at } => self.send(SttEvent::SpeechStarted { at_ms: at / SAMPLES_PER_MS }),
                Cue::Partial { from, to } => self.decode(Purpose::Partial, from, to),
                Cue::Speculate { from, to } => self.decode(Purpose::Speculation, from, to),
                Cue::Conclude { from, to } => self.conclude(from / SAMPLES_PER_MS, to / SAMPLES_PER_MS),
                Cue::Ended { at } => self.send(SttEvent::SpeechEnded { at_ms: at / SAMPLES_PER_MS }),
            }
        }
    }

    fn send(&self, event: SttEvent) {
        let mut state = self.session.lock();
        self.session.emit(&mut state, vec![event]);
    }

    fn decode(&self, purpose: Purpose, from: u64, to: u64) {
        let Some(decode) = self.session.lock().decodes.begin(purpose, to / SAMPLES_PER_MS) else { return };
        let index = |position: u64| {
            usize::try_from(position.saturating_sub(self.audio_from)).unwrap_or(usize::MAX).min(self.audio.len())
        };
        let audio = self.audio[index(from)..index(to)].to_vec();
        let job = Job { session: Arc::clone(&self.session), decode, audio };
        let Err(job) = self.pool.submit(job, purpose) else { return };
        let vendor = self.session.vendor;
        match purpose {
            Purpose::Partial => {
                timing::count_failure(Kind::Stt, vendor, "partial_dropped");
                self.session.skip(&job.decode);
            }
            Purpose::Speculation => {
                timing::count_failure(Kind::Stt, vendor, "overloaded");
                self.session.complete(&job.decode, Err(ProviderError::Overloaded { vendor }));
            }
        }
    }

    fn conclude(&self, from_ms: u64, to_ms: u64) {
        let mut state = self.session.lock();
        let mut events = Vec::new();
        state.ended = Some(Instant::now());
        state.decodes.conclude(from_ms, to_ms, &mut events);
        self.session.emit(&mut state, events);
    }

    /// Lets go of audio that can't be decoded any more, now and then.
    fn forget(&mut self) {
        let keep = self.segmenter.needed_from().saturating_sub(self.audio_from);
        if keep > 16 * FRAME {
            let count = usize::try_from(keep).unwrap_or(usize::MAX).min(self.audio.len());
            self.audio.drain(..count);
            self.audio_from += count as u64;
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
