//! SIPp as the callee: whatever the far side does, the call ends in exactly one result, one recording where there was
//! anything to record, and one push.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::{Crm, Push};
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::sipp::{self, Message, Sipp};
use ringfleet_tests::subjects::{VARIABLES, bot, trunk_with_account};
use ringfleet_tests::wav::{audible_seconds, likeness, likeness_at};
use ringfleet_tests::{digest, gate, tools};
use serde_json::{Value, json};

/// From the dialout to the end of the call.
const CALL: Duration = Duration::from_secs(120);
const PUSH: Duration = Duration::from_secs(60);
const USER: &str = "acme";
const PASSWORD: &str = "correct horse";

/// One way in which a far side behaves, and what has to come of it.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    scenario: &'static str,
    values: &'static [(&'static str, &'static str)],
    /// Changes to the bot, JSON.
    bot: &'static str,
    ends: &'static str,
    why: &'static str,
    code: Option<u16>,
    answered: bool,
    /// The API is asked to hang up once the call has come to this state.
    hang_up: Option<&'static str>,
    /// Which sides of the recording must hold a voice: customer, bot.
    voices: (bool, bool),
    /// Part of what the bot was heard to say.
    said: &'static str,
    wire: fn(&[Message]) -> Result<()>,
}

const CASE: Case = Case {
    name: "",
    scenario: "",
    values: &[],
    bot: "{}",
    ends: "customer",
    why: "customer_hangup",
    code: None,
    answered: false,
    hang_up: None,
    voices: (false, false),
    said: "",
    wire: |_| Ok(()),
};
const TALK: Case = Case { answered: true, voices: (true, true), ..CASE };
const NO_ANSWER: Case =
    Case { scenario: "ring-only", bot: r#"{"ring_timeout_seconds":5}"#, ends: "RNR", why: "no_answer", ..CASE };

const CASES: &[Case] = &[
    Case {
        name: "digest-401",
        scenario: "challenge-401",
        values: &[("ALGORITHM", "MD5"), ("MS", "12000")],
        wire: |trace| answers_challenge(trace, "Authorization"),
        ..TALK
    },
    Case {
        name: "digest-407",
        scenario: "challenge-407",
        values: &[("ALGORITHM", "SHA-256"), ("MS", "12000")],
        wire: |trace| answers_challenge(trace, "Proxy-Authorization"),
        ..TALK
    },
    Case {
        name: "wrong-password",
        scenario: "wrong-password",
        values: &[("ALGORITHM", "MD5")],
        ends: "error",
        why: "auth_failed",
        ..CASE
    },
    Case { name: "busy", scenario: "refuse", values: &[("CODE", "486")], why: "busy", code: Some(486), ..CASE },
    Case {
        name: "busy-everywhere",
        scenario: "refuse",
        values: &[("CODE", "600")],
        why: "busy",
        code: Some(600),
        ..CASE
    },
    Case { name: "declined", scenario: "refuse", values: &[("CODE", "603")], why: "declined", code: Some(603), ..CASE },
    Case {
        name: "unavailable",
        scenario: "refuse",
        values: &[("CODE", "480")],
        ends: "RNR",
        why: "no_answer",
        code: Some(480),
        ..CASE
    },
    Case {
        name: "no-such-number",
        scenario: "refuse",
        values: &[("CODE", "404")],
        ends: "error",
        why: "invalid_number",
        code: Some(404),
        ..CASE
    },
    Case {
        name: "trunk-down",
        scenario: "refuse",
        values: &[("CODE", "503")],
        ends: "error",
        why: "trunk_unreachable",
        code: Some(503),
        ..CASE
    },
    Case {
        name: "moved",
        scenario: "refuse",
        values: &[("CODE", "302")],
        ends: "error",
        why: "rejected",
        code: Some(302),
        ..CASE
    },
    Case { name: "no-answer", code: Some(487), wire: |trace| requests(trace, "CANCEL", 1), ..NO_ANSWER },
    Case {
        name: "answer-after-cancel",
        scenario: "answer-after-cancel",
        // What our CANCEL stands for; the far side's 200 came too late to count.
        code: Some(487),
        wire: |trace| requests(trace, "CANCEL", 1).and(requests(trace, "ACK", 1)).and(requests(trace, "BYE", 1)),
        ..NO_ANSWER
    },
    Case { name: "bye-at-once", scenario: "bye-at-once", answered: true, ..CASE },
    Case {
        name: "answer-again-and-again",
        scenario: "answer-again-and-again",
        values: &[("MS", "12000")],
        wire: acknowledges_each_answer,
        ..TALK
    },
    Case {
        name: "hang-up-while-it-rings",
        scenario: "ring-only",
        ends: "bot",
        why: "api_hangup",
        code: Some(487),
        hang_up: Some("ringing"),
        wire: |trace| requests(trace, "CANCEL", 1),
        ..CASE
    },
    Case {
        name: "hang-up-after-the-answer",
        scenario: "talk-until-bye",
        values: &[("AUDIO", "silence")],
        ends: "bot",
        why: "api_hangup",
        answered: true,
        hang_up: Some("answered"),
        wire: |trace| requests(trace, "BYE", 1),
        ..CASE
    },
    Case {
        name: "silent-line",
        scenario: "talk-until-bye",
        values: &[("AUDIO", "silence")],
        bot: r#"{"silence":{"prompt_after_seconds":1.0,"prompts":["Are you still there?"],"hangup_after_seconds":2.0}}"#,
        ends: "RNR",
        why: "no_speech",
        answered: true,
        voices: (false, true),
        wire: |trace| requests(trace, "BYE", 1),
        ..CASE
    },
    // Our SIP has no REFER: the bot says so and goes on, here to its end.
    Case {
        name: "transfer-refused",
        scenario: "key-until-bye",
        // By then the bot has asked, also one that waited for the others' first words on a busy machine.
        values: &[("AUDIO", "silence"), ("KEY", "1"), ("MS", "14000")],
        bot: r#"{"transfer_targets":{"desk":"+911140000001"},"script":{"closing":"Goodbye.","steps":[{"id":"want","expect":"yes_no",
            "branches":{"yes":{"say":"I am putting you through to the desk.","transfer":"desk"}}}]}}"#,
        ends: "bot",
        why: "bot_hangup",
        answered: true,
        voices: (false, true),
        said: "I am putting you through to the desk. Sorry, I could not put you through. Goodbye.",
        wire: |trace| requests(trace, "BYE", 1).and(requests(trace, "REFER", 0)),
        ..CASE
    },
    Case {
        name: "no-media",
        scenario: "no-media",
        ends: "error",
        why: "no_media",
        answered: true,
        voices: (false, true),
        ..CASE
    },
    Case {
        name: "early-media",
        scenario: "early-media",
        values: &[("AUDIO", "short"), ("MS", "12000")],
        answered: true,
        voices: (false, true),
        ..CASE
    },
];

struct World {
    platform: Platform,
    crm: Crm,
    voice: Speech,
    folder: PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_far_side_does_there_is_one_result_and_one_push() {
    let name = "whatever_the_far_side_does_there_is_one_result_and_one_push";
    // A bot that hears nobody apologises and hangs up before most far sides have done what they do.
    if !tools::can_run(name, &["sipp", "flite", "espeak-ng"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    let mut platform = Platform::start(Setup::default()).await.unwrap();
    let folder = platform.folder().to_owned();
    let voice = Speech::espeak("Hello, who is this? I am in the kitchen.").unwrap();
    let pause = Speech::silence(0.4);
    pause.clone().then(&voice).until(40.0).write_ulaw(&folder.join("voice.ulaw")).unwrap();
    Speech::espeak("Please wait.").unwrap().write_ulaw(&folder.join("short.ulaw")).unwrap();
    Speech::silence(60.0).write_ulaw(&folder.join("silence.ulaw")).unwrap();
    let (stopped, crm, failures) = {
        let crm = Crm::start().await.unwrap();
        let world = Arc::new(World { platform, crm, voice, folder });
        let mut running = tokio::task::JoinSet::new();
        for case in CASES {
            let world = world.clone();
            running.spawn(async move { check(&world, case).await.with_context(|| case.name) });
        }
        let mut failures: Vec<String> = Vec::new();
        while let Some(done) = running.join_next().await {
            failures.extend(done.unwrap().err().map(|error| format!("{error:?}")));
        }
        let World { platform: owned, crm, .. } = Arc::into_inner(world).unwrap();
        platform = owned;
        (platform.stop().await, crm, failures)
    };
    let log = platform.log();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}\n--- log\n{log}",
        failures.len(),
        CASES.len(),
        failures.join("\n\n")
    );
    stopped.unwrap();
    // What was still queued is delivered at the end: only now it is sure that nothing came twice.
    for case in CASES {
        assert_eq!(crm.pushes(&format!("/{}", case.name)).len(), 1, "pushes of {}", case.name);
    }
}

async fn check(world: &World, case: &Case) -> Result<()> {
    let audio = |name: &str| world.folder.join(format!("{name}.ulaw")).display().to_string();
    let chosen = case.values.iter().find(|(name, _)| *name == "AUDIO").map_or("voice", |(_, value)| value);
    let audio = audio(chosen);
    let mut values = vec![("AUDIO", audio.as_str())];
    values.extend(case.values.iter().filter(|(name, _)| *name != "AUDIO"));
    let sipp = Sipp::start(case.scenario, &values)?;

    let path = format!("/{}", case.name);
    let mut bot = bot(case.name, case.name, &world.crm.url(&path));
    let changes: Value = serde_json::from_str(case.bot)?;
    for (name, value) in changes.as_object().context("changes are an object")? {
        bot[name] = value.clone();
    }
    let api = &world.platform.api;
    let stored = api.create(&trunk_with_account(case.name, sipp.port, USER, PASSWORD), &bot).await?;
    let secret = stored["push"]["secret"].as_str().context("no secret was minted")?.to_owned();

    let call = api.dialout(case.name, VARIABLES).await?;
    if let Some(state) = case.hang_up {
        api.reached(&call, state, CALL).await?;
        api.post(&format!("/api/v1/calls/{call}/hangup"), &json!({})).await?;
    }
    let result = api.result(&call, CALL).await?;
    let trace = sipp.finish().await.with_context(|| format!("result {result}"))?;
    let push = world.crm.delivered(&path, PUSH).await?;
    let seen = || format!("result {result}\nwire:\n{}", wire(&trace));
    check_result(case, &call, &result).with_context(seen)?;
    (case.wire)(&trace).with_context(seen)?;
    check_push(case, &result, &push, &secret).with_context(seen)?;
    check_recording(world, case, &result, &push).await.with_context(seen)
}

fn check_result(case: &Case, call: &str, result: &Value) -> Result<()> {
    let is = |at: &str, expect: Value| -> Result<()> {
        ensure!(result[at] == expect, "{at} is {}, not {expect}", result[at]);
        Ok(())
    };
    is("session_id", json!(call))?;
    is("disconnected_by", json!(case.ends))?;
    is("end_reason", json!(case.why))?;
    if case.name != "wrong-password" {
        is("sip_code", json!(case.code))?;
    }
    let entries = result["transcript"].as_array().context("no transcript")?;
    let bot = entries.iter().filter(|entry| entry["speaker"] == "bot").filter_map(|entry| entry["text"].as_str());
    let said = bot.collect::<Vec<_>>().join(" ");
    ensure!(said.contains(case.said), "the bot said {said:?}, not {:?}", case.said);
    is("caller_id", json!("+919876543210"))?;
    is("variables", json!({"lead_id": "123456789012345678901234", "customer_name": "Asha Rao"}))?;
    is("recording_status", json!(if case.answered { "complete" } else { "none" }))?;
    ensure!(result["answered_at"].is_string() == case.answered, "answered_at is {}", result["answered_at"]);
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    // The far side may hang up within a millisecond.
    let least = if case.voices.1 { 3.0 } else { 0.0 };
    ensure!(if case.answered { talked >= least } else { talked == 0.0 }, "it lasted {talked} s");
    ensure!((result["recording_url"] == "") != case.answered, "recording_url is {}", result["recording_url"]);
    Ok(())
}

fn check_push(case: &Case, result: &Value, push: &Push, secret: &str) -> Result<()> {
    push.verify(secret)?;
    ensure!(push.method == "POST" && push.header("content-type") == "application/json", "{:?}", push.headers);
    ensure!(push.header("authorization") == "Bearer crm-token", "{:?}", push.headers);
    let call = result["session_id"].as_str().context("no id")?;
    ensure!(push.header("webhook-id").contains(call), "webhook-id is {}", push.header("webhook-id"));
    let body = push.json()?;
    let disposition = body["disposition"].as_str().unwrap_or_default();
    let expected: &[&str] = match (case.ends, case.why) {
        (_, "busy") => &["BUSY"],
        (_, "declined") => &["DECLINED"],
        ("RNR", _) => &["NO_ANSWER"],
        ("error", _) => &["ERROR"],
        // Whether words were understood depends on the models.
        _ => &["COMPLETED", "NO_CUSTOMER_MESSAGE"],
    };
    ensure!(expected.contains(&disposition), "the disposition is {disposition:?}");
    let seconds = body["seconds"].as_str().and_then(|text| text.parse::<f64>().ok()).context("no seconds")?;
    ensure!((seconds - result["call_duration_seconds"].as_f64().unwrap_or(-1.0)).abs() < 0.0015, "seconds {seconds}");
    let wanted = json!({
        "lead": "123456789012345678901234", "greeting": "Dear Asha Rao!", "session": call, "number": "+919876543210",
        "ended_by": case.ends, "why": case.why, "code": result["sip_code"].as_u64().map_or(String::new(), |code| code.to_string()),
        "seconds": body["seconds"], "audio": result["recording_url"], "disposition": disposition,
        "source": {"kind": 7, "tags": ["Asha Rao", true]}
    });
    ensure!(body == wanted, "the CRM got {body}, not {wanted}");
    Ok(())
}

async fn check_recording(world: &World, case: &Case, result: &Value, push: &Push) -> Result<()> {
    if !case.answered {
        return Ok(());
    }
    ensure!(push.json()?["audio"] == result["recording_url"], "the push names another recording");
    let wav = world.platform.api.recording(result).await?;
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    // The two are measured by two threads, each of which may have waited for the machine.
    ensure!((wav.seconds() - talked).abs() < 1.5, "{} s were recorded of {talked} s", wav.seconds());
    let (customer, bot) = case.voices;
    let (left, right) = (audible_seconds(&wav.left), audible_seconds(&wav.right));
    if customer {
        let (like, at) = likeness(&wav.left, &world.voice.samples);
        let crosstalk = likeness_at(&wav.right, &world.voice.samples, at);
        // SIPp sends in bursts where the machine stood still; another voice, or none, is below the crosstalk's bound.
        ensure!(
            like > 0.75,
            "the customer's side is like the customer by {like:.2} at {at:.1} s, {left:.1} s of sound"
        );
        ensure!(crosstalk < 0.6, "the bot's side is like the customer by {crosstalk:.2}");
        ensure!((0.2..6.0).contains(&at), "the customer, who spoke after 0.4 s, is heard from {at:.1} s on");
    } else {
        ensure!(left < 0.3, "{left:.1} s of sound on the side of a silent customer");
    }
    if case.name == "early-media" {
        let heard =
            result["transcript"].as_array().is_some_and(|lines| lines.iter().any(|l| l["speaker"] == "customer"));
        ensure!(!heard, "early media counts as the customer");
    }
    if bot {
        ensure!(right > 1.5, "only {right:.1} s of sound on the bot's side");
    }
    let said = result["transcript"].as_array().map_or("", |lines| {
        lines.iter().find(|line| line["speaker"] == "bot").and_then(|line| line["text"].as_str()).unwrap_or("")
    });
    ensure!(!bot || said.contains("Asha Rao"), "the opening in the transcript is {said:?}");
    Ok(())
}

/// The INVITE after the challenge, and only that, has right credentials.
fn answers_challenge(trace: &[Message], header: &str) -> Result<()> {
    let invites = sipp::requests(trace, "INVITE");
    ensure!(invites.len() == 2 && invites[0].header(header).is_none(), "{} INVITEs", invites.len());
    let uri = invites[1].start_line().split(' ').nth(1).context("no URI")?;
    let credentials = invites[1].header(header).with_context(|| format!("no {header}"))?;
    digest::verify(credentials, "INVITE", uri, USER, PASSWORD)?;
    let same = |name: &str| invites[0].header(name) == invites[1].header(name);
    ensure!(same("Call-ID") && same("From"), "the second INVITE belongs to another call");
    requests(trace, "ACK", 2)
}

/// The far side answers three times, and gets as many ACKs: the same one again and again. A machine that stood still has the
/// INVITE repeated and answered once more.
fn acknowledges_each_answer(trace: &[Message]) -> Result<()> {
    let acknowledged = trace.iter().filter(|message| message.received && message.start_line().starts_with("ACK "));
    let acknowledged = acknowledged.count();
    ensure!(acknowledged >= 3, "{acknowledged} times ACK for three answers");
    requests(trace, "ACK", 1)
}

/// How many requests of a method came.
fn requests(trace: &[Message], method: &str, expect: usize) -> Result<()> {
    let came = sipp::requests(trace, method).len();
    ensure!(came == expect, "{came} times {method}, not {expect}");
    Ok(())
}

fn wire(trace: &[Message]) -> String {
    let arrow = |message: &Message| if message.received { "-> " } else { "<- " };
    trace.iter().map(|message| format!("{}{}\n", arrow(message), message.start_line())).collect()
}
