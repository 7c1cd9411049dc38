//! What the providers' tests share: models if they are installed, and saying so when they are not.

use std::time::Duration;

use tokio::sync::mpsc;

use super::models::ModelSet;

/// Longest a test waits for an event before it fails: generous, never measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says why a test proves nothing here. With `RINGFLEET_REQUIRE_MODELS` set that is a failure.
pub(super) fn skip(reason: &str) {
    assert!(std::env::var_os("RINGFLEET_REQUIRE_MODELS").is_none(), "required, but {reason}");
    eprintln!("SKIPPED: {reason}");
}

/// The models of the default folder, if all are there.
pub(super) fn models() -> Option<ModelSet> {
    match ModelSet::locate(&ModelSet::default_dir()) {
        Ok(models) => Some(models),
        Err(missing) => {
            skip(&missing.to_string());
            None
        }
    }
}

/// The next event of a channel that must have one, from a plain thread.
pub(super) fn next<T: Send>(events: &mut mpsc::Receiver<T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event in time") })
}
