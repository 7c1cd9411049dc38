//! What people get wrong on the command line: one clear line that says what and what to do, and no panic.

use std::ffi::OsString;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::process::{Process, Ran, command};
use ringfleet_tests::{binaries, gate, tools};

const RUN: Duration = Duration::from_secs(120);

async fn run(program: PathBuf, arguments: &[OsString]) -> Result<Ran> {
    let mut command = command(&program);
    // Whatever is started by mistake must not write into the home of whoever runs the tests.
    let home = tempfile::tempdir()?;
    command.args(arguments).current_dir(home.path()).env("HOME", home.path()).env_remove("XDG_DATA_HOME");
    Process::start("a mistake", command)?.run(RUN).await
}

/// Ends with `code`, after exactly one line on standard error that holds all of `parts`.
async fn check(program: PathBuf, arguments: &[&str], code: i32, parts: &[&str]) {
    let _turn = gate::part().await;
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let ran = run(program, &arguments).await.unwrap();
    one_line(&ran, code, parts).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
}

fn one_line(ran: &Ran, code: i32, parts: &[&str]) -> Result<()> {
    let complaint = ran.stderr.trim_end();
    // Warnings of the log may come first; what ends the program is the last line, and the only one of its kind.
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.starts_with('{')).collect();
    ensure!(ran.status.code() == Some(code), "ended with {}: {complaint}", ran.status);
    ensure!(lines.len() == 1, "not one line but {}: {complaint}", lines.len());
    ensure!(ran.stdout.trim().is_empty(), "on standard output: {}", ran.stdout);
    for part in parts {
        ensure!(complaint.contains(part), "{part:?} is not in: {complaint}");
    }
    ensure!(!complaint.contains("panicked") && !complaint.to_lowercase().contains("backtrace"), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_flag_a_wrong_value_and_an_unknown_key_are_named() {
    let up = |arguments: &[&str], parts: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let parts: Vec<String> = parts.iter().map(|&text| text.to_owned()).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            check(binaries::ringfleet(), &arguments, 2, &parts).await;
        }
    };
    up(&["--htpt", "127.0.0.1:1"], &["--htpt", "--http"]).await;
    up(&["up", "--http", "here"], &["--http", "here"]).await;
    up(&["dance"], &["dance", "--help"]).await;
    up(&["up", "--set", "periods.swep=1s"], &["periods.swep", "sweep"]).await;
    up(&["up", "--set", "periods.sweep=soon"], &["periods.sweep", "soon"]).await;
    up(&["up", "--set", "nonsense"], &["nonsense", "write e.g."]).await;
    up(&["up", "--rtp-ports", "9-8"], &["fleet.rtp_ports", "20000-29999"]).await;
    up(&["up", "--sip", "0.0.0.0:0"], &["fleet.sip", "fleet.media_advertised"]).await;
    up(&["up", "--config", "/nonexistent/ringfleet.toml"], &["/nonexistent/ringfleet.toml"]).await;
    up(&["up", "--log", "a=b=c"], &["a=b=c"]).await;
}

#[tokio::test]
async fn a_fleet_server_alone_says_what_it_lacks() {
    let fleet = binaries::ringfleet_fleet;
    check(fleet(), &["--sipp", "x"], 2, &["--sipp", "--sip"]).await;
    check(fleet(), &["--set", "fleet.max_cals=1"], 2, &["fleet.max_cals", "max_calls"]).await;
    check(fleet(), &["--sip", "127.0.0.1:0"], 1, &["--fleet-secret-file"]).await;
    check(fleet(), &["--fleet-secret-file", "/nonexistent/fleet.json"], 1, &["/nonexistent/fleet.json"]).await;
}

#[tokio::test]
async fn a_key_in_a_file_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, "[telemetry]\nlevle = 'info'\n").unwrap();
    let path = path.display().to_string();
    check(binaries::ringfleet(), &["up", "--config", &path], 2, &["telemetry.levle", "level", "my.toml"]).await;
}

#[tokio::test]
async fn a_taken_port_says_which_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (http, sip) = (http.local_addr().unwrap().to_string(), sip.local_addr().map(|at| (sip, at)).unwrap());
    let (_held, sip) = (sip.0, sip.1.to_string());
    check(
        binaries::ringfleet(),
        &["up", "--data", &data, "--http", &http, "--sip", "127.0.0.1:0"],
        1,
        &[&http, "--http"],
    )
    .await;
    check(binaries::ringfleet(), &["up", "--data", &data, "--http", "127.0.0.1:0", "--sip", &sip], 1, &[&sip, "--sip"])
        .await;
}

#[tokio::test]
async fn two_platforms_do_not_share_a_folder() {
    let _turn = gate::part().await;
    let mut first = Platform::start(Setup { deaf: true, ..Setup::default() }).await.unwrap();
    let data = first.folder().join("data").display().to_string();
    let arguments = ["up", "--data", &data, "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"].map(OsString::from);
    let second = run(binaries::ringfleet(), &arguments).await.unwrap();
    one_line(&second, 1, &["data"]).unwrap();
    first.stop().await.unwrap();
}

#[tokio::test]
async fn without_models_doctor_says_what_to_do_and_the_platform_starts_and_warns() {
    let _turn = gate::part().await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&binaries::ringfleet());
    command.args(["doctor", "--models"]).arg(folder.path());
    command.args(["--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let ran = Process::start("doctor", command).unwrap().run(RUN).await.unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    for part in ["FAIL  models", "speech recognition", "ringfleet models fetch", "Calls cannot be placed"] {
        assert!(ran.stdout.contains(part), "{part:?} is not in:\n{}", ran.stdout);
    }
    let mut platform = Platform::start(Setup { deaf: true, ..Setup::default() }).await.unwrap();
    assert!(platform.log().contains("ringfleet models fetch"), "{}", platform.log());
    platform.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_noticed_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        tools::note("SKIPPED a_full_disk_is_noticed_before_anything_starts: mounting a tmpfs is not permitted here");
        return;
    };
    let data = disk.0.join("data").display().to_string();
    check(
        binaries::ringfleet(),
        &["up", "--data", &data, "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"],
        1,
        &["no space", &data, "--data"],
    )
    .await;
}

/// A tmpfs of 4 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let place = at.display().to_string();
        tools::runs("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs", &place]).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        tools::runs("umount", &["-l", &self.0.display().to_string()]);
    }
}
