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

use super::{BYTES_PER_SECOND, RecordingId, Recordings};

/// Audio bytes of one piece: a bucket that was away for long must not have all calls in memory when it is back.
const MAX_PIECE: u64 = 30 * BYTES_PER_SECOND;

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
        let mut behind = true;
        while behind {
            behind = false;
            match source.copy(count + 1, copied).await {
                Ok(Some(piece)) => {
                    count += 1;
                    (copied, behind) = (piece.up_to, piece.more);
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
}

/// Bytes of the audio that one object holds: from where the last one ended.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    up_to: u64,
    /// There was more to copy than one object takes.
    more: bool,
}

impl Piece {
    /// `None` when there is nothing new.
    fn of(from: u64, recorded: u64) -> Option<Self> {
        let up_to = recorded.min(from + MAX_PIECE);
        (up_to > from).then_some(Self { up_to, more: up_to < recorded })
    }
}

impl Source {
    /// Stores object `number` with what was recorded from byte `from` on; `None` when nothing was.
    async fn copy(&mut self, number: u32, from: u64) -> Result<Option<Piece>, String> {
        let said = serde_json::to_vec(&*self.record.borrow_and_update()).map_err(|error| error.to_string())?;
        self.put(&self.keys.checkpoint_record(), "application/json", said.into()).await?;
        domain::failpoint!("checkpoint.record");
        let Some((id, path)) = &self.recording else { return Ok(None) };
        let recorded = self.recordings.length(*id).await.unwrap_or(from);
        let Some(piece) = Piece::of(from, recorded) else { return Ok(None) };
        let (path, up_to) = (path.clone(), piece.up_to);
        let bytes =
            tokio::task::spawn_blocking(move || read(&path, from, up_to)).await.map_err(|error| error.to_string())?;
        let bytes = bytes.map_err(|error| error.to_string())?;
        self.put(&self.keys.checkpoint(number), "application/octet-stream", bytes.into()).await?;
        domain::failpoint!("checkpoint.piece");
        Ok(Some(piece))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_holds_what_is_new_and_no_more_than_its_most() {
        let check = |from: u64, recorded: u64, expect: Option<(u64, bool)>| {
            let piece = Piece::of(from, recorded).map(|piece| (piece.up_to, piece.more));
            assert_eq!(piece, expect, "from {from} of {recorded}");
        };
        check(0, 0, None);
        check(64_000, 64_000, None);
        check(0, 64_000, Some((64_000, false)));
        check(64_000, 96_000, Some((96_000, false)));
        check(0, MAX_PIECE, Some((MAX_PIECE, false)));
        check(32_000, MAX_PIECE + 64_000, Some((MAX_PIECE + 32_000, true)));
        // A bucket that was away for an hour: 120 pieces, and each begins where the last one ended.
        let recorded = 3600 * BYTES_PER_SECOND;
        let (mut from, mut pieces) = (0, 0);
        while let Some(piece) = Piece::of(from, recorded) {
            (from, pieces) = (piece.up_to, pieces + 1);
            assert_eq!(piece.more, from < recorded);
        }
        assert_eq!((from, pieces), (recorded, 120));
    }
}
