//! Recordings: one thread writes the blocks that media threads finish into files of the spool, so that neither a slow
//! disk nor an upload ever touches a media thread. It must never block a media thread: a full queue is counted.

mod checkpoint;
mod writer;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use checkpoint::{Checkpoints, Source};
pub use writer::{RecordingId, Recordings, Saved, WriterError};

/// Bytes a second of a recording: 8 kHz, 16 bit, stereo.
pub const BYTES_PER_SECOND: u64 = 32_000;

/// Writes the true length into the header of a file whose writer died.
///
/// # Errors
/// When the file can't be read or written.
pub fn repair(path: &Path) -> io::Result<()> {
    let data = fs::metadata(path)?.len().saturating_sub(media::wav::HEADER as u64);
    let file = OpenOptions::new().write(true).open(path)?;
    patch(&file, data)?;
    file.sync_all()
}

/// The length of a recording, milliseconds; `None` without a file.
pub fn length_ms(path: &Path) -> Option<u64> {
    let data = fs::metadata(path).ok()?.len().checked_sub(media::wav::HEADER as u64)?;
    Some(data * 1000 / BYTES_PER_SECOND)
}

fn patch(file: &fs::File, data: u64) -> io::Result<()> {
    for (at, bytes) in media::wav::patches(data) {
        file.write_all_at(&bytes, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_file_becomes_a_valid_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        let mut bytes = media::wav::CALL_RECORDING.header(0).to_vec();
        bytes.extend([1; 64_000]);
        fs::write(&path, bytes).unwrap();
        repair(&path).unwrap();
        let wav = media::wav::Wav::read(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((wav.channels, wav.sample_rate, wav.samples.len()), (2, 8000, 32_000));
        assert_eq!(length_ms(&path), Some(2000));
        assert_eq!(length_ms(&folder.path().join("none")), None);
    }
}
