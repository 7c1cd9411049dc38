//! `ringfleet bot|trunk put`, `ringfleet key create`: what a platform needs before its first call, from files.
//! It must never keep a key: a minted one is printed once.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::api::{Place, read_object};
use super::say;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum BotCommand {
    /// Create a bot from a JSON file, or replace the one with its id
    Put(PutArgs),
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum TrunkCommand {
    /// Create a trunk from a JSON file, or replace the one with its id
    Put(PutArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct PutArgs {
    /// A JSON file; - is standard input
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum KeyCommand {
    /// Mint an API key and print it, once
    Create(KeyArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyRole {
    Client,
    Admin,
}

#[derive(Debug, Clone, Args)]
pub(super) struct KeyArgs {
    /// What the key is for
    #[arg(long, value_name = "TEXT")]
    name: String,
    #[arg(long, value_enum, default_value = "client")]
    role: KeyRole,
    /// A bot that it may use; every bot if none is named
    #[arg(long = "bot", value_name = "ID")]
    bots: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn bot(command: BotCommand) -> Result<ExitCode> {
    let BotCommand::Put(args) = command;
    put(&args, "bots", "bot_id").await
}

pub(super) async fn trunk(command: TrunkCommand) -> Result<ExitCode> {
    let TrunkCommand::Put(args) = command;
    put(&args, "trunks", "trunk_id").await
}

async fn put(args: &PutArgs, noun: &str, id: &str) -> Result<ExitCode> {
    let body = read_object(&args.file)?;
    let name = body[id].as_str().with_context(|| format!("{} has no {id}", args.file.display()))?;
    let answer = args.place.client()?.put(&format!("/api/v1/admin/{noun}"), name, &body).await?;
    say(&format!("{:#}", answer.body));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn key(command: KeyCommand) -> Result<ExitCode> {
    let KeyCommand::Create(args) = command;
    let bots: Value = if args.bots.is_empty() { json!(["*"]) } else { json!(args.bots) };
    let role = match args.role {
        KeyRole::Client => "client",
        KeyRole::Admin => "admin",
    };
    let body = json!({"name": args.name, "role": role, "bots": bots});
    let answer = args.place.client()?.post("/api/v1/admin/keys", &body).await?;
    say(answer.body["key"].as_str().context("the platform minted no key")?);
    Ok(ExitCode::SUCCESS)
}
