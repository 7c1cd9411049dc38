//! CRMs that misbehave: the same id and the same bytes until one try gets through, and nobody else waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use ringfleet_tests::crm::{Answer, Crm, Push};
use ringfleet_tests::gate;
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::tools;
use ringfleet_tests::wait::until;
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(90);
const RETRIES: Duration = Duration::from_secs(90);
/// A try is given up after 15 s; its request may have come here late by what the machine stood still.
const HANGS: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_tried_until_it_is_taken_and_its_bytes_never_change() {
    if !tools::can_run("crm", &["sipp"]) {
        return;
    }
    let _turn = gate::part().await;
    run().await.unwrap();
}

async fn run() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup { deaf: true, ..Setup::default() }).await?;
    crm.script("/moody", &[Answer::Status(500), Answer::Redirect, Answer::Status(404), Answer::Status(503)]);
    crm.script("/hanging", &[Answer::Never]);
    // One that hangs must not hold up one that works.
    let hanging = busy_call(&platform, &crm, "hanging").await?;
    until("the hanging CRM is asked", RETRIES, || async { Ok(crm.pushes("/hanging").pop()) }).await?;
    let moody = busy_call(&platform, &crm, "moody").await?;
    until("the moody CRM is asked", RETRIES, || async { Ok(crm.pushes("/moody").pop()) }).await?;
    ensure!(crm.pushes("/hanging").len() == 1, "the moody CRM was asked after the hanging one's time was up");
    let last = crm.delivered("/moody", RETRIES).await?;
    let tries = crm.pushes("/moody");
    ensure!(tries.len() == 5, "{} tries", tries.len());
    check_same(&tries, &moody)?;
    ensure!(last.header("webhook-id") == tries[0].header("webhook-id"), "the last try has another id");

    crm.delivered("/hanging", RETRIES).await?;
    let asked = crm.pushes("/hanging");
    let hung = asked.get(1).context("the hanging CRM was asked once")?.at - asked[0].at;
    ensure!(hung >= HANGS, "the hanging CRM was asked again after {hung:?}, before its time was up");
    check_same(&asked, &hanging)?;
    platform.stop().await?;
    crm.once("/moody")?;
    crm.once("/hanging")?;
    ensure!(crm.pushes("/redirected").is_empty(), "a redirect was followed");
    Ok(())
}

/// Places a call to somebody who is busy; the secret that its pushes are signed with.
async fn busy_call(platform: &Platform, crm: &Crm, name: &str) -> Result<String> {
    let sipp = Sipp::start("refuse", &[("CODE", "486")])?;
    let bot = bot(name, name, &crm.url(&format!("/{name}")));
    let stored = platform.api.create(&trunk(name, sipp.port), &bot).await?;
    let call = platform.api.dialout(name, VARIABLES).await?;
    let result = platform.api.result(&call, CALL).await?;
    ensure!(result["end_reason"] == "busy", "{result}");
    sipp.finish().await?;
    Ok(stored["push"]["secret"].as_str().context("no secret")?.to_owned())
}

fn check_same(tries: &[Push], secret: &str) -> Result<()> {
    for push in tries {
        push.verify(secret)?;
    }
    let ids: BTreeSet<&str> = tries.iter().map(|push| push.header("webhook-id")).collect();
    let bodies: BTreeSet<&[u8]> = tries.iter().map(|push| &push.body[..]).collect();
    ensure!(
        ids.len() == 1 && bodies.len() == 1,
        "{} ids and {} bodies in {} tries",
        ids.len(),
        bodies.len(),
        tries.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_carries_the_whole_result_and_410_ends_it_at_once() {
    if !tools::can_run("crm", &["sipp"]) {
        return;
    }
    let _turn = gate::part().await;
    webhook().await.unwrap();
}

async fn webhook() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup { deaf: true, ..Setup::default() }).await?;
    crm.script("/gone-hook", &[Answer::Status(410)]);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut calls = Vec::new();
    for (name, hook) in [("whole", "/hook"), ("gone", "/gone-hook")] {
        let sipp = Sipp::start("refuse", &[("CODE", "603")])?;
        let mut bot = bot(name, name, &crm.url(&format!("/{name}")));
        bot["webhook"] = json!({"url": crm.url(hook), "secret": secret});
        bot["outcome_map"] = json!({"declined": "NOT_INTERESTED"});
        platform.api.create(&trunk(name, sipp.port), &bot).await?;
        let call = platform.api.dialout(name, VARIABLES).await?;
        let result = platform.api.result(&call, CALL).await?;
        calls.push(call);
        sipp.finish().await?;
        let push = crm.delivered(&format!("/{name}"), RETRIES).await?;
        ensure!(push.json()?["disposition"] == "NOT_INTERESTED", "{:?}", push.body);
        if name == "whole" {
            let hooked = crm.delivered(hook, RETRIES).await?;
            hooked.verify(secret)?;
            let body = hooked.json()?;
            for name in
                ["session_id", "disconnected_by", "end_reason", "sip_code", "variables", "transcript", "started_at"]
            {
                ensure!(
                    body[name] == result[name],
                    "{name} is {} in the webhook and {} in the API",
                    body[name],
                    result[name]
                );
            }
            ensure!(hooked.header("webhook-id") != push.header("webhook-id"), "push and webhook have the same id");
        }
    }
    until("the webhook that is gone is asked", RETRIES, || async { Ok(crm.pushes("/gone-hook").pop()) }).await?;
    let [whole, gone] = &calls[..] else { anyhow::bail!("two calls") };
    resent(&platform, &crm, whole, gone).await?;
    platform.stop().await?;
    Ok(())
}

/// What an admin does about it: sees why, replaces the bot, and sends again, under the same id and with the same bytes.
async fn resent(platform: &Platform, crm: &Crm, whole: &str, gone: &str) -> Result<()> {
    let api = &platform.api;
    until("the webhook is dead", RETRIES, || async {
        let shown = api.get(&format!("/api/v1/admin/calls/{gone}")).await?;
        let rows = shown["deliveries"].as_array().context("no deliveries")?;
        let dead = |row: &&Value| row["delivery"]["channel"] == "webhook" && row["delivery"]["why"] == "endpoint_gone";
        Ok(rows.iter().find(dead).cloned())
    })
    .await?;
    let again = format!("/api/v1/admin/calls/{gone}/push");
    let webhook = json!({"channel": "webhook"});
    let (status, refused) = api.ask(Method::POST, &again, Some(&webhook)).await?;
    ensure!(status == 409 && refused["code"] == "endpoint_disabled", "{status}: {refused}");
    ensure!(crm.pushes("/gone-hook").len() == 1, "a webhook that answered 410 was asked again");
    api.replace("/api/v1/admin/bots/gone", |bot| bot["name"] = json!("Looked at")).await?;
    api.post(&again, &webhook).await?;
    crm.delivered("/gone-hook", RETRIES).await?;
    check_again(&crm.pushes("/gone-hook"))?;

    // What was taken already is sent again just so.
    api.post(&format!("/api/v1/admin/calls/{whole}/push"), &json!({"channel": "push"})).await?;
    until("the push comes again", RETRIES, || async { Ok((crm.pushes("/whole").len() == 2).then_some(())) }).await?;
    check_again(&crm.pushes("/whole"))
}

fn check_again(pushes: &[Push]) -> Result<()> {
    let [first, second] = pushes else { anyhow::bail!("{} pushes", pushes.len()) };
    ensure!(first.header("webhook-id") == second.header("webhook-id"), "another id");
    ensure!(first.body == second.body, "other bytes");
    Ok(())
}
