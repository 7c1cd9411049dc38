//! `ringfleet fleet`: the servers, and draining one.
//! It must never stop a process: a drained server stays up, and whoever runs it ends it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::ids::ServerId;
use serde_json::{Value, json};

use super::show::{cell, table};
use super::{Asking, server_id};

const FLEET: &str = "/api/v1/admin/fleet";

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum FleetCommand {
    /// Every server and its load
    Show(Asking),
    /// Let a server finish its calls and take no further one
    Drain(OneArgs),
    /// Let a drained server take calls again
    Undrain(OneArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneArgs {
    /// The server's id
    #[arg(value_parser = server_id)]
    id: ServerId,
    #[command(flatten)]
    asking: Asking,
}

pub(in crate::cli) async fn run(command: FleetCommand) -> Result<ExitCode> {
    match command {
        FleetCommand::Show(asking) => asking.tell(&asking.api()?.get(FLEET).await?, shown),
        FleetCommand::Drain(args) => {
            let answer = args.asking.api()?.post(&format!("{FLEET}/{}/drain", args.id), &json!({})).await?;
            args.asking.tell(&answer, |server| {
                format!("server {} takes no further call; {} go on", args.id, cell(&server["calls"]))
            });
        }
        FleetCommand::Undrain(args) => {
            let answer = args.asking.api()?.post(&format!("{FLEET}/{}/undrain", args.id), &json!({})).await?;
            args.asking.tell(&answer, |_| format!("server {} takes calls again", args.id));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(fleet: &Value) -> String {
    const COLUMNS: [&str; 8] =
        ["id", "epoch", "calls", "free", "max", "trunk_calls", "heartbeat_age_seconds", "version"];
    let row = |server: &Value| {
        let mut cells: Vec<String> = COLUMNS.iter().map(|column| cell(&server[*column])).collect();
        cells.insert(1, state(server).to_owned());
        cells
    };
    let mut rows: Vec<Vec<String>> = fleet["servers"].as_array().into_iter().flatten().map(row).collect();
    let sums = &fleet["sums"];
    let sum = |name: &str| cell(&sums[name]);
    let healthy = format!("{} of {} healthy", sum("healthy"), sum("servers"));
    rows.push(vec![
        "all".to_owned(),
        healthy,
        String::new(),
        sum("calls"),
        sum("free"),
        sum("max"),
        sum("trunk_calls"),
    ]);
    table(&["SERVER", "STATE", "EPOCH", "CALLS", "FREE", "MAX", "BY TRUNK", "HEARTBEAT S AGO", "VERSION"], &rows)
}

fn state(server: &Value) -> &'static str {
    match (server["healthy"].as_bool(), server["draining"].as_bool()) {
        (Some(true), Some(true)) => "draining",
        (Some(true), _) => "open",
        _ => "silent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_a_table_with_its_sums() {
        let server = |id: &str, healthy: bool, draining: bool| {
            json!({"id": id, "epoch": 3, "calls": 2, "free": 8, "max": 10, "trunk_calls": {"t": 2}, "draining": draining,
                "heartbeat_age_seconds": 0.5, "version": "0.1.0", "healthy": healthy})
        };
        let fleet = json!({"servers": [server("a", true, false), server("b", true, true), server("c", false, false)],
            "sums": {"servers": 3, "healthy": 2, "calls": 4, "free": 8, "max": 20, "trunk_calls": {"t": 6}}});
        let text = shown(&fleet);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
            .collect();
        assert_eq!(lines[1], ["a", "open", "3", "2", "8", "10", "t:2", "0.5", "0.1.0"]);
        assert_eq!((lines[2][1], lines[3][1]), ("draining", "silent"));
        assert_eq!(lines[4], ["all", "2 of 3 healthy", "4", "8", "20", "t:6"]);
    }
}
