//! The deployment template on an emulator: deployed by the SAM CLI as a cloud team would, its API completed with what the
//! emulator's CloudFormation leaves out.
//! It must never leave out or add anything that it does not say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command;

use super::{Emulator, Place, REGION, Tools};
use crate::api::Api;
use crate::binaries;
use crate::process::{Process, Ran, command};
use crate::tools::note;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python/ministack.py");
/// Eleven functions, zipped on a busy machine.
const DEPLOY: Duration = Duration::from_secs(600);
const SCRIPTS: Duration = Duration::from_secs(120);
const INIT: Duration = Duration::from_secs(120);

/// A deployed stack of the control plane.
#[derive(Debug)]
pub struct Stack {
    tools: Tools,
    name: String,
    place: Place,
    api: String,
    stage: String,
    outputs: BTreeMap<String, String>,
}

impl Stack {
    /// Deploys `built`, the template that `sam build` wrote, with `parameters` (`Name=value`).
    ///
    /// # Errors
    /// What the SAM CLI said.
    pub async fn deploy(
        tools: &Tools,
        emulator: &Emulator,
        built: &Path,
        name: &str,
        parameters: &[&str],
    ) -> Result<Self> {
        let mut stack = Self {
            tools: tools.clone(),
            name: name.to_owned(),
            place: emulator.place().clone(),
            api: String::new(),
            stage: String::new(),
            outputs: BTreeMap::new(),
        };
        // Beside the built one, whose paths to the functions are relative.
        let taken = built.with_file_name(format!("{name}-ministack.yaml"));
        let (from, to) = (built.display().to_string(), taken.display().to_string());
        let said: Value = stack.script(&["template", &from, &to]).await?;
        for (resource, why) in said["left_out"].as_object().into_iter().flatten() {
            let why = why.as_str().unwrap_or_default();
            note(&format!("LEFT OUT of the deployment to MiniStack: {resource}: {why}"));
        }
        for (why, count) in said["adapted"].as_object().into_iter().flatten() {
            note(&format!("ADAPTED for MiniStack, {count} times: {why}"));
        }
        let mut sam = tools.sam("sam");
        sam.args(["deploy", "--template-file"]).arg(&taken).args(["--stack-name", name, "--region", REGION]);
        sam.args(["--resolve-s3", "--no-confirm-changeset", "--no-progressbar", "--capabilities"]);
        sam.args(["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--parameter-overrides"]).args(parameters);
        // There is no samconfig.toml with the answers of somebody's own deployment.
        sam.current_dir(built.parent().context("a template lies in a folder")?);
        stack.ran("sam deploy", sam, DEPLOY).await?;
        std::fs::remove_file(&taken)?;
        let said: Value = stack.script(&["routes", name, &from]).await?;
        let added = said["added"].as_array().context("no list of what was added")?;
        note(&format!("ADDED to the API, which MiniStack did not take from the template: {} entries", added.len()));
        let text = |name: &str| said[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        (stack.api, stack.stage) = (text("api")?, text("stage")?);
        stack.outputs = serde_json::from_value(said["outputs"].clone())?;
        Ok(stack)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// An output of the template.
    ///
    /// # Errors
    /// It has none of that name.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("no output {name}"))
    }

    /// The API's own address, the stage in its path.
    ///
    /// # Errors
    /// No HTTP client can be had.
    pub fn by_stage(&self, key: &str) -> Result<Api> {
        let url = format!("https://{}.execute-api.localhost:{}/{}", self.api, self.place.port, self.stage);
        Api::reached_at(&url, key, self.address(), self.place.trusted()?)
    }

    /// The API by a domain name of its own, without a stage.
    ///
    /// # Errors
    /// No HTTP client can be had.
    pub fn by_domain(&self, domain: &str, key: &str) -> Result<Api> {
        Api::reached_at(&self.url_of(domain), key, self.address(), self.place.trusted()?)
    }

    /// Where a domain name is here: at the emulator's port.
    pub fn url_of(&self, domain: &str) -> String {
        format!("https://{domain}:{}", self.place.port)
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.port).into()
    }

    /// `ringfleet` with the account owner's credentials, and what it says as JSON.
    ///
    /// # Errors
    /// It failed.
    pub async fn ringfleet(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = command(&binaries::ringfleet());
        command.args(arguments);
        let ran = self.ran("ringfleet", command, INIT).await?;
        serde_json::from_str(&ran.stdout).with_context(|| format!("no JSON: {}", ran.stdout))
    }

    /// What a fleet server needs: the endpoint, and a key that may do what the template's fleet policy says and no more.
    ///
    /// # Errors
    /// The user can't be made.
    pub async fn server(&self) -> Result<Vec<(String, String)>> {
        let said: BTreeMap<String, String> = self.script(&["server", &self.name]).await?;
        let all = self.place.with_key(&said["key"], &said["secret"]);
        Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// What a function of this stack is given that runs somewhere else, with the account owner's credentials.
    ///
    /// # Errors
    /// The template lacks an output.
    pub fn settings(&self) -> Result<Vec<(String, String)>> {
        let mut all = self.place.owner();
        for (name, output) in [
            ("RINGFLEET_PUBLIC_URL", "ApiUrl"),
            ("RINGFLEET_SECRETS_ID", "SecretArn"),
            ("RINGFLEET_KMS_KEY_ID", "KmsKeyArn"),
            ("RINGFLEET_NAMES_PREFIX", "NamesPrefix"),
            ("RINGFLEET_NAMES_BUCKET", "BucketName"),
        ] {
            all.push((name, self.output(output)?.to_owned()));
        }
        Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// How many messages lie in the dead-letter queues.
    ///
    /// # Errors
    /// There are no such queues.
    pub async fn dead_letters(&self) -> Result<u64> {
        let said: BTreeMap<String, u64> = self.script(&["dead", &self.name]).await?;
        Ok(said.values().sum())
    }

    async fn script<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut python = self.tools.sam("python3");
        python.arg(SCRIPT).args(arguments);
        let ran = self.ran("ministack.py", python, SCRIPTS).await?;
        serde_json::from_str(&ran.stdout).with_context(|| format!("no JSON: {}", ran.stdout))
    }

    async fn ran(&self, name: &str, mut command: Command, limit: Duration) -> Result<Ran> {
        command.envs(self.place.owner());
        let ran = Process::start(name, command)?.run(limit).await?;
        ensure!(ran.status.success(), "{name} ended with {}:\n{}\n{}", ran.status, ran.stdout, ran.stderr);
        Ok(ran)
    }
}

/// The template that `sam build` wrote: where `RINGFLEET_SAM_BUILD` says, or in its usual place.
///
/// # Errors
/// It is not there.
pub fn built_template() -> Result<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.aws-sam/build");
    let folder = std::env::var_os("RINGFLEET_SAM_BUILD").map_or(usual, PathBuf::from);
    let path = folder.join("template.yaml");
    ensure!(path.is_file(), "there is no {}: `tests/run --aws` builds it", path.display());
    Ok(path)
}
