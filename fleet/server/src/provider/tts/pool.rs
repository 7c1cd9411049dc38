//! The synthesiser threads, shared by all calls.
//!
//! A session is served one clause at a time, so its audio stays in order; among sessions the one
//! whose listener runs dry first goes first. A thread must never serve a second clause of a
//! session before others had their turn.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::cache::PromptCache;
use super::session::{Shared, Work};
use super::shape::{Waveform, shape};
use crate::provider::config::{Engine, VoiceSpec};
use crate::provider::error::ProviderError;
use crate::provider::queue::{Class, WorkQueue};
use crate::provider::timing::{self, Kind};

/// Sessions that may wait for a thread: each waits at most once.
const CAPACITY: usize = 1_024;

/// An engine that one thread owns.
pub trait Synthesiser: Send {
    /// Which engine it is.
    fn engine(&self) -> Engine;

    /// Speaks `text` with `spec`'s voice, slower by `spec.pitch()` than `spec.speed()` says.
    ///
    /// # Errors
    /// If it has no such voice, or fails; the next call may succeed.
    fn synthesise(&mut self, spec: &VoiceSpec, text: &str) -> Result<Waveform, ProviderError>;
}

/// The engines of one thread.
#[derive(Default)]
pub struct SynthesiserSet {
    pub piper: Option<Box<dyn Synthesiser>>,
    pub flite: Option<Box<dyn Synthesiser>>,
}

impl fmt::Debug for SynthesiserSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynthesiserSet")
            .field("piper", &self.piper.is_some())
            .field("flite", &self.flite.is_some())
            .finish()
    }
}

impl SynthesiserSet {
    fn get(&mut self, engine: Engine) -> Option<&mut Box<dyn Synthesiser>> {
        match engine {
            Engine::Piper => self.piper.as_mut(),
            Engine::Flite => self.flite.as_mut(),
        }
    }

    /// Speaks with the wanted engine, or with flite where that one fails or is missing.
    fn speak(&mut self, voice: &VoiceSpec, text: &str) -> Result<Vec<i16>, ProviderError> {
        let first = match self.get(voice.engine) {
            Some(engine) => speak_with(engine.as_mut(), voice, text),
            None => Err(ProviderError::Unavailable { what: "the engine of this voice" }),
        };
        let Err(error) = first else { return first };
        timing::count_failure(Kind::Tts, voice.engine.word(), "engine");
        let Some(fallback) = self.flite.as_mut().filter(|_| voice.engine != Engine::Flite) else { return Err(error) };
        tracing::warn!(%error, "the voice failed; flite speaks in its place");
        speak_with(
            fallback.as_mut(),
            &VoiceSpec { engine: Engine::Flite, name: "slt".to_owned(), ..voice.clone() },
            text,
        )
    }
}

fn speak_with(engine: &mut dyn Synthesiser, voice: &VoiceSpec, text: &str) -> Result<Vec<i16>, ProviderError> {
    let begun = Instant::now();
    let samples = shape(&engine.synthesise(voice, text)?, voice.pitch())?;
    timing::record(Kind::Tts, engine.engine().word(), "clause", begun.elapsed());
    Ok(samples)
}

/// The threads, their queue and what they spoke before. Dropping it lets them end after the work in hand.
pub struct SynthesiserPool {
    queue: Arc<WorkQueue<Arc<Shared>>>,
    engines: Vec<Engine>,
}

impl fmt::Debug for SynthesiserPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynthesiserPool").field("engines", &self.engines).finish_non_exhaustive()
    }
}

impl SynthesiserPool {
    /// Starts one thread for each of `sets`, which must have the same engines; `cache_bytes` bounds the audio kept.
    ///
    /// # Errors
    /// If there is no engine, or the system gives no thread.
    pub fn start(sets: Vec<SynthesiserSet>, cache_bytes: usize) -> Result<Self, ProviderError> {
        let has = |engine| {
            sets.iter().all(|set| if engine == Engine::Piper { set.piper.is_some() } else { set.flite.is_some() })
        };
        let engines: Vec<Engine> = [Engine::Piper, Engine::Flite].into_iter().filter(|engine| has(*engine)).collect();
        if sets.is_empty() || engines.is_empty() {
            return Err(ProviderError::Unavailable { what: "speech synthesis" });
        }
        let pool = Self { queue: Arc::new(WorkQueue::new(CAPACITY, 0)), engines };
        let cache = Arc::new(PromptCache::new(cache_bytes));
        for (index, set) in sets.into_iter().enumerate() {
            let (queue, cache) = (Arc::clone(&pool.queue), Arc::clone(&cache));
            thread::Builder::new()
                .name(format!("tts-{index}"))
                .spawn(move || work(&queue, &cache, set))
                .map_err(|e| ProviderError::engine("tts", "starting its threads", e))?;
        }
        Ok(pool)
    }

    /// The engine that speaks for `voice`: its own, or flite.
    pub fn engine_for(&self, voice: &VoiceSpec) -> Option<Engine> {
        let own = self.engines.iter().find(|engine| **engine == voice.engine);
        own.or_else(|| self.engines.iter().find(|engine| **engine == Engine::Flite)).copied()
    }

    /// Queues a session that has something to say; `false` if there is no room.
    pub(super) fn submit(&self, session: Arc<Shared>, due: Instant) -> bool {
        self.queue.push(Class::Urgent, due, session).is_ok()
    }
}

impl Drop for SynthesiserPool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work(queue: &WorkQueue<Arc<Shared>>, cache: &PromptCache, mut engines: SynthesiserSet) {
    while let Some(session) = queue.pop() {
        let Some(Work { ticket, text }) = session.take() else { continue };
        let voice = session.voice();
        let spoken = match cache.get(voice, &text) {
            Some(samples) => Ok(samples),
            None => engines.speak(voice, &text).map(Arc::from).inspect(|samples| cache.put(voice, &text, samples)),
        };
        if let Some(due) = session.deliver(ticket, text, spoken)
            && let Err(session) = queue.push(Class::Urgent, due, session)
        {
            session.refuse();
        }
    }
}
