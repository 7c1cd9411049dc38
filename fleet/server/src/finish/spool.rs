//! The local spool: what a call leaves, on disk and synced before anything is told about it.
//! It must never delete a call's files before the control plane has all that is in them.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::bot::Bot;
use domain::call::{CallRow, Terminal};
use domain::ids::{BotId, CallId, Owner};
use domain::objects::CallObjects;
use domain::result::Record;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("the spool {path} can't be written: {cause}")]
    Write { path: PathBuf, cause: io::Error },
    #[error("the spool {path} can't be read: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error("the spool {path} is another running server's")]
    InUse { path: PathBuf },
}

/// What a live call's note says, so that a restart can end it properly.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub call_id: CallId,
    pub bot_id: BotId,
    pub owner: Owner,
    pub started_at: jiff::Timestamp,
    pub recorded: bool,
}

impl Begun {
    pub(crate) fn of(row: &CallRow, bot: &Bot) -> Self {
        Self {
            call_id: row.call_id,
            bot_id: row.bot_id.clone(),
            owner: row.owner.clone(),
            started_at: row.started_at,
            recorded: bot.recording.enabled,
        }
    }

    pub(crate) fn objects(&self) -> CallObjects {
        let date = self.started_at.to_zoned(jiff::tz::TimeZone::UTC).date();
        CallObjects { date, call_id: self.call_id }
    }
}

/// An ended call, as the spool keeps it until the control plane has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub begun: Begun,
    pub terminal: Terminal,
    pub record: Record,
    /// Whether every recorded block reached the disk.
    #[serde(default = "yes")]
    pub whole: bool,
}

fn yes() -> bool {
    true
}

/// What a restart finds.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Ended, but not all told.
    pub ended: Vec<Ended>,
    /// Still talking when the process died. Their notes and recordings were not synced: either may be missing or half
    /// written, and its name is enough.
    pub cut_off: BTreeSet<CallId>,
    /// Files that can't be read; they stay where they are.
    pub unreadable: Vec<PathBuf>,
}

/// A folder with up to three files a call: `ID.begun.json`, `ID.wav`, `ID.ended.json`.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// The folder itself, locked: a second server would take the calls of the first for cut off. The lock ends with the
    /// process, however that ends.
    _lock: Arc<File>,
}

/// With less free space than this no call is taken: a recorded call takes 2 MB a minute.
const SPACE_MIN: u64 = 8 * 1024 * 1024;

impl Spool {
    /// Makes the folder where there is none and checks that it can be written.
    ///
    /// # Errors
    /// When it can't.
    pub(crate) fn open(folder: &Path) -> Result<Self, SpoolError> {
        let failed = |cause| SpoolError::Write { path: folder.to_owned(), cause };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::open(folder).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let spool = Self { folder: folder.to_owned(), _lock: Arc::new(lock) };
        match spool.probe() {
            // What an earlier process left may be what fills it: telling that makes room.
            Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                tracing::error!(path = %folder.display(), "the spool's disk is full: no call is taken until there is room");
            }
            other => other.map_err(failed)?,
        }
        Ok(spool)
    }

    /// Whether a call's leftovers can be written and synced right now: not when the disk is full or gone.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < SPACE_MIN {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = self.folder.join(".probe");
        write_synced(&path, b"ok")?;
        fs::remove_file(path)
    }

    pub(crate) fn wav(&self, call: CallId) -> PathBuf {
        self.folder.join(format!("{call}.wav"))
    }

    fn begun_path(&self, call: CallId) -> PathBuf {
        self.folder.join(format!("{call}.begun.json"))
    }

    fn ended_path(&self, call: CallId) -> PathBuf {
        self.folder.join(format!("{call}.ended.json"))
    }

    /// Notes that a call lives here. Not synced: losing it costs no more than the `reap` of an ordinary crash.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn note_begun(&self, begun: &Begun) -> Result<(), SpoolError> {
        let path = self.begun_path(begun.call_id);
        serde_json::to_vec(begun)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&path, bytes))
            .map_err(|cause| SpoolError::Write { path, cause })
    }

    /// Keeps an ended call: on disk for good when this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn keep_ended(&self, ended: &Ended) -> Result<(), SpoolError> {
        let path = self.ended_path(ended.begun.call_id);
        serde_json::to_vec(ended)
            .map_err(io::Error::from)
            .and_then(|bytes| write_synced(&path, &bytes))
            .map_err(|cause| SpoolError::Write { path, cause })
    }

    /// Forgets a call of which everything is told.
    pub(crate) fn forget(&self, call: CallId) {
        // The order matters: without its `ended` note a leftover WAV would look like a call that was cut off.
        let ended = self.ended_path(call);
        for path in [self.begun_path(call), self.wav(call), ended.with_extension("tmp"), ended] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "spool file not removed");
            }
            domain::failpoint!("finish.forgetting");
        }
    }

    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn leftovers(&self) -> Result<Leftovers, SpoolError> {
        let failed = |cause| SpoolError::Read { path: self.folder.clone(), cause };
        let mut found = Leftovers::default();
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in &names {
            if name.ends_with(".ended.json") {
                let path = self.folder.join(name);
                match fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                    Some(ended) => found.ended.push(ended),
                    None => found.unreadable.push(path),
                }
            } else if let Some(id) = name.strip_suffix(".begun.json").or_else(|| name.strip_suffix(".wav"))
                && !names.contains(&format!("{id}.ended.json"))
            {
                match CallId::parse(id) {
                    Ok(call) => drop(found.cut_off.insert(call)),
                    Err(_) => found.unreadable.push(self.folder.join(name)),
                }
            }
        }
        Ok(found)
    }
}

/// Writes a file so that it is either whole on disk or not there: temporary name, sync, rename, sync of the folder.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use domain::call::RecordingStatus;
    use domain::ids::{Epoch, ServerId};
    use domain::outcome::EndReason;

    use super::*;

    fn begun(n: u8) -> Begun {
        Begun {
            call_id: CallId::from_parts(1, [n; 10]),
            bot_id: BotId::parse("bot").unwrap(),
            owner: Owner { server_id: ServerId::parse("s").unwrap(), epoch: Epoch(3) },
            started_at: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            recorded: true,
        }
    }

    fn ended(n: u8) -> Ended {
        let terminal = Terminal {
            ended_at: jiff::Timestamp::from_second(1_700_000_100).unwrap(),
            answered_at: None,
            end_reason: EndReason::Busy,
            sip_code: Some(486),
            duration_ms: 0,
            recording_status: RecordingStatus::None,
            warnings: Vec::new(),
        };
        Ended { begun: begun(n), terminal, record: Record::default(), whole: true }
    }

    #[test]
    fn leftovers_tell_ended_calls_from_cut_off_ones() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        for n in 1..=3 {
            spool.note_begun(&begun(n)).unwrap();
            fs::write(spool.wav(begun(n).call_id), b"RIFF").unwrap();
        }
        spool.keep_ended(&ended(1)).unwrap();
        spool.keep_ended(&ended(2)).unwrap();
        spool.forget(ended(2).begun.call_id);
        fs::write(folder.path().join("x.ended.json"), b"{half").unwrap();
        // A power cut: the note is not there, or not whole.
        fs::write(spool.wav(begun(4).call_id), b"RIFF").unwrap();
        fs::write(spool.begun_path(begun(5).call_id), b"{ha").unwrap();
        let found = spool.leftovers().unwrap();
        let ids = |list: &[CallId]| list.to_vec();
        assert_eq!(ids(&found.ended.iter().map(|e| e.begun.call_id).collect::<Vec<_>>()), [begun(1).call_id]);
        let cut_off: Vec<CallId> = found.cut_off.into_iter().collect();
        assert_eq!(cut_off, [3, 4, 5].map(|n| begun(n).call_id));
        assert_eq!(found.unreadable, [folder.path().join("x.ended.json")]);
    }

    #[test]
    fn a_spool_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let first = Spool::open(folder.path()).unwrap();
        assert!(matches!(Spool::open(folder.path()), Err(SpoolError::InUse { .. })));
        drop(first);
        assert!(Spool::open(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Spool::open(&file).unwrap_err().to_string();
        assert!(error.contains("can't be written") && error.contains("file"), "{error}");
    }
}
