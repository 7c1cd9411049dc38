//! A persistent `espeak-ng` child process that turns text into IPA phonemes.
//!
//! It is a program of its own, talked to over pipes: its GPL code is never linked. It must never
//! be given text on its command line, where every user of the machine could read it.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::provider::error::{Deadline, ProviderError};

const VENDOR: &str = "espeak-ng";

/// Longest wait for one line of phonemes; it takes some 4 ms.
const PATIENCE: Duration = Duration::from_secs(3);

/// Said after each part, so that its end is known: one line of text may give several of phonemes.
const SENTINEL: &str = "zxyqvox";

/// Lines the reader may be ahead.
const LINES: usize = 64;

/// One thread's phonemizer; starts its child when first needed, and again after a failure.
#[derive(Debug)]
pub(super) struct Phonemizer {
    voice: String,
    child: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// What the sentinel sounds like.
    sentinel: String,
}

impl Phonemizer {
    /// A phonemizer for an espeak-ng voice (`en-us`).
    pub(super) fn new(voice: &str) -> Self {
        Self { voice: voice.to_owned(), child: None }
    }

    /// Whether espeak-ng is installed and starts.
    pub(super) fn is_available() -> bool {
        let run = Command::new("espeak-ng")
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    }

    /// Phonemes of each of `parts`, which hold no line breaks.
    pub(super) fn phonemes<'a>(&mut self, parts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, ProviderError> {
        let parts: Vec<&str> = parts.collect();
        // Taken out, so that after a failure a new child starts instead of a half-read one. One that died since it was last
        // asked costs nobody a word.
        if let Some(running) = self.child.take() {
            match self.ask(running, &parts) {
                Err(error) => tracing::warn!(%error, "espeak-ng is started again"),
                phonemes => return phonemes,
            }
        }
        self.ask(Running::start(&self.voice)?, &parts)
    }

    /// Keeps the child if it answers.
    fn ask(&mut self, mut running: Running, parts: &[&str]) -> Result<Vec<String>, ProviderError> {
        let phonemes = parts.iter().map(|part| running.speak(part)).collect::<Result<_, _>>()?;
        self.child = Some(running);
        Ok(phonemes)
    }
}

impl Running {
    fn start(voice: &str) -> Result<Self, ProviderError> {
        let failed = |e: io::Error| ProviderError::engine(VENDOR, "starting (is it installed?)", e);
        let mut process = Command::new("espeak-ng")
            .args(["-q", "--ipa", "-b", "1", "-v", voice])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let (sender, lines) = sync_channel(LINES);
        let reader = move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("espeak".to_owned()).spawn(reader).map_err(failed)?;
        let mut running = Self { process, stdin, lines, sentinel: String::new() };
        running.write(&[SENTINEL])?;
        running.sentinel = running.line(Instant::now() + PATIENCE)?;
        Ok(running)
    }

    fn speak(&mut self, part: &str) -> Result<String, ProviderError> {
        self.write(&[part, SENTINEL])?;
        let deadline = Instant::now() + PATIENCE;
        let mut phonemes = String::new();
        loop {
            let line = self.line(deadline)?;
            if line == self.sentinel {
                return Ok(phonemes);
            }
            if !phonemes.is_empty() {
                phonemes.push(' ');
            }
            phonemes.push_str(line.trim());
        }
    }

    fn write(&mut self, lines: &[&str]) -> Result<(), ProviderError> {
        let mut text = lines.join("\n");
        text.push('\n');
        let written = self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.flush());
        written.map_err(|e| ProviderError::engine(VENDOR, "taking text", e))
    }

    fn line(&self, deadline: Instant) -> Result<String, ProviderError> {
        let wait = deadline.saturating_duration_since(Instant::now());
        self.lines
            .recv_timeout(wait)
            .map_err(|_| ProviderError::Deadline { vendor: VENDOR, deadline: Deadline::FirstResult })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way its entry in the process table must go.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phonemizer() -> Option<Phonemizer> {
        if Phonemizer::is_available() {
            return Some(Phonemizer::new("en-us"));
        }
        crate::provider::test_support::skip("espeak-ng is not installed");
        None
    }

    #[test]
    fn each_part_gets_its_own_phonemes() {
        let Some(mut phonemizer) = phonemizer() else { return };
        // A machine that stands still for as long as a line may take is no fault of the child's.
        let parts = ["Hello", "second. line. here", "", "hello"];
        let got = (0..3).find_map(|_| phonemizer.phonemes(parts.into_iter()).ok()).unwrap();
        assert_eq!(got[0], "həlˈoʊ");
        assert!(got[1].starts_with("sˈɛkənd") && got[1].ends_with("hˈɪɹ"), "{}", got[1]);
        assert_eq!(got[2], "");
        assert_eq!(got[3], got[0]);
        assert_eq!(phonemizer.phonemes(["Hello"].into_iter()).unwrap(), [got[0].as_str()], "the same child again");
    }

    #[test]
    fn a_killed_child_is_replaced_and_nothing_is_lost() {
        let Some(mut phonemizer) = phonemizer() else { return };
        phonemizer.phonemes(["Hello"].into_iter()).unwrap();
        let child = phonemizer.child.as_mut().unwrap();
        child.process.kill().unwrap();
        child.process.wait().unwrap();
        assert_eq!(phonemizer.phonemes(["Hello"].into_iter()).unwrap(), ["həlˈoʊ"]);
    }
}
