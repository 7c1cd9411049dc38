//! `ringfleet doctor`: looks at everything a call needs on this machine, and says what to do where it is not there.
//! It must never change anything, nor take a port for longer than the look lasts.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use infra::aws::connect;
use infra::schema::{Names, Table};
use server::Timing;
use server::provider::ModelSet;

use super::flags::SettingsFlags;
use super::report::{Check, Report, Status, not_ok, ok};
use super::say;
use crate::platform::free_space;
use crate::settings::Settings;

/// A day of calls on one line needs about this much.
const COMFORTABLE_SPACE: u64 = 2 * 1024 * 1024 * 1024;
const NEEDED_SPACE: u64 = 64 * 1024 * 1024;
const AWS_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DoctorArgs) -> Result<ExitCode> {
    let settings = args.settings.load()?;
    let checks = examine(&settings).await;
    let report = Report::of(checks);
    say(&if args.json { serde_json::to_string(&report)? } else { page(&report) });
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(settings: &Settings) -> Vec<Check> {
    let (models, missing) = ModelSet::scan(&settings.models_folder());
    let espeak = runs("espeak-ng", "--version");
    let flite = runs("flite", "--version");
    let mut checks = vec![
        models_check(&models, missing.as_ref().map(ToString::to_string), runs_pip()),
        voice_check(models.piper_joe.is_some(), espeak, flite),
        fleet_check(settings),
        port_check("api port", settings.http, "--http", |at| TcpListener::bind(at).map(|_| ())),
        port_check("sip port", settings.fleet.sip, "--sip", |at| UdpSocket::bind(at).map(|_| ())),
        port_check("private port", settings.fleet.http, "--fleet-http", |at| TcpListener::bind(at).map(|_| ())),
        port_check("WebSocket port", settings.fleet.ws, "--ws", |at| TcpListener::bind(at).map(|_| ())),
        rtp_check(settings),
        data_check(&settings.data_folder()),
    ];
    checks.push(aws_check(settings).await);
    checks
}

fn models_check(models: &ModelSet, missing: Option<String>, pip: bool) -> Check {
    let Some(missing) = missing else { return ok("models", "speech recognition and voice are there") };
    let status = if models.moonshine.is_none() { Status::Fail } else { Status::Warn };
    let fix = if pip {
        "run `ringfleet models fetch`".to_owned()
    } else {
        "python3 with pip is needed for `ringfleet models fetch`; on Debian: apt-get install python3-pip".to_owned()
    };
    not_ok("models", status, missing.split("; run ").next().unwrap_or_default(), fix)
}

fn voice_check(piper: bool, espeak: bool, flite: bool) -> Check {
    match (piper && espeak, flite) {
        (true, true) => ok("voices", "Piper, and flite to fall back on"),
        (true, false) => {
            not_ok("voices", Status::Warn, "Piper, and nothing to fall back on", "on Debian: apt-get install flite")
        }
        (false, true) => {
            let fix = if piper { "on Debian: apt-get install espeak-ng" } else { "run `ringfleet models fetch`" };
            not_ok("voices", Status::Warn, "flite only: it sounds robotic", fix)
        }
        (false, false) => not_ok(
            "voices",
            Status::Fail,
            "none: bots are silent",
            "on Debian: apt-get install espeak-ng flite; then `ringfleet models fetch`",
        ),
    }
}

/// Whether a program is there and answers.
fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // flite answers --version with an exit code of its own: that it could be started is enough.
    command.status().is_ok()
}

fn runs_pip() -> bool {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn fleet_check(settings: &Settings) -> Check {
    let periods = &settings.periods;
    let timing = Timing {
        heartbeat: periods.heartbeat.0,
        checkpoint: periods.checkpoint.0,
        announce_by: periods.announce_by.0,
        drain: periods.drain.0,
    };
    match settings.fleet.clone().check("local", timing, None) {
        Ok(config) => ok("settings", format!("fleet server {} takes {} calls", config.server_id, config.max_calls)),
        Err(error) => not_ok("settings", Status::Fail, error.to_string(), "correct this setting"),
    }
}

fn port_check(
    name: &'static str,
    at: SocketAddr,
    flag: &str,
    bind: impl Fn(SocketAddr) -> std::io::Result<()>,
) -> Check {
    match bind(at) {
        Ok(()) => ok(name, format!("{at} is free")),
        Err(error) => not_ok(
            name,
            Status::Fail,
            format!("{at} cannot be had: {error}"),
            format!("stop what uses it (a running ringfleet?), or choose another with {flag}"),
        ),
    }
}

fn rtp_check(settings: &Settings) -> Check {
    let range = &settings.fleet.rtp_ports;
    let bounds = range.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    let Some((first, last)): Option<(u16, u16)> = bounds else {
        return not_ok("rtp ports", Status::Fail, format!("`{range}` is no range"), "write --rtp-ports 20000-29999");
    };
    let pairs = usize::from(last.saturating_sub(first).saturating_add(1) / 2);
    let wanted = settings.fleet.max_calls.min(100) as usize;
    let even = (first..=last).filter(|port| port % 2 == 0).take(wanted);
    let free = even.filter(|port| UdpSocket::bind((settings.fleet.sip.ip(), *port)).is_ok()).count();
    match free {
        0 => not_ok("rtp ports", Status::Fail, format!("none of {range} is free"), "choose others with --rtp-ports"),
        _ if pairs < settings.fleet.max_calls as usize => not_ok(
            "rtp ports",
            Status::Warn,
            format!("{range} has room for {pairs} calls, not {}", settings.fleet.max_calls),
            "widen it with --rtp-ports",
        ),
        _ => ok("rtp ports", format!("{range} has room for {pairs} calls")),
    }
}

fn data_check(folder: &Path) -> Check {
    let there = existing(folder);
    let writable = tempfile::Builder::new().prefix(".doctor-").tempfile_in(&there);
    if let Err(error) = writable {
        let detail = format!("{} cannot be written: {error}", there.display());
        return not_ok("data", Status::Fail, detail, "fix its permissions, or choose another folder with --data");
    }
    let Some(free) = free_space(&there) else { return ok("data", folder.display().to_string()) };
    let detail = format!("{}: {} MiB free", folder.display(), free / 1024 / 1024);
    let fix = "free some space, or choose another folder with --data";
    if free < NEEDED_SPACE {
        not_ok("data", Status::Fail, detail, fix)
    } else if free < COMFORTABLE_SPACE {
        not_ok("data", Status::Warn, detail, fix)
    } else {
        ok("data", detail)
    }
}

/// The folder, or the nearest one above it that is there already.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|path| path.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

async fn aws_check(settings: &Settings) -> Check {
    let Some(endpoint) = &settings.aws.endpoint else {
        return ok("aws", "embedded: nothing else is needed");
    };
    let clients = connect(&settings.aws).await;
    let table = Names::new(&settings.names).table(Table::Calls);
    let look = clients.dynamodb.describe_table().table_name(&table).send();
    let fix = "check AWS_ENDPOINT_URL, the region and the credentials";
    match tokio::time::timeout(AWS_ANSWERS_WITHIN, look).await {
        Ok(Ok(_)) => ok("aws", format!("{endpoint} has the tables")),
        Ok(Err(error)) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
            ok("aws", format!("{endpoint} answers; the tables are made at the first start"))
        }
        Ok(Err(error)) => {
            let cause = aws_sdk_dynamodb::error::DisplayErrorContext(&error).to_string();
            not_ok("aws", Status::Fail, format!("{endpoint} does not work: {cause}"), fix)
        }
        Err(_) => not_ok("aws", Status::Fail, format!("{endpoint} does not answer"), fix),
    }
}

fn page(report: &Report) -> String {
    let mut lines = report.lines();
    let verdict =
        if report.ok { "Calls can be placed." } else { "Calls cannot be placed until what failed is mended." };
    lines.push(String::new());
    lines.push(verdict.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voices_are_judged_together() {
        let check = |piper, espeak, flite, expect| {
            assert_eq!(voice_check(piper, espeak, flite).status, expect, "{piper} {espeak} {flite}");
        };
        check(true, true, true, Status::Ok);
        check(true, true, false, Status::Warn);
        check(true, false, true, Status::Warn);
        check(false, true, true, Status::Warn);
        check(false, true, false, Status::Fail);
        check(true, false, false, Status::Fail);
    }

    #[test]
    fn a_taken_port_is_found_and_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let bind = |at| TcpListener::bind(at).map(|_| ());
        let found = port_check("api port", at, "--http", bind);
        assert_eq!(found.status, Status::Fail);
        assert!(found.fix.contains("--http"));
        assert_eq!(port_check("api port", "127.0.0.1:0".parse().unwrap(), "--http", bind).status, Status::Ok);
    }

    #[test]
    fn rtp_ranges_are_judged() {
        let check = |range: &str, max_calls: u32, expect: Status| {
            let mut settings = Settings::defaults();
            (settings.fleet.rtp_ports, settings.fleet.max_calls) = (range.to_owned(), max_calls);
            assert_eq!(rtp_check(&settings).status, expect, "{range}");
        };
        check("nonsense", 1, Status::Fail);
        check("30000-30003", 100, Status::Warn);
    }

    #[tokio::test]
    async fn what_is_missing_fails_the_report_and_a_folder_that_is_not_there_yet_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults().aside(&folder.path().join("not").join("yet"));
        settings.models = Some(folder.path().join("no-models"));
        let checks = examine(&settings).await;
        let status = |name: &str| checks.iter().find(|check| check.name == name).unwrap().status;
        assert_eq!(status("models"), Status::Fail);
        assert_ne!(status("data"), Status::Fail);
        assert_eq!(status("aws"), Status::Ok);
        let report = Report { ok: false, checks };
        assert!(page(&report).contains("FAIL  models") && page(&report).contains("→"));
        assert!(!folder.path().join("not").exists());
    }
}
