//! `ringfleet bot`: list, show, put, delete, past versions, and what its CRM would be sent.
//! It must never send a push: a preview is all that is asked for here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::ids::{BotId, CallId};
use infra::config::Period;
use serde_json::{Value, json};

use super::show::{cell, members, rows, table};
use super::{Asking, PutArgs, bot_id, call_id, put};
use crate::cli::api::read_object;
use crate::cli::{note, say};

const BOTS: &str = "/api/v1/admin/bots";

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum BotCommand {
    /// Every bot
    List(Asking),
    /// One bot, secrets masked
    Show(ShowArgs),
    /// Create a bot from a JSON file, or replace the one with its id
    Put(PutArgs),
    /// Delete a bot; calls that run on it go on
    Delete(OneArgs),
    /// Past and present versions of a bot, newest first
    Versions(VersionsArgs),
    /// What the CRM would be sent for a past call or an invented one, and names that are misspelt
    Preview(PreviewArgs),
    /// Make a connect token, and print the URL with which a dialler connects to the bot by WebSocket
    ConnectToken(ConnectTokenArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneArgs {
    /// The bot's id
    #[arg(value_parser = bot_id)]
    id: BotId,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    one: OneArgs,
    /// A past version instead of the present one
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct VersionsArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Only versions below this one
    #[arg(long, value_name = "N")]
    before: Option<u64>,
    /// At most so many [default: 50]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct PreviewArgs {
    #[command(flatten)]
    one: OneArgs,
    /// An ended call of the bot, instead of an invented one
    #[arg(long, value_name = "CALL", value_parser = call_id)]
    call: Option<CallId>,
    /// A key mapper that is not stored yet, as a JSON file; - is standard input
    #[arg(long, value_name = "FILE")]
    mapper: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ConnectTokenArgs {
    #[command(flatten)]
    one: OneArgs,
    /// How long it opens the bot's door: 1m to 8760h [default: 1h]
    #[arg(long, value_name = "TIME")]
    expires: Option<Period>,
    /// Whose it is; stands in the token
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

pub(in crate::cli) async fn run(command: BotCommand) -> Result<ExitCode> {
    match command {
        BotCommand::List(asking) => asking.tell(&asking.api()?.get(BOTS).await?, list),
        BotCommand::Show(args) => {
            let bot = format!("{BOTS}/{}", args.one.id);
            let path = args.version.map_or_else(|| bot.clone(), |version| format!("{bot}/versions/{version}"));
            args.one.asking.tell(&args.one.asking.api()?.get(&path).await?, members);
        }
        BotCommand::Put(args) => put(&args, "bot", "bot_id").await?,
        BotCommand::Delete(args) => {
            args.asking.api()?.remove(&format!("{BOTS}/{}", args.id)).await?;
            say(&if args.asking.json { "null".to_owned() } else { format!("bot {} is deleted", args.id) });
        }
        BotCommand::Versions(args) => versions(&args).await?,
        BotCommand::Preview(args) => preview(&args).await?,
        BotCommand::ConnectToken(args) => connect_token(&args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(bots: &Value) -> String {
    let columns = ["bot_id", "version", "enabled", "name", "trunk_ids", "numbers"];
    table(&["BOT", "VERSION", "ENABLED", "NAME", "TRUNKS", "NUMBERS"], &rows(bots, &columns))
}

async fn versions(args: &VersionsArgs) -> Result<()> {
    let api = args.one.asking.api()?;
    let query = [("before", args.before.map(|n| n.to_string())), ("limit", args.limit.map(|n| n.to_string()))];
    let answer = api.get_with(&format!("{BOTS}/{}/versions", args.one.id), &query).await?;
    args.one.asking.tell(&answer, |page| {
        let columns = ["version", "current", "enabled", "name"];
        let mut text = table(&["VERSION", "CURRENT", "ENABLED", "NAME"], &rows(page, &columns));
        if let Some(before) = page["next_before"].as_u64() {
            text.push_str(&format!("\nmore with --before {before}"));
        }
        text
    });
    Ok(())
}

async fn preview(args: &PreviewArgs) -> Result<()> {
    let mut asked = json!({});
    if let Some(call) = args.call {
        asked["call_id"] = json!(call);
    }
    if let Some(mapper) = &args.mapper {
        asked["key_mapper"] = read_object(mapper)?;
    }
    let answer = args.one.asking.api()?.post(&format!("{BOTS}/{}/push/preview", args.one.id), &asked).await?;
    args.one.asking.tell(&answer, previewed);
    Ok(())
}

fn previewed(preview: &Value) -> String {
    let mut lines = vec![format!("{} {}", cell(&preview["method"]), cell(&preview["url"]))];
    for (name, value) in preview["headers"].as_object().into_iter().flatten() {
        lines.push(format!("{name}: {}", cell(value)));
    }
    lines.push(format!("\n{:#}", preview["body"]));
    let findings: Vec<&Value> = preview["lint"].as_array().into_iter().flatten().collect();
    if !findings.is_empty() {
        lines.push(String::new());
    }
    for finding in findings {
        let near = finding["nearest"].as_str().map(|near| format!(", did you mean {{{{{near}}}}}?"));
        let (place, name, problem) = (cell(&finding["pointer"]), cell(&finding["name"]), cell(&finding["problem"]));
        lines.push(format!("{place}: {name}: {}{}", problem.replace('_', " "), near.unwrap_or_default()));
    }
    lines.join("\n")
}

async fn connect_token(args: &ConnectTokenArgs) -> Result<()> {
    let mut asked = json!({});
    if let Some(Period(time)) = args.expires {
        asked["expires_in_seconds"] = json!(time.as_secs());
    }
    if let Some(name) = &args.name {
        asked["name"] = json!(name);
    }
    let answer = args.one.asking.api()?.post(&format!("{BOTS}/{}/connect-tokens", args.one.id), &asked).await?;
    args.one.asking.tell(&answer, |made| cell(if made["url"].is_null() { &made["token"] } else { &made["url"] }));
    if !args.one.asking.json && answer.body["url"].is_null() {
        note(
            "no server says where its WebSocket port is: this is the token alone; set ws_public_url or fleet.ws_advertised",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_reads_like_a_request_with_its_doubts_below() {
        let preview = json!({"method": "POST", "url": "https://crm.example.com/x", "headers": {"authorization": "***"},
            "body": {"A": 1}, "lint": [{"pointer": "/A", "name": "crl.x", "problem": "unknown_namespace", "nearest": "crm.x"}]});
        assert_eq!(
            previewed(&preview),
            "POST https://crm.example.com/x\nauthorization: ***\n\n{\n  \"A\": 1\n}\n\n\
             /A: crl.x: unknown namespace, did you mean {{crm.x}}?"
        );
    }
}
