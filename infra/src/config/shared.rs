//! Settings that more than one binary has.
//! It must never print a secret: those are `SecretString`s.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::fmt::friendly::{Designator, SpanParser, SpanPrinter};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where AWS is. What is left out, the SDK finds in its usual places.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AwsConfig {
    /// One URL for every service; AWS itself if none.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<SecretString>,
}

/// What tables, queues and the bucket are called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamesConfig {
    /// Before the name of each table and queue.
    pub prefix: String,
    /// `{prefix}calls` if none; on AWS a bucket's name is the world's.
    pub bucket: Option<String>,
    pub shards: Shards,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self { prefix: "ringfleet-".to_owned(), bucket: None, shards: Shards::default() }
    }
}

/// Into how many parts index keys are spread. A deployment may raise them while it is empty; every binary must agree.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Shards {
    pub calls: u16,
    pub deliveries: u16,
    pub servers: u16,
}

impl Default for Shards {
    fn default() -> Self {
        Self { calls: 4, deliveries: 4, servers: 4 }
    }
}

impl Shards {
    pub(crate) fn at_least_one(self) -> Self {
        Self { calls: self.calls.max(1), deliveries: self.deliveries.max(1), servers: self.servers.max(1) }
    }
}

/// Where URLs that users give may lead, beyond the public Internet by https.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EgressConfig {
    /// Addresses that are allowed though they are not public.
    pub allow_cidrs: Vec<IpNet>,
    /// Whether plain http may be spoken with those addresses.
    pub allow_http: bool,
    /// Hosts that are refused with all below them: the deployment's own names.
    pub deny_hosts: Vec<String>,
    /// Addresses that are refused though they are public: the deployment's own, whatever name leads there.
    pub deny_cidrs: Vec<IpNet>,
}

/// A length of time as people write it: `250ms`, `5s`, `1m 30s`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

/// A text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no length of time: write one such as 250ms, 5s, 1m30s or 2h")]
pub struct PeriodError(String);

impl Period {
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    pub const fn seconds(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }
}

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        // `5` alone would be read differently by everybody.
        let unitless = !text.bytes().any(|b| b.is_ascii_alphabetic());
        match SpanParser::new().parse_unsigned_duration(text.trim()) {
            Ok(duration) if !unitless => Ok(Self(duration)),
            _ => Err(PeriodError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;
    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&SpanPrinter::new().designator(Designator::Compact).unsigned_duration_to_string(&self.0))
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How often things are done, and how long is waited for them. The defaults are the platform's contract; tests of whole
/// processes shorten them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Periods {
    /// Between heartbeats when nothing changes.
    pub heartbeat: Period,
    /// Between two looks of `reap` within its minute.
    pub reap: Period,
    /// A heartbeat older than this makes `reap` knock.
    pub reap_stale: Period,
    /// Between two sweeps.
    pub sweep: Period,
    /// Between two passes that delete what bots don't keep any longer.
    pub retain: Period,
    /// Between two stored blocks of a recording under way.
    pub checkpoint: Period,
    /// `call-ended` is sent this long after the end even if the recording isn't up yet.
    pub announce_by: Period,
    /// Waits after the first, second, … failed delivery.
    pub retry: Vec<Period>,
    /// Each wait is stretched or shrunk by up to this many percent.
    pub retry_jitter_percent: u32,
    /// So many failures of one endpoint in a row, and its deliveries are held back.
    pub breaker_after: u32,
    /// For so long at first; doubled each time a probe fails.
    pub breaker_pause: Period,
    /// And never longer than this between two probes.
    pub breaker_longest: Period,
    /// After SIGTERM, live calls may go on this long.
    pub drain: Period,
    /// A dialout may go by a bot or trunk that its process read this long ago; zero: it reads them each time.
    pub remember: Period,
    /// The same for heartbeats of servers, and for what they come to.
    pub remember_servers: Period,
    /// Between two looks at what is to become of the machine.
    pub lifecycle_look: Period,
    /// Between two pleas for more time, while a server drains whose machine is to go.
    pub lifecycle_hold: Period,
    /// A server whose machine is to go stays this long at least, and passes on who still comes.
    pub lifecycle_stay: Period,
}

impl Default for Periods {
    fn default() -> Self {
        let schedule = domain::delivery::Schedule::default();
        let breaker = domain::endpoint::BreakerRules::default();
        Self {
            heartbeat: Period::seconds(2),
            reap: Period::seconds(10),
            reap_stale: Period::seconds(30),
            sweep: Period::seconds(60),
            retain: Period::seconds(3600),
            checkpoint: Period::seconds(30),
            announce_by: Period::seconds(60),
            retry: schedule.delays.into_iter().map(Period).collect(),
            retry_jitter_percent: schedule.jitter_percent,
            breaker_after: breaker.after,
            breaker_pause: Period(breaker.pause),
            breaker_longest: Period(breaker.longest),
            drain: Period::seconds(15 * 60),
            remember: Period::seconds(2),
            remember_servers: Period::seconds(1),
            lifecycle_look: Period::seconds(2),
            lifecycle_hold: Period::seconds(60),
            lifecycle_stay: Period::seconds(0),
        }
    }
}

impl Periods {
    /// The schedule of deliveries.
    pub fn schedule(&self) -> domain::delivery::Schedule {
        domain::delivery::Schedule {
            delays: self.retry.iter().map(|period| period.0).collect(),
            jitter_percent: self.retry_jitter_percent,
        }
    }

    /// When deliveries to an endpoint are held back.
    pub fn breaker(&self) -> domain::endpoint::BreakerRules {
        domain::endpoint::BreakerRules {
            after: self.breaker_after.max(1),
            pause: self.breaker_pause.0,
            longest: self.breaker_longest.0.max(self.breaker_pause.0),
        }
    }
}

/// The language model for the analysis of calls, and for bots that name none of their own: any OpenAI-compatible API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LlmConfig {
    /// Up to and including `/v1`; without it there is no model.
    pub base_url: Option<String>,
    pub api_key: Option<SecretString>,
    pub model: Option<String>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Directives as in `RUST_LOG`, e.g. `info,sip=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}
