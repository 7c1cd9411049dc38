//! The recogniser threads, shared by all calls.
//! A thread owns its model; speculations and finals go before partials, which are the first to be dropped.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::decodes::{Decode, Purpose};
use super::session::Shared;
use crate::provider::error::ProviderError;
use crate::provider::queue::{Class, WorkQueue};
use crate::provider::timing::{self, Kind};

/// Segments that may wait for a thread; more than this is minutes of work.
const URGENT_CAPACITY: usize = 256;

/// Partials that may wait; a late one is worthless.
const PARTIAL_CAPACITY: usize = 8;

/// What a piece of audio says. `confidence` is the mean probability of its tokens, 0–1.
#[derive(Clone, PartialEq)]
pub struct Transcript {
    pub text: String,
    pub confidence: f32,
}

/// Lengths only: what was said is personal.
impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({} chars, {:.2})", self.text.chars().count(), self.confidence)
    }
}

/// A model that one thread owns.
pub trait Recogniser: Send {
    /// Vendor word for metrics and errors.
    fn vendor(&self) -> &'static str;

    /// Turns 16 kHz audio in −1..1 into text; `None` if `go_on`, asked between steps, said no.
    ///
    /// # Errors
    /// If the model fails; the next call may succeed.
    fn transcribe(&mut self, audio: &[f32], go_on: &dyn Fn() -> bool) -> Result<Option<Transcript>, ProviderError>;
}

/// One decode on its way.
pub(super) struct Job {
    pub(super) session: Arc<Shared>,
    pub(super) decode: Decode,
    pub(super) audio: Vec<f32>,
}

/// The threads and their queue. Dropping it lets them end after the work in hand.
pub struct RecogniserPool {
    queue: Arc<WorkQueue<Job>>,
    vendor: &'static str,
}

impl fmt::Debug for RecogniserPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecogniserPool").field("vendor", &self.vendor).finish_non_exhaustive()
    }
}

impl RecogniserPool {
    /// Starts one thread for each of `recognisers`.
    ///
    /// # Errors
    /// If there is none, or the system gives no thread.
    pub fn start(recognisers: Vec<Box<dyn Recogniser>>) -> Result<Self, ProviderError> {
        let vendor = recognisers.first().ok_or(ProviderError::Unavailable { what: "speech recognition" })?.vendor();
        let pool = Self { queue: Arc::new(WorkQueue::new(URGENT_CAPACITY, PARTIAL_CAPACITY)), vendor };
        for (index, recogniser) in recognisers.into_iter().enumerate() {
            let queue = Arc::clone(&pool.queue);
            thread::Builder::new()
                .name(format!("stt-{index}"))
                .spawn(move || work(&queue, recogniser))
                .map_err(|e| ProviderError::engine(vendor, "starting its threads", e))?;
        }
        Ok(pool)
    }

    /// Vendor word of its recognisers.
    pub fn vendor(&self) -> &'static str {
        self.vendor
    }

    /// Queues a decode; gives it back if there is no room for its kind.
    pub(super) fn submit(&self, job: Job, purpose: Purpose) -> Result<(), Job> {
        let class = match purpose {
            Purpose::Partial => Class::Optional,
            Purpose::Speculation => Class::Urgent,
        };
        self.queue.push(class, Instant::now(), job)
    }
}

impl Drop for RecogniserPool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work(queue: &WorkQueue<Job>, mut recogniser: Box<dyn Recogniser>) {
    let vendor = recogniser.vendor();
    while let Some(Job { session, decode, audio }) = queue.pop() {
        if !session.is_wanted(&decode) {
            session.skip(&decode);
            continue;
        }
        let begun = Instant::now();
        // A partial gives way to whatever somebody waits for.
        let go_on = || session.is_wanted(&decode) && !(decode.is_partial() && queue.has_urgent());
        let Some(outcome) = recogniser.transcribe(&audio, &go_on).transpose() else {
            session.skip(&decode);
            continue;
        };
        timing::record(Kind::Stt, vendor, "decode", begun.elapsed());
        if let Err(error) = &outcome {
            timing::count_failure(Kind::Stt, vendor, "engine");
            tracing::warn!(%error, "speech recognition failed on a segment");
        }
        session.complete(&decode, outcome);
    }
}
