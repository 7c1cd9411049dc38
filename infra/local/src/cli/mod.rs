//! The command line: `ringfleet [up]`, `demo`, `call`, `doctor`, `models`, and what admins do.
//! It must never end in a panic or a backtrace: a mistake is one line on standard error that says what to do, and the
//! exit code 2 where it was in a flag or a setting, else 1.

mod admin;
pub(crate) mod api;
mod call;
mod deployment;
mod doctor;
mod erase;
mod flags;
pub(crate) mod models;
mod place;
mod queue;
mod report;
mod up;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use infra::config::{ConfigError, TelemetryConfig};
use infra::telemetry::{self, TelemetryError};
use server::SettingsError;
use tokio::runtime::Runtime;

/// The exit code of a mistake in flags or settings, as clap has it.
const USAGE: u8 = 2;
/// What libraries under us say on every request, and nobody wants to read at `info`; a directive for one of these in
/// `telemetry.level` comes after and wins.
const QUIET: &str =
    "s3s=warn,s3s_fs=warn,dynoxide=warn,winterbaume=warn,hyper=warn,aws=warn,rten=warn,ort=warn,infra::schema=warn";
/// Threads that block (models, name lookups) are not waited for longer than this at the end.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// AI phone calls: the whole platform in one process. Without a command: `up`.
#[derive(Debug, Parser)]
#[command(name = "ringfleet", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    up: up::UpArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the platform and run until SIGTERM or Ctrl-C
    Up(up::UpArgs),
    /// Show one whole call on this machine: a bot, a customer who talks, a CRM
    Demo(crate::demo::DemoArgs),
    /// Place one call from the terminal
    Call(call::CallArgs),
    /// Check that everything a call needs is there, and say what to do where it is not
    Doctor(doctor::DoctorArgs),
    /// The speech models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Bots of a running platform
    #[command(subcommand)]
    Bot(admin::BotCommand),
    /// Trunks of a running platform
    #[command(subcommand)]
    Trunk(admin::TrunkCommand),
    /// Erase a person from all calls of a running platform, by phone number
    Erase(erase::EraseArgs),
    /// API keys of a running platform
    #[command(subcommand)]
    Key(admin::KeyCommand),
    /// Calls of a running platform
    #[command(subcommand)]
    Calls(admin::CallsCommand),
    /// Fleet servers of a running platform
    #[command(subcommand)]
    Fleet(admin::FleetCommand),
    /// What a deployment keeps secret: the keys that seal it, and what its parts know each other by
    #[command(subcommand)]
    Secrets(admin::SecretsCommand),
    /// A deployment on AWS
    #[command(subcommand)]
    Deployment(deployment::DeploymentCommand),
    /// Queues of a deployment, and what they gave up
    #[command(subcommand)]
    Queue(queue::QueueCommand),
}

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let command = cli.command.unwrap_or(Command::Up(cli.up));
    let done = runtime().and_then(|runtime| {
        let done = runtime.block_on(dispatch(command));
        runtime.shutdown_timeout(LEFTOVERS);
        done
    });
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::from(exit_code(&error))
    })
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Demo(args) => crate::demo::run(args).await,
        Command::Call(args) => call::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Models(command) => models::run(command).await,
        Command::Bot(command) => admin::bot(command).await,
        Command::Trunk(command) => admin::trunk(command).await,
        Command::Erase(args) => erase::run(args).await,
        Command::Key(command) => admin::key(command).await,
        Command::Calls(command) => admin::calls(command).await,
        Command::Fleet(command) => admin::fleet(command).await,
        Command::Secrets(command) => admin::secrets(command).await,
        Command::Deployment(command) => deployment::run(command).await,
        Command::Queue(command) => queue::run(command).await,
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Help and version are answers; everything else is one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    complain(&format!("{}; see ringfleet --help", one_line(&error.render().to_string())));
    ExitCode::from(USAGE)
}

/// clap's message without its usage paragraph.
fn one_line(rendered: &str) -> String {
    let message = rendered.split("\nUsage:").next().unwrap_or_default();
    let message = message.split("\nFor more information").next().unwrap_or_default();
    let words: Vec<&str> = message.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").replace(" tip: ", "; ")
}

fn complain(message: &str) {
    let words: Vec<&str> = message.split_whitespace().collect();
    let _ = writeln!(std::io::stderr(), "ringfleet: {}", words.join(" "));
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let usage = error.is::<ConfigError>()
        || error.is::<SettingsError>()
        || error.is::<TelemetryError>()
        || error.is::<api::KeyNeeded>();
    if usage { USAGE } else { 1 }
}

/// Directs events to standard error.
///
/// # Errors
/// The level in the settings is none.
pub(crate) fn init_telemetry(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let level = format!("{QUIET},{}", config.level);
    match telemetry::init(&TelemetryConfig { level, ..config.clone() }) {
        // The user wrote only the last part of it.
        Err(TelemetryError::Level { cause, .. }) => Err(TelemetryError::Level { level: config.level.clone(), cause }),
        other => other,
    }
}

/// Writes a program's answer. Whoever does not read it to its end does not want it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes progress for people.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether progress may be drawn over itself.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_are_one_line() {
        let check = |arguments: &[&str], expect: &str| {
            let error = Cli::try_parse_from(std::iter::once(&"ringfleet").chain(arguments)).unwrap_err();
            assert_eq!(one_line(&error.render().to_string()), expect, "{arguments:?}");
        };
        check(&["--htpt", "x"], "unexpected argument '--htpt' found; a similar argument exists: '--http'");
        check(&["up", "--http", "x"], "invalid value 'x' for '--http <ADDRESS>': invalid socket address syntax");
        check(&["dance"], "unrecognized subcommand 'dance'");
        check(&["call"], "the following required arguments were not provided: --bot <FILE|ID> --to <SIP-URI>");
        check(&["--fleet", "both"], "invalid value 'both' for '--fleet <MODE>' [possible values: embedded, external]");
    }

    #[test]
    fn no_command_is_up() {
        let parse = |arguments: &[&str]| Cli::try_parse_from(std::iter::once(&"ringfleet").chain(arguments)).unwrap();
        assert!(parse(&["--json", "--http", "127.0.0.1:0"]).command.is_none());
        assert!(parse(&["--json"]).up.json);
        assert!(matches!(parse(&["up", "--json"]).command, Some(Command::Up(args)) if args.json));
        assert!(Cli::try_parse_from(["ringfleet", "--json", "doctor"]).is_err());
    }
}
