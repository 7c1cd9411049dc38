//! Our dialects against pipecat's serializers, which nobody here wrote: the same messages of a carrier give the same audio,
//! keys and names, and what we send has the shape of what they send. And the examples of `docs/websocket.md` against the
//! SDKs of Twilio and Plivo.

mod ours;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dialect::{Encoding, Format};
use ringfleet_tests::process::{Process, command};
use ringfleet_tests::{gate, tools};
use serde_json::{Map, Value, json};

use ours::Answer;
use wire::{CARRIERS, Carrier, Step};

/// It imports half of the Python world.
const PYTHON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipecat_hears_and_says_what_we_do() {
    if !can_ask("pipecat.serializers", "pipecat-ai") {
        return;
    }
    let _turn = gate::part().await;
    agree().await.unwrap();
}

async fn agree() -> Result<()> {
    let cases: Vec<Value> = CARRIERS.iter().map(Carrier::case).collect();
    let identities: Map<String, Value> = CARRIERS
        .iter()
        .filter(|carrier| carrier.is_told)
        .map(|carrier| (carrier.name.into(), carrier.firsts()))
        .collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    std::fs::write(&file, json!({ "cases": cases, "identities": identities }).to_string())?;
    let found = ask("oracle.py", &file).await?;
    let mut differences = Vec::new();
    for (carrier, theirs) in CARRIERS.iter().zip(found["cases"].as_array().context("no cases")?) {
        let answers = theirs.as_array().context("no answers")?;
        ensure!(answers.len() == carrier.steps.len(), "{}: {} answers", carrier.name, answers.len());
        let mut call = ours::Call::new(carrier);
        for (step, theirs) in carrier.steps.iter().zip(answers) {
            let ours = call.take(step)?;
            if let Err(why) = same(carrier, step, &ours, &Answer::theirs(theirs, carrier)?) {
                differences.push(format!("{}, {step:?}: {why}", carrier.name));
            }
        }
        if carrier.is_told {
            differences.extend(other_identity(carrier, &call, &found["identities"][carrier.name]));
        }
    }
    ensure!(differences.is_empty(), "pipecat and we differ:\n{}", differences.join("\n"));
    Ok(())
}

/// Who calls, and in which protocol.
fn other_identity(carrier: &Carrier, call: &ours::Call, theirs: &Value) -> Vec<String> {
    let Some(ours) = &call.opening else { return vec![format!("{}: never opened", carrier.name)] };
    let mut pairs = vec![
        ("transport", Some(ours.dialect.as_str().to_owned())),
        ("stream_id", ours.stream_id.clone()),
        ("call_id", ours.call_ref.clone()),
    ];
    // The two that have the numbers among the protocol's own members.
    if matches!(carrier.name, "exotel" | "telnyx") {
        pairs.extend([("from", ours.caller.clone()), ("to", ours.did.clone())]);
    }
    let differs = |(name, ours): (&str, Option<String>)| {
        (theirs[name].as_str() != ours.as_deref())
            .then(|| format!("{}: {name} is {} to them and {ours:?} to us", carrier.name, theirs[name]))
    };
    let mut differences: Vec<String> = pairs.into_iter().filter_map(differs).collect();
    for (name, value) in theirs["body"].as_object().into_iter().flatten() {
        let field = ours.fields.get(name).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap_or_default());
        if field.as_ref() != Some(value) {
            differences.push(format!("{}: the parameter {name} is {value} to them and {field:?} to us", carrier.name));
        }
    }
    differences
}

fn same(carrier: &Carrier, step: &Step, ours: &Answer, theirs: &Answer) -> Result<()> {
    match (ours, theirs) {
        (Answer::Text(ours), Answer::Text(theirs)) => alike("", ours, theirs, carrier),
        (Answer::Binary(ours), Answer::Binary(theirs)) => sounds_alike(ours, theirs, carrier.format),
        // They are told of a hang-up and a mark by other means than the carrier's message, or not at all.
        (_, Answer::Nothing)
            if matches!(step, Step::Hear(_)) && !matches!(ours, Answer::Audio(..) | Answer::Key(_)) =>
        {
            Ok(())
        }
        (ours, theirs) => {
            ensure!(ours == theirs, "to us it is {ours:?} and to them {theirs:?}");
            Ok(())
        }
    }
}

/// The same members with the same types and values, but for what the carrier's entry names.
fn alike(path: &str, ours: &Value, theirs: &Value, carrier: &Carrier) -> Result<()> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, theirs) in theirs {
                let path = format!("{path}.{name}");
                let ours = ours.get(name).with_context(|| format!("we lack {path}"))?;
                alike(&path, ours, theirs, carrier)?;
            }
            for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
                let path = format!("{path}.{name}");
                ensure!(carrier.only_ours.contains(&&*path), "{path} is only in ours");
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ensure!(ours.len() == theirs.len(), "{path} has {} items, theirs {}", ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                alike(path, ours, theirs, carrier)?;
            }
        }
        (Value::String(ours), Value::String(theirs)) if path == ".media.payload" => {
            sounds_alike(&STANDARD.decode(ours)?, &STANDARD.decode(theirs)?, carrier.format)?;
        }
        (ours, theirs) if carrier.free.contains(&path) => {
            let kind = std::mem::discriminant::<Value>;
            ensure!(kind(ours) == kind(theirs), "{path} is {ours}, theirs {theirs}: other types");
        }
        (ours, theirs) => ensure!(ours == theirs, "{path} is {ours}, theirs {theirs}"),
    }
    Ok(())
}

/// The same bytes. Of μ-law, a sample that lies between two codes may be either: ITU-T G.191, which we follow, takes the ones'
/// complement of a negative sample, and Python's `audioop`, which pipecat uses, the two's complement.
fn sounds_alike(ours: &[u8], theirs: &[u8], format: Format) -> Result<()> {
    ensure!(ours.len() == theirs.len(), "{} bytes of ours are not their {}", ours.len(), theirs.len());
    let others: Vec<(u8, u8)> = ours.iter().copied().zip(theirs.iter().copied()).filter(|(a, b)| a != b).collect();
    let between = |&(ours, theirs): &(u8, u8)| ours < 0x80 && ours.abs_diff(theirs) == 1;
    let is_tie = format.encoding == Encoding::Mulaw && others.len() * 100 <= ours.len() && others.iter().all(between);
    ensure!(others.is_empty() || is_tie, "ours and their bytes differ: {others:x?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdks_of_twilio_and_plivo_build_what_the_documentation_shows() {
    if !can_ask("twilio, plivo", "twilio and plivo") || !is_documented() {
        return;
    }
    let _turn = gate::part().await;
    documented().await.unwrap();
}

fn is_documented() -> bool {
    documentation().is_file() || tools::skip("oracle", "docs/websocket.md is missing")
}

fn documentation() -> PathBuf {
    root().join("docs/websocket.md")
}

async fn documented() -> Result<()> {
    let found = ask("markup.py", &documentation()).await?;
    for vendor in ["twilio", "plivo"] {
        let (documented, built) = (&found[vendor]["documented"], &found[vendor]["built"]);
        let text = documented.as_str().with_context(|| format!("docs/websocket.md has no example for {vendor}"))?;
        ensure!(documented == built, "{vendor}'s SDK makes {built} of {documented}");
        ensure!(text.contains("wss://HOST/ws/BOT_ID"), "it leads elsewhere: {text}");
    }
    Ok(())
}

fn can_ask(module: &str, package: &str) -> bool {
    tools::can_run("oracle", &["python3"])
        && (tools::runs("python3", &["-c", &format!("import {module}")])
            || tools::skip("oracle", &format!("python3 has no {package}; tests/run installs it")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs one of the Python peers on a file, and reads its last line.
async fn ask(script: &str, file: &Path) -> Result<Value> {
    let script = root().join("tests/peers/python").join(script);
    let mut python = command(Path::new("python3"));
    python.args([OsString::from(&script), OsString::from(file)]);
    let ran = Process::start("python3", python)?.run(PYTHON).await?;
    ensure!(ran.status.success(), "{} failed:\n{}\n{}", script.display(), ran.stderr, ran.stdout);
    Ok(serde_json::from_str(ran.stdout.lines().last().context("nothing was printed")?)?)
}
