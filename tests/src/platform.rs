//! `ringfleet up` and `ringfleet-fleet` as processes, on free ports and folders of their own.
//! It must never share anything with another test but the speech models.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::api::Api;
use crate::process::{Process, command};
use crate::wait::until;
use crate::{binaries, ports};

/// An unoptimised build on a busy machine loads models and makes tables in this time.
const READY: Duration = Duration::from_secs(120);
/// Ports for RTP and RTCP of each fleet server; room for 50 calls.
const RTP_PORTS: u16 = 100;
const ADMIN_KEY: &str = "rf_end_to_end_tests_admin_key";

/// How a platform is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// `--set key=value`
    pub set: Vec<String>,
    /// Fleet servers are processes of their own.
    pub external: bool,
    /// An empty folder for the models: nobody listens, and the voice is flite's.
    pub deaf: bool,
}

impl Setup {
    /// Adds settings.
    #[must_use]
    pub fn with(mut self, settings: &[&str]) -> Self {
        self.set.extend(settings.iter().map(|&setting| setting.to_owned()));
        self
    }
}

/// Periods that let a test of failures finish.
pub const SHORT: &[&str] = &[
    "periods.heartbeat=500ms",
    "periods.checkpoint=1s",
    "periods.reap=1s",
    "periods.reap_stale=3s",
    "periods.sweep=1s",
    "periods.announce_by=10s",
    "periods.drain=5s",
    "periods.retry=[\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\"]",
    "periods.retry_jitter_percent=0",
];

/// A running platform.
#[derive(Debug)]
pub struct Platform {
    process: Process,
    setup: Setup,
    folder: TempDir,
    rtp: u16,
    ready: Value,
    /// As its admin.
    pub api: Api,
}

impl Platform {
    /// Starts one with short periods and an empty data folder.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(setup: Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rtp = ports::block(RTP_PORTS)?;
        let (process, ready) = launch(&setup, folder.path(), rtp).await?;
        let api = Api::new(text(&ready, "/http")?, ADMIN_KEY)?;
        Ok(Self { process, setup, folder, rtp, ready, api })
    }

    /// The ready line.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The folder of everything this platform keeps, and a place for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its resident memory, KiB, and open files.
    ///
    /// # Errors
    /// It has ended.
    pub fn holds(&self) -> Result<(u64, usize)> {
        self.process.holds()
    }

    /// SIGTERM: it must drain and end well.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate().await?;
        ensure!(status.success(), "ringfleet ended with {status}:\n{}", self.process.log());
        ensure!(!self.process.log().contains("panicked"), "something panicked:\n{}", self.process.log());
        Ok(())
    }

    /// kill -9.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts another process on the same data, after the first has gone.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn again(&mut self) -> Result<()> {
        (self.process, self.ready) = launch(&self.setup, self.folder.path(), self.rtp).await?;
        self.api = Api::new(text(&self.ready, "/http")?, ADMIN_KEY)?;
        Ok(())
    }

    /// Starts a fleet server that joins through the AWS endpoint alone.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn fleet_server(&self, id: &str) -> Result<FleetServer> {
        let server = FleetServer::start(self, id, ports::block(RTP_PORTS)?).await?;
        self.seen(id).await?;
        Ok(server)
    }

    /// Starts a fleet server's next process: same id, same spool.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn fleet_server_again(&self, gone: FleetServer) -> Result<FleetServer> {
        FleetServer::start(self, &gone.id, gone.rtp).await
    }

    /// Waits until the control plane counts a server.
    async fn seen(&self, id: &str) -> Result<()> {
        until(format!("fleet server {id} in /health/fleet"), READY, || async {
            let health = self.api.get("/health/fleet").await?;
            let workers = health["workers"].as_array().cloned().unwrap_or_default();
            Ok(workers.iter().any(|worker| worker["id"] == id).then_some(()))
        })
        .await
    }
}

async fn launch(setup: &Setup, folder: &Path, rtp: u16) -> Result<(Process, Value)> {
    let mut command = command(&binaries::ringfleet());
    command.env("RINGFLEET_ADMIN_KEY", ADMIN_KEY);
    command.args(["up", "--json", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
    command.arg("--data").arg(folder.join("data"));
    command.args(["--rtp-ports", &range(rtp), "--log", LOG]);
    if setup.external {
        command.args(["--fleet", "external"]);
    }
    add_settings(&mut command, setup, folder)?;
    let mut process = Process::start("ringfleet up", command)?;
    let ready = ready(&mut process).await?;
    Ok((process, ready))
}

const LOG: &str = "info";

fn range(first: u16) -> String {
    format!("{first}-{}", first + RTP_PORTS - 1)
}

fn add_settings(command: &mut Command, setup: &Setup, folder: &Path) -> Result<()> {
    for setting in SHORT.iter().copied().chain(setup.set.iter().map(String::as_str)) {
        command.args(["--set", setting]);
    }
    if setup.deaf {
        let empty = folder.join("no-models");
        std::fs::create_dir_all(&empty)?;
        command.arg("--models").arg(empty);
    }
    Ok(())
}

async fn ready(process: &mut Process) -> Result<Value> {
    let line = process.line(READY, |line| serde_json::from_str::<Value>(line).ok()).await?;
    ensure!(line["ready"] == true, "the ready line is {line}");
    Ok(line)
}

fn text<'a>(value: &'a Value, at: &str) -> Result<&'a str> {
    value.pointer(at).and_then(Value::as_str).with_context(|| format!("no {at} in {value}"))
}

/// A running `ringfleet-fleet`.
#[derive(Debug)]
pub struct FleetServer {
    process: Process,
    id: String,
    rtp: u16,
}

impl FleetServer {
    async fn start(platform: &Platform, id: &str, rtp: u16) -> Result<Self> {
        let ready = platform.ready();
        let mut command = command(&binaries::ringfleet_fleet());
        command.env("AWS_ENDPOINT_URL", text(ready, "/aws/endpoint")?);
        command.env("AWS_REGION", text(ready, "/aws/region")?);
        command.env("AWS_SHARED_CREDENTIALS_FILE", text(ready, "/aws/credentials_file")?);
        command.args(["--json", "--server-id", id, "--sip", "127.0.0.1:0", "--fleet-http", "127.0.0.1:0"]);
        command.args(["--fleet-secret-file", text(ready, "/fleet_secret_file")?, "--log", LOG]);
        command.args(["--rtp-ports", &range(rtp)]);
        command.arg("--spool").arg(Self::spool_of(platform, id));
        // The defaults of the fleet server alone are those of AWS: pushes and pre-fetches may not reach this machine.
        command.args(["--set", "egress.allow_http=true", "--set", "egress.allow_cidrs=[\"127.0.0.0/8\"]"]);
        add_settings(&mut command, &platform.setup, platform.folder())?;
        let mut process = Process::start(&format!("ringfleet-fleet {id}"), command)?;
        self::ready(&mut process).await?;
        Ok(Self { process, id: id.to_owned(), rtp })
    }

    /// Where a server keeps what its calls leave.
    pub fn spool_of(platform: &Platform, id: &str) -> PathBuf {
        platform.folder().join(format!("spool-{id}"))
    }

    /// kill -9.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// SIGTERM: it must drain and end well.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate().await?;
        ensure!(status.success(), "ringfleet-fleet ended with {status}:\n{}", self.process.log());
        ensure!(!self.process.log().contains("panicked"), "something panicked:\n{}", self.process.log());
        Ok(())
    }
}
