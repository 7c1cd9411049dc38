//! baresip as the callee: a telephone program that speaks real words, and what the bot makes of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::baresip::Baresip;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::ears::got_across;
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::still::held;
use ringfleet_tests::subjects::{bot, trunk};
use ringfleet_tests::wav::{audible_seconds, likeness, likeness_at};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(150);
const PUSH: Duration = Duration::from_secs(60);
const VARIABLES: &str = r#"{"customer_name": "Rahul", "amount": 4200}"#;

fn reminder(id: &str, crm: &str) -> Value {
    let mut bot = bot(id, id, crm);
    bot["opening_message"] = json!("Hello, am I speaking with {{crm.customer_name}}?");
    bot["silence"] = json!({"prompt_after_seconds": 20.0, "prompts": [], "hangup_after_seconds": 20.0});
    bot["script"] = json!({
        "steps": [
            {"id": "who", "expect": "yes_no", "reprompt": "Sorry, is this {{crm.customer_name}}?",
             "branches": {"no": {"say": "Sorry for the trouble.", "end": true, "result": {"disposition": "WRONG_PERSON"}}}},
            {"id": "when", "question": "You owe {{crm.amount}} rupees. Can you pay it tomorrow?", "expect": "yes_no",
             "field": "will_pay", "reprompt": "Can you pay tomorrow, yes or no?",
             "branches": {"yes": {"result": {"disposition": "PROMISE_TO_PAY"}}, "no": {"result": {"disposition": "REFUSED"}}}}
        ],
        "closing": "Thank you. Goodbye."
    });
    bot["push"]["key_mapper"] = json!({
        "name": "{{crm.customer_name}}", "disposition": "{{result.disposition}}", "will_pay": "{{result.will_pay}}",
        "ended_by": "{{call.disconnected_by}}", "transcript": "{{call.transcript}}", "audio": "{{call.recording_url}}"
    });
    bot
}

/// Words of one side, in lower case; recognisers write hyphens where they like.
fn words(result: &Value, speaker: &str) -> String {
    let lines = result["transcript"].as_array().cloned().unwrap_or_default();
    let said = lines.iter().filter(|line| line["speaker"] == speaker).filter_map(|line| line["text"].as_str());
    said.collect::<Vec<_>>().join(" ").to_lowercase().replace('-', "")
}

struct Ended {
    result: Value,
    body: Value,
    voices: Voices,
}

struct Voices {
    customer: f64,
    crosstalk: f64,
    bot_seconds: f64,
    difference: f64,
}

/// One call to a baresip that says `speech`; `part` of it is looked for in the recording.
async fn call(speech: &Speech, part: &Speech) -> Result<Ended> {
    let crm = Crm::start().await?;
    let mut platform = Platform::start(Setup::default()).await?;
    let baresip = Baresip::start(speech).await?;
    let stored = platform.api.create(&trunk("line", baresip.port), &reminder("line", &crm.url("/crm"))).await?;
    let call = platform.api.dialout("line", VARIABLES).await?;
    let result = platform.api.result(&call, CALL).await?;
    let push = crm.delivered("/crm", PUSH).await?;
    push.verify(stored["push"]["secret"].as_str().context("no secret")?)?;
    let wav = platform.api.recording(&result).await?;
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    let (customer, at) = likeness(&wav.left, &part.samples);
    let voices = Voices {
        customer,
        crosstalk: likeness_at(&wav.right, &part.samples, at),
        bot_seconds: audible_seconds(&wav.right),
        difference: (wav.seconds() - talked).abs(),
    };
    platform.stop().await?;
    baresip.stop().await?;
    crm.once("/crm")?;
    Ok(Ended { result, body: push.json()?, voices })
}

fn check_voices(ended: &Ended) -> Result<()> {
    let Voices { customer, crosstalk, bot_seconds, difference } = &ended.voices;
    ensure!(*customer > 0.75 && *crosstalk < 0.6, "likeness to the customer: left {customer:.2}, right {crosstalk:.2}");
    ensure!(*bot_seconds > 1.0, "{bot_seconds} s of the bot's voice");
    ensure!(*difference < 1.5, "the recording's length differs by {difference} s");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_answers_is_understood_and_the_bot_hangs_up() {
    let name = "a_customer_who_answers_is_understood_and_the_bot_hangs_up";
    if !tools::can_run(name, &["baresip", "flite", "espeak-ng"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    let test = async || {
        let identity = Speech::flite("Yes, this is Rahul speaking.")?;
        let promise = Speech::flite("Yes, I can pay it tomorrow.")?;
        // The bot opens after the first second and asks for about three; its second question takes about five. One that was
        // late, on a busy machine, hears the promise again when it asks again; else the call is over by then.
        let speech = Speech::silence(7.0).then(&identity).until(19.0).then(&promise);
        let speech = speech.until(33.0).then(&promise).until(47.0).then(&promise).until(75.0);
        let ended = call(&speech, &identity).await?;
        let Ended { result, body, .. } = &ended;
        let heard = words(result, "customer");
        ensure!(
            got_across("Yes, I can pay it tomorrow.", &heard),
            "the customer was understood as {heard:?}: {result}"
        );
        let said = words(result, "bot");
        ensure!(
            said.contains("rahul") && said.contains("4200") && said.contains("goodbye"),
            "the bot said {said:?}: {result}"
        );
        ensure!(result["disconnected_by"] == "bot" && result["end_reason"] == "bot_hangup", "{result}");
        ensure!(body["disposition"] == "PROMISE_TO_PAY" && body["name"] == "Rahul", "the CRM got {body}; {result}");
        ensure!(result["latency"].as_array().is_some_and(|turns| turns.len() >= 2), "{result}");
        check_voices(&ended)
    };
    held(name, test).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_person_is_let_go() {
    let name = "a_wrong_person_is_let_go";
    if !tools::can_run(name, &["baresip", "flite", "espeak-ng"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    let test = async || {
        let denial = Speech::flite("No, you have the wrong number.")?;
        // A bot that was late hears it again.
        let speech = Speech::silence(7.0).then(&denial).until(20.0).then(&denial).until(34.0).then(&denial).until(60.0);
        let ended = call(&speech, &denial).await?;
        let Ended { result, body, .. } = &ended;
        let heard = words(result, "customer");
        ensure!(got_across("No, you have the wrong number.", &heard), "the customer was understood as {heard:?}");
        ensure!(words(result, "bot").contains("sorry for the trouble"), "{result}");
        ensure!(result["end_reason"] == "bot_hangup" && body["disposition"] == "WRONG_PERSON", "{body} {result}");
        check_voices(&ended)
    };
    held(name, test).await.unwrap();
}
