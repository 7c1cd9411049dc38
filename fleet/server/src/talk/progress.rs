//! Writes a live call's stages and checkpoints to its row, in order and behind the call's back.
//! It must never hold up the call task: what the table does not take in time is left out, the terminal write carries it all.

use std::sync::Arc;
use std::time::Duration;

use call::io::Control;
use domain::call::{Advance, CallState};
use domain::ids::{CallId, Owner};
use domain::ports::{CallEntry, Calls, Owned};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::live::Live;

/// A call has four stages and a checkpoint every 30 s: a queue this long means a table that has been away for minutes.
const QUEUE: usize = 16;
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Whose stages they are, and how to reach the call itself.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub call: CallId,
    pub owner: Owner,
    pub live: Live,
}

/// Takes stages; dropping it lets what is queued be written.
#[derive(Debug)]
pub(super) struct Progress {
    steps: mpsc::Sender<Advance>,
    writer: JoinHandle<()>,
}

impl Progress {
    pub(super) fn start(calls: Arc<dyn Calls>, whose: Whose) -> Self {
        let (steps, inbox) = mpsc::channel(QUEUE);
        Self { steps, writer: tokio::spawn(write(calls, whose, inbox)) }
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

async fn write(calls: Arc<dyn Calls>, whose: Whose, mut inbox: mpsc::Receiver<Advance>) {
    let Whose { call, owner, live } = whose;
    while let Some(step) = inbox.recv().await {
        for attempt in 1..=TRIES {
            match calls.advance(call, &owner, &step).await {
                Ok(Owned::Written) => {
                    written(&step);
                    break;
                }
                Ok(Owned::Lost) if is_still_ours(&*calls, call, &owner).await => break,
                Ok(Owned::Lost) => {
                    // Whoever ended it took this server for lost: nobody may go on talking, or be billed.
                    tracing::warn!(call.id = %call, ?step, "the call's row is not ours any more; hanging up");
                    live.control(call, Control::HangUp);
                    return;
                }
                Err(error) if attempt == TRIES => tracing::warn!(%error, call.id = %call, ?step, "stage not written"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// A stage is refused too when an earlier try of the same write took place unheard: the row tells.
async fn is_still_ours(calls: &dyn Calls, call: CallId, owner: &Owner) -> bool {
    match calls.get(call).await {
        Ok(Some(CallEntry::Call(row))) => row.state != CallState::Ended && row.owner == *owner,
        Ok(Some(CallEntry::Fenced(_)) | None) => false,
        // Nothing is known: the next stage or the next look at all rows tells.
        Err(_) => true,
    }
}

fn written(step: &Advance) {
    match step {
        Advance::Dialing => {
            domain::failpoint!("advance.dialing");
        }
        Advance::Ringing { .. } => {
            domain::failpoint!("advance.ringing");
        }
        Advance::Answered { .. } => {
            domain::failpoint!("advance.answered");
        }
        Advance::Checkpoint { .. } => {
            domain::failpoint!("advance.checkpoint");
        }
    }
}
