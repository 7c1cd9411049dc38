//! kill -9 at bad moments: every accepted call still gets one result, with what was recorded of it, pushed once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::{Answer, Crm};
use ringfleet_tests::platform::{FleetServer, Platform, Setup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::wait::until;
use ringfleet_tests::wav::{audible_seconds, likeness};
use ringfleet_tests::{gate, tools};
use serde_json::Value;
use tokio::time::Instant;

const CALL: Duration = Duration::from_secs(90);
/// A message that was lost with its queue is found again when the analyzer's lease is over.
const PUSH: Duration = Duration::from_secs(90);
/// By then both have spoken.
const TALKED: Duration = Duration::from_secs(8);

/// A call under way: answered, with a voice on the line, and not about to end by itself.
struct Live {
    platform: Platform,
    server: FleetServer,
    sipp: Sipp,
    crm: Crm,
    call: String,
    secret: String,
    voice: Speech,
    /// Before it was asked for: what is seen of its answer may be seen late.
    asked: Instant,
    /// From then to its server's death: it can't have lasted longer.
    lasted: Duration,
}

async fn live() -> Result<Live> {
    let crm = Crm::start().await?;
    let platform = Platform::start(Setup { external: true, ..Setup::default() }).await?;
    ensure!(platform.ready()["sip"].is_null(), "an external fleet has no SIP here: {}", platform.ready());
    let server = platform.fleet_server("alpha").await?;
    let voice = Speech::espeak("Hello? Yes, I am listening to you.")?;
    let audio = voice.clone().until(100.0).write_ulaw(&platform.folder().join("voice.ulaw"))?;
    let sipp = Sipp::start("talk-until-bye", &[("AUDIO", &audio.display().to_string())])?;
    let stored = platform.api.create(&trunk("line", sipp.port), &bot("bot", "line", &crm.url("/crm"))).await?;
    let secret = stored["push"]["secret"].as_str().context("no secret")?.to_owned();
    let asked = Instant::now();
    let call = platform.api.dialout("bot", VARIABLES).await?;
    platform.api.reached(&call, "answered", CALL).await?;
    let answered = Instant::now();
    until("the call has lasted", CALL, || async { Ok((answered.elapsed() >= TALKED).then_some(())) }).await?;
    platform.api.checkpointed(&call, 2, CALL).await?;
    Ok(Live { platform, server, sipp, crm, call, secret, voice, asked, lasted: asked.elapsed() })
}

impl Live {
    /// kill -9 of the server that has the call.
    async fn kill_server(&mut self) -> Result<()> {
        self.lasted = self.asked.elapsed();
        self.server.kill().await
    }

    /// One result that says what happened, one push of it; the result.
    async fn check_lost(&self) -> Result<Value> {
        let result = self.platform.api.result(&self.call, CALL).await?;
        let seen = || result.to_string();
        ensure!(result["disconnected_by"] == "error" && result["end_reason"] == "server_lost", "{result}");
        ensure!(result["variables"]["customer_name"] == "Asha Rao", "{result}");
        let push = self.crm.delivered("/crm", PUSH).await.with_context(seen)?;
        push.verify(&self.secret)?;
        let body = push.json()?;
        ensure!(body["why"] == "server_lost" && body["disposition"] == "ERROR", "{body}");
        let known = body["session"] == self.call.as_str() && body["lead"] == "123456789012345678901234";
        ensure!(known && body["greeting"] == "Dear Asha Rao!", "the CRM got {body} of {result}");
        Ok(result)
    }

    /// Both voices are there, up to about when the server died.
    async fn check_recording(&self, result: &Value, status: &str, at_least: f64) -> Result<()> {
        ensure!(result["recording_status"] == status, "{result}");
        let wav = self.platform.api.recording(result).await?;
        let (length, most) = (wav.seconds(), self.lasted.as_secs_f64() + 3.0);
        ensure!((at_least..most).contains(&length), "{length} s were saved of {} s", self.lasted.as_secs_f64());
        let (like, at) = likeness(&wav.left, &self.voice.samples);
        ensure!(like > 0.75, "the customer's side is like the customer by {like:.2} at {at:.1} s");
        let spoken = audible_seconds(&wav.right);
        ensure!(spoken > 1.0 || !tools::has("flite"), "{spoken} s of the bot's voice");
        let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
        ensure!(talked >= length - 0.1 && talked < most + 5.0, "it lasted {talked} s, {length} s are saved");
        Ok(())
    }

    /// Everything ends well, and nothing was told twice.
    async fn finish(mut self) -> Result<()> {
        self.platform.stop().await?;
        self.sipp.kill().await?;
        self.crm.once("/crm").map(|_| ())
    }
}

/// A bot that hears nobody apologises and hangs up: without the models no call lasts long enough to be cut off.
fn can_run(test: &str) -> bool {
    tools::can_run(test, &["sipp", "espeak-ng", "flite"]) && tools::can_hear(test)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_server_that_is_killed_loses_no_call() {
    if !can_run("a_fleet_server_that_is_killed_loses_no_call") {
        return;
    }
    let _turn = gate::whole().await;
    let test = async {
        let mut live = live().await?;
        // Another server is there and must not take over, nor be taken for dead.
        let mut other = live.platform.fleet_server("beta").await?;
        live.kill_server().await?;
        let result = live.check_lost().await?;
        live.check_recording(&result, "partial", 5.0).await?;
        let health = live.platform.api.get("/health/fleet").await?;
        ensure!(health["workers"].to_string().contains("beta"), "{health}");
        other.stop().await?;
        live.finish().await
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_server_that_is_killed_and_comes_back_ends_its_calls_once() {
    if !can_run("a_fleet_server_that_is_killed_and_comes_back_ends_its_calls_once") {
        return;
    }
    let _turn = gate::whole().await;
    let test = async {
        let mut live = live().await?;
        live.kill_server().await?;
        let again = live.platform.fleet_server_again(live.server).await?;
        live.server = again;
        let result = live.check_lost().await?;
        live.check_recording(&result, "partial", 5.0).await?;
        // It is back at work.
        let busy = Sipp::start("refuse", &[("CODE", "486")])?;
        live.platform.api.create(&trunk("busy", busy.port), &bot("busy", "busy", &live.crm.url("/busy"))).await?;
        let call = live.platform.api.dialout("busy", VARIABLES).await?;
        let result = live.platform.api.result(&call, CALL).await?;
        ensure!(result["end_reason"] == "busy", "{result}");
        busy.finish().await?;
        live.crm.delivered("/busy", PUSH).await?;
        let left: Vec<_> = std::fs::read_dir(FleetServer::spool_of(&live.platform, "alpha"))?.flatten().collect();
        ensure!(left.is_empty(), "the spool still holds {left:?}");
        live.server.stop().await?;
        live.finish().await
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_killed_tells_its_results_after_it_comes_back() {
    if !can_run("a_platform_that_is_killed_tells_its_results_after_it_comes_back") {
        return;
    }
    let _turn = gate::part().await;
    let test = async {
        let crm = Crm::start().await?;
        // Tries for longer than three calls take on any machine: nobody has given up when the CRM takes them.
        let retry = format!("periods.retry=[{}]", ["\"4s\""; 40].join(","));
        let setup = Setup { deaf: true, ..Setup::default() }.with(&[retry.as_str()]);
        let mut platform = Platform::start(setup).await?;
        // The CRM takes nothing until the platform was killed: whatever counts came after.
        crm.always(Some(Answer::Status(503)));
        let mut calls = Vec::new();
        for name in ["one", "two", "three"] {
            let sipp = Sipp::start("bye-at-once", &[])?;
            let stored =
                platform.api.create(&trunk(name, sipp.port), &bot(name, name, &crm.url(&format!("/{name}")))).await?;
            let call = platform.api.dialout(name, VARIABLES).await?;
            platform.api.reached(&call, "ended", CALL).await?;
            calls.push((name, call, stored["push"]["secret"].as_str().context("no secret")?.to_owned(), sipp));
        }
        platform.kill().await?;
        crm.always(None);
        platform.again().await?;
        for (name, call, secret, _) in &calls {
            let push = crm.delivered(&format!("/{name}"), PUSH).await?;
            push.verify(secret)?;
            let all = crm.pushes(&format!("/{name}"));
            ensure!(all.iter().all(|other| other.body == push.body), "the bytes changed over the restart");
            let result = platform.api.result(call, CALL).await?;
            ensure!(push.json()?["session"] == call.as_str() && result["end_reason"] == "customer_hangup", "{result}");
            ensure!(result["recording_status"] == "complete", "{result}");
        }
        platform.stop().await?;
        for (name, .., sipp) in calls {
            crm.once(&format!("/{name}"))?;
            sipp.finish().await?;
        }
        anyhow::Ok(())
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_killed_in_mid_call_ends_it_at_its_next_start() {
    if !can_run("a_platform_that_is_killed_in_mid_call_ends_it_at_its_next_start") {
        return;
    }
    let _turn = gate::whole().await;
    let test = async {
        let crm = Crm::start().await?;
        let mut platform = Platform::start(Setup::default()).await?;
        let audio = Speech::espeak("Hello? Who is calling me?")?.until(100.0);
        let audio = audio.write_ulaw(&platform.folder().join("voice.ulaw"))?;
        let sipp = Sipp::start("talk-until-bye", &[("AUDIO", &audio.display().to_string())])?;
        platform.api.create(&trunk("line", sipp.port), &bot("bot", "line", &crm.url("/crm"))).await?;
        let call = platform.api.dialout("bot", VARIABLES).await?;
        platform.api.reached(&call, "answered", CALL).await?;
        platform.kill().await?;
        platform.again().await?;
        let result = platform.api.result(&call, CALL).await?;
        ensure!(result["end_reason"] == "server_lost", "{result}");
        crm.delivered("/crm", PUSH).await?;
        platform.stop().await?;
        sipp.kill().await?;
        crm.once("/crm").map(|_| ())
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_server_ends_what_does_not_end_and_tells_it() {
    if !can_run("a_drained_server_ends_what_does_not_end_and_tells_it") {
        return;
    }
    let _turn = gate::whole().await;
    let test = async {
        let mut live = live().await?;
        live.server.stop().await?;
        let result = live.platform.api.result(&live.call, CALL).await?;
        ensure!(result["end_reason"] == "drained" && result["recording_status"] == "complete", "{result}");
        live.crm.delivered("/crm", PUSH).await?;
        let Live { mut platform, sipp, crm, .. } = live;
        let trace = sipp.finish().await?;
        ensure!(trace.iter().any(|message| message.received && message.start_line().starts_with("BYE")), "no BYE");
        platform.stop().await?;
        crm.once("/crm").map(|_| ())
    };
    test.await.unwrap();
}
