//! The writer thread: files of the spool, one a recording. It must never hold a recording in memory.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use media::Block;
use media::wav::{CALL_RECORDING, HEADER};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::patch;

/// Blocks (one second of one call each) that may wait for the disk.
const QUEUE: usize = 4096;

/// One recording under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordingId(u64);

#[derive(Debug, Error)]
pub enum WriterError {
    #[error("the recording thread can't be started: {0}")]
    Thread(io::Error),
    #[error("the recording {path} can't be written: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("the recording thread has ended")]
    Gone,
}

/// A closed recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of audio in the file.
    pub data: u64,
    /// Whether every block reached the disk.
    pub whole: bool,
}

enum Command {
    Open { id: RecordingId, path: PathBuf, reply: oneshot::Sender<Result<(), WriterError>> },
    Block { id: RecordingId, block: Block },
    Length { id: RecordingId, reply: oneshot::Sender<Option<u64>> },
    Close { id: RecordingId, reply: oneshot::Sender<Option<Saved>> },
}

/// A handle on the writer thread.
#[derive(Debug, Clone)]
pub struct Recordings {
    commands: mpsc::Sender<Command>,
    next: Arc<AtomicU64>,
}

impl Recordings {
    /// # Errors
    /// When no thread can be had.
    pub fn start() -> Result<Self, WriterError> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || write(inbox))
            .map_err(WriterError::Thread)?;
        Ok(Self { commands, next: Arc::new(AtomicU64::new(1)) })
    }

    /// Creates the file with a header of no length.
    ///
    /// # Errors
    /// When the file can't be created.
    pub async fn open(&self, path: PathBuf) -> Result<RecordingId, WriterError> {
        let id = RecordingId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Open { id, path, reply }).await.map_err(|_| WriterError::Gone)?;
        answer.await.map_err(|_| WriterError::Gone)??;
        Ok(id)
    }

    /// Queues a block without waiting; gives it back when the queue is full.
    pub(crate) fn write(&self, id: RecordingId, block: Block) -> Result<(), Block> {
        self.commands.try_send(Command::Block { id, block }).map_err(|error| match error.into_inner() {
            Command::Block { block, .. } => block,
            Command::Open { .. } | Command::Length { .. } | Command::Close { .. } => {
                unreachable!("try_send gives back what it was given")
            }
        })
    }

    /// Bytes of audio written so far.
    pub async fn length(&self, id: RecordingId) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Length { id, reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Writes the header's length and syncs; after the media thread has let go of the recording.
    pub async fn close(&self, id: RecordingId) -> Option<Saved> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Close { id, reply }).await.ok()?;
        answer.await.ok().flatten()
    }
}

struct Open {
    file: File,
    path: PathBuf,
    data: u64,
    whole: bool,
}

fn write(mut inbox: mpsc::Receiver<Command>) {
    let mut open: HashMap<RecordingId, Open> = HashMap::new();
    while let Some(command) = inbox.blocking_recv() {
        match command {
            Command::Open { id, path, reply } => {
                let made = create(&path).map_err(|cause| WriterError::File { path: path.clone(), cause });
                let _ = reply.send(made.map(|file| {
                    open.insert(id, Open { file, path, data: 0, whole: true });
                }));
            }
            Command::Block { id, block } => {
                if let Some(recording) = open.get_mut(&id) {
                    recording.put(&block);
                }
            }
            Command::Length { id, reply } => {
                let _ = reply.send(open.get(&id).map(|recording| recording.data));
            }
            Command::Close { id, reply } => {
                let _ = reply.send(open.remove(&id).map(Open::close));
            }
        }
    }
}

fn create(path: &PathBuf) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(&CALL_RECORDING.header(0), 0)?;
    Ok(file)
}

impl Open {
    /// Blocks know their place: what was dropped before one stays silent.
    fn put(&mut self, block: &Block) {
        let at = block.first_frame * 4;
        match self.file.write_all_at(block.bytes(), HEADER as u64 + at) {
            Ok(()) => self.data = self.data.max(at + block.bytes().len() as u64),
            Err(error) => {
                if self.whole {
                    tracing::error!(%error, path = %self.path.display(), "a recording can't be written");
                }
                self.whole = false;
                metrics::counter!("ringfleet_recording_write_failures_total").increment(1);
            }
        }
    }

    fn close(self) -> Saved {
        let settled = patch(&self.file, self.data).and_then(|()| self.file.sync_all());
        if let Err(error) = &settled {
            tracing::error!(%error, path = %self.path.display(), "a recording can't be closed");
        }
        Saved { data: self.data, whole: self.whole && settled.is_ok() }
    }
}
