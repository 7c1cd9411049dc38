//! `ringfleet demo --json`: what a newcomer runs first must do all that it promises.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::process::{Process, command};
use ringfleet_tests::still::held;
use ringfleet_tests::wav::{Wav, audible_seconds};
use ringfleet_tests::{binaries, gate, tools};
use serde_json::Value;

const DEMO: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_does_what_it_promises() {
    let name = "the_demo_does_what_it_promises";
    if !tools::can_run(name, &["flite", "espeak-ng"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    held(name, demo).await.unwrap();
}

async fn demo() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = command(&binaries::ringfleet());
    command.args(["demo", "--json"]).current_dir(folder.path());
    let ran = Process::start("ringfleet demo", command)?.run(DEMO).await?;
    let seen = || format!("{}\n{}", ran.stdout, ran.stderr);
    ensure!(ran.status.success(), "the demo ended with {}: {}", ran.status, seen());
    let told: Value = serde_json::from_str(&ran.stdout).with_context(seen)?;
    check(&told, folder.path()).with_context(seen)
}

fn check(told: &Value, folder: &std::path::Path) -> Result<()> {
    let result = &told["result"];
    let call = told["call_id"].as_str().context("no call_id")?;
    ensure!(result["session_id"] == call, "the result is of another call");
    let lines = result["transcript"].as_array().context("no transcript")?;
    let turns = |speaker: &str| lines.iter().filter(|line| line["speaker"] == speaker).count();
    ensure!(
        turns("bot") >= 3 && turns("customer") >= 3,
        "{} turns of the bot, {} of the customer",
        turns("bot"),
        turns("customer")
    );
    let opening = lines.iter().find(|line| line["speaker"] == "bot").and_then(|line| line["text"].as_str());
    let name = result["variables"]["customer_name"].as_str().context("no customer_name in the variables")?;
    ensure!(opening.is_some_and(|text| text.contains(name)), "the opening is {opening:?}");
    ensure!(result["disconnected_by"] == "bot", "ended by {}", result["disconnected_by"]);

    let push = &told["push"];
    ensure!(push["status"] == 200, "the CRM answered {}", push["status"]);
    ensure!(push["body"].to_string().contains(call), "no call id in the pushed body {}", push["body"]);
    ensure!(push["body"].to_string().contains(name), "no name in the pushed body {}", push["body"]);
    ensure!(!push["body"].to_string().contains("{{"), "a template was left in {}", push["body"]);
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        ensure!(push["headers"][header].is_string(), "no {header} in {}", push["headers"]);
    }
    ensure!(told["timings"].as_array().is_some_and(|turns| turns.len() >= 2), "timings {}", told["timings"]);

    let path = told["wav"].as_str().context("no wav")?;
    let wav = Wav::read(&std::fs::read(folder.join(path)).with_context(|| path.to_owned())?)?;
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    ensure!((wav.seconds() - talked).abs() < 1.5, "{} s of {talked} s", wav.seconds());
    let (customer, bot) = (audible_seconds(&wav.left), audible_seconds(&wav.right));
    ensure!(customer > 3.0 && bot > 5.0, "{customer} s of the customer, {bot} s of the bot");
    Ok(())
}
