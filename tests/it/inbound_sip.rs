//! Calls that come in by SIP, from SIPp as the carrier: the right bot takes them, or they get the answer that says why not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::baresip::Baresip;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::desk::{Desk, Reply};
use ringfleet_tests::ears::got_across;
use ringfleet_tests::platform::{Platform, ServerSetup, Setup};
use ringfleet_tests::sipp::{Message, Sipp};
use ringfleet_tests::still::held;
use ringfleet_tests::subjects::{called_bot, inbound_trunk};
use ringfleet_tests::wait::until;
use ringfleet_tests::wav::{audible_seconds, likeness};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

const CALLER: &str = "+919876543210";
const DID: &str = "+911140001234";
const CALL: Duration = Duration::from_secs(90);
const LEAD: &str = "123456789012345678901234";
/// SIPp's address.
const HERE: &str = "127.0.0.1/32";

/// A platform with one carrier.
struct World {
    platform: Platform,
    crm: Crm,
    sip: String,
    voice: Speech,
    audio: PathBuf,
}

impl World {
    /// Nobody listens: what callers say is recorded only.
    async fn deaf(set: &[&str], carrier: &str) -> Result<Self> {
        Self::start(Setup { deaf: true, ..Setup::default() }.with(set), carrier).await
    }

    async fn start(setup: Setup, carrier: &str) -> Result<Self> {
        let platform = Platform::start(setup).await?;
        let sip = platform.ready()["sip"].as_str().context("no SIP address")?.to_owned();
        let (voice, audio) = voice(platform.folder())?;
        platform.api.post("/api/v1/admin/trunks", &inbound_trunk("carrier", carrier)).await?;
        Ok(Self { platform, crm: Crm::start().await?, sip, voice, audio })
    }

    /// A bot for a DID, with changes.
    async fn bot(&self, id: &str, did: &str, changes: Value) -> Result<()> {
        let mut bot = called_bot(id, did, &self.crm.url(&format!("/{id}")));
        for (name, value) in changes.as_object().context("changes are an object")? {
            bot[name] = value.clone();
        }
        self.platform.api.post("/api/v1/admin/bots", &bot).await.map(|_| ())
    }

    fn caller(&self, scenario: &str, to: &str, more: &[(&str, &str)]) -> Result<Sipp> {
        caller(scenario, &self.sip, &format!("sip:{to}@{}", self.sip), &self.audio, more)
    }

    /// The one result of a bot's one call, as it was pushed and as it is stored.
    async fn result(&self, bot: &str) -> Result<(Value, Value)> {
        let pushed = self.crm.delivered(&format!("/{bot}"), CALL).await?.json()?;
        let id = pushed["session"].as_str().context("no session")?;
        Ok((self.platform.api.result(id, CALL).await?, pushed))
    }

    async fn stop(mut self) -> Result<()> {
        self.platform.stop().await.with_context(|| self.platform.log())
    }
}

fn voice(folder: &Path) -> Result<(Speech, PathBuf)> {
    let voice = Speech::espeak("Good morning, I am calling about my account.")?;
    let audio = Speech::silence(0.4).then(&voice).until(40.0).write_ulaw(&folder.join("voice.ulaw"))?;
    Ok((voice, audio))
}

fn caller(scenario: &str, server: &str, target: &str, audio: &Path, more: &[(&str, &str)]) -> Result<Sipp> {
    let audio = audio.display().to_string();
    let mut values: Vec<(&str, &str)> = more.to_vec();
    // The first value of a name counts.
    values.extend([("TARGET", target), ("FROM", CALLER), ("AUDIO", &audio), ("CODECS", "0 101"), ("MS", "8000")]);
    Sipp::caller(scenario, server, &values)
}

fn is(value: &Value, at: &str, expect: &Value) -> Result<()> {
    ensure!(value[at] == *expect, "{at} is {}, not {expect}, in {value}", value[at]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_a_did_is_its_bots() {
    if !tools::can_run("a_call_to_a_did_is_its_bots", &["sipp", "espeak-ng", "flite"]) {
        return;
    }
    let _turn = gate::whole().await;
    let world = World::deaf(&[], HERE).await.unwrap();
    world.bot("first", DID, json!({})).await.unwrap();
    world.bot("second", "+911140001235", json!({"inbound": {"answer": "ring"}})).await.unwrap();
    world.bot("late", "+911140001236", json!({})).await.unwrap();
    world.bot("held", "+911140001237", json!({})).await.unwrap();
    world.bot("cancelled", "+911140001238", json!({"inbound": {"answer": "ring"}})).await.unwrap();
    // The carrier writes the second number as people in its country do.
    let outcome = tokio::try_join!(
        takes(&world, "first", "caller", DID, false),
        takes(&world, "second", "caller", "01140001235", true),
        takes(&world, "late", "caller-late-offer", "+911140001236", false),
        takes(&world, "held", "caller-holds", "911140001237", false),
        gives_up(&world, "cancelled", "+911140001238"),
    );
    outcome.with_context(|| world.platform.log()).unwrap();
    world.stop().await.unwrap();
}

/// An answered call: its result, its push with the carrier's headers, and both sides of its recording.
async fn takes(world: &World, bot: &str, scenario: &str, to: &str, rings: bool) -> Result<()> {
    let trace = world.caller(scenario, to, &[])?.finish().await?;
    let (result, pushed) = world.result(bot).await?;
    let seen = || format!("{bot}: {result}\n{pushed}\n{}", wire(&trace));
    check_answered(world, bot, rings, &trace, &result, &pushed).await.with_context(seen)
}

async fn check_answered(
    world: &World,
    bot: &str,
    rings: bool,
    trace: &[Message],
    result: &Value,
    pushed: &Value,
) -> Result<()> {
    let rang = trace.iter().any(|message| message.received && message.start_line().starts_with("SIP/2.0 180"));
    ensure!(rang == rings, "it rang: {rang}");
    for (at, expect) in [("bot_id", bot), ("direction", "inbound"), ("caller_id", CALLER), ("from_number", CALLER)] {
        is(result, at, &json!(expect))?;
    }
    for (at, expect) in
        [("end_reason", "customer_hangup"), ("disconnected_by", "customer"), ("recording_status", "complete")]
    {
        is(result, at, &json!(expect))?;
    }
    let mapped = [
        ("number", CALLER),
        ("way", "inbound"),
        ("customer", "007"),
        ("lead", LEAD),
        ("from", "+911140009999"),
        ("why", "customer_hangup"),
    ];
    for (at, expect) in mapped {
        is(pushed, at, &json!(expect))?;
    }
    is(pushed, "did", &result["to_number"])?;
    let wav = world.platform.api.recording(result).await?;
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    // The two are measured by two threads, each of which may have waited for the machine.
    ensure!((wav.seconds() - talked).abs() < 1.5, "{} s were recorded of {talked} s", wav.seconds());
    let (like, at) = likeness(&wav.left, &world.voice.samples);
    ensure!(like > 0.75, "the caller's side is like the caller by {like:.2} at {at:.1} s");
    let said = audible_seconds(&wav.right);
    ensure!(said > 1.0, "only {said:.1} s of sound on the bot's side");
    Ok(())
}

/// A caller who hangs up while it rings: 487, and one result of a call that never was answered.
async fn gives_up(world: &World, bot: &str, to: &str) -> Result<()> {
    world.caller("caller-cancels", to, &[])?.finish().await?;
    let (result, _) = world.result(bot).await?;
    for (at, expect) in
        [("end_reason", json!("customer_hangup")), ("sip_code", json!(487)), ("answered_at", Value::Null)]
    {
        is(&result, at, &expect)?;
    }
    is(&result, "recording_status", &json!("none"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_taken_is_told_why_and_a_stranger_nothing() {
    if !tools::can_run("who_is_not_taken_is_told_why_and_a_stranger_nothing", &["sipp", "espeak-ng"]) {
        return;
    }
    let _turn = gate::whole().await;
    let world = World::deaf(&["fleet.max_calls=1"], HERE).await.unwrap();
    world.bot("open", DID, json!({})).await.unwrap();
    // Open for an hour that is not this one, in a zone without summer time.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 3600;
    let hour = |ahead: u64| format!("{:02}:00", (now + ahead) % 24);
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let hours = json!([{"days": days, "start": hour(3), "end": hour(4)}]);
    world.bot("closed", "+911140001235", json!({"timezone": "UTC", "active_hours": hours})).await.unwrap();
    world.bot("off", "+911140001236", json!({"enabled": false})).await.unwrap();
    let outcome = async {
        stranger(&world.sip).await?;
        refused(&world, "+911140004711", "404", "0 101").await?;
        refused(&world, "nobody", "404", "0 101").await?;
        let closed = refused(&world, "+911140001235", "480", "0 101").await?;
        let wait: i64 = closed.header("retry-after").context("no Retry-After")?.parse()?;
        ensure!((3600..=3 * 3600).contains(&wait), "it opens in {wait} s");
        let off = refused(&world, "+911140001236", "480", "0 101").await?;
        ensure!(off.header("retry-after").is_none(), "nobody knows when");
        // G.729 only.
        refused(&world, DID, "488", "18 101").await?;
        // One call is all there is room for.
        let talking = world.caller("caller", DID, &[("MS", "15000")])?;
        talking.got("SIP/2.0 200", CALL).await?;
        let full = refused(&world, DID, "503", "0 101").await?;
        ensure!(full.header("retry-after").is_some(), "{full:?}");
        talking.finish().await?;
        world.result("open").await?;
        // No other call came to be.
        let calls = world.platform.api.get("/api/v1/calls?limit=100").await?;
        ensure!(calls["items"].as_array().map(Vec::len) == Some(1), "{calls}");
        Ok(())
    };
    outcome.await.with_context(|| world.platform.log()).unwrap();
    world.stop().await.unwrap();
}

/// The final answer to a call that is not taken.
async fn refused(world: &World, to: &str, code: &str, codecs: &str) -> Result<Message> {
    let caller = world.caller("caller-refused", to, &[("CODE", code), ("CODECS", codecs)])?;
    let trace = caller.finish().await.with_context(|| format!("{to} {code}"))?;
    let wanted = format!("SIP/2.0 {code}");
    let found = trace.into_iter().find(|message| message.received && message.start_line().starts_with(&wanted));
    found.with_context(|| format!("no {code}"))
}

/// From an address of no trunk there is no sign of life, though the server has heard what came before it from elsewhere.
async fn stranger(sip: &str) -> Result<()> {
    let stranger = UdpSocket::bind("127.0.0.9:0").await?;
    let carrier = UdpSocket::bind("127.0.0.1:0").await?;
    let mut buffer = [0; 2048];
    // The trunk was made a moment ago: it is known once the carrier is answered.
    until("the carrier is known", CALL, || async {
        carrier.send_to(request("OPTIONS", &carrier, sip)?.as_bytes(), sip).await?;
        let mut buffer = [0; 2048];
        let answer = tokio::time::timeout(Duration::from_millis(300), carrier.recv_from(&mut buffer)).await;
        Ok(answer.is_ok().then_some(()))
    })
    .await?;
    for method in ["INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL"] {
        stranger.send_to(request(method, &stranger, sip)?.as_bytes(), sip).await?;
    }
    stranger.send_to(b"OPTIONS sip:x SIP/7.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKx\r\n\r\n", sip).await?;
    carrier.send_to(request("OPTIONS", &carrier, sip)?.as_bytes(), sip).await?;
    carrier.recv_from(&mut buffer).await?;
    let heard = stranger.try_recv_from(&mut buffer);
    ensure!(heard.is_err(), "a stranger got {}", String::from_utf8_lossy(&buffer));
    Ok(())
}

fn request(method: &str, from: &UdpSocket, to: &str) -> Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (here, n) = (from.local_addr()?, COUNT.fetch_add(1, Ordering::Relaxed));
    Ok(format!(
        "{method} sip:{DID}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{method}{n}\r\n\
         From: <sip:a@{here}>;tag=1\r\nTo: <sip:{DID}@{to}>\r\nCall-ID: {method}-{here}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:a@{here}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_with_an_account_is_let_in_from_anywhere() {
    if !tools::can_run("a_pbx_with_an_account_is_let_in_from_anywhere", &["sipp", "espeak-ng"]) {
        return;
    }
    let _turn = gate::whole().await;
    // SIPp's own address is no trunk's.
    let world = World::deaf(&["fleet.sip_unknown=challenge"], "192.0.2.1/32").await.unwrap();
    let mut pbx = inbound_trunk("pbx", "192.0.2.0/24");
    (pbx["username"], pbx["password"]) = (json!("acme"), json!("correct-horse"));
    world.platform.api.post("/api/v1/admin/trunks", &pbx).await.unwrap();
    world.bot("pbx-bot", DID, json!({})).await.unwrap();
    let outcome = async {
        // What was read of the trunks before is good for a while.
        until("the trunk's account counts", CALL, || async {
            let account = [("USER", "acme"), ("PASSWORD", "correct-horse"), ("MS", "3000")];
            Ok(world.caller("caller-digest", DID, &account)?.finish().await.ok())
        })
        .await?;
        let (result, pushed) = world.result("pbx-bot").await?;
        is(&result, "direction", &json!("inbound"))?;
        is(&pushed, "customer", &json!("007"))?;
        for (user, password) in [("acme", "wrong-horse"), ("nobody", "correct-horse")] {
            world.caller("caller-digest-refused", DID, &[("USER", user), ("PASSWORD", password)])?.finish().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    outcome.await.with_context(|| world.platform.log()).unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_names_one_that_has_room() {
    if !tools::can_run("a_full_server_names_one_that_has_room", &["sipp", "espeak-ng"]) {
        return;
    }
    let _turn = gate::whole().await;
    let setup = Setup { external: true, deaf: true, ..Setup::default() };
    let mut platform = Platform::start(setup).await.unwrap();
    let crm = Crm::start().await.unwrap();
    let (_, audio) = voice(platform.folder()).unwrap();
    platform.api.post("/api/v1/admin/trunks", &inbound_trunk("carrier", "127.0.0.1/32")).await.unwrap();
    platform.api.post("/api/v1/admin/bots", &called_bot("bot", DID, &crm.url("/bot"))).await.unwrap();
    let roomy = platform.fleet_server("roomy").await.unwrap();
    // It sees the other one in its first look at the fleet, before it is ready.
    let one = ServerSetup { set: vec!["fleet.max_calls=1".to_owned()], ..ServerSetup::default() };
    let small = platform.fleet_server_with("small", one).await.unwrap();
    let outcome = async {
        let address = small.ready()["sip"].as_str().context("no SIP address")?.to_owned();
        let target = format!("sip:{DID}@{address}");
        let first = caller("caller", &address, &target, &audio, &[("MS", "16000")])?;
        first.got("SIP/2.0 200", CALL).await?;
        let sent_on = caller("caller-refused", &address, &target, &audio, &[("CODE", "302")])?.finish().await?;
        let moved = sent_on.iter().find(|message| message.start_line().starts_with("SIP/2.0 302")).context("no 302")?;
        let contact = moved.header("contact").context("no Contact")?.trim_matches(['<', '>']).to_owned();
        let other = roomy.ready()["sip"].as_str().context("no SIP address")?;
        ensure!(contact == format!("sip:{DID}@{other};rf-sent-on"), "{contact} of {other}");
        // A full server does not play ball with what was sent on to it.
        let again = format!("{target};rf-sent-on");
        caller("caller-refused", &address, &again, &audio, &[("CODE", "503")])?.finish().await?;
        caller("caller", other, &contact, &audio, &[("MS", "3000")])?.finish().await?;
        first.finish().await?;
        until("two results", CALL, || async { Ok((crm.pushes("/bot").len() == 2).then_some(())) }).await
    };
    let log = || format!("{}\n{}", small.log(), roomy.log());
    outcome.await.with_context(log).unwrap();
    for mut server in [small, roomy] {
        server.stop().await.unwrap();
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_calls_is_understood() {
    let name = "a_person_who_calls_is_understood";
    if !tools::can_run(name, &["baresip", "flite", "espeak-ng"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    held(name, understood).await.unwrap();
}

async fn understood() -> Result<()> {
    let world = World::start(Setup::default(), HERE).await?;
    let script = json!({
        "steps": [{"id": "when", "expect": "yes_no", "reprompt": "Sorry, can you pay it tomorrow?", "field": "will_pay"}],
        "closing": "Thank you. Goodbye."
    });
    let opening = "Hello, this is Ringfleet. Can you pay your loan tomorrow?";
    let more = json!({"opening_message": opening, "script": script, "silence": {"prompt_after_seconds": 30.0, "prompts": [], "hangup_after_seconds": 30.0}});
    world.bot("loans", DID, more).await?;
    let outcome = async {
        let answer = Speech::flite("Yes, I can pay it tomorrow.")?;
        // A bot that was late, on a busy machine, hears it again.
        let speech = Speech::silence(7.0).then(&answer).until(20.0).then(&answer).until(34.0).then(&answer).until(60.0);
        let phone = Baresip::call(&speech, &format!("sip:{DID}@{}", world.sip)).await?;
        let (result, pushed) = world.result("loans").await?;
        phone.stop().await?;
        let lines = result["transcript"].as_array().cloned().unwrap_or_default();
        let first = lines.first().context("nothing was said")?;
        ensure!(first["speaker"] == "bot" && first["text"] == opening, "{result}");
        // Recognisers take a pause for an end.
        let heard = lines.iter().filter(|line| line["speaker"] == "customer").filter_map(|line| line["text"].as_str());
        let heard = heard.collect::<Vec<_>>().join(" ");
        let understood = got_across("Yes, I can pay it tomorrow.", &heard);
        ensure!(understood && result["post_call_analysis"]["will_pay"] == "yes", "{result}");
        is(&result, "end_reason", &json!("bot_hangup"))?;
        is(&result, "caller_id", &json!(CALLER))?;
        is(&pushed, "way", &json!("inbound"))
    };
    outcome.await.with_context(|| world.platform.log())?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bot_knows_what_the_crm_says_of_its_caller() {
    if !tools::can_run("the_bot_knows_what_the_crm_says_of_its_caller", &["sipp", "espeak-ng", "flite"]) {
        return;
    }
    let _turn = gate::whole().await;
    let world = World::deaf(&[], HERE).await.unwrap();
    let desk = Desk::start().await.unwrap();
    let outcome = tokio::try_join!(fetched(&world, &desk), slow(&world, &desk), aborted(&world, &desk));
    outcome.with_context(|| world.platform.log()).unwrap();
    world.stop().await.unwrap();
}

/// A bot that asks the CRM for its caller.
async fn asking(world: &World, id: &str, did: &str, prefetch: Value) -> Result<()> {
    let opening = "Hello {{crm.customer_name}} of {{call.x_customer_id}}, what can I do for you today?";
    let more = json!({"opening_message": opening, "prefetch": prefetch, "inbound": {"answer": "ring"}});
    world.bot(id, did, more).await
}

fn opening(result: &Value) -> &str {
    result["transcript"][0]["text"].as_str().unwrap_or_default()
}

async fn fetched(world: &World, desk: &Desk) -> Result<()> {
    desk.replies("/customer", Reply::Json(r#"{"customer_name": "Meera"}"#.to_owned()));
    let prefetch = json!({"url": desk.url("/customer?ref={{crm.x_customer_id}}"), "on_failure": "abort"});
    asking(world, "fetched", "+911140001241", prefetch).await?;
    world.caller("caller", "+911140001241", &[])?.finish().await?;
    let (result, _) = world.result("fetched").await?;
    ensure!(opening(&result).starts_with("Hello Meera of 007"), "{result}");
    let asked = desk.asked("/customer");
    let asked = &asked.first().context("the CRM was not asked")?.target;
    let wanted = ["ref=007", "caller_id=%2B919876543210", "direction=inbound"];
    ensure!(wanted.iter().all(|part| asked.contains(part)), "the CRM was asked {asked}");
    Ok(())
}

/// A CRM that takes its time keeps nobody waiting.
async fn slow(world: &World, desk: &Desk) -> Result<()> {
    desk.replies("/slow", Reply::Late(Duration::from_secs(30), r#"{"customer_name": "Meera"}"#.to_owned()));
    let prefetch = json!({"url": desk.url("/slow"), "timeout_ms": 10000});
    asking(world, "slow", "+911140001242", prefetch).await?;
    world.caller("caller", "+911140001242", &[])?.finish().await?;
    let (result, _) = world.result("slow").await?;
    ensure!(opening(&result).starts_with("Hello of 007"), "{result}");
    ensure!(result["warnings"].to_string().contains("prefetch was not done at the answer"), "{result}");
    Ok(())
}

/// Without the CRM's word this bot talks to nobody: the caller is refused while it rings.
async fn aborted(world: &World, desk: &Desk) -> Result<()> {
    desk.replies("/broken", Reply::Status(500));
    let prefetch = json!({"url": desk.url("/broken"), "on_failure": "abort"});
    asking(world, "aborted", "+911140001243", prefetch).await?;
    world.caller("caller-refused", "+911140001243", &[("CODE", "480")])?.finish().await?;
    let (result, _) = world.result("aborted").await?;
    is(&result, "end_reason", &json!("prefetch_failed"))?;
    is(&result, "sip_code", &json!(480))?;
    is(&result, "answered_at", &Value::Null)
}

/// More calls at once than there is room for: each is taken or told so, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_above_capacity_is_taken_as_far_as_there_is_room() {
    if !tools::can_run("a_burst_above_capacity_is_taken_as_far_as_there_is_room", &["sipp", "espeak-ng"]) {
        return;
    }
    let _turn = gate::whole().await;
    let world = World::deaf(&["fleet.max_calls=5"], HERE).await.unwrap();
    world.bot("bot", DID, json!({})).await.unwrap();
    let outcome = async {
        stranger(&world.sip).await?;
        let target = format!("sip:{DID}@{}", world.sip);
        let burst = Sipp::burst("caller-burst", &world.sip, 12, &[("TARGET", &target), ("CODECS", "0 101")])?;
        let trace = burst.finish().await?;
        let finals = |code: &str| {
            let ids = trace
                .iter()
                .filter(|m| m.received && m.start_line().starts_with(code) && m.header("cseq") == Some("1 INVITE"));
            ids.filter_map(|m| m.header("call-id")).collect::<std::collections::BTreeSet<_>>().len()
        };
        let (taken, full) = (finals("SIP/2.0 200"), finals("SIP/2.0 503"));
        ensure!((taken, full) == (5, 7), "{taken} taken, {full} refused");
        until("as many results", CALL, || async { Ok((world.crm.pushes("/bot").len() == 5).then_some(())) }).await?;
        let health = world.platform.api.get("/health/fleet").await?;
        ensure!(health["fleet_max"] == 5, "{health}");
        until("every slot is free again", CALL, || async {
            let health = world.platform.api.get("/health/fleet").await?;
            Ok((health["fleet_available"] == 5).then_some(()))
        })
        .await
    };
    outcome.await.with_context(|| world.platform.log()).unwrap();
    world.stop().await.unwrap();
}

fn wire(trace: &[Message]) -> String {
    let arrow = |message: &Message| if message.received { "-> " } else { "<- " };
    trace.iter().map(|message| format!("{}{}\n", arrow(message), message.start_line())).collect()
}
