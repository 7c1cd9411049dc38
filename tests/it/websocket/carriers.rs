//! One call over every dialect, all at once: the same words both ways, in each vendor's frames.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::ears::{can_understand, got_across, understand};
use ringfleet_tests::platform::Setup;
use ringfleet_tests::still::held;
use ringfleet_tests::ws::caller::{Caller, When};
use ringfleet_tests::ws::carrier::{CALLER, Carrier, DID, all};
use ringfleet_tests::ws::line::{Called, talk};
use ringfleet_tests::{gate, tools};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{World, asks, check_recording, said};

/// Two cores recognise the speech of about so many callers in time to be interrupted by them.
const AT_ONCE: usize = 6;
const TALK: Duration = Duration::from_secs(120);
/// More than this a dialler never has to hold: the platform sends in real time, and a little ahead.
const MOST_AHEAD: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_carries_a_talk_both_ways() {
    let name = "every_dialect_carries_a_talk_both_ways";
    if !tools::can_run(name, &["flite", "espeak-ng", "python3"]) || !tools::can_hear(name) || !can_understand(name) {
        return;
    }
    let _turn = gate::whole().await;
    held(name, everybody_talks).await.unwrap();
}

async fn everybody_talks() -> Result<()> {
    let promise = Speech::flite("Yes, I can pay it tomorrow.")?;
    let interruption = Speech::flite("Sorry, you have the wrong number.")?;
    let bots: Vec<Value> = all().iter().map(|carrier| asks(carrier.name())).collect();
    let world = World::start(Setup::default(), &bots).await?;
    let (mut ended, mut failures): (Vec<Ended>, Vec<String>) = (Vec::new(), Vec::new());
    let mut waiting = all();
    while !waiting.is_empty() {
        let wave = waiting.drain(..waiting.len().min(AT_ONCE)).collect();
        side_by_side(&world, wave, [&promise, &interruption], &mut ended, &mut failures).await?;
    }
    let heard: Vec<(&str, &[i16])> = ended.iter().map(|(carrier, called)| (carrier.name(), &*called.heard)).collect();
    let understood = understand(&heard).await?;
    for (carrier, called) in &ended {
        let name = carrier.name();
        let judged = match judge(carrier.as_ref(), called, understood.get(name).map_or("", String::as_str)) {
            Ok(()) => check_result(&world, carrier.as_ref(), &promise).await,
            failed => failed,
        };
        failures.extend(judged.err().map(|failure| format!("{name}: {failure:#}")));
    }
    ensure!(failures.is_empty(), "{} dialects failed:\n{}", failures.len(), failures.join("\n"));
    world.stop().await
}

type Ended = (Box<dyn Carrier>, Called);

/// Holds one call over each carrier at the same time.
async fn side_by_side(
    world: &World,
    wave: Vec<Box<dyn Carrier>>,
    [promise, interruption]: [&Speech; 2],
    ended: &mut Vec<Ended>,
    failures: &mut Vec<String>,
) -> Result<()> {
    let mut calls = JoinSet::new();
    for mut carrier in wave {
        let bot = carrier.name();
        let socket =
            world.open_as(bot, carrier.query(), &carrier.headers(), carrier.credential()).await.context(bot)?;
        let caller = Caller::silent().says(When::After(1), promise).says(When::Into(2, 1.0), interruption);
        calls.spawn(async move {
            let called = talk(socket, carrier.as_mut(), caller, TALK).await;
            called.map(|called| (carrier, called))
        });
    }
    while let Some(call) = calls.join_next().await {
        match call? {
            Ok(call) => ended.push(call),
            Err(failure) => failures.push(format!("{failure:#}")),
        }
    }
    Ok(())
}

/// What the far end saw and heard.
fn judge(carrier: &dyn Carrier, called: &Called, understood: &str) -> Result<()> {
    let said = "Can you pay tomorrow? Thank you very much, and have a nice day.";
    ensure!(got_across(said, understood), "the caller understood {understood:?}");
    // The end of the second question was never played.
    ensure!(!understood.contains("paper"), "the bot was not to be interrupted: {understood:?}");
    let (clears, marks, hung_up) = (called.clears, called.marks, called.hung_up);
    ensure!((clears > 0) == carrier.can_clear(), "{clears} orders to throw audio away");
    ensure!((marks > 0) == carrier.can_mark(), "{marks} marks were set");
    ensure!(hung_up == carrier.is_told_of_the_end(), "told of the end: {hung_up}");
    ensure!(called.longest_buffer <= MOST_AHEAD, "{:?} of audio had to be held", called.longest_buffer);
    if !carrier.is_told_of_the_end() {
        let closing = called.closing.as_ref().context("the socket was not closed")?;
        ensure!(closing.code == 1000, "closed with {closing:?}");
    }
    Ok(())
}

/// What the platform made of it.
async fn check_result(world: &World, carrier: &dyn Carrier, promise: &Speech) -> Result<()> {
    let (push, result) = world.told(carrier.name()).await?;
    let body = push.json()?;
    let (bot, customer) = (said(&result, "bot"), said(&result, "customer"));
    ensure!(
        got_across("Yes, I can pay it tomorrow.", &customer) && got_across("You have the wrong number.", &customer),
        "the customer was understood as {customer:?}"
    );
    ensure!(bot.contains("nice day") && !bot.contains("a paper about"), "the transcript of the bot is {bot:?}");
    ensure!(result["disconnected_by"] == "bot" && result["end_reason"] == "bot_hangup", "{result}");
    ensure!(body["disposition"] == "PROMISE_TO_PAY", "the CRM got {body}");
    if carrier.has_fields() {
        ensure!(
            bot.contains("hello peter") && body["name"] == "Peter" && body["loan"] == "LN123456",
            "{body}; {bot:?}"
        );
        ensure!(body["caller"] == CALLER && body["did"] == DID, "the numbers in the push are {body}");
    }
    check_recording(world, &result, promise).await
}
