//! Tells the control plane of ended calls: record → terminal write → recording → `call-ended`, each step repeatable.
//! It must never give up on a call while its files are in the spool.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::call::{CallRow, Finisher, NextStep, RecordingStatus, Terminal};
use domain::ids::CallId;
use domain::ports::{Calls, Clock, Job, Objects, Owned, QueueName, Queues, StoreError};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::spool::{Ended, Spool};

/// Uploads that run at once; more would only make each of them slower.
const UPLOADS: usize = 16;
/// How long the transcript's upload is waited for before the call is marked as ended all the same.
const RECORD_PATIENCE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Once its message is on the queue, `sweep` leaves a call alone for this many times the announcement's own limit: 2 min
/// if nothing else is set, and short where a test of whole processes wants to see a lost message found again.
const SWEPT_AFTER: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) struct FinishingConfig {
    /// `call-ended` is sent this long after the end at the latest, whatever the upload does.
    pub announce_by: Duration,
}

/// Finishes ended calls in the background.
#[derive(Clone)]
pub(crate) struct Finishing {
    spool: Spool,
    clock: Arc<dyn Clock>,
    calls: Arc<dyn Calls>,
    objects: Arc<dyn Objects>,
    queues: Arc<dyn Queues>,
    config: FinishingConfig,
    uploads: Arc<Semaphore>,
    tasks: TaskTracker,
    held: Arc<Mutex<HashSet<CallId>>>,
}

impl std::fmt::Debug for Finishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finishing").field("spool", &self.spool).finish_non_exhaustive()
    }
}

impl Finishing {
    pub(crate) fn new(
        spool: Spool,
        clock: Arc<dyn Clock>,
        calls: Arc<dyn Calls>,
        objects: Arc<dyn Objects>,
        queues: Arc<dyn Queues>,
        config: FinishingConfig,
    ) -> Self {
        Self {
            spool,
            clock,
            calls,
            objects,
            queues,
            config,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            tasks: TaskTracker::new(),
            held: Arc::default(),
        }
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Keeps the ended call on disk, then tells the control plane in the background.
    /// With a disk that refuses, it goes on from memory: better a risk than a certain loss.
    pub(crate) fn take(&self, ended: Ended, finisher: Finisher) {
        if let Err(error) = self.spool.keep_ended(&ended) {
            tracing::error!(%error, call.id = %ended.begun.call_id, "an ended call is only in memory until it is told");
        }
        domain::failpoint!("finish.spooled");
        self.resume(ended, finisher);
    }

    /// As [`Finishing::take`], for a call that is on disk already.
    pub(crate) fn resume(&self, ended: Ended, finisher: Finisher) {
        let this = self.clone();
        let call = ended.begun.call_id;
        this.lock().insert(call);
        self.tasks.spawn(async move {
            this.tell(ended, finisher).await;
            this.lock().remove(&call);
        });
    }

    /// Keeps others off an ended call from before its end is put together; false if it is kept already.
    pub(crate) fn hold(&self, call: CallId) -> bool {
        self.lock().insert(call)
    }

    /// Does something that ends in telling of a call, and is waited for like it.
    pub(crate) fn later(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// How many calls are not told of yet.
    pub(crate) fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Whether this call has ended here and is still being told.
    pub(crate) fn holds(&self, call: CallId) -> bool {
        self.lock().contains(&call)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<CallId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is told.
    pub(crate) async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn tell(&self, ended: Ended, finisher: Finisher) {
        let call = ended.begun.call_id;
        if !self.is_kept(call).await {
            tracing::warn!(call.id = %call, "the call's data was deleted meanwhile; nothing of it is told");
            self.spool.forget(call);
            return;
        }
        let record = match serde_json::to_vec(&ended.record) {
            Ok(json) => Bytes::from(json),
            Err(error) => {
                tracing::error!(%error, call.id = %call, "a record can't be written as JSON");
                Bytes::from_static(b"{}")
            }
        };
        let key = ended.begun.objects().record();
        let put_record = || self.objects.put(&key, "application/json", record.clone());
        let early = tokio::time::timeout(RECORD_PATIENCE, until_done("record", put_record)).await.is_ok();
        domain::failpoint!("finish.record");

        let due_at = self.announce_at(&ended);
        let first = until_done("terminal write", || self.calls.finish(call, &finisher, &ended.terminal, due_at)).await;
        if first == Owned::Lost && !self.is_ours(&ended).await {
            // Somebody else wrote this call's end; theirs stands.
            tracing::warn!(call.id = %call, "the call's end was already written by another");
            self.spool.forget(call);
            return;
        }
        domain::failpoint!("finish.terminal");
        let objects = async {
            if !early {
                until_done("record", put_record).await;
            }
            self.upload(&ended).await;
        };
        self.announce_in_time(&ended, objects).await;
        self.spool.forget(call);
        domain::failpoint!("finish.forgotten");
        tracing::info!(call.id = %call, bot.id = %ended.begun.bot_id, end_reason = ended.terminal.end_reason.as_str(), "call told");
    }

    /// Whether nothing of the call was deleted: a server that comes back late must not bring back what a period's end or a
    /// person's wish took away.
    async fn is_kept(&self, call: CallId) -> bool {
        let entry = until_done("call row", || self.calls.get(call)).await;
        matches!(entry, Some(domain::ports::CallEntry::Call(row)) if row.expired.is_empty())
    }

    /// Whether the end that is stored is the one we wrote in an earlier try.
    async fn is_ours(&self, ended: &Ended) -> bool {
        let entry = until_done("call row", || self.calls.get(ended.begun.call_id)).await;
        matches!(entry, Some(domain::ports::CallEntry::Call(row)) if is_end_of(&row, &ended.terminal))
    }

    fn announce_at(&self, ended: &Ended) -> jiff::Timestamp {
        let wait =
            jiff::SignedDuration::try_from(self.config.announce_by).unwrap_or(jiff::SignedDuration::from_secs(60));
        ended.terminal.ended_at.checked_add(wait).unwrap_or(ended.terminal.ended_at)
    }

    /// Announces the call once its objects are up, or when it is time to, whatever the bucket does.
    async fn announce_in_time(&self, ended: &Ended, objects: impl Future<Output = ()>) {
        let left = self.announce_at(ended).duration_since(self.clock.now());
        let patience = Duration::try_from(left).unwrap_or(Duration::ZERO);
        tokio::pin!(objects);
        if tokio::time::timeout(patience, &mut objects).await.is_ok() {
            self.announce(ended).await;
        } else {
            tokio::join!(self.announce(ended), objects);
        }
    }

    async fn upload(&self, ended: &Ended) {
        if ended.terminal.recording_status != RecordingStatus::Pending {
            return;
        }
        let call = ended.begun.call_id;
        let path: PathBuf = self.spool.wav(call);
        let status = if path.exists() {
            let key = ended.begun.objects().recording();
            let _slot = self.uploads.acquire().await;
            until_done("recording", || self.objects.put_file(&key, "audio/wav", &path)).await;
            domain::failpoint!("finish.uploaded");
            if ended.whole { RecordingStatus::Complete } else { RecordingStatus::Partial }
        } else {
            RecordingStatus::Lost
        };
        until_done("recording status", || self.calls.settle_recording(call, status)).await;
        domain::failpoint!("finish.settled");
    }

    async fn announce(&self, ended: &Ended) {
        let job = Job { call_id: ended.begun.call_id, channel: None };
        until_done("call-ended", || self.queues.send(QueueName::CallEnded, &ended.begun.bot_id, &job, Duration::ZERO))
            .await;
        domain::failpoint!("finish.announced");
        let due =
            self.clock.now().checked_add(self.config.announce_by * SWEPT_AFTER).unwrap_or_else(|_| self.clock.now());
        // Lost here means that analyze was faster.
        until_done("next step", || {
            self.calls.take_step(ended.begun.call_id, &[NextStep::Announce], Some(NextStep::Analyze), due)
        })
        .await;
        domain::failpoint!("finish.stepped");
    }
}

/// Whether a row's end is this one. The spool keeps a moment as it was, a table its whole milliseconds.
fn is_end_of(row: &CallRow, terminal: &Terminal) -> bool {
    let same_moment = row.ended_at.is_some_and(|at| at.as_millisecond() == terminal.ended_at.as_millisecond());
    same_moment && row.end_reason == Some(terminal.end_reason)
}

/// Repeats an idempotent step until the outside does it, with growing pauses.
pub(crate) async fn until_done<T, F, Fut>(what: &'static str, mut step: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match step().await {
            Ok(done) => return done,
            Err(error) => {
                tracing::warn!(%error, what, "not told yet; trying again");
                metrics::counter!("ringfleet_finish_retries_total", "step" => what).increment(1);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::outcome::EndReason;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// After a crash between terminal write and upload, the recording is only here: an end taken for somebody else's
    /// would throw it away.
    #[test]
    fn an_end_read_back_from_the_table_is_still_ours() {
        let row = |ended_at: &str, reason: &str| -> CallRow {
            serde_json::from_value(json!({
                "call_id": "01a20317-8731-7e86-8d34-f3a89a0f8795", "bot_id": "b", "bot_version": 1, "direction": "outbound",
                "to_number": "+919876543210", "from_number": "+911140001234", "state": "ended",
                "owner": {"server_id": "s", "epoch": 1}, "started_at": "2026-01-01T10:00:00Z",
                "deadline": "2026-01-01T11:00:00Z", "ended_at": ended_at, "end_reason": reason,
                "recording_status": "pending", "recording_token": "t", "analysis_status": "pending"
            }))
            .unwrap()
        };
        let terminal = Terminal {
            ended_at: "2026-01-01T10:05:00.123456789Z".parse::<Timestamp>().unwrap(),
            answered_at: None,
            end_reason: EndReason::CustomerHangup,
            sip_code: None,
            duration_ms: 1,
            recording_status: RecordingStatus::Pending,
            warnings: Vec::new(),
        };
        let check = |ended_at: &str, reason: &str, expect: bool| {
            assert_eq!(is_end_of(&row(ended_at, reason), &terminal), expect, "{ended_at} {reason}");
        };
        check("2026-01-01T10:05:00.123Z", "customer_hangup", true);
        check("2026-01-01T10:05:00.124Z", "customer_hangup", false);
        check("2026-01-01T10:05:00.123Z", "server_lost", false);
    }
}
