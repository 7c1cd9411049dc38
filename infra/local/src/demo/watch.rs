//! Places the demo's call and follows it to the CRM, showing what happens as it happens.
//! It must never judge: what is missing at the end is missing in the evidence.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::scene::Scene;
use super::script;
use super::show::Screen;
use super::sink::Pushed;
use super::verdict::Evidence;
use crate::cli::api::{Api, Refused};
use crate::phone::{Happening, PhoneEvent};

/// Longest a call of the demo takes, ringing and all.
const CALL_LIMIT: Duration = Duration::from_secs(200);
/// Upload, analysis and push: done in a second or two unless something is broken.
const AFTERMATH_LIMIT: Duration = Duration::from_secs(30);
/// How often the platform is asked for a call that it has no room for, and how long is waited between.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(200);

/// Places the call and collects what it leaves; the recording goes to `wav`.
///
/// # Errors
/// The call was not even accepted, or the platform stopped answering.
pub(super) async fn call(scene: &mut Scene, screen: &Screen, wav: PathBuf) -> Result<Evidence> {
    let body = json!({"bot_id": script::BOT, "to_number": script::TO, "variables": scene.variables});
    screen.request(&body);
    let answer = dial(&scene.client, screen, &body).await?;
    screen.answer(&answer);
    let call_id = answer["call_id"].as_str().context("the dialout was answered without a call_id")?.to_owned();

    let deadline = Instant::now() + CALL_LIMIT;
    let story = follow(scene, screen, &call_id, deadline).await?;
    let deadline = Instant::now() + AFTERMATH_LIMIT;
    let push = tokio::time::timeout_at(deadline, accepted(scene)).await.ok().flatten();
    let result = settled(&scene.client, &call_id, deadline).await?;
    let recording = save(&result, &wav, deadline).await;
    Ok(Evidence {
        call_id,
        customer: scene.persona.name.clone(),
        variables: scene.variables.clone(),
        story,
        result,
        push,
        wav: recording.as_ref().ok().map(|_| wav),
        recording: recording.map_err(|error| format!("{error:#}")),
    })
}

/// Asks for the call. Nothing is ever queued, so a platform that has no room right now (a laptop that compiles something
/// beside it) is asked again, as its answer says.
async fn dial(client: &Api, screen: &Screen, body: &Value) -> Result<Value> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match client.post("/api/v1/dialout", body).await {
            Ok(answer) => return Ok(answer.body),
            Err(error) if left > 0 && is_busy(&error) => {
                screen.warn(&format!("{error:#}; asking again"));
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::SERVICE_UNAVAILABLE)
}

/// Shows what the phone tells until the call is over on both sides, or the deadline is.
async fn follow(scene: &mut Scene, screen: &Screen, call_id: &str, deadline: Instant) -> Result<Vec<PhoneEvent>> {
    let mut story = Vec::new();
    let mut poll = tokio::time::interval(POLL);
    let mut hung_up = false;
    while Instant::now() < deadline {
        tokio::select! {
            Some(event) = scene.events.recv() => {
                screen.happening(&event);
                hung_up |= matches!(event.what, Happening::Ended(_));
                story.push(event);
            }
            // The phone may never hear of a call that fails, so the platform is asked too.
            _ = poll.tick() => {
                let state = scene.client.get(&call_path(call_id)).await?.body;
                let answered = story.iter().any(|event| event.what == Happening::Answered);
                if state["state"] == "ended" && (hung_up || !answered) {
                    break;
                }
            }
        }
    }
    Ok(story)
}

/// The first push that was accepted; else the last that was not.
async fn accepted(scene: &mut Scene) -> Option<Pushed> {
    while let Some(pushed) = scene.sink.pushes.recv().await {
        if pushed.fault.is_none() {
            return Some(pushed);
        }
        tracing::warn!(fault = pushed.fault, "the demo's CRM refused a push");
    }
    None
}

/// The result, once nothing of it is pending.
async fn settled(client: &Api, call_id: &str, deadline: Instant) -> Result<Value> {
    loop {
        let result = client.get(&call_path(call_id)).await?.body;
        let pending = result["recording_status"] == "pending" || result["analysis_status"] == "pending";
        if (result["state"] == "ended" && !pending) || Instant::now() >= deadline {
            return Ok(result);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Fetches the recording by its stable URL, as a CRM would, and puts it into `wav`.
async fn save(result: &Value, wav: &Path, deadline: Instant) -> Result<Vec<u8>> {
    let url = result["recording_url"].as_str().filter(|url| !url.is_empty()).context("there is no recording")?;
    let fetch = async {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(url).send().await?.error_for_status()?;
        answer.bytes().await
    };
    // At least some time, however late it is.
    let deadline = deadline.max(Instant::now() + Duration::from_secs(5));
    let fetched = tokio::time::timeout_at(deadline, fetch).await;
    // The URL holds a token: it is nothing for a message.
    let bytes = fetched.context("the recording was not fetched in time")?.map_err(reqwest::Error::without_url)?;
    std::fs::write(wav, &bytes).with_context(|| format!("the recording cannot be written to {}", wav.display()))?;
    Ok(bytes.to_vec())
}

fn call_path(call_id: &str) -> String {
    format!("/api/v1/calls/{call_id}")
}
