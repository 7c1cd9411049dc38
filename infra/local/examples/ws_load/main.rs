//! The load side of the WebSocket bench: so many diallers of the native protocol at once, each sending a frame of a tone
//! every 20 ms by its own clock and timing every frame that comes back. Prints one JSON object, with the names that the
//! SIP load generator uses, so that the two stand in one table.
//!
//!     ws_load --url ws://127.0.0.1:8091/ws/bench --calls 500 --rate 40 --hold 20 --pids PID --out result.json
//!
//! It must never be what is measured: it codes and parses nothing per frame, and says how late it was itself.

#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]

mod dialler;
mod machine;
mod report;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::time::Instant;

use dialler::{Plan, Told};
use machine::{Ticks, Usage};

/// Holds WebSocket calls against a server and measures them.
#[derive(Debug, Parser)]
struct Arguments {
    /// `ws://HOST:PORT/ws/BOT`.
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// Calls started a second.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Seconds that are measured, once all calls are up.
    #[arg(long, default_value_t = 20)]
    hold: u64,
    /// Seconds between the last call and the measuring.
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// A WAV of 8 kHz mono to send over and over instead of a tone of 440 Hz.
    #[arg(long)]
    wav: Option<PathBuf>,
    /// The server's processes, whose CPU and memory are read.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    #[arg(long, default_value = "ws")]
    label: String,
    /// Where the JSON goes besides standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What is true before, in the middle of and after the measured window.
struct Reading {
    at: Instant,
    server: Usage,
    own: Ticks,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // One thread: it is pinned to a core, and whatever it costs is seen.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let report = local.block_on(&runtime, run(&arguments))?;
    let text = serde_json::to_string_pretty(&report)?;
    println!("{text}");
    if let Some(path) = &arguments.out {
        std::fs::write(path, &text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> anyhow::Result<report::Report> {
    let idle = Usage::of(&arguments.pids);
    let start = Instant::now();
    let ramp = Duration::from_secs_f64(arguments.calls as f64 / arguments.rate);
    let window_from = start + ramp + Duration::from_secs(arguments.settle);
    let window_to = window_from + Duration::from_secs(arguments.hold);
    let plan = Rc::new(Plan {
        url: arguments.url.clone(),
        messages: dialler::messages(arguments.wav.as_deref())?,
        window: window_from..window_to,
    });
    let mut calls = Vec::with_capacity(arguments.calls);
    for n in 0..arguments.calls {
        tokio::time::sleep_until(start + Duration::from_secs_f64(n as f64 / arguments.rate)).await;
        let plan = plan.clone();
        calls.push(tokio::task::spawn_local(async move { dialler::call(n, &plan).await }));
    }
    let read = |at| Reading { at, server: Usage::of(&arguments.pids), own: Ticks::own() };
    tokio::time::sleep_until(window_from).await;
    let from = read(Instant::now());
    tokio::time::sleep_until(window_to).await;
    let to = read(Instant::now());
    let mut told: Vec<Told> = Vec::with_capacity(calls.len());
    let mut failures = Vec::new();
    for call in calls {
        match call.await? {
            Ok(call) => told.push(call),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    Ok(report::report(arguments, &told, &failures, [&idle, &from.server, &to.server], (&from, &to)))
}
