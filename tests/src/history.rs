//! What happened in a run, in order: for whoever looks for the reason of a failure.
//! It must never be part of a verdict: that is made from stores and peers.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::time::Instant;

/// A shared list of events with their times.
#[derive(Debug, Clone)]
pub struct History {
    begun: Instant,
    events: Arc<Mutex<Vec<String>>>,
}

impl Default for History {
    fn default() -> Self {
        Self { begun: Instant::now(), events: Arc::default() }
    }
}

impl History {
    /// Notes an event, now.
    pub fn note(&self, event: impl Display) {
        let line = format!("{:9.3} {event}", self.begun.elapsed().as_secs_f64());
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Writes it to a file that stays; where it is.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, name: &str) -> Result<PathBuf> {
        let path = std::env::temp_dir().join(format!("ringfleet-{name}-{}.history", std::process::id()));
        let text = self.events.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
