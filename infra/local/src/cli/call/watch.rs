//! Watches one call to its end and shows what became of it.
//! It must never end before the platform has said how the call ended, unless it is told to three times.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::api::Api;
use super::super::note;
use super::super::up::Signals;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks after the end for an analysis or a recording that is still on its way: 30 s.
const LATE_LOOKS: u32 = 120;
/// Looks that may fail in a row.
const FAILED_LOOKS: u32 = 40;

/// Follows the call; the first signal hangs up. Answers the result.
pub(super) async fn until_told(api: &Api, call: &str, signals: &mut Signals) -> Result<Value> {
    let path = format!("/api/v1/calls/{call}");
    let mut shown = String::new();
    let (mut asked, mut failed, mut late) = (0, 0, 0);
    loop {
        match api.get(&path).await {
            Ok(answer) => {
                failed = 0;
                let state = answer.body["state"].as_str().unwrap_or("?");
                if state != shown {
                    note(state);
                    shown = state.to_owned();
                }
                if state == "ended" {
                    late += 1;
                    if late > LATE_LOOKS || is_complete(&answer.body) {
                        return Ok(answer.body);
                    }
                }
            }
            Err(error) => {
                failed += 1;
                if failed > FAILED_LOOKS {
                    return Err(error).context("the call is out of sight");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = signals.next() => {
                asked += 1;
                if asked > 2 {
                    bail!("left; the call {call} may still be up");
                }
                note("hanging up");
                if let Err(error) = api.post(&format!("{path}/hangup"), &json!({})).await {
                    note(&format!("{error:#}"));
                }
            }
        }
    }
}

fn is_complete(result: &Value) -> bool {
    result["analysis_status"] != "pending" && result["recording_status"] != "pending"
}

/// Fetches the recording behind the result's stable URL.
pub(super) async fn save_recording(result: &Value, path: &Path) -> Result<()> {
    let url = result["recording_url"].as_str().filter(|url| !url.is_empty()).context("the call has no recording")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(url).send().await.context("the recording cannot be fetched")?;
    if answer.status() != StatusCode::OK {
        bail!("the recording cannot be fetched: {}", answer.status());
    }
    let bytes = answer.bytes().await.context("the recording cannot be fetched")?;
    tokio::fs::write(path, &bytes).await.with_context(|| format!("cannot write {}", path.display()))
}

/// What was said, and how it ended.
pub(super) fn page(result: &Value) -> String {
    let text = |name: &str| result[name].as_str().unwrap_or("-").to_owned();
    let mut lines: Vec<String> = Vec::new();
    for entry in result["transcript"].as_array().into_iter().flatten() {
        let at = entry["timestamp"].as_f64().unwrap_or_default();
        let speaker = entry["speaker"].as_str().unwrap_or("?");
        lines.push(format!("{at:7.1}  {speaker:<8}  {}", entry["text"].as_str().unwrap_or_default()));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    let code = result["sip_code"].as_u64().map_or_else(String::new, |code| format!(", SIP {code}"));
    lines.push(format!(
        "ended by {} ({}{code}) after {} s",
        text("disconnected_by"),
        text("end_reason"),
        result["call_duration_seconds"]
    ));
    if result["post_call_analysis"].as_object().is_some_and(|analysis| !analysis.is_empty()) {
        lines.push(format!("analysis: {}", result["post_call_analysis"]));
    }
    for warning in result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(format!("warning: {warning}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_reads_as_a_conversation() {
        let result = json!({
            "transcript": [{"speaker":"bot","text":"Hello.","timestamp":0.4},{"speaker":"customer","text":"Hi.","timestamp":12.25}],
            "disconnected_by":"customer","end_reason":"hangup","sip_code":200,"call_duration_seconds":15.5,
            "post_call_analysis":{"disposition":"PAID"},"warnings":["unknown field"]
        });
        assert_eq!(
            page(&result),
            "    0.4  bot       Hello.\n   12.2  customer  Hi.\n\nended by customer (hangup, SIP 200) after 15.5 s\n\
             analysis: {\"disposition\":\"PAID\"}\nwarning: unknown field"
        );
        let busy = json!({"transcript":[],"disconnected_by":"customer","end_reason":"busy","sip_code":486,"call_duration_seconds":0.0});
        assert_eq!(page(&busy), "ended by customer (busy, SIP 486) after 0.0 s");
    }

    #[test]
    fn a_result_is_complete_when_nothing_is_on_its_way() {
        let check = |analysis: &str, recording: &str, expect: bool| {
            assert_eq!(is_complete(&json!({"analysis_status": analysis, "recording_status": recording})), expect);
        };
        check("done", "complete", true);
        check("skipped", "none", true);
        check("pending", "complete", false);
        check("done", "pending", false);
    }
}
