//! Long runs, for `tests/run --long`: many calls, and servers killed at moments that nobody chose.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::dice::Dice;
use ringfleet_tests::platform::{FleetServer, Platform, Setup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, tools};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALL: Duration = Duration::from_secs(120);
const PUSH: Duration = Duration::from_secs(120);
const ROUNDS: u32 = 8;
const BATCH: u32 = 12;

/// Places a call to a callee of `scenario`; its id and its peer.
async fn place(platform: &Platform, crm: &Crm, name: &str, scenario: &str, audio: &str) -> Result<(String, Sipp)> {
    let sipp = Sipp::start(scenario, &[("CODE", "486"), ("AUDIO", audio), ("MS", "1500")])?;
    platform.api.create(&trunk(name, sipp.port), &bot(name, name, &crm.url(&format!("/{name}")))).await?;
    let call = platform.api.dialout(name, VARIABLES).await?;
    Ok((call, sipp))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run --long"]
async fn soak_many_calls_leave_nothing_behind() {
    if !tools::can_run("soak", &["sipp", "espeak-ng"]) || !tools::can_hear("soak") {
        return;
    }
    let _turn = gate::whole().await;
    many_calls().await.unwrap();
}

async fn many_calls() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup::default()).await?;
    let audio = Speech::espeak("Hello? Hello?")?.write_ulaw(&platform.folder().join("voice.ulaw"))?;
    let audio = audio.display().to_string();
    let mut first = None;
    for round in 0..ROUNDS {
        for number in 0..BATCH {
            let scenario = ["refuse", "bye-at-once", "talk-and-hang-up"][number as usize % 3];
            let name = format!("soak-{round}-{number}");
            let (call, sipp) = place(&platform, &crm, &name, scenario, &audio).await?;
            let ended = async {
                let result = platform.api.result(&call, CALL).await?;
                let expected = if scenario == "refuse" { "busy" } else { "customer_hangup" };
                ensure!(result["end_reason"] == expected, "{scenario}: {result}");
                sipp.finish().await?;
                crm.delivered(&format!("/{name}"), PUSH).await.map(|_| ())
            };
            ended.await.with_context(|| name.clone())?;
        }
        let (memory, files) = platform.holds()?;
        tools::note(&format!("after {} calls: {memory} KiB, {files} files", (round + 1) * BATCH));
        // The first rounds fill caches and pools.
        if round == 1 {
            first = Some((memory, files));
        }
        if let Some((before, open)) = first {
            ensure!(files <= open + 10, "{open} open files became {files}");
            ensure!(memory < before + 60_000, "{before} KiB became {memory}");
        }
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run --long"]
async fn soak_killed_whenever_every_accepted_call_has_one_result() {
    if !tools::can_run("soak", &["sipp", "espeak-ng"]) {
        return;
    }
    let _turn = gate::whole().await;
    killed_whenever().await.unwrap();
}

async fn killed_whenever() -> Result<()> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup { external: true, deaf: true, ..Setup::default() }).await?;
    let audio = Speech::espeak("Hello? Hello?")?.until(60.0).write_ulaw(&platform.folder().join("voice.ulaw"))?;
    let audio = audio.display().to_string();
    let mut dice = Dice::new(20_260_101);
    let mut server = platform.fleet_server("alpha").await?;
    for round in 0..ROUNDS {
        let kill_at = Duration::from_millis(dice.below(1500));
        server = killed_round(&platform, &crm, server, round, kill_at, &audio)
            .await
            .with_context(|| format!("round {round}, killed after {kill_at:?}"))?;
    }
    server.stop().await?;
    platform.stop().await?;
    for round in 0..ROUNDS {
        for number in 0..KILLED_WITH.len() {
            crm.once(&format!("/kill-{round}-{number}"))?;
        }
    }
    Ok(())
}

/// What the far sides of a round's calls do.
const KILLED_WITH: [&str; 4] = ["talk-until-bye", "refuse", "bye-at-once", "ring-only"];

/// Some calls, in all stages of their lives when their server dies; a new process takes its place.
async fn killed_round(
    platform: &Platform,
    crm: &Crm,
    mut server: FleetServer,
    round: u32,
    kill_at: Duration,
    audio: &str,
) -> Result<FleetServer> {
    let mut placed = Vec::new();
    for (number, scenario) in KILLED_WITH.into_iter().enumerate() {
        let name = format!("kill-{round}-{number}");
        placed.push((place(platform, crm, &name, scenario, audio).await?, name));
    }
    let begun = Instant::now();
    until("the moment to kill", CALL, || async { Ok((begun.elapsed() >= kill_at).then_some(())) }).await?;
    server.kill().await?;
    let next = platform.fleet_server_again(server).await?;
    let mut ends = JoinSet::new();
    for ((call, sipp), name) in placed {
        let api = platform.api.clone();
        ends.spawn(async move {
            let result = api.result(&call, CALL).await.with_context(|| name.clone());
            sipp.kill().await?;
            anyhow::Ok((name, result?))
        });
    }
    while let Some(done) = ends.join_next().await {
        let (name, result): (String, Value) = done??;
        let push = crm.delivered(&format!("/{name}"), PUSH).await.with_context(|| result.to_string())?;
        let body = push.json()?;
        ensure!(
            body["why"] == result["end_reason"] && body["lead"] == "123456789012345678901234",
            "{body} for {result}"
        );
        tools::note(&format!("{name}, killed after {kill_at:?}: {}", result["end_reason"]));
    }
    Ok(next)
}
