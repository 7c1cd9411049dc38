//! `ringfleet models fetch`: makes the folder of speech models complete.
//! It must never draw its progress on standard output.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use server::provider::ModelSet;
use server::provider::models::{Progress, Stage, fetch};

use super::{is_terminal, note, say};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ModelsCommand {
    /// Download what is missing, once, with checksums
    Fetch(FetchArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct FetchArgs {
    /// The folder of the speech models [default: ringfleet/models in the user's cache folder, ~/.cache]
    #[arg(long, value_name = "DIR", env = "RINGFLEET_MODELS")]
    models: Option<PathBuf>,
}

pub(super) async fn run(command: ModelsCommand) -> Result<ExitCode> {
    let ModelsCommand::Fetch(args) = command;
    let folder = args.models.unwrap_or_else(ModelSet::default_dir);
    fetch_into(folder.clone()).await?;
    say(&folder.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Makes `folder` complete, with a bar on standard error.
///
/// # Errors
/// Says what could not be fetched and what to do.
pub(crate) async fn fetch_into(folder: PathBuf) -> Result<ModelSet> {
    let fetching = tokio::task::spawn_blocking(move || {
        let mut bar = Bar::default();
        let fetched = fetch(&folder, |progress| bar.show(&progress));
        bar.clear();
        fetched
    });
    Ok(fetching.await.context("the models cannot be fetched")??)
}

/// One bar for the package under way; a line for each package where nothing can be drawn over.
#[derive(Default)]
struct Bar {
    drawn: Option<(&'static str, ProgressBar)>,
    told: Option<(&'static str, Stage)>,
}

impl Bar {
    fn show(&mut self, progress: &Progress) {
        if !is_terminal() {
            return self.tell(progress);
        }
        let same = matches!(&self.drawn, Some((package, _)) if *package == progress.package);
        if !same {
            self.clear();
            self.drawn = Some((progress.package, ProgressBar::no_length().with_style(style())));
        }
        let Some((_, bar)) = &self.drawn else { return };
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_message(format!("{} {}", word(progress.stage), progress.package));
        bar.set_position(progress.bytes);
        if progress.stage == Stage::Ready {
            self.clear();
            note(&format!("{} is there", progress.package));
        }
    }

    fn tell(&mut self, progress: &Progress) {
        let now = Some((progress.package, progress.stage));
        if self.told != now {
            self.told = now;
            note(&format!("{} {}", word(progress.stage), progress.package));
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.drawn.take() {
            bar.finish_and_clear();
        }
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Downloading => "downloading",
        Stage::Checking => "checking",
        Stage::Unpacking => "unpacking",
        Stage::Ready => "ready:",
    }
}

fn style() -> ProgressStyle {
    let with_rate = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(with_rate).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_s_template_is_one() {
        assert!(ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}").is_ok());
    }
}
