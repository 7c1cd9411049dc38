//! Writes a live call's stages and checkpoints to its row, in order and behind the call's back.
//! It must never hold up the call task: what the table does not take in time is left out, the terminal write carries it all.

use std::sync::Arc;
use std::time::Duration;

use domain::call::Advance;
use domain::ids::{CallId, Owner};
use domain::ports::{Calls, Owned};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A call has four stages and a checkpoint every 30 s: a queue this long means a table that has been away for minutes.
const QUEUE: usize = 16;
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Takes stages; dropping it lets what is queued be written.
#[derive(Debug)]
pub(super) struct Progress {
    steps: mpsc::Sender<Advance>,
    writer: JoinHandle<()>,
}

impl Progress {
    pub(super) fn start(calls: Arc<dyn Calls>, call: CallId, owner: Owner) -> Self {
        let (steps, inbox) = mpsc::channel(QUEUE);
        Self { steps, writer: tokio::spawn(write(calls, call, owner, inbox)) }
    }

    pub(super) fn note(&self, step: Advance) {
        if self.steps.try_send(step).is_err() {
            metrics::counter!("ringfleet_progress_dropped_total").increment(1);
        }
    }

    /// For checkpoints, which are taken outside the call task.
    pub(super) fn sender(&self) -> mpsc::Sender<Advance> {
        self.steps.clone()
    }

    /// Waits, for at most `limit`, until everything noted is written: no stage may be written after the end.
    pub(super) async fn close(self, limit: Duration) {
        let Self { steps, mut writer } = self;
        drop(steps);
        if tokio::time::timeout(limit, &mut writer).await.is_err() {
            writer.abort();
        }
    }
}

async fn write(calls: Arc<dyn Calls>, call: CallId, owner: Owner, mut inbox: mpsc::Receiver<Advance>) {
    while let Some(step) = inbox.recv().await {
        for attempt in 1..=TRIES {
            match calls.advance(call, &owner, &step).await {
                Ok(Owned::Written) => break,
                Ok(Owned::Lost) => {
                    tracing::warn!(call.id = %call, ?step, "the call's row is not ours any more");
                    break;
                }
                Err(error) if attempt == TRIES => tracing::warn!(%error, call.id = %call, ?step, "stage not written"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
