//! `cargo lambda watch` as the functions' Runtime API, and `cargo lambda invoke` as who calls them. The functions are the
//! binaries that `sam build` made, not what `cargo` would build anew.
//! It must never listen beyond this machine.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::Tools;
use crate::ports;
use crate::process::{Process, Ran, command};
use crate::wait::until;

const READY: Duration = Duration::from_secs(60);
const INVOKE: Duration = Duration::from_secs(60);
/// It asks `cargo metadata` where it is.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A running `cargo lambda watch`.
#[derive(Debug)]
pub struct Watch {
    tools: Tools,
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Watch {
    /// # Errors
    /// It does not listen.
    pub async fn start(tools: &Tools) -> Result<Self> {
        let port = ports::one()?;
        let mut watch = tools.sam("cargo-lambda");
        watch.args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1", "--invoke-port"]);
        watch.arg(port.to_string()).current_dir(ROOT);
        let process = Process::start("cargo lambda watch", watch)?;
        until("cargo lambda watch listens", READY, || async {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok().map(|_| ()))
        })
        .await?;
        Ok(Self { tools: tools.clone(), process, port, folder: tempfile::tempdir()? })
    }

    /// Starts a function's binary, with settings as the template would give it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn function(&self, name: &str, binary: &Path, environment: &[(String, String)]) -> Result<Process> {
        let mut function = command(binary);
        function.envs(environment.iter().map(|(name, value)| (name, value)));
        function.env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{}/.rt/{name}", self.port));
        function.env("AWS_LAMBDA_FUNCTION_NAME", name).env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        function.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256").env("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true");
        Process::start(name, function)
    }

    /// Calls a function with an event; its answer, or what it failed with.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn invoke(&self, name: &str, event: &str) -> Result<Result<Value, String>> {
        let path: PathBuf = self.folder.path().join("event.json");
        std::fs::write(&path, event)?;
        let mut invoke = self.tools.sam("cargo-lambda");
        invoke.args(["lambda", "invoke", name, "--invoke-address", "127.0.0.1", "--invoke-port"]);
        invoke.arg(self.port.to_string()).arg("--data-file").arg(&path).current_dir(self.folder.path());
        let Ran { status, stdout, stderr } = Process::start("cargo lambda invoke", invoke)?.run(INVOKE).await?;
        if !status.success() {
            ensure!(!stderr.trim().is_empty(), "cargo lambda invoke ended with {status} and said nothing");
            return Ok(Err(stderr));
        }
        serde_json::from_str(&stdout).map(Ok).with_context(|| format!("{name} answered no JSON: {stdout}"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> Result<()> {
        self.process.kill().await
    }
}
