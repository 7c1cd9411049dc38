//! An emulator of AWS as a process on loopback, with a folder of its own.
//! It must never bind another address, and never see the caller's own settings or credentials.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use reqwest::Certificate;
use tempfile::TempDir;
use tokio::process::Command;

use super::Tools;
use crate::ports;
use crate::process::Process;
use crate::wait::until;
use crate::ws::tls::Authority;

/// Where everything is.
pub const REGION: &str = "eu-central-1";
/// The emulators know this key as the account's root.
const KEY: &str = "test";
/// A Python program on a busy machine is up in this time.
const READY: Duration = Duration::from_secs(120);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All services that the template uses, with the functions as processes, and policies that are evaluated.
    MiniStack,
    /// The services alone; it runs no functions without Docker.
    Moto,
}

impl Kind {
    /// Its name, as in the list of gaps.
    pub fn name(self) -> &'static str {
        match self {
            Self::MiniStack => "ministack",
            Self::Moto => "moto",
        }
    }

    /// A path that answers once it is ready.
    fn health(self) -> &'static str {
        match self {
            Self::MiniStack => "/_ministack/health",
            Self::Moto => "/moto-api/data.json",
        }
    }
}

/// Where an emulator is, and whom to trust about it.
#[derive(Debug, Clone)]
pub struct Place {
    pub endpoint: String,
    pub port: u16,
    /// The certificate of who signed its own, if it speaks TLS.
    pub authority: Option<PathBuf>,
}

impl Place {
    /// What the account's owner needs in the environment.
    pub fn owner(&self) -> Vec<(&'static str, String)> {
        self.with_key(KEY, KEY)
    }

    /// What a program with a key of its own needs.
    pub fn with_key(&self, key: &str, secret: &str) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ];
        // For Rust's programs and for Python's.
        for name in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
            all.extend(self.authority.iter().map(|path| (name, path.display().to_string())));
        }
        all
    }

    /// The certificates that a client of its own trusts.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn trusted(&self) -> Result<Vec<Certificate>> {
        self.authority.iter().map(|path| Ok(Certificate::from_pem(&std::fs::read(path)?)?)).collect()
    }
}

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    place: Place,
    _folder: TempDir,
}

impl Emulator {
    /// Starts one that speaks plain HTTP.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(tools: &Tools, kind: Kind) -> Result<Self> {
        let port = ports::one()?;
        let place = Place { endpoint: format!("http://127.0.0.1:{port}"), port, authority: None };
        Self::launch(tools, kind, place, tempfile::tempdir()?).await
    }

    /// Starts MiniStack as AWS is: with TLS, and under `names` too. Policies that refuse plain HTTP hold then.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_with_tls(tools: &Tools, names: &[&str]) -> Result<Self> {
        let (port, folder) = (ports::one()?, tempfile::tempdir()?);
        let signer = Authority::new()?;
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, signer.pem())?;
        let all = [&["localhost", "127.0.0.1", "*.execute-api.localhost"], names].concat();
        signer.issue_for(&all, &folder.path().join(CERTIFICATE), &folder.path().join(PRIVATE_KEY))?;
        let place = Place { endpoint: format!("https://127.0.0.1:{port}"), port, authority: Some(authority) };
        Self::launch(tools, Kind::MiniStack, place, folder).await
    }

    async fn launch(tools: &Tools, kind: Kind, place: Place, folder: TempDir) -> Result<Self> {
        let mut command = match kind {
            Kind::MiniStack => ministack(tools, &place, folder.path()),
            Kind::Moto => moto(tools, &place),
        };
        clean(&mut command, tools, folder.path())?;
        let process = Process::start_leashed(kind.name(), &command)?;
        let emulator = Self { process, place, _folder: folder };
        let builder = reqwest::Client::builder().no_proxy();
        let http = match emulator.place.authority {
            Some(_) => builder.tls_certs_only(emulator.place.trusted()?).build()?,
            None => builder.build()?,
        };
        let health = format!("{}{}", emulator.place.endpoint, kind.health());
        until(format!("{} answers", kind.name()), READY, || async {
            Ok(http.get(&health).send().await.ok().filter(|answer| answer.status().is_success()).map(|_| ()))
        })
        .await?;
        Ok(emulator)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it and the functions that it runs.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> Result<()> {
        self.process.let_go().await
    }
}

const CERTIFICATE: &str = "own.pem";
const PRIVATE_KEY: &str = "own.key";

fn ministack(tools: &Tools, place: &Place, folder: &Path) -> Command {
    let mut command = tools.emulator("ministack");
    // The functions get all of this beneath their own settings, and so find the way back.
    command.envs(place.owner()).env("MINISTACK_REGION", REGION);
    command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", place.port.to_string());
    // Signatures are verified and policies evaluated, for the functions' roles too.
    command.env("AUTH", "true");
    // Listeners that would be open to the network.
    command.env("IOT_MTLS_ENABLED", "0").env("SFTP_ENABLED", "0");
    if place.authority.is_some() {
        command.env("USE_SSL", "1").env("MINISTACK_SSL_CERT", folder.join(CERTIFICATE));
        command.env("MINISTACK_SSL_KEY", folder.join(PRIVATE_KEY));
    }
    command
}

fn moto(tools: &Tools, place: &Place) -> Command {
    let mut command = tools.emulator("moto_server");
    command.args(["-H", "127.0.0.1", "-p", &place.port.to_string()]);
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", KEY);
    command
}

/// Nothing of the caller's environment but the way to programs.
fn clean(command: &mut Command, tools: &Tools, folder: &Path) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(tools.emulators()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all)?).env("HOME", folder).env("TMPDIR", folder).current_dir(folder);
    Ok(())
}
