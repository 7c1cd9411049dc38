//! A bot: how it speaks, when it may call, and where its results go. One immutable version at a time.
//! It must never hold an opened secret; secrets stay sealed until the moment of use.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::active_hours::ActiveHours;
use crate::ids::{BotId, TrunkId};
use crate::money::Money;
use crate::retention::Retention;
use crate::secret::Sealed;
use crate::websocket::WebSocket;

/// A bot as stored; field names are wire names of the admin API.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bot {
    pub bot_id: BotId,
    /// Rises by one with each replacement; a call runs on the version it started with.
    #[serde(default)]
    pub version: u64,
    #[serde(default = "yes")]
    pub enabled: bool,
    pub name: String,
    /// BCP 47, e.g. `en-IN`.
    #[serde(default = "english")]
    pub language: String,
    #[serde(flatten)]
    pub hours: ActiveHours,
    #[serde(default)]
    #[debug("(prompt)")]
    pub system_prompt: String,
    #[serde(default)]
    #[debug("(prompt)")]
    pub opening_message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[debug("(prompt)")]
    pub script: Option<Script>,
    /// In order of preference; the next is tried before any 18x only.
    #[serde(default)]
    pub trunk_ids: Vec<TrunkId>,
    /// DIDs, E.164; each belongs to one bot only.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// Who may connect to `/ws/{bot_id}`, and how it is spoken there.
    #[serde(default)]
    pub websocket: WebSocket,
    /// Who a call may be given to: numbers in E.164 under the names that script and model use. At most 50.
    #[serde(default)]
    #[debug("(personal)")]
    pub transfer_targets: BTreeMap<String, String>,
    #[serde(default)]
    pub stt: Providers,
    #[serde(default)]
    pub llm: Providers,
    #[serde(default)]
    pub tts: Providers,
    #[serde(default)]
    pub interruption: Interruption,
    #[serde(default)]
    #[debug("(prompt)")]
    pub silence: Silence,
    #[serde(default = "ten_minutes")]
    pub max_call_duration_seconds: u32,
    #[serde(default = "ring_timeout")]
    pub ring_timeout_seconds: u32,
    /// Of calls that begin on one day in the bot's zone; decimals in the currency of the deployment's prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_spend_per_day: Option<Money>,
    /// How calls to its numbers are taken.
    #[serde(default)]
    pub inbound: Inbound,
    #[serde(default)]
    #[debug("(prompt)")]
    pub voicemail: Voicemail,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[debug("(prompt)")]
    pub prefetch: Option<Prefetch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[debug("(prompt)")]
    pub push: Option<Push>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[debug("(prompt)")]
    pub webhook: Option<Webhook>,
    #[serde(default)]
    #[debug("(prompt)")]
    pub post_call_analysis_prompt: String,
    /// JSON Schema that `post_call_analysis` must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[debug("(prompt)")]
    pub analysis_schema: Option<Value>,
    /// Disposition of calls that get no analysis, by outcome word (`RNR`, `voicemail`, `busy`, …).
    #[serde(default)]
    pub outcome_map: BTreeMap<String, String>,
    #[serde(default)]
    pub recording: Recording,
    /// How long what its calls leave is kept; the current version's counts, for past calls too.
    #[serde(default)]
    pub retention: Retention,
}

fn yes() -> bool {
    true
}
fn english() -> String {
    "en-IN".to_owned()
}
fn ten_minutes() -> u32 {
    600
}
fn ring_timeout() -> u32 {
    45
}

/// Speech or language providers in the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Providers {
    #[serde(default)]
    pub providers: Vec<Provider>,
}

/// One provider by vendor word (`moonshine`, `piper`, `flite`, `openai`, `script`) and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    pub vendor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Sealed>,
}

/// When the caller may cut the bot short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Interruption {
    pub enabled: bool,
    pub min_words: u32,
    pub min_speech_ms: u32,
}

impl Default for Interruption {
    fn default() -> Self {
        Self { enabled: true, min_words: 3, min_speech_ms: 500 }
    }
}

/// What happens when nobody speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Silence {
    pub prompt_after_seconds: f64,
    /// Said one after the other, once each.
    pub prompts: Vec<String>,
    /// Silence after the last prompt that ends the call as `timeout`.
    pub hangup_after_seconds: f64,
}

impl Default for Silence {
    fn default() -> Self {
        Self { prompt_after_seconds: 8.0, prompts: vec!["Are you still there?".to_owned()], hangup_after_seconds: 10.0 }
    }
}

/// Calls that come in by SIP. (Over a WebSocket, the dialler says when a call is answered.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Inbound {
    pub answer: InboundAnswer,
}

/// When a call that came in is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboundAnswer {
    /// At once; the bot speaks as soon as it knows what pre-fetch says, 1.5 s later at the latest.
    #[default]
    Immediate,
    /// It rings until the bot knows what pre-fetch says, for 1.5 s at most. A bot without pre-fetch lets it ring for 1.5 s.
    Ring,
}

/// Answering machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Voicemail {
    pub detect: bool,
    pub action: VoicemailAction,
    /// A template; left after the beep when `action` is `leave_message`.
    pub message: String,
}

impl Default for Voicemail {
    fn default() -> Self {
        Self { detect: true, action: VoicemailAction::Hangup, message: String::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoicemailAction {
    Hangup,
    LeaveMessage,
}

/// Customer data fetched while the phone rings; `url`, `headers` and `body` are templates over `call.*` and `crm.*`.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prefetch {
    #[debug("(secret)")]
    pub url: String,
    #[serde(default)]
    pub method: PrefetchMethod,
    #[serde(default)]
    #[debug("(secret)")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Sealed>,
    #[serde(default = "two_seconds")]
    pub timeout_ms: u32,
    /// Dotted path into the answer, e.g. `data.customer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_path: Option<String>,
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn two_seconds() -> u32 {
    2000
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PrefetchMethod {
    #[default]
    Get,
    Post,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    #[default]
    Proceed,
    Abort,
}

/// The CRM push through a key mapper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Push {
    pub url: String,
    #[serde(default)]
    pub method: PushMethod,
    /// Sent as `Authorization`, as it is; never a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Sealed>,
    /// Any JSON whose string leaves are templates.
    pub key_mapper: Value,
    /// Standard Webhooks secret (`whsec_…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PushMethod {
    #[default]
    Post,
    Put,
    Patch,
}

impl PushMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// The whole result, posted as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Recording {
    pub enabled: bool,
    /// 2 = customer left, bot right; 1 = mixed down when the call ends.
    pub channels: u8,
}

impl Default for Recording {
    fn default() -> Self {
        Self { enabled: true, channels: 2 }
    }
}

/// The script brain's dialogue. Every text is a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Script {
    /// Asked in order unless a branch jumps.
    pub steps: Vec<ScriptStep>,
    /// Said before the bot hangs up, when no step's branch says otherwise.
    pub closing: String,
    /// Result fields that the script sets when it ends by `closing`; answers are added by their step's `field`.
    #[serde(default)]
    pub result: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScriptStep {
    pub id: String,
    /// Said when the step is entered. The first step's may be empty: then the opening message asks it.
    #[serde(default)]
    pub question: String,
    pub expect: Expect,
    /// For `choice`: the words that select each choice.
    #[serde(default)]
    pub choices: BTreeMap<String, Vec<String>>,
    /// Said when the answer was not understood.
    #[serde(default)]
    pub reprompt: String,
    #[serde(default = "two")]
    pub max_reprompts: u32,
    /// Result field that keeps the understood answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// By understood answer: `yes`, `no`, a choice's name; `*` for anything understood, `?` when reprompts ran out.
    #[serde(default)]
    pub branches: BTreeMap<String, Branch>,
}

fn two() -> u32 {
    2
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    YesNo,
    Number,
    Date,
    Amount,
    Choice,
    FreeText,
}

/// Where an answer leads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Branch {
    /// Said first.
    pub say: String,
    /// The next step's id; none = the step after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goto: Option<String>,
    /// Ends the call after `say` (or after the script's closing when `say` is empty).
    pub end: bool,
    /// Gives the customer to this one of the bot's `transfer_targets` after `say`. If that is refused, the bot says so and
    /// goes on at `goto` (or the step after this one), and what this branch has set is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// Result fields set by this branch, e.g. `disposition`.
    pub result: BTreeMap<String, String>,
}
