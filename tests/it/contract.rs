//! The API against its own description, and the tables against ours, by programs that know neither: schemathesis and boto3.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::api::DIALLED;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::platform::{ADMIN_KEY, Platform, Setup};
use ringfleet_tests::process::{Process, command};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::still::held;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(60);
/// Some thousands of requests.
const SCHEMATHESIS: Duration = Duration::from_secs(900);
const PYTHON: Duration = Duration::from_secs(120);

/// No 5xx, no status and no body that the description does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_answer_that_is_not_described() {
    if !tools::can_run("contract", &["sipp", "schemathesis"]) {
        return;
    }
    let _turn = gate::whole().await;
    held("schemathesis", described).await.unwrap();
}

async fn described() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup { deaf: true, ..Setup::default() }).await?;
    let call = busy_call(&platform, &crm).await?;
    let settings = platform.folder().join("schemathesis.toml");
    std::fs::write(&settings, what_there_is(&call))?;
    let url = format!("{}/openapi.json", platform.ready()["http"].as_str().context("no http")?);
    let arguments = [
        "--config-file",
        settings.to_str().context("the folder's name is no text")?,
        "run",
        url.as_str(),
        "--header",
        &format!("X-API-Key: {ADMIN_KEY}"),
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        // Not "examples": what it makes up beside our own examples it makes anew at random, and stumbles over itself.
        // The coverage phase sends the examples of the description too.
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "25",
        "--seed",
        "20261125",
        // Threads of it disturb each other's draws: one run with one seed must be like the next.
        "--workers",
        "1",
        "--continue-on-failure",
        "--suppress-health-check",
        "all",
        "--no-color",
    ];
    let ran = run(Path::new("schemathesis"), &arguments.map(OsString::from), platform.folder(), SCHEMATHESIS).await?;
    ensure!(ran.0, "schemathesis found this:\n{}", ran.1);
    platform.stop().await
}

/// Ids that lead somewhere; and the one operation whose 503 is an answer of the guide's, not a failure: `no_trunk`,
/// `no_capacity` and their like.
fn what_there_is(call: &str) -> String {
    let with = |path: &str, name: &str, value: &str| {
        format!("[[operations]]\ninclude-path-regex = \"{path}\"\nparameters = {{ \"path.{name}\" = \"{value}\" }}\n\n")
    };
    let dialout = "[[operations]]\ninclude-name = \"POST /api/v1/dialout\"\nchecks.not_a_server_error.expected-statuses = [\"2xx\", \"4xx\", 503]\n\n";
    [
        dialout.to_owned(),
        with("^/api/v1/admin/bots/", "id", "bot"),
        with("^/api/v1/admin/trunks/", "id", "line"),
        with("^/api/v1/admin/calls/", "id", call),
        with("^/api/v1/calls/", "call_id", call),
    ]
    .concat()
}

/// Places a call to somebody who is busy, and waits until the CRM has heard of it.
async fn busy_call(platform: &Platform, crm: &Crm) -> Result<String> {
    let sipp = Sipp::start("refuse", &[("CODE", "486")])?;
    platform.api.create(&trunk("line", sipp.port), &bot("bot", "line", &crm.url("/crm"))).await?;
    let call = platform.api.dialout("bot", VARIABLES).await?;
    platform.api.result(&call, CALL).await?;
    crm.delivered("/crm", CALL).await?;
    Ok(call)
}

/// boto3 reads what `api.md` §7 says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_reads_the_tables_as_they_are_written_down() {
    if !tools::can_run("contract", &["sipp", "python3"]) || !has_boto3() {
        return;
    }
    let _turn = gate::part().await;
    read().await.unwrap();
}

fn has_boto3() -> bool {
    tools::runs("python3", &["-c", "import boto3"])
        || tools::skip("contract", "python3 has no boto3; tests/run installs it")
}

async fn read() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup { deaf: true, ..Setup::default() }).await?;
    let call = busy_call(&platform, &crm).await?;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/python/tables.py");
    let aws =
        |member: &str| platform.ready()["aws"][member].as_str().map(OsString::from).context("no aws in the ready line");
    let arguments = [
        script.into(),
        aws("endpoint")?,
        aws("region")?,
        aws("credentials_file")?,
        "ringfleet-".into(),
        call.clone().into(),
    ];
    let (good, said) = run(Path::new("python3"), &arguments, platform.folder(), PYTHON).await?;
    ensure!(good, "tables.py failed:\n{said}");
    let found: Value = serde_json::from_str(said.lines().last().context("nothing was printed")?)?;
    check_tables(&found["tables"])?;
    check_rows(&found, &call)?;
    platform.stop().await
}

fn check_tables(tables: &Value) -> Result<()> {
    let keys = [
        ("api-keys", json!(["key_hash"])),
        ("bots", json!(["bot_id"])),
        ("bot-versions", json!(["bot_id", "version"])),
        ("trunks", json!(["trunk_id"])),
        ("numbers", json!(["number"])),
        ("calls", json!(["call_id"])),
        ("deliveries", json!(["call_id", "channel"])),
        ("attempts", json!(["delivery", "n"])),
        ("servers", json!(["shard", "server_id"])),
        ("trunk-leases", json!(["trunk_id"])),
        ("idempotency", json!(["key"])),
    ];
    for (name, expect) in keys {
        ensure!(tables[name]["keys"] == expect, "{name}: {}", tables[name]);
    }
    let indexes = [
        ("calls", "by_bot_day", json!(["bot_day", "started_at"])),
        ("calls", "by_open_on", json!(["open_on"])),
        ("calls", "by_step", json!(["step", "due_at"])),
        ("deliveries", "by_due", json!(["due_shard", "due_at"])),
    ];
    for (table, index, expect) in indexes {
        ensure!(tables[table]["indexes"][index] == expect, "{table}: {}", tables[table]);
    }
    Ok(())
}

fn check_rows(found: &Value, id: &str) -> Result<()> {
    let call = &found["call"];
    let same = |row: &Value, expect: &[(&str, &str)]| -> Result<()> {
        for (name, value) in expect {
            ensure!(row[*name] == *value, "{name} is not {value:?} in {row}");
        }
        Ok(())
    };
    same(
        call,
        &[("state", "ended"), ("end_reason", "busy"), ("to_number", DIALLED), ("sip_code", "486"), ("bot_id", "bot")],
    )?;
    // Sparse: nothing is left to be done, and the server holds it no longer.
    for gone in ["open_on", "step", "next_step", "due_at", "transcript", "variables"] {
        ensure!(call.get(gone).is_none(), "{gone} is still in {call}");
    }
    ensure!(found["by_bot_day"] == json!([id]), "{}", found["by_bot_day"]);
    same(&found["delivery"], &[("state", "delivered"), ("tries", "1"), ("webhook_id", &format!("{id}-push"))])?;
    ensure!(
        found["delivery"].get("due_shard").is_none(),
        "a delivery that is done is in no index: {}",
        found["delivery"]
    );
    ensure!(found["attempts"] == 1, "{}", found["attempts"]);
    let objects = found["objects"].as_array().context("no objects")?;
    for name in ["record.json", "analysis.json", "variables.json"] {
        ensure!(objects.contains(&json!(name)), "no {name} among {objects:?}");
    }
    ensure!(
        objects.iter().any(|name| name.as_str().is_some_and(|name| name.starts_with("push"))),
        "no body among {objects:?}"
    );
    ensure!(
        found["queues"] == json!(["call-ended", "call-ended-dead", "deliveries", "deliveries-dead"]),
        "{}",
        found["queues"]
    );
    ensure!(found["servers"].as_array().is_some_and(|servers| servers.len() == 1), "{}", found["servers"]);
    Ok(())
}

/// Runs a program of others to its end: whether it was content, and what it said.
async fn run(program: &Path, arguments: &[OsString], folder: &Path, limit: Duration) -> Result<(bool, String)> {
    let mut command = command(program);
    command.args(arguments).current_dir(folder).env("NO_PROXY", "127.0.0.1");
    let ran = Process::start(&program.display().to_string(), command)?.run(limit).await?;
    Ok((ran.status.success(), format!("{}\n{}", ran.stderr, ran.stdout)))
}
