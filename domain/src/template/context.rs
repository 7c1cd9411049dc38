//! What templates are rendered against: the data of one call, live or ended.
//! It must never hold a secret: nothing of a bot's or trunk's settings is reachable from a template.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use crate::active_hours::zone;
use crate::call::Direction;
use crate::ids::{BotId, CallId};
use crate::result::{CallResult, Record, Speaker};
use crate::variables::{Fields, stringify};

/// Names of `call.*` that no custom field can take.
pub const BUILT_INS: &[&str] = &[
    "id",
    "caller_id",
    "to_number",
    "from_number",
    "did",
    "direction",
    "bot_id",
    "duration",
    "duration_int",
    "recording_url",
    "disconnected_by",
    "end_reason",
    "sip_code",
    "started_at",
    "answered_at",
    "ended_at",
    "transcript",
];

/// Names of `system.*`; there are no others.
pub const SYSTEM: &[&str] = &["current_date", "current_time", "current_datetime", "timezone"];

/// The values behind the four namespaces.
#[derive(Debug, Clone, Default)]
pub struct Context {
    crm: Fields,
    call: Fields,
    custom: Fields,
    variables: Fields,
    result: Option<Fields>,
    system: Fields,
}

/// What a call that is still under way knows of itself.
#[derive(derive_more::Debug, Clone)]
pub struct LiveCall<'a> {
    pub call_id: CallId,
    pub bot_id: &'a BotId,
    pub direction: Direction,
    #[debug("(personal)")]
    pub to_number: &'a str,
    #[debug("(personal)")]
    pub from_number: &'a str,
    pub started_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    /// The dialout's `variables` as received.
    #[debug("(personal)")]
    pub variables: Option<&'a RawValue>,
    /// What pre-fetch brought.
    pub prefetched: &'a Fields,
    /// Custom fields of an inbound `connected`.
    pub custom: &'a Fields,
}

impl LiveCall<'_> {
    /// `crm.*`: variables over pre-fetched over custom fields.
    pub fn crm(&self) -> Fields {
        variables_of(self.variables).over(self.prefetched).over(self.custom)
    }
}

fn variables_of(raw: Option<&RawValue>) -> Fields {
    raw.and_then(|raw| Fields::of_object(raw.get())).unwrap_or_default()
}

impl Context {
    pub fn new() -> Self {
        Self::default()
    }

    /// For prompts and pre-fetch: there is no `result.*` yet, and what the call does not know yet is empty.
    /// `timezone`: the bot's IANA name (UTC where it is unknown).
    pub fn of_call(live: &LiveCall<'_>, timezone: &str, now: Timestamp) -> Self {
        let mut call = Fields::new();
        set_parties(&mut call, live.call_id, live.bot_id, live.direction, live.to_number, live.from_number);
        call.set_text("started_at", &live.started_at.to_string());
        if let Some(at) = live.answered_at {
            call.set_text("answered_at", &at.to_string());
        }
        Self {
            crm: live.crm(),
            call,
            custom: live.custom.clone(),
            variables: variables_of(live.variables),
            result: None,
            system: system(timezone, now),
        }
    }

    /// For pushes: everything of an ended call.
    pub fn of_result(result: &CallResult, record: &Record, timezone: &str, now: Timestamp) -> Self {
        Self {
            crm: record.crm.clone(),
            call: ended_call(result),
            custom: record.custom.clone(),
            variables: variables_of(record.variables.as_deref()),
            result: Some(result_fields(result)),
            system: system(timezone, now),
        }
    }

    #[must_use]
    pub fn with_crm(self, crm: Fields) -> Self {
        Self { crm, ..self }
    }

    /// Sets the built-in `call.*` fields.
    #[must_use]
    pub fn with_call(self, call: Fields) -> Self {
        Self { call, ..self }
    }

    /// Sets the custom `call.*` fields.
    #[must_use]
    pub fn with_custom(self, custom: Fields) -> Self {
        Self { custom, ..self }
    }

    #[must_use]
    pub fn with_result(self, result: Fields) -> Self {
        Self { result: Some(result), ..self }
    }

    #[must_use]
    pub fn with_system(self, timezone: &str, now: Timestamp) -> Self {
        Self { system: system(timezone, now), ..self }
    }

    /// The text of `namespace.field`; `None` when there is none (null is a value: `""`).
    pub(super) fn resolve(&self, namespace: &str, field: &str) -> Option<String> {
        match namespace {
            "crm" => walk(&self.crm, field),
            "call" if BUILT_INS.contains(&field) => self.call.get(field).map(stringify),
            "call" => self.custom_call_field(field),
            "result" => walk(self.result.as_ref()?, field),
            "system" => self.system.get(field).map(stringify),
            _ => None,
        }
    }

    fn custom_call_field(&self, field: &str) -> Option<String> {
        let named = |field: &str| walk(&self.custom, field).or_else(|| walk(&self.variables, field));
        field.strip_prefix("custom.").and_then(named).or_else(|| named(field))
    }
}

/// Finds `path` in `fields`: an exact key (dots and all) wins, then the longest key that leads on to an object.
fn walk(fields: &Fields, path: &str) -> Option<String> {
    if let Some(value) = fields.get(path) {
        return Some(stringify(value));
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let inner = fields.get(&path[..dot]).filter(|value| value.get().starts_with('{'))?;
        walk(&Fields::of_object(inner.get())?, &path[dot + 1..])
    })
}

fn set_parties(call: &mut Fields, id: CallId, bot: &BotId, direction: Direction, to: &str, from: &str) {
    let (word, customer, did) = match direction {
        Direction::Outbound => ("outbound", to, from),
        Direction::Inbound => ("inbound", from, to),
    };
    call.set_text("id", &id.to_string());
    call.set_text("caller_id", customer);
    call.set_text("to_number", to);
    call.set_text("from_number", from);
    call.set_text("did", did);
    call.set_text("direction", word);
    call.set_text("bot_id", bot.as_str());
}

fn ended_call(result: &CallResult) -> Fields {
    let mut call = Fields::new();
    set_parties(
        &mut call,
        result.session_id,
        &result.bot_id,
        result.direction,
        &result.to_number.0,
        &result.from_number.0,
    );
    let milliseconds = milliseconds(result.call_duration_seconds);
    call.set_text("duration", &decimal_seconds(milliseconds));
    call.set_text("duration_int", &(milliseconds / 1000).to_string());
    call.set_text("recording_url", &result.recording_url);
    call.set_text("disconnected_by", result.disconnected_by.as_str());
    call.set_text("end_reason", result.end_reason.as_str());
    call.set_text("sip_code", &result.sip_code.map(|code| code.to_string()).unwrap_or_default());
    call.set_text("started_at", &result.started_at.to_string());
    call.set_text("answered_at", &result.answered_at.map(|at| at.to_string()).unwrap_or_default());
    call.set_text("ended_at", &result.ended_at.to_string());
    call.set_text("transcript", &transcript(result));
    call
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round().max(0.0) as u64
}

/// Seconds in the shortest decimal spelling: `12.5`, `12`, `0.001`.
fn decimal_seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line an utterance, `bot: …` or `customer: …`.
fn transcript(result: &CallResult) -> String {
    let line = |entry: &crate::result::TranscriptEntry| {
        let speaker = match entry.speaker {
            Speaker::Bot => "bot",
            Speaker::Customer => "customer",
        };
        format!("{speaker}: {}", entry.text.0)
    };
    result.transcript.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The result's own fields, then those of its analysis that don't collide with them.
fn result_fields(result: &CallResult) -> Fields {
    let own =
        serde_json::to_string(result).expect("a result is always JSON: its keys are texts, its floats finite or null");
    Fields::of_object(&own).unwrap_or_default().over(&Fields::from(&result.post_call_analysis))
}

fn system(timezone: &str, now: Timestamp) -> Fields {
    let known = zone(timezone);
    let name = if known.is_some() { timezone } else { "UTC" };
    let local = now.to_zoned(known.unwrap_or(TimeZone::UTC));
    let mut system = Fields::new();
    system.set_text("current_date", &local.strftime("%Y-%m-%d").to_string());
    system.set_text("current_time", &local.strftime("%H:%M:%S").to_string());
    system.set_text("current_datetime", &local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    system.set_text("timezone", name);
    system
}
