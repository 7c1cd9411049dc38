//! `ringfleet trunk`: list, show, put, delete.
//! It must never read a password from the command line: it stands in the file that is put.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::ids::TrunkId;

use super::show::{members, rows, table};
use super::{Asking, PutArgs, put, trunk_id};
use crate::cli::say;

const TRUNKS: &str = "/api/v1/admin/trunks";

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum TrunkCommand {
    /// Every trunk
    List(Asking),
    /// One trunk, its password masked
    Show(OneArgs),
    /// Create a trunk from a JSON file, or replace the one with its id
    Put(PutArgs),
    /// Delete a trunk; calls over it go on
    Delete(OneArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OneArgs {
    /// The trunk's id
    #[arg(value_parser = trunk_id)]
    id: TrunkId,
    #[command(flatten)]
    asking: Asking,
}

pub(in crate::cli) async fn run(command: TrunkCommand) -> Result<ExitCode> {
    match command {
        TrunkCommand::List(asking) => asking.tell(&asking.api()?.get(TRUNKS).await?, |trunks| {
            let columns = ["trunk_id", "version", "preset", "name", "host", "default_number", "max_calls"];
            table(&["TRUNK", "VERSION", "PRESET", "NAME", "HOST", "NUMBER", "MAX CALLS"], &rows(trunks, &columns))
        }),
        TrunkCommand::Show(args) => {
            let answer = args.asking.api()?.get(&format!("{TRUNKS}/{}", args.id)).await?;
            args.asking.tell(&answer, members);
        }
        TrunkCommand::Put(args) => put(&args, "trunk", "trunk_id").await?,
        TrunkCommand::Delete(args) => {
            args.asking.api()?.remove(&format!("{TRUNKS}/{}", args.id)).await?;
            say(&if args.asking.json { "null".to_owned() } else { format!("trunk {} is deleted", args.id) });
        }
    }
    Ok(ExitCode::SUCCESS)
}
