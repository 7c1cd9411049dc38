//! What admins do from a terminal: bots, trunks, keys, calls and the fleet of a running platform, through its API.
//! It must never keep a key or print one that it was given, and never know more than the API tells.

mod bots;
mod calls;
mod fleet;
mod keys;
mod secrets;
mod show;
mod trunks;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use domain::ids::{BotId, CallId, IdError, KeyId, ServerId, TrunkId};
use serde_json::Value;

use super::api::{Answer, Api, Place, read_object};
use super::{note, say};

pub(super) use bots::{BotCommand, run as bot};
pub(super) use calls::{CallsCommand, run as calls};
pub(super) use fleet::{FleetCommand, run as fleet};
pub(super) use keys::{KeyCommand, run as key};
pub(super) use secrets::{SecretsCommand, run as secrets};
pub(super) use trunks::{TrunkCommand, run as trunk};

/// Which platform, and how to say what it answers.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Asking {
    #[command(flatten)]
    place: Place,
    /// Print the platform's answer as JSON
    #[arg(long)]
    json: bool,
}

impl Asking {
    fn api(&self) -> Result<Api> {
        self.place.client()
    }

    /// Prints the answer as it came, or `text` of it for people.
    fn tell(&self, answer: &Answer, text: impl FnOnce(&Value) -> String) {
        say(&if self.json { format!("{:#}", answer.body) } else { text(&answer.body) });
    }
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct PutArgs {
    /// A JSON file; - is standard input
    file: PathBuf,
    #[command(flatten)]
    asking: Asking,
}

/// Creates an entity from a file, or replaces the one with its id.
async fn put(args: &PutArgs, noun: &str, id: &str) -> Result<()> {
    let body = read_object(&args.file)?;
    let name = body[id].as_str().with_context(|| format!("{} has no {id}", args.file.display()))?;
    let answer = args.asking.api()?.put(&format!("/api/v1/admin/{noun}s"), name, &body).await?;
    args.asking.tell(&answer, |stored| format!("{noun} {name} is stored, version {}", stored["version"]));
    if !args.asking.json {
        for endpoint in ["push", "webhook"] {
            let secret = answer.body[endpoint]["secret"].as_str().filter(|secret| secret.starts_with("whsec_"));
            if let Some(secret) = secret {
                say(&format!("{endpoint}.secret {secret} (shown this once)"));
            }
        }
        for warning in answer.body["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            note(&format!("warning: {warning}"));
        }
    }
    Ok(())
}

fn bot_id(text: &str) -> Result<BotId, IdError> {
    BotId::parse(text)
}

fn trunk_id(text: &str) -> Result<TrunkId, IdError> {
    TrunkId::parse(text)
}

fn key_id(text: &str) -> Result<KeyId, IdError> {
    KeyId::parse(text)
}

fn server_id(text: &str) -> Result<ServerId, IdError> {
    ServerId::parse(text)
}

fn call_id(text: &str) -> Result<CallId, IdError> {
    CallId::parse(text)
}
