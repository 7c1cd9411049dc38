//! Pre-fetch against a CRM on loopback: the bot says what was fetched, a failure counts as the bot's settings say, and a
//! CRM that is slow holds up neither the phone's ringing nor the bot's first words.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::desk::{Desk, Reply};
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::sipp::{self, Message, Sipp};
use ringfleet_tests::still::held;
use ringfleet_tests::subjects::{bot, trunk};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(120);
const PUSH: Duration = Duration::from_secs(60);
/// `branch` comes from here though the CRM has one, too.
const VARIABLES: &str = r#"{"lead_id": 123456789012345678901234, "branch": "Pune"}"#;
const CUSTOMER: &str =
    r#"{"data": {"customer": {"customer_name": "Meera", "branch": "Delhi", "loan": 98765432109876543210}}}"#;

struct World {
    platform: Platform,
    crm: Crm,
    desk: Desk,
    audio: String,
}

struct Ended {
    result: Value,
    body: Value,
    trace: Vec<Message>,
}

/// One call of a bot named `name` with this `prefetch`, to a far side that behaves as `scenario` says.
async fn call(world: &World, name: &str, prefetch: Value, scenario: &str) -> Result<Ended> {
    let values: &[(&str, &str)] =
        if scenario == "ring-only" { &[] } else { &[("AUDIO", &world.audio), ("MS", "16000")] };
    let sipp = Sipp::start(scenario, values)?;
    let path = format!("/{name}");
    let mut bot = bot(name, name, &world.crm.url(&path));
    bot["opening_message"] = json!("Hello {{crm.customer_name}}, I call from our branch in {{crm.branch}}.");
    bot["prefetch"] = prefetch;
    bot["prefetch"]["response_path"] = json!("data.customer");
    bot["prefetch"]["token"] = json!("Bearer desk-token");
    bot["push"]["key_mapper"] = json!({
        "name": "{{crm.customer_name}}", "branch": "{{crm.branch}}", "loan": "{{crm.loan}}", "why": "{{call.end_reason}}"
    });
    let api = &world.platform.api;
    api.create(&trunk(name, sipp.port), &bot).await?;
    let call = api.dialout(name, VARIABLES).await?;
    let result = api.result(&call, CALL).await?;
    let trace = sipp.finish().await.with_context(|| format!("result {result}"))?;
    let body = world.crm.delivered(&path, PUSH).await?.json()?;
    Ok(Ended { result, body, trace })
}

fn said(result: &Value) -> String {
    let lines = result["transcript"].as_array().cloned().unwrap_or_default();
    let of_bot = lines.iter().filter(|line| line["speaker"] == "bot").filter_map(|line| line["text"].as_str());
    of_bot.collect::<Vec<_>>().join(" ")
}

fn warns(result: &Value, text: &str) -> bool {
    result["warnings"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.as_str().is_some_and(|w| w.contains(text))))
}

async fn fetched(world: &World) -> Result<()> {
    world.desk.replies("/lead/123456789012345678901234", Reply::Json(CUSTOMER.to_owned()));
    let prefetch = json!({
        "url": world.desk.url("/lead/{{crm.lead_id}}"), "on_failure": "abort", "headers": {"X-Branch": "{{crm.branch}}"}
    });
    let Ended { result, body, .. } = call(world, "fetched", prefetch, "talk-and-hang-up").await?;
    ensure!(said(&result).contains("Hello Meera, I call from our branch in Pune."), "{result}");
    ensure!(
        body == json!({"name": "Meera", "branch": "Pune", "loan": "98765432109876543210", "why": "customer_hangup"}),
        "{body}"
    );
    let asked = world.desk.asked("/lead/123456789012345678901234");
    ensure!(asked.len() == 1, "the CRM was asked {} times", asked.len());
    let wanted = format!(
        "/lead/123456789012345678901234?call_id={}&bot_id=fetched&caller_id=%2B919876543210&direction=outbound",
        result["session_id"].as_str().context("no id")?
    );
    ensure!(asked[0].method == "GET" && asked[0].target == wanted, "{:?}", asked[0].target);
    ensure!(asked[0].headers["authorization"] == "Bearer desk-token" && asked[0].headers["x-branch"] == "Pune");
    Ok(())
}

async fn failed_and_aborted(world: &World) -> Result<()> {
    world.desk.replies("/broken", Reply::Status(500));
    let prefetch = json!({"url": world.desk.url("/broken"), "method": "POST", "on_failure": "abort"});
    let Ended { result, body, trace } = call(world, "aborted", prefetch, "ring-only").await?;
    ensure!(result["end_reason"] == "prefetch_failed" && result["disconnected_by"] == "error", "{result}");
    ensure!(result["call_duration_seconds"] == 0.0 && result["recording_status"] == "none", "{result}");
    ensure!(body["why"] == "prefetch_failed" && warns(&result, "prefetch: the CRM answered 500"), "{result}");
    // The phone rang for as long as the CRM took, and not longer.
    ensure!(sipp::requests(&trace, "CANCEL").len() == 1, "the INVITE was not taken back");
    let asked = world.desk.asked("/broken");
    let sent: Value = serde_json::from_str(&asked.first().context("the CRM was not asked")?.body)?;
    let wanted = json!({
        "call_id": result["session_id"], "bot_id": "aborted", "caller_id": "+919876543210", "direction": "outbound"
    });
    ensure!(sent == wanted, "the CRM was sent {sent}");
    Ok(())
}

async fn failed_and_gone_on(world: &World) -> Result<()> {
    world.desk.replies("/broken-too", Reply::Status(404));
    let prefetch = json!({"url": world.desk.url("/broken-too"), "on_failure": "proceed"});
    let Ended { result, .. } = call(world, "proceeded", prefetch, "talk-and-hang-up").await?;
    ensure!(result["end_reason"] == "customer_hangup", "{result}");
    ensure!(said(&result).contains("I call from our branch in Pune."), "{result}");
    ensure!(warns(&result, "prefetch: the CRM answered 404") && warns(&result, "crm.customer_name"), "{result}");
    Ok(())
}

async fn slow(world: &World) -> Result<()> {
    // Long after the answer and long before the end, also where one of them waits for the machine.
    world.desk.replies("/slow", Reply::Late(Duration::from_secs(8), CUSTOMER.to_owned()));
    let prefetch = json!({"url": world.desk.url("/slow"), "timeout_ms": 20_000, "on_failure": "proceed"});
    let Ended { result, body, .. } = call(world, "slow", prefetch, "talk-and-hang-up").await?;
    ensure!(said(&result).contains("I call from our branch in Pune."), "{result}");
    ensure!(!said(&result).contains("Meera") && warns(&result, "prefetch was not done at the answer"), "{result}");
    // What came late is known all the same.
    ensure!(body["name"] == "Meera" && body["branch"] == "Pune", "{body}");
    Ok(())
}

async fn slow_and_aborted(world: &World) -> Result<()> {
    world.desk.replies("/slow-too", Reply::Late(Duration::from_secs(20), CUSTOMER.to_owned()));
    let prefetch = json!({"url": world.desk.url("/slow-too"), "timeout_ms": 1000, "on_failure": "abort"});
    let Ended { result, .. } = call(world, "timed-out", prefetch, "ring-only").await?;
    ensure!(result["end_reason"] == "prefetch_failed", "{result}");
    ensure!(warns(&result, "prefetch: no answer in time"), "{result}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bot_knows_what_the_crm_says_and_what_to_do_when_it_does_not() {
    let name = "the_bot_knows_what_the_crm_says_and_what_to_do_when_it_does_not";
    if !tools::can_run(name, &["sipp", "flite"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    let test = async || {
        let platform = Platform::start(Setup::default()).await?;
        let audio = Speech::silence(30.0).write_ulaw(&platform.folder().join("silence.ulaw"))?.display().to_string();
        let mut world = World { platform, crm: Crm::start().await?, desk: Desk::start().await?, audio };
        let log = || world.platform.log();
        let done = tokio::try_join!(
            fetched(&world),
            failed_and_aborted(&world),
            failed_and_gone_on(&world),
            slow(&world),
            slow_and_aborted(&world)
        );
        done.with_context(log)?;
        world.platform.stop().await
    };
    held(name, test).await.unwrap();
}
