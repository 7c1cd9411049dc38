//! `ringfleet up`: starts the platform, says that it is ready, and runs until it is told to end.
//! It must never print anything on standard output but the ready line or page.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::flags::SettingsFlags;
use super::{init_telemetry, say};
use crate::platform::Platform;

#[derive(Debug, Clone, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Say that it is ready in one line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: UpArgs) -> Result<ExitCode> {
    let settings = args.settings.load()?;
    init_telemetry(&settings.telemetry)?;
    infra::failpoint::arm()?;
    let platform = Platform::start(settings).await?;
    let mut signals = Signals::new()?;
    let ready = platform.ready();
    say(&if args.json { ready.to_json() } else { ready.to_text(platform.speech()) });

    let force = CancellationToken::new();
    let code = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, calls = platform.calls(), "ending: live calls may finish; a second signal ends them");
            ExitCode::SUCCESS
        }
        () = platform.superseded() => {
            tracing::error!("another process has taken over this fleet server's id; ending. Give each its own with --server-id");
            // The control plane ends the calls of an older incarnation: they must not talk on.
            force.cancel();
            ExitCode::FAILURE
        }
    };
    let forcing = force.clone();
    let second = tokio::spawn(async move {
        signals.next().await;
        forcing.cancel();
    });
    platform.stop(force).await;
    second.abort();
    Ok(code)
}

/// What asks a process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for one, and tells its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
