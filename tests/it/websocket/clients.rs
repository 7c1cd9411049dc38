//! The two clients of the documentation as diallers: `websockets` (Python) and `ws` (JavaScript), which nobody here wrote.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::ears::{can_understand, got_across, transcribe};
use ringfleet_tests::platform::Setup;
use ringfleet_tests::process::{Process, command};
use ringfleet_tests::still::held;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

use super::{World, check_recording, key_mapper, said};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/websocket");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/websocket.md");
const TALK: Duration = Duration::from_secs(90);

/// Starts one of the clients.
pub(super) fn client(kind: &str, folder: &Path, world: &World, says: &Path, heard: &Path) -> Result<Process> {
    let mut command = match kind {
        "python" => {
            let mut command = command(Path::new("python3"));
            command.arg(format!("{EXAMPLES}/client.py"));
            command
        }
        // An ES module looks for packages beside itself.
        _ => {
            let script = folder.join("client.mjs");
            std::fs::copy(format!("{EXAMPLES}/client.mjs"), &script)?;
            let modules = tools::node_modules("clients", "ws").context("no ws")?;
            symlink(modules, folder.join("node_modules"))?;
            let mut command = command(Path::new("node"));
            command.arg(script);
            command
        }
    };
    command.arg(world.url(kind)).arg(says).arg(heard).env("RINGFLEET_KEY", &world.key);
    Process::start(&format!("the client in {kind}"), command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_the_documentation_hold_a_talk() {
    let name = "the_clients_of_the_documentation_hold_a_talk";
    let there = tools::can_run(name, &["flite", "espeak-ng", "python3", "node"])
        && tools::can_hear(name)
        && tools::has_python(name, "websockets")
        && can_understand(name)
        && tools::node_modules(name, "ws").is_some();
    if there {
        let _turn = gate::whole().await;
        held(name, both_talk).await.unwrap();
    }
}

fn bot(id: &str) -> Value {
    json!({
        "bot_id": id, "name": id,
        "opening_message": "Hello {{call.customer_name}}, can you pay tomorrow?",
        "script": {
            "steps": [{"id": "when", "expect": "yes_no", "reprompt": "Can you pay tomorrow?",
                       "branches": {"yes": {"result": {"disposition": "PROMISE_TO_PAY"}}}}],
            "closing": "Thank you very much, and have a nice day."
        },
        "silence": {"prompt_after_seconds": 30.0, "prompts": [], "hangup_after_seconds": 30.0},
        "push": {"key_mapper": key_mapper()}
    })
}

async fn both_talk() -> Result<()> {
    let kinds = ["python", "node"];
    let world = World::start(Setup::default(), &kinds.map(bot)).await?;
    let promise = Speech::flite("Yes, I can pay it tomorrow.")?;
    // The bot needs about three seconds for its question, and the client hangs up where its WAV ends.
    // Who spoke too early on a busy machine says it again.
    let speech = Speech::silence(7.0).then(&promise).until(22.0).then(&promise).until(36.0).then(&promise).until(60.0);
    let folder = tempfile::tempdir()?;
    let says = speech.write_wav(&folder.path().join("says.wav"))?;
    let heard: Vec<PathBuf> = kinds.iter().map(|kind| folder.path().join(format!("{kind}.wav"))).collect();
    let mut running = Vec::new();
    for (kind, heard) in kinds.iter().zip(&heard) {
        running.push(client(kind, folder.path(), &world, &says, heard)?);
    }
    for process in running {
        let ran = process.run(TALK).await?;
        ensure!(ran.status.success(), "a client failed: {}", ran.stderr);
        ensure!(ran.stdout.contains("Call ended by bot"), "it was not told of the end: {:?}", ran.stdout);
    }
    for (kind, understood) in kinds.iter().zip(transcribe(&heard).await?) {
        let said = "Can you pay tomorrow? Thank you very much, and have a nice day.";
        ensure!(got_across(said, &understood), "{kind}: the caller understood {understood:?}");
        check(&world, kind, &promise).await.with_context(|| format!("the call of {kind}"))?;
    }
    world.stop().await
}

async fn check(world: &World, kind: &str, promise: &Speech) -> Result<()> {
    let (push, result) = world.told(kind).await?;
    let body = push.json()?;
    let (bot, customer) = (said(&result, "bot"), said(&result, "customer"));
    ensure!(customer.contains("yes") && customer.contains("tomorrow"), "the customer was understood as {customer:?}");
    ensure!(bot.contains("peter") && bot.contains("nice day"), "the bot said {bot:?}");
    ensure!(result["disconnected_by"] == "bot" && body["disposition"] == "PROMISE_TO_PAY", "{body}; {result}");
    ensure!(body["name"] == "Peter" && body["loan"] == "LN123456" && body["direction"] == "inbound", "{body}");
    ensure!(body["caller"] == "+919876543210" && body["did"] == "+911140001234", "{body}");
    ensure!(body["stream"].as_str().is_some_and(|stream| stream.starts_with("stream-")), "{body}");
    check_recording(world, &result, promise).await
}

/// The page shows the clients as they are, and they are as short as it says.
#[test]
fn the_page_shows_the_clients_that_are_tested() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    for (name, language) in [("client.py", "python"), ("client.mjs", "javascript")] {
        let program = std::fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap();
        assert!(page.contains(&format!("```{language}\n{program}```")), "the page's {name} is another");
        assert!(program.lines().count() <= 45, "{name} has grown");
    }
}
