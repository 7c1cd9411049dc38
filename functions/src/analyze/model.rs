//! One analysis by an OpenAI-compatible chat endpoint: ask, read the JSON, check it, and let the model repair it once.
//! It must never log a prompt, a transcript or an answer.

use std::time::Duration;

use bytes::Bytes;
use domain::bot::Bot;
use domain::ports::{OutboundError, OutboundRequest};
use domain::result::{CallResult, Speaker};
use domain::secret::ExposeSecret;
use domain::template::{self, Context};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Desk;
use crate::platform::LanguageModel;
use crate::result::Ended;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_MAX: usize = 256 * 1024;
/// Faults of an answer that are told to the model.
const FAULTS_TOLD: usize = 10;

/// Why there is no analysis.
#[derive(Debug, Error)]
pub(super) enum ModelError {
    #[error("the model was not reached: {0}")]
    Outbound(#[from] OutboundError),
    #[error("the model answered with status {0}")]
    Status(u16),
    #[error("the key is no header value")]
    Key,
    #[error("the bot's analysis_schema is no JSON Schema")]
    BadSchema,
    #[error("the model's answer is no chat completion")]
    NotCompletion,
    #[error("the model's answer is not what was asked for, after one repair")]
    Unusable,
}

impl ModelError {
    /// For `analysis.json`.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Outbound(_) => "model_unreachable",
            Self::Status(_) | Self::NotCompletion => "model_error",
            Self::Key => "model_key",
            Self::BadSchema => "bad_schema",
            Self::Unusable => "answer_unusable",
        }
    }
}

/// Asks for the analysis of an ended call.
///
/// # Errors
/// When the model can't be reached or keeps answering something else.
pub(super) async fn analyze(
    desk: &Desk,
    model: &LanguageModel,
    bot: &Bot,
    ended: &Ended,
) -> Result<Map<String, Value>, ModelError> {
    let schema = match &bot.analysis_schema {
        Some(schema) => Some(jsonschema::validator_for(schema).map_err(|_| ModelError::BadSchema)?),
        None => None,
    };
    let mut messages = question(desk, bot, ended);
    let said = ask(desk, model, &messages).await?;
    let faults = match checked(&said, schema.as_ref()) {
        Ok(analysis) => return Ok(analysis),
        Err(faults) => faults,
    };
    messages.push(json!({"role": "assistant", "content": said}));
    messages.push(json!({"role": "user", "content": format!("That is not usable: {faults}. Answer again, with the corrected JSON object only.")}));
    let said = ask(desk, model, &messages).await?;
    checked(&said, schema.as_ref()).map_err(|_| ModelError::Unusable)
}

fn question(desk: &Desk, bot: &Bot, ended: &Ended) -> Vec<Value> {
    let context = Context::of_result(&ended.result, &ended.record, &bot.hours.timezone, desk.clock.now());
    let mut system = template::render(&bot.post_call_analysis_prompt, &context).text;
    system.push_str("\n\nAnswer with one JSON object and nothing else.");
    if let Some(schema) = &bot.analysis_schema {
        system.push_str(&format!(" It must satisfy this JSON Schema:\n{schema}"));
    }
    vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": facts(&ended.result)})]
}

/// What the model is told of the call: how it ended, and every line with its time.
fn facts(result: &CallResult) -> String {
    let mut text = format!(
        "The call lasted {:.1} s and was ended by: {} ({}).\n\nTranscript:\n",
        result.call_duration_seconds,
        result.disconnected_by.as_str(),
        result.end_reason.as_str()
    );
    for entry in &result.transcript {
        let speaker = match entry.speaker {
            Speaker::Bot => "bot",
            Speaker::Customer => "customer",
        };
        text.push_str(&format!("[{:.1}] {speaker}: {}\n", entry.timestamp, entry.text.0));
    }
    text
}

async fn ask(desk: &Desk, model: &LanguageModel, messages: &[Value]) -> Result<String, ModelError> {
    let body = json!({
        "model": model.model,
        "messages": messages,
        "temperature": 0,
        "response_format": {"type": "json_object"},
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = &model.api_key {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| ModelError::Key)?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let request = OutboundRequest {
        method: Method::POST,
        url: format!("{}/chat/completions", model.base_url.trim_end_matches('/')),
        headers,
        body: Bytes::from(body.to_string()),
        connect_timeout: CONNECT_WITHIN,
        total_timeout: desk.analysis.model_answer,
        answer_limit: ANSWER_MAX,
    };
    let answer = desk.outbound.send(request).await?;
    if answer.status != 200 {
        return Err(ModelError::Status(answer.status));
    }
    let completion: Value = serde_json::from_slice(&answer.body).map_err(|_| ModelError::NotCompletion)?;
    completion
        .pointer("/choices/0/message/content")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or(ModelError::NotCompletion)
}

/// The object in an answer, if it satisfies the schema; else what is wrong with it, for the model.
fn checked(said: &str, schema: Option<&jsonschema::Validator>) -> Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_str(unfenced(said)).map_err(|fault| format!("it is not JSON ({fault})"))?;
    if let Some(schema) = schema {
        let faults: Vec<String> = schema
            .iter_errors(&value)
            .take(FAULTS_TOLD)
            .map(|fault| format!("{fault} at {}", fault.instance_path()))
            .collect();
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
    }
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("it is no JSON object".to_owned()),
    }
}

/// Models like to wrap JSON in a Markdown fence.
fn unfenced(said: &str) -> &str {
    let said = said.trim();
    let Some(inner) = said.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return said };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_models_give_them() {
        let schema = jsonschema::validator_for(
            &json!({"required": ["disposition"], "properties": {"disposition": {"enum": ["PAID", "PTP"]}}}),
        )
        .unwrap();
        let check = |said: &str, usable: bool| assert_eq!(checked(said, Some(&schema)).is_ok(), usable, "{said}");
        check(r#"{"disposition":"PTP"}"#, true);
        check("```json\n{\"disposition\":\"PTP\"}\n```", true);
        check("```\n{\"disposition\":\"PAID\"}```", true);
        check(r#"{"disposition":"MAYBE"}"#, false);
        check(r#"{"remarks":"x"}"#, false);
        check(r#"["disposition"]"#, false);
        check("Sure! Here it is: {}", false);
        assert_eq!(checked("[]", None), Err("it is no JSON object".to_owned()));
    }
}
