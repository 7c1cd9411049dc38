//! `ringfleet erase NUMBER`: takes a person out of every call, by asking the platform until it is through.
//! It must never print the number, nor say that it is done while calls with it are left.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::api::{Api, Place};
use super::{note, say};

#[derive(Debug, Clone, Args)]
pub(super) struct EraseArgs {
    /// The person's number, e.g. +919876543210; - reads it from standard input, so that no history keeps it
    number: String,
    /// The country of a number without a country code, two letters, e.g. IN
    #[arg(long, value_name = "COUNTRY")]
    country: Option<String>,
    /// Only count what would be erased
    #[arg(long)]
    dry_run: bool,
    /// Say what was done in one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What all requests together did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    looked_at: u64,
    calls: u64,
    unfinished: u64,
    objects: u64,
    deliveries_stopped: u64,
}

impl Sum {
    fn add(&mut self, answer: &Value) {
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        self.looked_at += count("looked_at");
        self.calls += count("calls");
        self.unfinished += count("unfinished");
        self.objects += count("objects");
        self.deliveries_stopped += count("deliveries_stopped");
    }

    fn to_json(self, dry_run: bool) -> Value {
        json!({
            "dry_run": dry_run, "looked_at": self.looked_at, "calls": self.calls, "unfinished": self.unfinished,
            "objects": self.objects, "deliveries_stopped": self.deliveries_stopped
        })
    }

    fn to_text(self, dry_run: bool) -> String {
        let (calls, deliveries) = (self.calls, self.deliveries_stopped);
        let mut text = if dry_run {
            format!("{calls} calls would be erased, and {deliveries} deliveries stopped")
        } else {
            format!("{calls} calls erased with {} objects, and {deliveries} deliveries stopped", self.objects)
        };
        if self.unfinished > 0 {
            text += &format!("; {} calls with the number are not finished: erase again when they are", self.unfinished);
        }
        text
    }
}

/// Fails while calls with the number are left, so that a script asks again.
pub(super) async fn run(args: EraseArgs) -> Result<ExitCode> {
    let number = match args.number.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?.trim().to_owned(),
        number => number.to_owned(),
    };
    let sum = erase(&args.place.client()?, &number, &args).await?;
    say(&if args.json { sum.to_json(args.dry_run).to_string() } else { sum.to_text(args.dry_run) });
    Ok(if sum.unfinished > 0 && !args.dry_run { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn erase(api: &Api, number: &str, args: &EraseArgs) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut cursor = Value::Null;
    loop {
        let body = json!({"number": number, "country": args.country, "dry_run": args.dry_run, "cursor": cursor});
        let answer = api.post("/api/v1/admin/erase", &body).await?.body;
        sum.add(&answer);
        if answer["done"].as_bool().context("this platform can't erase: its answer does not say whether it is done")? {
            return Ok(sum);
        }
        cursor = answer["cursor"].clone();
        if !args.json {
            note(&format!("{} calls looked at", sum.looked_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_add_up() {
        let mut sum = Sum::default();
        sum.add(&json!({"looked_at": 250, "calls": 2, "unfinished": 0, "objects": 9, "deliveries_stopped": 1}));
        sum.add(&json!({"looked_at": 10, "calls": 1, "unfinished": 1, "objects": 3, "deliveries_stopped": 0}));
        assert_eq!(
            sum.to_text(false),
            "3 calls erased with 12 objects, and 1 deliveries stopped; 1 calls with the number are not finished: erase again when they are"
        );
        assert_eq!(Sum { unfinished: 0, ..sum }.to_text(true), "3 calls would be erased, and 1 deliveries stopped");
        assert_eq!(sum.to_json(false)["looked_at"], 260);
    }
}
