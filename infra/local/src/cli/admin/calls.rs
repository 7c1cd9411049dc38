//! `ringfleet calls`: list, show, hang up, send a result again.
//! It must never place a call: `ringfleet call` does.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::ids::{BotId, CallId, TrunkId};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::show::{cell, members, table};
use super::{Asking, bot_id, call_id, trunk_id};

const CALLS: &str = "/api/v1/admin/calls";

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum CallsCommand {
    /// Calls, newest first
    List(ListArgs),
    /// One call with its deliveries and every attempt
    Show(OneArgs),
    /// End a live call
    Hangup(OneArgs),
    /// Send a call's result to its CRM again: same id, same bytes
    Push(OneArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ListArgs {
    /// Of this bot only
    #[arg(long, value_name = "ID", value_parser = bot_id)]
    bot: Option<BotId>,
    /// In this state only: accepted, dialing, ringing, answered or ended
    #[arg(long, value_name = "WORD")]
    state: Option<String>,
    /// Over this trunk only
    #[arg(long, value_name = "ID", value_parser = trunk_id)]
    trunk: Option<TrunkId>,
    /// That ended for this reason only, e.g. busy
    #[arg(long, value_name = "WORD")]
    end_reason: Option<String>,
    /// Begun at this time or later
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Begun before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Where the page before ended
    #[arg(long, value_name = "TEXT")]
    cursor: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneArgs {
    /// The call's id
    #[arg(value_parser = call_id)]
    id: CallId,
    #[command(flatten)]
    asking: Asking,
}

pub(in crate::cli) async fn run(command: CallsCommand) -> Result<ExitCode> {
    match command {
        CallsCommand::List(args) => {
            let query = [
                ("bot_id", args.bot.as_ref().map(ToString::to_string)),
                ("state", args.state.clone()),
                ("trunk_id", args.trunk.as_ref().map(ToString::to_string)),
                ("end_reason", args.end_reason.clone()),
                ("from", args.from.map(|at| at.to_string())),
                ("to", args.to.map(|at| at.to_string())),
                ("cursor", args.cursor.clone()),
                ("limit", args.limit.map(|limit| limit.to_string())),
            ];
            args.asking.tell(&args.asking.api()?.get_with(CALLS, &query).await?, list);
        }
        CallsCommand::Show(args) => {
            let answer = args.asking.api()?.get(&format!("{CALLS}/{}", args.id)).await?;
            args.asking.tell(&answer, members);
        }
        CallsCommand::Hangup(args) => {
            let answer = args.asking.api()?.post(&format!("/api/v1/calls/{}/hangup", args.id), &json!({})).await?;
            args.asking.tell(&answer, |_| format!("call {} ends", args.id));
        }
        CallsCommand::Push(args) => {
            let answer = args.asking.api()?.post(&format!("{CALLS}/{}/push", args.id), &json!({})).await?;
            args.asking.tell(&answer, sent);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) -> String {
    let items = page["items"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = items.map(row).collect();
    let mut text = table(&["CALL", "STATE", "BOT", "TO", "STARTED", "SECONDS", "ENDED BY"], &rows);
    if let Some(cursor) = page["next_cursor"].as_str() {
        text.push_str(&format!("\nmore with --cursor {cursor}"));
    }
    text
}

/// A live call, an ended one's result and a call's row name some things differently.
fn row(call: &Value) -> Vec<String> {
    let first = |names: &[&str]| names.iter().map(|name| cell(&call[*name])).find(|text| !text.is_empty());
    let seconds = first(&["call_duration_seconds"])
        .or_else(|| call["duration_ms"].as_f64().filter(|ms| *ms > 0.0).map(|ms| (ms / 1000.0).to_string()));
    vec![
        first(&["call_id", "session_id"]).unwrap_or_default(),
        first(&["state"]).unwrap_or_default(),
        first(&["bot_id"]).unwrap_or_default(),
        first(&["to_number"]).unwrap_or_default(),
        first(&["started_at"]).unwrap_or_default(),
        seconds.unwrap_or_default(),
        first(&["end_reason", "disconnected_by"]).unwrap_or_default(),
    ]
}

/// One line a delivery that is on its way again, and one for each that is not, with the reason.
fn sent(answer: &Value) -> String {
    let lines = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let mut text: Vec<String> = Vec::new();
    for delivery in lines("deliveries") {
        let channel = delivery.get("channel").unwrap_or(&delivery);
        text.push(format!("{} is sent again", cell(channel)));
    }
    for refused in lines("refused") {
        text.push(format!("not sent: {}", cell(&refused["detail"])));
    }
    if text.is_empty() { "nothing is sent again".to_owned() } else { text.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_and_what_is_not_is_told() {
        let check = |answer: Value, expect: &str| assert_eq!(sent(&answer), expect, "{answer}");
        check(json!({"deliveries": [{"channel": "push", "webhook_id": "x"}]}), "push is sent again");
        check(
            json!({"deliveries": ["webhook"], "refused": [{"code": "c", "detail": "the body is gone"}]}),
            "webhook is sent again\nnot sent: the body is gone",
        );
        check(json!({}), "nothing is sent again");
    }

    #[test]
    fn calls_of_every_form_have_a_row() {
        let page = json!({"items": [
            {"session_id": "1", "state": "ringing", "bot_id": "b", "to_number": "+91", "started_at": "t"},
            {"call_id": "2", "state": "ended", "bot_id": "b", "duration_ms": 12500, "end_reason": "busy"},
        ], "next_cursor": "c2"});
        assert_eq!(
            list(&page),
            "CALL  STATE    BOT  TO   STARTED  SECONDS  ENDED BY\n1     ringing  b    +91  t\n\
             2     ended    b                  12.5     busy\nmore with --cursor c2"
        );
    }
}
