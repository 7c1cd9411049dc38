//! A fleet server of a deployed stack: a process of its own that is told the stack's names and nothing else.
//! It must never be given what an instance on EC2 would not have.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Stack;
use crate::process::{Process, command};
use crate::{binaries, ports};

const READY: Duration = Duration::from_secs(120);
const RTP_PORTS: u16 = 20;

/// A running `ringfleet-fleet`.
#[derive(Debug)]
pub struct Server {
    process: Process,
    id: String,
    _folder: TempDir,
}

impl Server {
    /// # Errors
    /// It does not become ready.
    pub async fn start(stack: &Stack, id: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rtp = ports::block(RTP_PORTS)?;
        let models = folder.path().join("no-models");
        std::fs::create_dir(&models)?;
        let mut command = command(&binaries::ringfleet_fleet());
        command.envs(stack.server().await?);
        // What the instance's user data writes from the stack's outputs.
        command.env("RINGFLEET_FLEET_SECRET_ID", stack.output("SecretArn")?);
        command.env("RINGFLEET_KMS_KEY_ID", stack.output("KmsKeyArn")?);
        command.env("RINGFLEET_NAMES_PREFIX", stack.output("NamesPrefix")?);
        command.env("RINGFLEET_NAMES_BUCKET", stack.output("BucketName")?);
        command.args(["--json", "--server-id", id, "--sip", "127.0.0.1:0", "--fleet-http", "127.0.0.1:0"]);
        command.args(["--ws", "127.0.0.1:0", "--rtp-ports", &format!("{rtp}-{}", rtp + RTP_PORTS - 1)]);
        command.arg("--spool").arg(folder.path().join("spool")).arg("--models").arg(models);
        let mut process = Process::start(&format!("ringfleet-fleet {id}"), command)?;
        let ready = process.line(READY, |line| serde_json::from_str::<Value>(line).ok()).await?;
        ensure!(ready["ready"] == true, "the ready line is {ready}");
        Ok(Self { process, id: id.to_owned(), _folder: folder })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// kill -9.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await.context("the fleet server")
    }
}
