//! The `flite` program as a child process for each clause: robotic, but instant and everywhere.
//! It must never be given text on its command line, where every user of the machine could read it.

use std::fs;
use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use media::wav::Wav;
use tempfile::TempDir;

use super::pool::Synthesiser;
use super::shape::Waveform;
use crate::provider::config::{Engine, VoiceSpec};
use crate::provider::error::{Deadline, ProviderError};

/// Vendor word.
pub const VENDOR: &str = "flite";

/// Voices that Debian's package has built in.
pub const VOICES: &[&str] = &["slt", "rms", "awb", "kal16"];

/// Longest a clause may take; it takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the child is looked at.
const POLL: Duration = Duration::from_millis(3);

/// One thread's flite, with a private folder for its output.
#[derive(Debug)]
pub struct Flite {
    folder: TempDir,
}

impl Flite {
    /// Prepares to run flite.
    ///
    /// # Errors
    /// If no temporary folder can be made.
    pub fn new() -> Result<Self, ProviderError> {
        let folder = tempfile::Builder::new().prefix("ringfleet-flite-").tempdir();
        Ok(Self { folder: folder.map_err(|e| ProviderError::engine(VENDOR, "making a temporary folder", e))? })
    }

    /// Whether flite is installed and starts.
    pub fn is_available() -> bool {
        let run = Command::new("flite")
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Its `--version` ends with status 1 in some builds: starting is enough.
        run.is_ok()
    }

    fn run(&self, spec: &VoiceSpec, text: &str) -> io::Result<Option<ExitStatus>> {
        let stretch = spec.pitch() / spec.speed();
        let mut child = Command::new("flite")
            .args(["-voice", &spec.name, "--setf", &format!("duration_stretch={stretch}"), "-f", "/dev/stdin", "-o"])
            .arg(self.wave())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Longer than a pipe holds is refused before; flite reads all of it first.
            stdin.write_all(text.as_bytes())?;
        }
        await_exit(child)
    }

    fn wave(&self) -> std::path::PathBuf {
        self.folder.path().join("clause.wav")
    }
}

impl Synthesiser for Flite {
    fn engine(&self) -> Engine {
        Engine::Flite
    }

    fn synthesise(&mut self, spec: &VoiceSpec, text: &str) -> Result<Waveform, ProviderError> {
        if !VOICES.contains(&spec.name.as_str()) {
            return Err(ProviderError::Unsupported { vendor: VENDOR, what: "voice" });
        }
        let failed = |e: io::Error| ProviderError::engine(VENDOR, "speaking", e);
        let status = self.run(spec, text).map_err(failed)?;
        let status = status.ok_or(ProviderError::Deadline { vendor: VENDOR, deadline: Deadline::FirstResult })?;
        if !status.success() {
            return Err(ProviderError::engine(VENDOR, "speaking", status));
        }
        let bytes = fs::read(self.wave()).map_err(failed)?;
        fs::remove_file(self.wave()).map_err(failed)?;
        let wave = Wav::read(&bytes).map_err(|e| ProviderError::engine(VENDOR, "speaking", e))?;
        let samples = wave.channel(0).into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
        Ok(Waveform { samples, rate: wave.sample_rate })
    }
}

/// Waits for the child's end; kills it when patience ends.
fn await_exit(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_with_its_own_voices_only() {
        if !Flite::is_available() {
            return crate::provider::test_support::skip("flite is not installed");
        }
        let mut flite = Flite::new().unwrap();
        let spec = VoiceSpec::new(Engine::Flite, "slt");
        // A machine that stands still for as long as a clause may take is no fault of flite's.
        let mut said = |spec: &VoiceSpec| {
            (0..3).find_map(|_| flite.synthesise(spec, "Hello there. How are you today?").ok()).unwrap()
        };
        let normal = said(&spec);
        let seconds = normal.samples.len() as f32 / normal.rate as f32;
        assert!((1.0..5.0).contains(&seconds), "{seconds}");
        assert!(normal.samples.iter().any(|s| s.abs() > 0.1));
        let slow = said(&VoiceSpec { speed_permille: 500, ..spec });
        assert!(slow.samples.len() > normal.samples.len() * 3 / 2);
        let unknown = VoiceSpec::new(Engine::Flite, "nobody");
        assert!(matches!(flite.synthesise(&unknown, "x"), Err(ProviderError::Unsupported { .. })));
    }
}
