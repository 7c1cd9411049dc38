//! `ringfleet key`: list, mint, import, revoke, delete.
//! It must never take a key's text as an argument: other users of the machine can read those.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use domain::ids::KeyId;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::show::{members, rows, table};
use super::{Asking, key_id};
use crate::cli::api::read_secret;
use crate::cli::say;

const KEYS: &str = "/api/v1/admin/keys";

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum KeyCommand {
    /// Every key, without its text
    List(Asking),
    /// Mint an API key and print it, once
    Mint(NewArgs),
    /// Take a key in that exists already
    Import(ImportArgs),
    /// End a key, and keep it in the list
    Revoke(OneArgs),
    /// Delete a key
    Delete(OneArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Client,
    Admin,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct NewArgs {
    /// What the key is for
    #[arg(long, value_name = "TEXT")]
    name: String,
    #[arg(long, value_enum, default_value = "client")]
    role: Role,
    /// A bot that it may use; every bot if none is named
    #[arg(long = "bot", value_name = "ID")]
    bots: Vec<String>,
    /// When it ends by itself, e.g. 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ImportArgs {
    /// A file that holds the key's text; - is standard input
    file: PathBuf,
    #[command(flatten)]
    new: NewArgs,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneArgs {
    /// The key's id, as `ringfleet key list` shows it: never its text
    #[arg(value_parser = key_id)]
    id: KeyId,
    #[command(flatten)]
    asking: Asking,
}

pub(in crate::cli) async fn run(command: KeyCommand) -> Result<ExitCode> {
    match command {
        KeyCommand::List(asking) => asking.tell(&asking.api()?.get(KEYS).await?, |keys| list(keys, Timestamp::now())),
        KeyCommand::Mint(args) => {
            let answer = args.asking.api()?.post(KEYS, &wanted(&args)).await?;
            let key = answer.body["key"].as_str().context("the platform minted no key")?.to_owned();
            args.asking.tell(&answer, |_| key);
        }
        KeyCommand::Import(ImportArgs { file, new }) => {
            let mut body = wanted(&new);
            body["key"] = json!(read_secret(&file)?.expose_secret());
            let answer = new.asking.api()?.post(KEYS, &body).await?;
            new.asking.tell(&answer, members);
        }
        KeyCommand::Revoke(args) => revoke(&args).await?,
        KeyCommand::Delete(args) => {
            args.asking.api()?.remove(&format!("{KEYS}/{}", args.id)).await?;
            say(&if args.asking.json { "null".to_owned() } else { format!("key {} is deleted", args.id) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &NewArgs) -> Value {
    let bots: Value = if args.bots.is_empty() { json!(["*"]) } else { json!(args.bots) };
    let role = match args.role {
        Role::Client => "client",
        Role::Admin => "admin",
    };
    json!({"name": args.name, "role": role, "bots": bots, "expires_at": args.expires})
}

async fn revoke(args: &OneArgs) -> Result<()> {
    let api = args.asking.api()?;
    let path = format!("{KEYS}/{}", args.id);
    let read = api.get(&path).await?;
    let mut body = read.body;
    body["active"] = json!(false);
    let answer = api.replace(&path, &body, read.etag.as_deref()).await?;
    args.asking.tell(&answer, |_| format!("key {} is revoked", args.id));
    Ok(())
}

fn list(keys: &Value, now: Timestamp) -> String {
    let mut rows = rows(keys, &["key_id", "prefix", "name", "role", "bots", "last_used_at"]);
    for (row, key) in rows.iter_mut().zip(keys["items"].as_array().into_iter().flatten()) {
        row.insert(5, state(key, now).to_owned());
    }
    table(&["KEY", "BEGINS", "NAME", "ROLE", "BOTS", "STATE", "LAST USED"], &rows)
}

fn state(key: &Value, now: Timestamp) -> &'static str {
    let end: Option<Timestamp> = key["expires_at"].as_str().and_then(|text| text.parse().ok());
    match (key["active"].as_bool(), end) {
        (Some(false), _) => "revoked",
        (_, Some(end)) if end <= now => "expired",
        _ => "active",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_state_is_one_word() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let check = |key: Value, expect: &str| assert_eq!(state(&key, now), expect, "{key}");
        check(json!({"active": true, "expires_at": null}), "active");
        check(json!({"active": true, "expires_at": "2026-05-01T00:00:01Z"}), "active");
        check(json!({"active": true, "expires_at": "2026-05-01T00:00:00Z"}), "expired");
        check(json!({"active": false, "expires_at": "2026-04-01T00:00:00Z"}), "revoked");
        let listed = list(
            &json!({"items": [{"key_id": "key_1", "prefix": "rf_abcd", "name": "crm", "role": "client",
            "bots": ["*"], "active": false, "last_used_at": null}]}),
            now,
        );
        assert_eq!(listed.lines().nth(1), Some("key_1  rf_abcd  crm   client  *     revoked"));
    }
}
