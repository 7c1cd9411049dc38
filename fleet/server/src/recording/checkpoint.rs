//! Copies what is recorded and said so far to the bucket, so that a server that dies takes at most one period with it.
//! It must never end with the call half told: a checkpoint counts only when its objects are stored.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::call::Advance;
use domain::objects::CallObjects;
use domain::ports::Objects;
use domain::result::Record;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{RecordingId, Recordings};

/// Takes checkpoints of one call until it is dropped or closed.
#[derive(Debug)]
pub struct Checkpoints {
    task: JoinHandle<()>,
}

/// What a checkpoint copies.
pub struct Source {
    pub objects: Arc<dyn Objects>,
    pub keys: CallObjects,
    pub recordings: Recordings,
    pub recording: Option<(RecordingId, PathBuf)>,
    /// What was said so far.
    pub record: watch::Receiver<Record>,
    /// Where a stored checkpoint is noted.
    pub noted: mpsc::Sender<Advance>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Checkpoints {
    pub fn start(source: Source, every: Duration) -> Self {
        Self { task: tokio::spawn(run(source, every)) }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut source: Source, every: Duration) {
    let mut count = 0;
    let mut copied = 0;
    loop {
        tokio::time::sleep(every).await;
        match source.copy(count + 1, copied).await {
            Ok(Some(up_to)) => {
                count += 1;
                copied = up_to;
                let _ = source.noted.send(Advance::Checkpoint { count }).await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error, call.id = %source.keys.call_id, "checkpoint not stored");
                metrics::counter!("ringfleet_checkpoint_failures_total").increment(1);
            }
        }
    }
}

impl Source {
    /// Stores piece `number` from byte `from` on; answers where it ends, or nothing when there was nothing new.
    async fn copy(&mut self, number: u32, from: u64) -> Result<Option<u64>, String> {
        let said = serde_json::to_vec(&*self.record.borrow_and_update()).map_err(|error| error.to_string())?;
        self.put(&self.keys.checkpoint_record(), "application/json", said.into()).await?;
        domain::failpoint!("checkpoint.record");
        let Some((id, path)) = &self.recording else { return Ok(None) };
        let Some(up_to) = self.recordings.length(*id).await.filter(|up_to| *up_to > from) else { return Ok(None) };
        let path = path.clone();
        let piece =
            tokio::task::spawn_blocking(move || read(&path, from, up_to)).await.map_err(|error| error.to_string())?;
        let piece = piece.map_err(|error| error.to_string())?;
        self.put(&self.keys.checkpoint(number), "application/octet-stream", piece.into()).await?;
        domain::failpoint!("checkpoint.piece");
        Ok(Some(up_to))
    }

    async fn put(&self, key: &str, kind: &str, body: Bytes) -> Result<(), String> {
        self.objects.put(key, kind, body).await.map_err(|error| error.to_string())
    }
}

fn read(path: &PathBuf, from: u64, up_to: u64) -> std::io::Result<Vec<u8>> {
    let mut piece = vec![0; usize::try_from(up_to - from).map_err(std::io::Error::other)?];
    std::fs::File::open(path)?.read_exact_at(&mut piece, media::wav::HEADER as u64 + from)?;
    Ok(piece)
}
