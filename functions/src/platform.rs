//! All ports and settings together, for the process that serves every function; each function is given its part of it.
//! It must never choose an adapter or read the environment; a main builds it once.

mod desks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::delivery::Schedule;
use domain::endpoint::BreakerRules;
pub use domain::ports::Tables;
use domain::ports::{Clock, Egress, Entropy, Fleet, Objects, Outbound, Queues, Seal, Secrets};
use domain::secret::SecretString;
use domain::spend::Prices;
use ipnet::IpNet;

use crate::auth::Doorman;
use crate::memory::Memory;
use crate::turns::Turns;

/// Everything else outside of a handler.
#[derive(Clone)]
pub struct Outside {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub objects: Arc<dyn Objects>,
    pub queues: Arc<dyn Queues>,
    pub egress: Arc<dyn Egress>,
    pub outbound: Arc<dyn Outbound>,
    pub fleet: Arc<dyn Fleet>,
    pub secrets: Arc<dyn Secrets>,
    pub seal: Arc<dyn Seal>,
}

/// The whole of it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Platform {
    pub tables: Tables,
    pub outside: Outside,
    pub settings: Arc<Settings>,
    /// Slows down who fails to authenticate; lost, it costs nothing but its effect, and it is never asked whether a key
    /// is good.
    pub doorman: Arc<Doorman>,
    pub turns: Arc<Turns>,
    /// What was read a moment ago; lost, it is read again.
    pub memory: Arc<Memory>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The deployment's settings; [`Settings::new`] gives those of `api.md`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients reach this API, without a trailing slash; recording URLs begin with it.
    pub public_url: String,
    /// How diallers reach the fleet's WebSocket ports, if there is one name for all of them.
    pub ws_public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub placing: PlacingBudget,
    /// What calls cost; without prices nobody with a ceiling can call.
    pub prices: Prices,
    /// Waits between the tries of a delivery.
    pub schedule: Schedule,
    /// When deliveries to a failing endpoint are held back.
    pub breaker: BreakerRules,
    pub delivery: DeliveryLimits,
    /// The model for analyses of bots that name none; without one, those bots' calls get what their script collected.
    pub analysis_model: Option<LanguageModel>,
    pub analysis: AnalysisLimits,
    pub reap: ReapLimits,
    pub sweep: SweepLimits,
    pub retain: RetainLimits,
}

impl Settings {
    pub fn new(public_url: impl Into<String>) -> Self {
        let public_url: String = public_url.into();
        Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            ws_public_url: None,
            trusted_proxies: Vec::new(),
            placing: PlacingBudget::default(),
            prices: Prices::default(),
            schedule: Schedule::default(),
            breaker: BreakerRules::default(),
            delivery: DeliveryLimits::default(),
            analysis_model: None,
            analysis: AnalysisLimits::default(),
            reap: ReapLimits::default(),
            sweep: SweepLimits::default(),
            retain: RetainLimits::default(),
        }
    }
}

/// An OpenAI-compatible chat-completions endpoint.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    /// Up to and without `/chat/completions`, e.g. `https://api.example.com/v1`.
    pub base_url: String,
    /// Sent as a bearer token; some local endpoints want none.
    pub api_key: Option<SecretString>,
    pub model: String,
}

/// How long a dialout may look for a server.
#[derive(Debug, Clone)]
pub struct PlacingBudget {
    /// For one question to one server.
    pub per_server: Duration,
    pub servers: usize,
    /// Further servers that may refuse for the trunk's sake: who is asked next may still have a share of it.
    pub trunk_refusals: usize,
    /// From the request's arrival to the answer.
    pub total: Duration,
    /// What is kept back of `total` to write the fence.
    pub fence: Duration,
}

impl PlacingBudget {
    /// How long a dialout may wait for its turn: then there is still time to ask one server twice, and for the fence.
    pub(crate) fn turn(&self) -> Duration {
        self.total.saturating_sub(self.fence + self.per_server * 2)
    }
}

impl Default for PlacingBudget {
    fn default() -> Self {
        Self {
            per_server: Duration::from_secs(2),
            servers: 3,
            trunk_refusals: 16,
            total: Duration::from_secs(8),
            fence: Duration::from_millis(1500),
        }
    }
}

/// Time and size of one delivery try.
#[derive(Debug, Clone)]
pub struct DeliveryLimits {
    pub connect: Duration,
    pub total: Duration,
    /// Bytes of the answer that are read.
    pub answer: usize,
    /// What is added to `total` for the lease that keeps other workers off.
    pub lease_margin: Duration,
}

impl Default for DeliveryLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(15),
            answer: 64 * 1024,
            lease_margin: Duration::from_secs(15),
        }
    }
}

/// How hard an analysis is tried before the push goes on without it.
#[derive(Debug, Clone)]
pub struct AnalysisLimits {
    pub tries: u32,
    /// From the call's end.
    pub within: Duration,
    /// For one question to the model; a try asks at most twice.
    pub model_answer: Duration,
    /// How long a try keeps other workers off, and the wait until the next: more than two questions take.
    pub lease: Duration,
    /// How long after the end the call's record may still be on its way; then it is salvaged from checkpoints.
    pub record_wait: Duration,
}

impl Default for AnalysisLimits {
    fn default() -> Self {
        Self {
            tries: 3,
            within: Duration::from_secs(600),
            model_answer: Duration::from_secs(25),
            lease: Duration::from_secs(60),
            record_wait: Duration::from_secs(120),
        }
    }
}

/// When `reap` takes a call for lost.
#[derive(Debug, Clone)]
pub struct ReapLimits {
    /// A heartbeat older than this makes `reap` knock.
    pub stale: Duration,
    /// For the answer to a knock.
    pub knock: Duration,
    /// A server whose last heartbeat is older than this no longer counts for the majority rule.
    pub forgotten: Duration,
    /// How far past its deadline a call may live.
    pub overdue: Duration,
    /// A call of an unknown server is left alone while it is younger than this.
    pub unknown_server: Duration,
    /// When `sweep` may announce a reaped call again.
    pub announce_again: Duration,
    /// Between two passes within one minute's schedule event.
    pub every: Duration,
    /// How long after a call's end its recording may still be on its way; then checkpoints take its place.
    pub upload: Duration,
}

impl Default for ReapLimits {
    fn default() -> Self {
        Self {
            stale: Duration::from_secs_f64(domain::fleet::STALE_FOR_REAP_SECONDS),
            knock: Duration::from_secs(2),
            forgotten: Duration::from_secs(600),
            overdue: Duration::from_secs(120),
            unknown_server: Duration::from_secs(60),
            announce_again: Duration::from_secs(60),
            every: Duration::from_secs(10),
            upload: Duration::from_secs(900),
        }
    }
}

/// How much one pass of `retain` may do: it must end within a Lambda function's 15 minutes.
#[derive(Debug, Clone)]
pub struct RetainLimits {
    pub calls: u32,
    pub calls_per_bot: u32,
    /// Reads of the index by day.
    pub pages_per_bot: u32,
}

impl Default for RetainLimits {
    fn default() -> Self {
        Self { calls: 5000, calls_per_bot: 1000, pages_per_bot: 4000 }
    }
}

/// How `sweep` spaces what it sends again.
#[derive(Debug, Clone)]
pub struct SweepLimits {
    /// A step is put off by this much each time it is sent again.
    pub again_after: Duration,
    /// A delivery is swept this long after it fell due: the queue's own message comes first.
    pub grace: Duration,
    /// At most this many of each kind a pass.
    pub batch: u32,
}

impl Default for SweepLimits {
    fn default() -> Self {
        Self { again_after: Duration::from_secs(60), grace: Duration::from_secs(30), batch: 1000 }
    }
}
