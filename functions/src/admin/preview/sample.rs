//! An invented call for previews. What a key mapper asks of the customer or the analysis is answered with the field's own
//! name in angle brackets, so that every key of the body shows where its text comes from.
//! It must never be taken for a call that took place: its id is the nil UUID.

use std::time::Duration;

use domain::bot::Bot;
use domain::call::{AnalysisStatus, Direction, RecordingStatus};
use domain::ids::CallId;
use domain::lint::{Finding, names_in};
use domain::outcome::{DisconnectedBy, EndReason};
use domain::result::{CallResult, Record, Speaker, TranscriptEntry};
use domain::secret::Personal;
use domain::template::BUILT_INS;
use domain::variables::Fields;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::result::Ended;

const CUSTOMER: &str = "+911234567890";
const OURS: &str = "+911140000000";
/// How long the invented call lasted.
const TALK: Duration = Duration::from_millis(42_500);

/// A call that was answered, talked and ended by the bot just now. Names in `doubted` get no value.
pub(super) fn call(public_url: &str, bot: &Bot, mapper: &Value, doubted: &[Finding], now: Timestamp) -> Ended {
    let mut variables = Fields::new();
    let mut analysis = Map::new();
    for (namespace, field) in names_in(mapper) {
        if doubted.iter().any(|finding| finding.name == format!("{namespace}.{field}")) {
            continue;
        }
        let text = format!("<{field}>");
        match namespace.as_str() {
            "crm" => variables.set_text(field, &text),
            "call" if !BUILT_INS.contains(&field.as_str()) => {
                variables.set_text(field.strip_prefix("custom.").unwrap_or(&field), &text);
            }
            // The result's own members win over the analysis, and the defaults over what is not here.
            "result" if !matches!(field.as_str(), "disposition" | "remarks") => {
                analysis.insert(field, Value::String(text));
            }
            _ => {}
        }
    }
    let result = result(public_url, bot, variables.stringified(), analysis, now);
    Ended {
        record: Record {
            transcript: result.transcript.clone(),
            crm: variables.clone(),
            custom: variables,
            ..Record::default()
        },
        result,
    }
}

fn result(
    public_url: &str,
    bot: &Bot,
    variables: Map<String, Value>,
    analysis: Map<String, Value>,
    now: Timestamp,
) -> CallResult {
    let call_id = CallId::NIL;
    let line = |speaker: Speaker, text: &str, timestamp: f64| TranscriptEntry {
        speaker,
        text: Personal(text.to_owned()),
        timestamp,
    };
    CallResult {
        session_id: call_id,
        caller_id: Personal(CUSTOMER.to_owned()),
        call_duration_seconds: TALK.as_secs_f64(),
        disconnected_by: DisconnectedBy::Bot,
        transcript: vec![
            line(Speaker::Bot, "Hello, this is an example.", 0.2),
            line(Speaker::Customer, "Yes, I will pay on Friday.", 3.1),
            line(Speaker::Bot, "Thank you. Goodbye.", 5.4),
        ],
        recording_url: format!("{}/api/v1/recordings/{call_id}.wav?token=example", public_url),
        post_call_analysis: analysis,
        bot_id: bot.bot_id.clone(),
        direction: Direction::Outbound,
        to_number: Personal(CUSTOMER.to_owned()),
        from_number: Personal(OURS.to_owned()),
        started_at: now - TALK - Duration::from_secs(8),
        answered_at: Some(now - TALK),
        ended_at: now,
        end_reason: EndReason::BotHangup,
        sip_code: Some(200),
        variables,
        recording_status: RecordingStatus::Complete,
        analysis_status: AnalysisStatus::Done,
        latency: Vec::new(),
    }
}
