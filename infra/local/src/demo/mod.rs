//! `ringfleet demo`: one whole call on this machine, from `POST /api/v1/dialout` to the CRM, to a customer who is the
//! built-in test phone. It must never look into the platform: it uses what a client, a carrier and a CRM would see.

mod scene;
mod script;
mod show;
mod sink;
mod verdict;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use infra::config::TelemetryConfig;
use secrecy::ExposeSecret;
use serde_json::json;
use server::provider::{ModelSet, Speech};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::models::fetch_into;
use crate::cli::{init_telemetry, say};
use crate::platform::load_speech;
use crate::settings::Settings;
use scene::Scene;
use show::Screen;
use verdict::Evidence;

/// Quiet, so that the conversation is what one reads; what is missing is said by the demo itself.
const LOG_LEVEL: &str = "warn,local::platform=error,server::provider::tts=error,server::talk::plan=error";

/// Flags of `ringfleet demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Print one JSON object: {call_id, result, push, wav, timings}
    #[arg(long)]
    pub json: bool,
    /// Where to put the recording
    #[arg(long, value_name = "FILE", default_value = "ringfleet-demo.wav")]
    pub wav: PathBuf,
    /// Keep the platform's data in this folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// The folder of the speech models [default: ringfleet/models in the user's cache folder, ~/.cache]
    #[arg(long, value_name = "DIR", env = "RINGFLEET_MODELS")]
    pub models: Option<PathBuf>,
    /// Don't download speech models that are missing; go on without them
    #[arg(long)]
    pub offline: bool,
}

/// Plays the demo; the exit code is 0 only if all of it worked.
///
/// # Errors
/// One line that says what could not even be started, and what to do.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    tokio::select! {
        done = play(&args) => done,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn play(args: &DemoArgs) -> Result<ExitCode> {
    let mut settings = Settings::load(None, toml::Table::new())?;
    if settings.telemetry.level == TelemetryConfig::default().level {
        settings.telemetry.level = LOG_LEVEL.to_owned();
    }
    init_telemetry(&settings.telemetry)?;
    let screen = Screen::new(is_coloured());
    screen.title();
    // Before anything takes time: a recording that can't be put down would be a pity.
    let wav = writable(&args.wav)?;
    let speech = speech(args, &screen).await?;

    let folder = match &args.keep {
        Some(folder) => Folder::Kept(folder.clone()),
        None => Folder::Temporary(tempfile::tempdir().context("a temporary data folder cannot be made")?),
    };
    let mut scene = Scene::set(settings, folder.path(), speech.clone()).await?;
    screen.scene(&scene, speech.status());
    let evidence = watch::call(&mut scene, &screen, wav.clone()).await;
    scene.platform.stop(CancellationToken::new()).await;
    // What only held the place of a recording that never came.
    if std::fs::metadata(&wav).is_ok_and(|file| file.len() == 0) {
        let _ = std::fs::remove_file(&wav);
    }
    let evidence = evidence?;
    if let Folder::Kept(folder) = &folder {
        screen.kept(folder, scene.admin_key.expose_secret());
    }
    Ok(conclude(args, &screen, &evidence, speech.status().stt.is_some()))
}

/// Shows what came of it and judges it.
fn conclude(args: &DemoArgs, screen: &Screen, evidence: &Evidence, listens: bool) -> ExitCode {
    let checks = verdict::judge(evidence);
    screen.timings(evidence);
    screen.push(evidence);
    screen.recording(evidence);
    screen.verdict(&checks, listens);
    if args.json {
        let push = evidence.push.as_ref();
        say(&json!({
            "call_id": evidence.call_id,
            "result": evidence.result,
            "push": {
                "status": push.map(|push| push.status),
                "body": push.map(|push| &push.body),
                "headers": push.map(|push| &push.headers),
            },
            "wav": evidence.wav,
            "timings": evidence.result["latency"],
        })
        .to_string());
    }
    if checks.iter().all(|check| check.fault.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads the speech models, after fetching what is missing; without them the demo goes on, and says so.
async fn speech(args: &DemoArgs, screen: &Screen) -> Result<Arc<Speech>> {
    let folder = args.models.clone().unwrap_or_else(ModelSet::default_dir);
    if let Err(missing) = ModelSet::locate(&folder) {
        if args.offline {
            screen.warn(&missing.to_string());
        } else if let Err(error) = fetch_into(folder.clone()).await {
            screen.warn(&format!("{missing}; they could not be fetched now: {error:#}"));
        }
    }
    let speech = load_speech(folder).await?;
    for warning in &speech.status().warnings {
        screen.warn(warning);
    }
    Ok(speech)
}

/// Where the platform keeps its data while the demo runs.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// The absolute path of a file that can be written.
fn writable(file: &Path) -> Result<PathBuf> {
    let cannot = || format!("the recording cannot be put at {}: choose another place with --wav", file.display());
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = file.file_name().with_context(cannot)?;
    let path = folder.canonicalize().with_context(cannot)?.join(name);
    std::fs::OpenOptions::new().append(true).create(true).open(&path).with_context(cannot)?;
    Ok(path)
}

/// As terminals and their users have agreed: `NO_COLOR` and `CLICOLOR_FORCE` decide before the terminal does.
fn is_coloured() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    !set("NO_COLOR") && (set("CLICOLOR_FORCE") || std::io::stderr().is_terminal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recordings_place_is_tried_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("call.wav");
        assert_eq!(writable(&file).unwrap(), folder.path().canonicalize().unwrap().join("call.wav"));
        std::fs::write(&file, "kept").unwrap();
        writable(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        for wrong in [folder.path().join("no/such/folder.wav"), folder.path().to_owned(), "/".into()] {
            let error = format!("{:#}", writable(&wrong).unwrap_err());
            assert!(error.contains("choose another place with --wav"), "{error}");
        }
    }
}
