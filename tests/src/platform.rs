//! `ringfleet up` and `ringfleet-fleet` as processes, on free ports and folders of their own.
//! It must never share anything with another test but the speech models.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
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
const RTP_PORTS: u16 = 140;
/// The admin key that every platform of the tests has.
pub const ADMIN_KEY: &str = "rf_end_to_end_tests_admin_key";

/// How a platform is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// `--set key=value`
    pub set: Vec<String>,
    /// Fleet servers are processes of their own.
    pub external: bool,
    /// An empty folder for the models: nobody listens, and the voice is flite's.
    pub deaf: bool,
    /// What is logged, if not [`LOG`].
    pub log: Option<&'static str>,
    /// The API's port; 0 takes a free one.
    pub http: u16,
    /// Variables beside those that every platform has.
    pub environment: Vec<(String, String)>,
}

/// How a fleet server is started, where that differs from its platform.
#[derive(Debug, Clone, Default)]
pub struct ServerSetup {
    /// `--set key=value`, after the platform's own.
    pub set: Vec<String>,
    /// The private port; 0 takes a free one.
    pub http: u16,
    /// The SIP port; 0 takes a free one.
    pub sip: u16,
    /// Over the platform's own.
    pub environment: Vec<(String, String)>,
    /// A folder below the platform's if none.
    pub spool: Option<PathBuf>,
}

/// The variable that arms a failpoint.
pub const FAILPOINT: &str = "RINGFLEET_FAILPOINT";

impl Setup {
    /// Adds settings.
    #[must_use]
    pub fn with(mut self, settings: &[&str]) -> Self {
        self.set.extend(settings.iter().map(|&setting| setting.to_owned()));
        self
    }
}

/// Periods that let a test of failures finish. A server is taken for silent later than a busy machine stands still.
pub const SHORT: &[&str] = &[
    "periods.heartbeat=500ms",
    "periods.checkpoint=1s",
    "periods.reap=1s",
    "periods.reap_stale=6s",
    "periods.sweep=1s",
    "periods.announce_by=10s",
    "periods.drain=5s",
    "periods.retry=[\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\"]",
    "periods.retry_jitter_percent=0",
    "periods.breaker_pause=1s",
    "periods.breaker_longest=1s",
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

    /// Kills the process and starts another, armed with a failpoint or with none. An armed one may die before it is ready.
    ///
    /// # Errors
    /// It does not become ready, though it isn't armed.
    pub async fn again_with(&mut self, failpoint: Option<&str>) -> Result<()> {
        self.process.kill_if_alive().await?;
        self.setup.environment.retain(|(name, _)| name != FAILPOINT);
        self.setup.environment.extend(failpoint.map(|armed| (FAILPOINT.to_owned(), armed.to_owned())));
        let command = up(&self.setup, self.folder.path(), self.rtp)?;
        self.process = Process::start("ringfleet up", command)?;
        if let Some(ready) = ready_or_dead(&mut self.process, failpoint).await? {
            self.ready = ready;
            self.api = Api::new(text(&self.ready, "/http")?, ADMIN_KEY)?;
        }
        Ok(())
    }

    /// Waits until its armed failpoint has killed it.
    ///
    /// # Errors
    /// It lives on.
    pub async fn died(&mut self, limit: Duration) -> Result<()> {
        died(&mut self.process, limit).await
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    /// It is gone already.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Where and with what a process joins this platform: variables of the AWS SDK.
    fn aws(&self) -> Result<Vec<(String, String)>> {
        let ready = &self.ready;
        let credentials = text(ready, "/aws/credentials_file").ok();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut variables = vec![
            own("AWS_ENDPOINT_URL", text(ready, "/aws/endpoint")?),
            own("AWS_REGION", text(ready, "/aws/region")?),
        ];
        variables.extend(credentials.map(|path| own("AWS_SHARED_CREDENTIALS_FILE", path)));
        variables.extend(self.setup.environment.iter().filter(|(name, _)| name.starts_with("AWS_")).cloned());
        Ok(variables)
    }

    /// The setup of a second platform that works against this one's stores, through `endpoint` if that is another.
    ///
    /// # Errors
    /// The ready line lacks something.
    pub fn joined(&self, endpoint: Option<&str>) -> Result<Setup> {
        let mut environment = self.aws()?;
        environment.extend(endpoint.map(|url| ("AWS_ENDPOINT_URL".to_owned(), url.to_owned())));
        let secrets = text(&self.ready, "/fleet_secret_file")?;
        let set = vec![format!("fleet_secret_file={}", serde_json::to_string(secrets)?)];
        Ok(Setup { set, environment, ..Setup::default() })
    }

    /// Starts a fleet server that joins through the AWS endpoint alone.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn fleet_server(&self, id: &str) -> Result<FleetServer> {
        self.fleet_server_with(id, ServerSetup::default()).await
    }

    /// As [`Platform::fleet_server`], with settings of its own.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn fleet_server_with(&self, id: &str, setup: ServerSetup) -> Result<FleetServer> {
        let server = FleetServer::start(self, id, ports::block(RTP_PORTS)?, setup).await?;
        self.seen(text(server.ready(), "/server_id")?).await?;
        Ok(server)
    }

    /// Starts a fleet server's next process: same id, same spool.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn fleet_server_again(&self, gone: FleetServer) -> Result<FleetServer> {
        FleetServer::start(self, &gone.id, gone.rtp, gone.setup.clone()).await
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
    let mut process = Process::start("ringfleet up", up(setup, folder, rtp)?)?;
    let ready = ready(&mut process).await?;
    Ok((process, ready))
}

fn up(setup: &Setup, folder: &Path, rtp: u16) -> Result<Command> {
    let mut command = command(&binaries::ringfleet());
    command.env("RINGFLEET_ADMIN_KEY", ADMIN_KEY);
    command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
    command.args(["up", "--json", "--sip", "127.0.0.1:0", "--http", &format!("127.0.0.1:{}", setup.http)]);
    command.arg("--data").arg(folder.join("data"));
    command.args(["--ws", "127.0.0.1:0", "--rtp-ports", &range(rtp), "--log", setup.log.unwrap_or(LOG)]);
    if setup.external {
        command.args(["--fleet", "external"]);
    }
    add_settings(&mut command, setup, folder)?;
    Ok(command)
}

/// The ready line; none for a process whose failpoint was quicker.
async fn ready_or_dead(process: &mut Process, failpoint: Option<&str>) -> Result<Option<Value>> {
    match ready(process).await {
        Ok(ready) => Ok(Some(ready)),
        Err(_) if failpoint.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a process that dies by itself of the failpoint that it is armed with.
async fn died(process: &mut Process, limit: Duration) -> Result<()> {
    process.logged(": Abort", limit).await?;
    process.wait(limit).await.map(|_| ())
}

/// What processes log.
pub const LOG: &str = "info";

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
    ready: Value,
    id: String,
    rtp: u16,
    setup: ServerSetup,
}

impl FleetServer {
    async fn start(platform: &Platform, id: &str, rtp: u16, setup: ServerSetup) -> Result<Self> {
        let mut process = Process::start(&format!("ringfleet-fleet {id}"), Self::command(platform, id, rtp, &setup)?)?;
        let ready = self::ready(&mut process).await?;
        Ok(Self { process, ready, id: id.to_owned(), rtp, setup })
    }

    fn command(platform: &Platform, id: &str, rtp: u16, setup: &ServerSetup) -> Result<Command> {
        let mut command = command(&binaries::ringfleet_fleet());
        command.envs(platform.aws()?);
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        command.args(["--json", "--server-id", id, "--sip", &format!("127.0.0.1:{}", setup.sip)]);
        command.args(["--fleet-http", &format!("127.0.0.1:{}", setup.http)]);
        command.args(["--fleet-secret-file", text(platform.ready(), "/fleet_secret_file")?]);
        command.args(["--log", platform.setup.log.unwrap_or(LOG)]);
        command.args(["--ws", "127.0.0.1:0", "--rtp-ports", &range(rtp)]);
        command.arg("--spool").arg(setup.spool.clone().unwrap_or_else(|| Self::spool_of(platform, id)));
        // The defaults of the fleet server alone are those of AWS: pushes and pre-fetches may not reach this machine.
        command.args(["--set", "egress.allow_http=true", "--set", "egress.allow_cidrs=[\"127.0.0.0/8\"]"]);
        add_settings(&mut command, &platform.setup, platform.folder())?;
        for setting in &setup.set {
            command.args(["--set", setting]);
        }
        Ok(command)
    }

    /// The ready line.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Kills the process and starts another, armed with a failpoint or with none. An armed one may die before it is ready.
    ///
    /// # Errors
    /// It does not become ready, though it isn't armed.
    pub async fn again_with(&mut self, platform: &Platform, failpoint: Option<&str>) -> Result<()> {
        self.process.kill_if_alive().await?;
        let mut setup = self.setup.clone();
        setup.environment.extend(failpoint.map(|armed| (FAILPOINT.to_owned(), armed.to_owned())));
        let command = Self::command(platform, &self.id, self.rtp, &setup)?;
        self.process = Process::start(&format!("ringfleet-fleet {}", self.id), command)?;
        self.ready = ready_or_dead(&mut self.process, failpoint).await?.unwrap_or_default();
        Ok(())
    }

    /// Waits until its armed failpoint has killed it.
    ///
    /// # Errors
    /// It lives on.
    pub async fn died(&mut self, limit: Duration) -> Result<()> {
        died(&mut self.process, limit).await
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    /// It is gone already.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until it has ended well by itself, after it was told to.
    ///
    /// # Errors
    /// It lives on, or ends badly.
    pub async fn drained(&mut self, limit: Duration) -> Result<()> {
        let status = self.process.wait(limit).await?;
        ensure!(status.success(), "ringfleet-fleet ended with {status}:\n{}", self.process.log());
        Ok(())
    }

    /// What its next process is started with.
    pub fn setup(&mut self) -> &mut ServerSetup {
        &mut self.setup
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

    /// Waits for its end, which nobody asked it for.
    ///
    /// # Errors
    /// It lives on.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit).await
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
