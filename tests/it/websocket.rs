//! Calls that come in by WebSocket: programs of others and a carrier of every vendor at the far end, what they say in their
//! place, and what becomes of calls whose sockets break.

mod broken;
mod carriers;
mod clients;
mod guide;
mod hostile;
mod room;
mod tls;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::{Crm, Push};
use ringfleet_tests::ears::words;
use ringfleet_tests::platform::{Platform, Setup};
use ringfleet_tests::wait::until;
use ringfleet_tests::wav::{audible_seconds, likeness, likeness_at};
use ringfleet_tests::ws::carrier::{Credential, Native};
use ringfleet_tests::ws::socket::{self, Socket};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(120);
const PUSH: Duration = Duration::from_secs(60);
/// From a message to what the platform answers, on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);

/// A platform, a CRM that its bots tell, and a key for all of them.
struct World {
    platform: Platform,
    crm: Crm,
    ws: String,
    key: String,
}

impl World {
    async fn start(setup: Setup, bots: &[Value]) -> Result<Self> {
        let crm = Crm::start().await?;
        let platform = Platform::start(setup).await?;
        let ws = platform.ready()["ws"].as_str().context("no ws in the ready line")?.to_owned();
        let mut world = Self { platform, crm, ws, key: String::new() };
        for bot in bots {
            world.add(bot.clone()).await?;
        }
        world.key = world.key_for(bots).await?;
        Ok(world)
    }

    /// A bot whose pushes come to a path of its own.
    async fn add(&self, mut bot: Value) -> Result<Value> {
        let id = bot["bot_id"].as_str().context("no bot_id")?.to_owned();
        bot["push"]["url"] = json!(self.crm.url(&format!("/{id}")));
        self.platform.api.post("/api/v1/admin/bots", &bot).await
    }

    async fn key_for(&self, bots: &[Value]) -> Result<String> {
        let ids: Vec<&Value> = bots.iter().map(|bot| &bot["bot_id"]).collect();
        let new = json!({"name": "dialler", "role": "client", "bots": ids});
        let made = self.platform.api.post("/api/v1/admin/keys", &new).await?;
        Ok(made["key"].as_str().context("no key was minted")?.to_owned())
    }

    fn url(&self, bot: &str) -> String {
        format!("{}/ws/{bot}", self.ws)
    }

    async fn open(&self, bot: &str) -> Result<Socket> {
        socket::open(&self.url(bot), &[("x-api-key", &self.key)]).await
    }

    /// Opens a call in a vendor's manner.
    async fn open_as(
        &self,
        bot: &str,
        query: &str,
        headers: &[(&str, &str)],
        credential: Credential,
    ) -> Result<Socket> {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("dialler:{}", self.key));
        let basic = format!("Basic {basic}");
        let mut headers = headers.to_vec();
        let mut query = query.to_owned();
        match credential {
            Credential::Header => headers.push(("x-api-key", &self.key)),
            Credential::Basic => headers.push(("authorization", &basic)),
            Credential::Query => {
                query.push_str(if query.is_empty() { "key=" } else { "&key=" });
                query.push_str(&self.key);
            }
        }
        let mark = if query.is_empty() { "" } else { "?" };
        socket::open(&format!("{}{mark}{query}", self.url(bot)), &headers).await
    }

    /// Opens a call in the native protocol; the bot may speak.
    async fn answered(&self, bot: &str, stream: &str) -> Result<Socket> {
        let mut socket = self.open(bot).await?;
        for message in Native::opening(stream) {
            socket::send(&mut socket, &message).await?;
        }
        Ok(socket)
    }

    /// Waits for the one push of a bot's one call, and reads the call's result.
    async fn told(&self, bot: &str) -> Result<(Push, Value)> {
        let push = self.crm.delivered(&format!("/{bot}"), PUSH).await.with_context(|| format!("bot {bot}"))?;
        let id = push.json()?["session"].as_str().context("no session in the push")?.to_owned();
        let result = self.platform.api.result(&id, CALL).await?;
        Ok((push, result))
    }

    /// Waits until as many calls are under way.
    async fn busy_with(&self, calls: u64) -> Result<()> {
        until(format!("{calls} calls in /health/fleet"), ANSWER, || async {
            let health = self.platform.api.get("/health/fleet").await?;
            let (now, free, most) = (&health["fleet_calls"], &health["fleet_available"], &health["fleet_max"]);
            let fits =
                now.as_u64() == Some(calls) && free.as_u64().zip(most.as_u64()).is_some_and(|(f, m)| f + calls == m);
            Ok(fits.then_some(()))
        })
        .await
    }

    async fn stop(mut self) -> Result<()> {
        self.busy_with(0).await?;
        self.platform.stop().await
    }
}

/// What every bot of these tests tells its CRM.
fn key_mapper() -> Value {
    json!({
        "session": "{{call.id}}", "caller": "{{call.caller_id}}", "did": "{{call.did}}", "stream": "{{call.stream_id}}",
        "direction": "{{call.direction}}", "name": "{{call.customer_name}}", "loan": "{{call.loan_number}}",
        "ended_by": "{{call.disconnected_by}}", "why": "{{call.end_reason}}", "disposition": "{{result.disposition}}",
        "audio": "{{call.recording_url}}"
    })
}

/// A bot that asks two things: the first is answered in its turn, in the second the customer breaks in.
fn asks(id: &str) -> Value {
    json!({
        "bot_id": id, "name": id,
        "opening_message": "Hello {{call.customer_name}}, can you pay tomorrow?",
        "script": {
            "steps": [
                {"id": "when", "expect": "yes_no", "reprompt": "Can you pay tomorrow?", "field": "will_pay",
                 "branches": {"yes": {"result": {"disposition": "PROMISE_TO_PAY"}}, "no": {"result": {"disposition": "REFUSED"}}}},
                {"id": "how", "expect": "free_text", "reprompt": "How would you like to pay?",
                 "question": "Wonderful, and would you like to pay in our branch in the city centre, by a transfer from your bank, or with a card that you have at hand right now, and shall we send you a paper about all of that before you do it?"}
            ],
            "closing": "Thank you very much, and have a nice day."
        },
        "silence": {"prompt_after_seconds": 30.0, "prompts": [], "hangup_after_seconds": 30.0},
        "push": {"key_mapper": key_mapper()}
    })
}

/// A bot that speaks for some seconds, and that nobody ends but the dialler.
fn talks(id: &str) -> Value {
    let step = |number: usize| {
        json!({"id": format!("step{number}"), "question": if number == 0 { "" } else { "I see." }, "expect": "free_text",
        "max_reprompts": 9, "reprompt": "Sorry?"})
    };
    json!({
        "bot_id": id, "name": id,
        "opening_message": "Hello {{call.customer_name}}, this is a call about your account, and it takes a while to say all that there is to say about it.",
        "script": {"steps": (0..9).map(step).collect::<Vec<_>>(), "closing": "Goodbye."},
        "silence": {"prompt_after_seconds": 60.0, "prompts": [], "hangup_after_seconds": 60.0},
        "push": {"key_mapper": key_mapper()}
    })
}

/// Words of one side of a result.
fn said(result: &Value, speaker: &str) -> String {
    let lines = result["transcript"].as_array().cloned().unwrap_or_default();
    let of_speaker = lines.iter().filter(|line| line["speaker"] == speaker).filter_map(|line| line["text"].as_str());
    words(&of_speaker.collect::<Vec<_>>().join(" "))
}

/// The recording has the customer's voice on its left, the bot's on its right, and the call's length.
async fn check_recording(world: &World, result: &Value, voice: &Speech) -> Result<()> {
    let wav = world.platform.api.recording(result).await?;
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    let (customer, at) = likeness(&wav.left, &voice.samples);
    let crosstalk = likeness_at(&wav.right, &voice.samples, at);
    let bot = audible_seconds(&wav.right);
    // A dialler on a busy machine sends in bursts, and the recording has what came when it came.
    ensure!(customer > 0.4 && crosstalk < 0.2, "likeness to the customer: left {customer:.2}, right {crosstalk:.2}");
    ensure!(bot > 1.0, "{bot} s of the bot's voice are recorded");
    ensure!((wav.seconds() - talked).abs() < 1.5, "{:.2} s are recorded of {talked:.2} s", wav.seconds());
    Ok(())
}
