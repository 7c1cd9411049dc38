//! `ringfleet deployment`: what is done once after the template was deployed, and looking whether all of it is there.
//! It must never replace secrets that are there, nor change anything while something is missing.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use domain::ports::QueueName;
use infra::aws::Clients;
use infra::clock::OsEntropy;
use infra::config::NamesConfig;
use infra::schema::{Found, Names, account, inspect, queue};
use infra::seal::{AesSeal, DataKey, KeyWrap, wrap_of};
use infra::secrets::document::Document;
use infra::secrets::place::Place;
use infra::sqs::SqsQueues;
use serde_json::json;

use super::place::{StackFlags, kms_key_of, secret_of};
use super::report::{Check, Report, Status, not_ok, ok};
use super::{note, say};
use crate::platform::first_admin_key;
use crate::settings::Settings;

/// Wrapped and unwrapped to see whether KMS can be used; never stored.
const PROBE: &str = "probe";
/// What the check of the secret is called.
const SECRET: &str = "secret";

#[derive(Debug, Clone, Subcommand)]
pub(super) enum DeploymentCommand {
    /// After `sam deploy`: look whether everything is there, fill the secrets, make the first admin key; again, it changes nothing
    Init(InitArgs),
    /// Look at everything that the template made, and say what to do where it can't be used
    Check(CheckArgs),
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// The stack of the control plane: the names of everything follow from it
    #[arg(long, value_name = "NAME")]
    stack: String,
    /// The region [default: AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The bucket of the calls [default: NAME-calls-ACCOUNT]
    #[arg(long, value_name = "BUCKET")]
    bucket: Option<String>,
    /// The secret, by name or ARN [default: NAME/deployment]
    #[arg(long, value_name = "ID")]
    secret_id: Option<String>,
    /// The KMS key, by id, ARN or alias [default: alias/NAME]
    #[arg(long, value_name = "KEY")]
    kms_key_id: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    which: Which,
    /// Make another admin key even if there is one: for who has lost the first
    #[arg(long)]
    another_admin_key: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    which: Which,
}

/// A deployed stack and how to reach it.
struct Stack {
    clients: Clients,
    names: NamesConfig,
    secrets: Place,
    secret_id: String,
    kms_key_id: String,
}

impl Which {
    async fn find(&self) -> Stack {
        let flags = StackFlags { stack: Some(self.stack.clone()), region: self.region.clone() };
        let (clients, mut names) = (flags.clients().await, flags.names(None));
        names.bucket = match &self.bucket {
            Some(bucket) => Some(bucket.clone()),
            // Without an answer the tables' own checks say what is wrong.
            None => {
                let account = account(&clients, &Names::new(&names)).await.ok().flatten();
                account.map(|account| format!("{}-calls-{account}", self.stack))
            }
        };
        let secret_id = self.secret_id.clone().unwrap_or_else(|| secret_of(&self.stack));
        let secrets = Place::SecretsManager { client: clients.secrets.clone(), id: secret_id.clone() };
        let kms_key_id = self.kms_key_id.clone().unwrap_or_else(|| kms_key_of(&self.stack));
        Stack { clients, names, secrets, secret_id, kms_key_id }
    }
}

/// Whether the secrets were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Empty,
    Filled,
    Unreadable,
}

impl Stack {
    fn wrap(&self) -> Result<Arc<dyn KeyWrap>> {
        Ok(wrap_of(&self.clients.kms, Some(&self.kms_key_id), None, &self.secrets.reader())?)
    }

    async fn checks(&self) -> Result<(Vec<Check>, Secrets)> {
        let names = Names::new(&self.names);
        let mut checks: Vec<Check> = inspect(&self.clients, &names).await.into_iter().map(schema_check).collect();
        let wrap = self.wrap()?;
        checks.push(kms_check(&*wrap, &self.kms_key_id).await);
        let (check, secrets) = self.secrets_check(&*wrap).await;
        checks.push(check);
        Ok((checks, secrets))
    }

    async fn secrets_check(&self, wrap: &dyn KeyWrap) -> (Check, Secrets) {
        let (name, id) = (SECRET, &self.secret_id);
        match self.secrets.open().await {
            Ok(open) if open.document.is_empty() => (ok(name, format!("{id} is there, and empty")), Secrets::Empty),
            Ok(_) => match AesSeal::load(&self.secrets.reader(), wrap).await {
                Ok(_) => (ok(name, format!("{id}: its data keys open")), Secrets::Filled),
                Err(error) => {
                    let fix =
                        "name the KMS key that wrapped them with --kms-key-id, or put the secret's last version back";
                    (not_ok(name, Status::Fail, error.to_string(), fix), Secrets::Unreadable)
                }
            },
            Err(error) => {
                let fix = format!("deploy the template, which makes {id}, or name another with --secret-id");
                (not_ok(name, Status::Fail, error.to_string(), fix), Secrets::Unreadable)
            }
        }
    }
}

fn schema_check(found: Found) -> Check {
    let Found { kind, name, problem } = found;
    match problem {
        None => ok(kind, name),
        Some(problem) => {
            let fix = "deploy template.yaml of this version (sam deploy); check --stack, --region and the credentials";
            not_ok(kind, Status::Fail, format!("{name}: {problem}"), fix)
        }
    }
}

async fn kms_check(wrap: &dyn KeyWrap, key: &str) -> Check {
    let probe = DataKey::new(Box::new([0; 32]));
    let tried = match wrap.wrap(PROBE, &probe).await {
        Ok(wrapped) => wrap.unwrap(PROBE, &wrapped).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match tried {
        Ok(()) => ok("KMS key", format!("{key} wraps and unwraps")),
        Err(error) => {
            not_ok("KMS key", Status::Fail, error.to_string(), "mend that, or name another key with --kms-key-id")
        }
    }
}

pub(super) async fn run(command: DeploymentCommand) -> Result<ExitCode> {
    match command {
        DeploymentCommand::Init(args) => init(args).await,
        DeploymentCommand::Check(args) => check(args).await,
    }
}

async fn init(args: InitArgs) -> Result<ExitCode> {
    let stack = args.which.find().await;
    let (checks, secrets) = stack.checks().await?;
    let report = Report::of(checks);
    if !report.ok {
        let verdict = "Nothing was changed: mend what failed, and run this again.";
        tell(&args.which, &report, verdict, json!({"filled": false, "admin_key": null}));
        return Ok(ExitCode::FAILURE);
    }
    let filled = secrets == Secrets::Empty;
    if filled {
        let wrap = stack.wrap()?;
        let mut open = stack.secrets.open().await?;
        open.document = Document::fresh(&*wrap, &OsEntropy).await?;
        open.store(&OsEntropy).await.context("the secrets can't be filled")?;
    }
    let settings =
        Settings { kms_key_id: Some(stack.kms_key_id.clone()), names: stack.names.clone(), ..Settings::defaults() };
    let secrets = stack.secrets.reader();
    let admin_key = first_admin_key(&settings, &stack.clients, secrets, args.another_admin_key).await?;
    let verdict = match (&admin_key, filled) {
        (Some(_), _) => "The deployment is ready. The admin key is shown this once:",
        (None, true) => "The secrets were filled; there is an admin key already.",
        (None, false) => "Nothing had to be done: the secrets and an admin key are there.",
    };
    tell(&args.which, &report, verdict, json!({"filled": filled, "admin_key": admin_key}));
    if let Some(key) = admin_key.filter(|_| !args.which.json) {
        say(&key);
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> Result<ExitCode> {
    let stack = args.which.find().await;
    let (mut checks, secrets) = stack.checks().await?;
    if secrets == Secrets::Empty {
        // To be filled is right for `init` only.
        checks.retain(|check| check.name != SECRET);
        let fix = format!("run `ringfleet deployment init --stack {}`", args.which.stack);
        checks.push(not_ok(SECRET, Status::Fail, "it was never filled", fix));
    }
    let queues = SqsQueues::new(stack.clients.sqs.clone(), &Names::new(&stack.names));
    for name in [QueueName::CallEnded, QueueName::Deliveries] {
        // A queue that is not there was told of already.
        if let Ok(count @ 1..) = queues.dead_letters(name).count().await {
            let detail = format!("{count} dead letters of {}", queue(name).name);
            let fix = format!("look with `ringfleet queue list --stack {}`, then replay them", args.which.stack);
            checks.push(not_ok("dead letters", Status::Warn, detail, fix));
        }
    }
    let report = Report::of(checks);
    let verdict =
        if report.ok { "The deployment is whole." } else { "Calls cannot be placed until what failed is mended." };
    tell(&args.which, &report, verdict, json!({}));
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report for people goes to standard error where an answer follows it on standard output.
fn tell(which: &Which, report: &Report, verdict: &str, mut more: serde_json::Value) {
    if which.json {
        more["ok"] = json!(report.ok);
        more["stack"] = json!(which.stack);
        more["checks"] = json!(report.checks);
        say(&more.to_string());
        return;
    }
    for line in report.lines() {
        note(&line);
    }
    note("");
    note(verdict);
}
