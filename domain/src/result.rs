//! The call result as the integration guide gives it, plus what else we know.
//! It must never be built from anything but an ended call's row and objects.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::call::{AnalysisStatus, CallRow, Direction, RecordingStatus};
use crate::ids::{BotId, CallId};
use crate::outcome::{DisconnectedBy, EndReason};
use crate::retention::Kind;
use crate::secret::Personal;
use crate::variables::Fields;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    Bot,
    Customer,
}

/// One utterance: of the bot what was played, of the customer what was understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TranscriptEntry {
    pub speaker: Speaker,
    #[schema(value_type = String)]
    pub text: Personal<String>,
    /// Seconds from the answer.
    pub timestamp: f64,
}

/// Milliseconds from the end of the customer's speech to each stage of the bot's reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnTimings {
    pub turn: u32,
    /// Seconds from the answer at which the customer's speech ended.
    pub speech_end: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_transcript_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_audio_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_packet_ms: Option<u32>,
}

/// What a call leaves behind besides its row: written to the bucket as `record.json` by whoever ends it.
#[derive(derive_more::Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub transcript: Vec<TranscriptEntry>,
    /// As received, order and number texts kept.
    #[debug("(personal)")]
    pub variables: Option<Box<serde_json::value::RawValue>>,
    /// `crm.*` as the call knew it: variables over pre-fetched over custom fields.
    pub crm: Fields,
    /// Custom `call.*` fields (inbound `connected`, SIP headers).
    pub custom: Fields,
    /// What the script or a tool collected.
    #[debug("(personal)")]
    pub collected: Map<String, Value>,
    pub latency: Vec<TurnTimings>,
}

impl Record {
    /// Of a call of which nothing is known yet but what it began with: a dialout's variables, or the fields that the
    /// far side of an inbound call sent.
    pub fn at_start(variables: Option<Box<serde_json::value::RawValue>>, custom: Fields) -> Self {
        let brought = variables.as_deref().and_then(|raw| Fields::of_object(raw.get())).unwrap_or_default();
        Self { variables, crm: brought.over(&custom), custom, ..Self::default() }
    }

    /// What is left of it when these classes are gone.
    #[must_use]
    pub fn without(mut self, kinds: &BTreeSet<Kind>) -> Self {
        let gone = |kind| kinds.contains(&kind) || kinds.contains(&Kind::Call);
        if gone(Kind::Transcript) {
            self.transcript.clear();
            self.collected.clear();
        }
        if gone(Kind::Variables) {
            self.variables = None;
            self.crm = Fields::new();
            self.custom = Fields::new();
        }
        self
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let text = |record: &Self| record.variables.as_ref().map(|raw| raw.get().to_owned());
        self.transcript == other.transcript
            && text(self) == text(other)
            && self.crm == other.crm
            && self.custom == other.custom
            && self.collected == other.collected
            && self.latency == other.latency
    }
}

/// The result (`api.md` §5).
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallResult {
    pub session_id: CallId,
    /// The customer's number.
    #[schema(value_type = String)]
    pub caller_id: Personal<String>,
    /// Answer to end; 0.0 if never answered.
    pub call_duration_seconds: f64,
    pub disconnected_by: DisconnectedBy,
    pub transcript: Vec<TranscriptEntry>,
    /// `""` if there is none.
    #[debug("(personal)")]
    pub recording_url: String,
    /// `{}` if skipped.
    #[schema(value_type = Object)]
    #[debug("(personal)")]
    pub post_call_analysis: Map<String, Value>,
    pub bot_id: BotId,
    pub direction: Direction,
    #[schema(value_type = String)]
    pub to_number: Personal<String>,
    #[schema(value_type = String)]
    pub from_number: Personal<String>,
    pub started_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub end_reason: EndReason,
    pub sip_code: Option<u16>,
    #[schema(value_type = Object)]
    #[debug("(personal)")]
    pub variables: Map<String, Value>,
    pub recording_status: RecordingStatus,
    pub analysis_status: AnalysisStatus,
    pub latency: Vec<TurnTimings>,
}

impl CallResult {
    /// Builds the result of an ended call; `None` while the row has no end.
    /// `variables` are the dialout's, stringified; `recording_url` is `""` where there is no recording.
    pub fn of(
        row: &CallRow,
        record: &Record,
        analysis: Map<String, Value>,
        variables: Map<String, Value>,
        recording_url: String,
    ) -> Option<Self> {
        let end_reason = row.end_reason?;
        Some(Self {
            session_id: row.call_id,
            caller_id: Personal(row.customer_number().to_owned()),
            call_duration_seconds: row.duration_ms as f64 / 1000.0,
            disconnected_by: end_reason.disconnected_by(),
            transcript: record.transcript.clone(),
            recording_url,
            post_call_analysis: analysis,
            bot_id: row.bot_id.clone(),
            direction: row.direction,
            to_number: row.to_number.clone(),
            from_number: row.from_number.clone(),
            started_at: row.started_at,
            answered_at: row.answered_at,
            ended_at: row.ended_at?,
            end_reason,
            sip_code: row.sip_code,
            variables,
            recording_status: row.recording_status,
            analysis_status: row.analysis_status,
            latency: record.latency.clone(),
        })
    }

    /// Whether the customer ever said something that was understood.
    pub fn customer_spoke(&self) -> bool {
        self.transcript.iter().any(|entry| entry.speaker == Speaker::Customer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        serde_json::from_value(json!({
            "transcript": [{"speaker": "customer", "text": "my words", "timestamp": 1.0}],
            "variables": {"name": "my name"}, "crm": {"name": "my name"}, "custom": {"x": "my field"},
            "collected": {"promise": "my answer"}, "latency": [{"turn": 1, "speech_end": 2.0}]
        }))
        .unwrap()
    }

    #[test]
    fn what_is_due_is_cut_out_of_a_record_and_nothing_else() {
        let check = |kinds: &[Kind], gone: &[&str], stays: &[&str]| {
            let left = serde_json::to_string(&record().without(&kinds.iter().copied().collect())).unwrap();
            assert!(gone.iter().all(|word| !left.contains(word)), "{kinds:?}: {left}");
            assert!(stays.iter().all(|word| left.contains(word)), "{kinds:?}: {left}");
        };
        let (said, data) = (["my words", "my answer"], ["my name", "my field"]);
        check(&[], &[], &["my words", "my answer", "my name", "my field"]);
        check(&[Kind::Recording], &[], &["my words", "my answer", "my name", "my field"]);
        check(&[Kind::Transcript], &said, &data);
        check(&[Kind::Variables], &data, &said);
        check(&[Kind::Call], &["my words", "my answer", "my name", "my field"], &["latency"]);
    }

    #[test]
    fn a_record_does_not_print_itself() {
        let printed = format!("{:?}", record());
        assert!(!printed.contains("my "), "{printed}");
    }
}
