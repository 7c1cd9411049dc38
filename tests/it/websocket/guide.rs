//! The integration guide's own sample of a `connected` message starts a call, and its fields are spoken.

use anyhow::{Context, Result, ensure};
use futures_util::SinkExt;
use ringfleet_tests::ears::{can_understand, got_across, understand};
use ringfleet_tests::platform::Setup;
use ringfleet_tests::still::held;
use ringfleet_tests::ws::socket;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ANSWER, World, key_mapper, said};

const SAMPLE: &str = include_str!("../../fixtures/connected.json");

fn bot() -> Value {
    json!({
        "bot_id": "guide", "name": "guide",
        "opening_message": "Hello {{call.customer_name}}, this is about your loan {{call.loan_number}}.",
        "script": {"steps": [{"id": "why", "expect": "free_text", "reprompt": "Sorry?"}], "closing": "Goodbye."},
        // Nobody answers: the sample is all that comes.
        "silence": {"prompt_after_seconds": 2.0, "prompts": ["I will call {{crm.customer_name}} again tomorrow."], "hangup_after_seconds": 2.0},
        "push": {"key_mapper": key_mapper()}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_sample_starts_a_call_in_which_its_fields_are_spoken() {
    let name = "the_guides_sample_starts_a_call_in_which_its_fields_are_spoken";
    if !tools::can_run(name, &["espeak-ng", "python3"]) || !tools::can_hear(name) || !can_understand(name) {
        return;
    }
    let _turn = gate::part().await;
    held(name, spoken).await.unwrap();
}

async fn spoken() -> Result<()> {
    let world = World::start(Setup::default(), &[bot()]).await?;
    let mut socket = world.open("guide").await?;
    // Nothing follows it: neither `start`, nor `answer`, nor audio.
    socket.send(Message::text(SAMPLE)).await?;
    let heard = std::cell::RefCell::new(Vec::new());
    let message = socket::find(&mut socket, "reverse-hangup-call", 4 * ANSWER, |message| {
        if message["event"] == "reverse-media" {
            let bytes = message["payload"].as_str().map(decoded).unwrap_or_default();
            heard.borrow_mut().extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        (message["event"] == "reverse-hangup-call").then(|| message.clone())
    })
    .await?;
    ensure!(message["streamId"] == "stream-123" && message["callerId"] == "+919876543210", "{message}");
    let closing = socket::closing(&mut socket, ANSWER).await?;
    ensure!(closing.code == 1000, "closed with {closing:?}");

    let understood = understand(&[("guide", &heard.into_inner())]).await?;
    let understood = understood.get("guide").context("nothing was understood")?;
    let spoken = "Hello Rahul Sharma, this is about your loan. I will call Rahul Sharma again tomorrow.";
    ensure!(got_across(spoken, understood), "the caller understood {understood:?}");
    let (push, result) = world.told("guide").await?;
    let bot = said(&result, "bot");
    ensure!(bot.contains("hello rahul sharma") && bot.contains("loan ln123456"), "the bot said {bot:?}");
    ensure!(bot.contains("call rahul sharma again"), "custom fields are not in crm: {bot:?}");
    let body = push.json()?;
    ensure!(body["name"] == "Rahul Sharma" && body["loan"] == "LN123456" && body["stream"] == "stream-123", "{body}");
    ensure!(body["caller"] == "+919876543210" && result["caller_id"] == "+919876543210", "{body}; {result}");
    world.stop().await
}

fn decoded(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}
