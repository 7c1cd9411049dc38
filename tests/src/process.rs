//! A program under test: its output by the line, its end, and its death.
//! It must never outlive its test.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::tools::note;
use crate::wait::{until, within};

/// How much of its last words a failed test shows.
const LAST_LINES: usize = 80;
/// From a signal to the end.
const END: Duration = Duration::from_secs(60);
/// From a program's end to that of what it said.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Runs a command until it ends or standard input does; whoever outlives the asking by ten seconds is killed, and so are the
/// children that it leaves behind.
const LEASH: &str = r#"exec 3<&0; setsid "$@" 3<&- & child=$!
(cat <&3; kill "$child"; for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 "$child" || exit; done; kill -9 "$child") > /dev/null 2>&1 &
exec 3<&-; wait "$child"; verdict=$?; kill -9 "-$child" 2> /dev/null; exit $verdict"#;

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    /// Its end was asked for: nobody needs its last words.
    ended: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("id", &self.child.id()).finish_non_exhaustive()
    }
}

/// What a program that ran to its end left.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A command without the caller's own Ringfleet settings.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        let kept = matches!(&*name, "RINGFLEET_MODELS");
        (name.starts_with("RINGFLEET_") || name.starts_with("AWS_") || name == "RUST_LOG") && !kept
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    // Of the ports with a fixed default, the one that most tests have no interest in.
    command.env("RINGFLEET_FLEET_WS", "127.0.0.1:0");
    command
}

impl Process {
    /// Starts it with its output captured.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, command: Command) -> Result<Self> {
        Self::spawn(name, command, Stdio::null())
    }

    /// As [`Process::start`], for a server of somebody else's that has children of its own: it is asked to end, and ends
    /// them, as soon as nobody here holds it any more, even if this process is killed.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_leashed(name: &str, command: &Command) -> Result<Self> {
        let command = command.as_std();
        let mut leashed = Command::new("sh");
        leashed.args(["-c", LEASH, "leash"]).arg(command.get_program()).args(command.get_args()).env_clear();
        leashed.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        leashed.current_dir(command.get_current_dir().context("a leashed program has a folder of its own")?);
        Self::spawn(name, leashed, Stdio::piped())
    }

    fn spawn(name: &str, mut command: Command, stdin: Stdio) -> Result<Self> {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} can't be started: {command:?}"))?;
        let stdout = Lines::of(child.stdout.take());
        let stderr = Lines::of(child.stderr.take());
        Ok(Self { name: name.to_owned(), child, stdout, stderr, ended: false })
    }

    /// The first line of standard output that `wanted` takes.
    ///
    /// # Errors
    /// It ended, or the deadline passed.
    pub async fn line<T>(&mut self, limit: Duration, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let what = format!("a line of {}", self.name);
        let mut seen = self.stdout.clone();
        let found = within(what, limit, seen.find(wanted)).await?;
        found.with_context(|| format!("{} ended: {}", self.name, self.last_words()))
    }

    /// Waits until standard error has a line with `text`.
    ///
    /// # Errors
    /// The deadline passed, or it ended first.
    pub async fn logged(&self, text: &str, limit: Duration) -> Result<String> {
        let what = format!("{text:?} in the log of {}", self.name);
        let mut seen = self.stderr.clone();
        let wanted = |line: &str| line.contains(text).then(|| line.to_owned());
        within(&what, limit, seen.find(wanted)).await?.with_context(|| format!("{} ended without {what}", self.name))
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The deadline passed.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = within(format!("the end of {}", self.name), limit, self.child.wait()).await??;
        self.ended = true;
        Ok(status)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The deadline passed.
    pub async fn run(mut self, limit: Duration) -> Result<Ran> {
        let status = self.wait(limit).await?;
        self.stdout.close().await;
        self.stderr.close().await;
        Ok(Ran { status, stdout: self.stdout.text(), stderr: self.stderr.text() })
    }

    /// SIGTERM, and its end.
    ///
    /// # Errors
    /// It does not end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait(END).await
    }

    /// Lets a leashed program go: it ends.
    ///
    /// # Errors
    /// It does not end.
    pub async fn let_go(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.wait(END).await.map(|_| ())
    }

    /// kill -9.
    ///
    /// # Errors
    /// It does not even then.
    pub async fn kill(&mut self) -> Result<()> {
        self.ended = true;
        self.child.start_kill().with_context(|| format!("{} can't be killed", self.name))?;
        self.wait(END).await.map(|_| ())
    }

    /// kill -9, unless it has ended.
    ///
    /// # Errors
    /// It does not even then.
    pub async fn kill_if_alive(&mut self) -> Result<()> {
        self.ended = true;
        match self.child.try_wait()? {
            Some(_) => Ok(()),
            None => self.kill().await,
        }
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    /// It is gone already.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let Some(id) = self.child.id() else { bail!("{} has ended: {}", self.name, self.last_words()) };
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status()?;
        if sent.success() { Ok(()) } else { bail!("{} can't be sent {signal}", self.name) }
    }

    /// What it holds now: resident memory, KiB, and open files.
    ///
    /// # Errors
    /// It has ended.
    pub fn holds(&self) -> Result<(u64, usize)> {
        let id = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        Ok((resident.context("no VmRSS")?, std::fs::read_dir(format!("/proc/{id}/fd"))?.count()))
    }

    fn last_words(&self) -> String {
        let text = format!("{}\n{}", self.stdout.text(), self.stderr.text());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// A test that ends early has failed: what its programs said last tells why.
impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            note(&format!("--- {} said last:\n{}\n---", self.name, self.last_words()));
        }
    }
}

/// The lines of one stream, as they come.
#[derive(Clone)]
struct Lines {
    all: Arc<Mutex<Vec<String>>>,
    /// How many there are; closed at the stream's end.
    count: watch::Receiver<usize>,
}

impl Lines {
    fn of(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let all: Arc<Mutex<Vec<String>>> = Arc::default();
        let (told, count) = watch::channel(0);
        let kept = all.clone();
        tokio::spawn(async move {
            let Some(stream) = stream else { return };
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                bytes.clear();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                told.send_modify(|count| *count += 1);
            }
        });
        Self { all, count }
    }

    /// The first line that `wanted` takes; none if the stream ends without one.
    async fn find<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut looked_at = 0;
        loop {
            let open = self.count.wait_for(|count| *count > looked_at).await.is_ok();
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = all[looked_at..].iter().find_map(|line| wanted(line)) {
                return Some(found);
            }
            looked_at = all.len();
            if !open {
                return None;
            }
        }
    }

    /// Waits for the stream's end; a grandchild may hold it open for longer than anybody cares.
    async fn close(&mut self) {
        let _ = tokio::time::timeout(LAST_WORDS, self.count.wait_for(|_| false)).await;
    }

    fn text(&self) -> String {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

/// Waits until a file is there and not empty; its bytes.
///
/// # Errors
/// The deadline passed.
pub async fn file(path: &Path, limit: Duration) -> Result<Vec<u8>> {
    until(format!("the file {}", path.display()), limit, || async {
        Ok(std::fs::read(path).ok().filter(|bytes| !bytes.is_empty()))
    })
    .await
}
