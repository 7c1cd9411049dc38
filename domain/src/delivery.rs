//! Deliveries of a result: their rows, what an attempt's answer means, and when the next try is due.
//! It must never send anything, and never change a body once it is stored.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::Sighting;
use crate::ids::{BotId, CallId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Through the key mapper.
    Push,
    /// The whole result.
    Webhook,
}

impl Channel {
    pub const ALL: &[Self] = &[Self::Push, Self::Webhook];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Webhook => "webhook",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Every try failed; only a resend brings it back.
    Dead,
}

/// One row of `Deliveries`; the row, not the queue, is the truth.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryRow {
    pub call_id: CallId,
    pub channel: Channel,
    pub bot_id: BotId,
    pub state: DeliveryState,
    /// Tries begun so far, of all rounds.
    pub tries: u32,
    /// Tries of the rounds before this one: a resend begins the schedule anew.
    #[serde(default)]
    pub tries_before: u32,
    /// The number of the try under way; one whose worker died stays here until the next begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// When the next try may begin; while one runs, when its lease ends.
    pub due_at: Timestamp,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent_at: Option<Timestamp>,
    #[debug("(personal)")]
    pub url: String,
    pub method: String,
    /// `webhook-id`: call id + channel.
    pub webhook_id: String,
    /// Object key of the body bytes.
    pub body_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Why the delivery is dead, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<DeadWhy>,
}

impl DeliveryRow {
    /// A new delivery, due at once; `method` and `url` are those of the bot that the call ran on.
    pub fn new(call_id: CallId, channel: Channel, bot_id: BotId, to: Target, body_key: String, now: Timestamp) -> Self {
        Self {
            call_id,
            channel,
            bot_id,
            state: DeliveryState::Pending,
            tries: 0,
            tries_before: 0,
            running: None,
            due_at: now,
            created_at: now,
            resent_at: None,
            url: to.url,
            method: to.method,
            webhook_id: webhook_id(call_id, channel),
            body_key,
            last_status: None,
            delivered_at: None,
            why: None,
        }
    }

    /// Tries begun in this round.
    pub fn tries_of_round(&self) -> u32 {
        self.tries.saturating_sub(self.tries_before)
    }

    /// When this round began.
    pub fn round_began(&self) -> Timestamp {
        self.resent_at.unwrap_or(self.created_at)
    }

    /// Until when a worker holds the delivery, if one does.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.state == DeliveryState::Pending && self.running.is_some() && self.due_at > now).then_some(self.due_at)
    }
}

/// Where a delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: String,
    pub method: String,
}

/// Why a delivery is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadWhy {
    /// The last try of the schedule failed.
    ScheduleOver,
    /// This try got the 410 that disabled the endpoint.
    EndpointGone,
    /// Not tried: the endpoint had said before that it is gone. Replacing the bot enables it again.
    EndpointDisabled,
    /// Held back by the endpoint's breaker for longer than the whole schedule takes.
    EndpointDown,
}

impl DeadWhy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScheduleOver => "schedule_over",
            Self::EndpointGone => "endpoint_gone",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::EndpointDown => "endpoint_down",
        }
    }
}

/// What a delivery becomes when its try ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    Again { due_at: Timestamp },
    Dead(DeadWhy),
}

impl Next {
    pub fn state(self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::Again { .. } => DeliveryState::Pending,
            Self::Dead(_) => DeliveryState::Dead,
        }
    }
}

/// `webhook-id` of a delivery (Standard Webhooks): the same on every try.
pub fn webhook_id(call: CallId, channel: Channel) -> String {
    format!("{call}-{}", channel.as_str())
}

/// One row of `Attempts`.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptRow {
    pub call_id: CallId,
    pub channel: Channel,
    /// 1-based.
    pub n: u32,
    pub at: Timestamp,
    pub status: Option<u16>,
    /// Why there is no status: `timeout`, `refused`, `tls`, `dns`, `blocked`, …
    pub error: Option<String>,
    pub latency_ms: u64,
    /// First 1 KiB of the answer.
    #[debug("(personal)")]
    pub answer: String,
    /// What an operator should look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<AttemptFlag>,
}

/// What an answer tells besides its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptFlag {
    /// 4xx: this endpoint, its token or its mapping is probably set up wrongly.
    ConfigError,
    /// A redirect, which is not followed, or an address that is not allowed.
    Security,
    /// The endpoint asks for fewer requests.
    Throttled,
}

/// What came back of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status {
        code: u16,
        retry_after: Option<Duration>,
    },
    /// No HTTP answer: connection, TLS, time-out.
    NoAnswer,
    /// Nothing was sent: the URL or its address is not allowed, or what is to be sent is not there.
    NotSent {
        blocked: bool,
    },
}

/// What a try's answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Try again; not before this long, if the endpoint said so.
    Retry {
        at_least: Option<Duration>,
    },
    /// 410: the endpoint is gone.
    Gone,
}

/// Judges an answer: 2xx delivered, 410 gone, all else (3xx too) a failure to retry.
/// `Retry-After` counts on 429 and 503 only, clamped to 24 h.
pub fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Answer::Status { code: 200..=299, .. } => Verdict::Delivered,
        Answer::Status { code: 410, .. } => Verdict::Gone,
        Answer::Status { code: 429 | 503, retry_after } => {
            Verdict::Retry { at_least: retry_after.map(|wait| wait.min(DAY)) }
        }
        Answer::Status { .. } | Answer::NoAnswer | Answer::NotSent { .. } => Verdict::Retry { at_least: None },
    }
}

/// What an answer says about the endpoint; nothing if it never was asked. `bot_version`: the bot's when it answered.
pub fn sighting(answer: &Answer, call: CallId, bot_version: u64) -> Option<Sighting> {
    Some(match answer {
        Answer::NotSent { .. } => return None,
        Answer::NoAnswer | Answer::Status { code: 500..=502 | 504..=599, .. } => Sighting::Failing,
        Answer::Status { code: 429 | 503, retry_after: Some(wait) } => Sighting::Throttled { wait: *wait },
        Answer::Status { code: 429 | 503, retry_after: None } => Sighting::Failing,
        Answer::Status { code: 410, .. } => Sighting::Gone { call, bot_version },
        Answer::Status { .. } => Sighting::Alive,
    })
}

/// What an operator should look at.
pub fn flag(answer: &Answer) -> Option<AttemptFlag> {
    match answer {
        Answer::Status { code: 300..=399, .. } | Answer::NotSent { blocked: true } => Some(AttemptFlag::Security),
        Answer::Status { code: 429, .. } | Answer::Status { code: 503, retry_after: Some(_) } => {
            Some(AttemptFlag::Throttled)
        }
        Answer::Status { code: 400..=499, .. } => Some(AttemptFlag::ConfigError),
        Answer::Status { .. } | Answer::NoAnswer | Answer::NotSent { blocked: false } => None,
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Delays after the first, second, … failed try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub delays: Vec<Duration>,
    /// Each delay is stretched or shrunk by up to this many percent.
    pub jitter_percent: u32,
}

impl Default for Schedule {
    /// 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, ± 20 %.
    fn default() -> Self {
        let seconds = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400];
        Self { delays: seconds.map(Duration::from_secs).to_vec(), jitter_percent: 20 }
    }
}

impl Schedule {
    /// Tries of one round: the first, and one after each wait.
    pub fn tries(&self) -> u32 {
        u32::try_from(self.delays.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// How long a round takes at the longest, if the endpoint asks for nothing and answers at once.
    pub fn longest(&self) -> Duration {
        let waits: Duration = self.delays.iter().sum();
        waits.mul_f64(1.0 + f64::from(self.jitter_percent) / 100.0)
    }

    /// The wait after `tries` failed tries (≥ 1), or `None` when it was the last.
    /// `dice` is uniform in 0..=u32::MAX and places the wait inside the jitter band.
    pub fn wait_after(&self, tries: u32, at_least: Option<Duration>, dice: u32) -> Option<Duration> {
        let base = *self.delays.get(tries.checked_sub(1)? as usize)?;
        let share = f64::from(dice) / f64::from(u32::MAX) * 2.0 - 1.0;
        let jittered = base.mul_f64(1.0 + share * f64::from(self.jitter_percent) / 100.0);
        Some(at_least.map_or(jittered, |floor| jittered.max(floor)).min(DAY.mul_f64(1.2)))
    }
}

/// The longest delay that the queue itself can hold back a message.
pub const QUEUE_DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// The `due_shard` index value of a pending delivery.
pub fn due_shard(shard: u16) -> String {
    format!("due#{shard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let status = |code, after: Option<u64>| Answer::Status { code, retry_after: after.map(Duration::from_secs) };
        let check = |answer, expect| assert_eq!(verdict(&answer), expect, "{answer:?}");
        check(status(200, None), Verdict::Delivered);
        check(status(204, None), Verdict::Delivered);
        check(status(301, None), Verdict::Retry { at_least: None });
        check(status(400, Some(9)), Verdict::Retry { at_least: None });
        check(status(410, None), Verdict::Gone);
        check(status(429, Some(90)), Verdict::Retry { at_least: Some(Duration::from_secs(90)) });
        check(status(503, Some(900_000)), Verdict::Retry { at_least: Some(DAY) });
        check(Answer::NoAnswer, Verdict::Retry { at_least: None });
        check(Answer::NotSent { blocked: true }, Verdict::Retry { at_least: None });
    }

    #[test]
    fn answers_tell_of_the_endpoint_and_of_its_set_up() {
        let call = CallId::from_parts(1, [1; 10]);
        let status = |code, after: Option<u64>| Answer::Status { code, retry_after: after.map(Duration::from_secs) };
        let check = |answer: Answer, seen: Option<Sighting>, flagged: Option<AttemptFlag>| {
            assert_eq!((sighting(&answer, call, 3), flag(&answer)), (seen, flagged), "{answer:?}");
        };
        use AttemptFlag::{ConfigError, Security, Throttled};
        let throttled = |seconds| Some(Sighting::Throttled { wait: Duration::from_secs(seconds) });
        check(status(200, None), Some(Sighting::Alive), None);
        check(status(302, None), Some(Sighting::Alive), Some(Security));
        check(status(400, None), Some(Sighting::Alive), Some(ConfigError));
        check(status(401, Some(5)), Some(Sighting::Alive), Some(ConfigError));
        check(status(410, None), Some(Sighting::Gone { call, bot_version: 3 }), Some(ConfigError));
        check(status(429, Some(9)), throttled(9), Some(Throttled));
        check(status(429, None), Some(Sighting::Failing), Some(Throttled));
        check(status(503, Some(9)), throttled(9), Some(Throttled));
        check(status(503, None), Some(Sighting::Failing), None);
        check(status(500, Some(9)), Some(Sighting::Failing), None);
        check(Answer::NoAnswer, Some(Sighting::Failing), None);
        check(Answer::NotSent { blocked: true }, None, Some(Security));
        check(Answer::NotSent { blocked: false }, None, None);
    }

    #[test]
    fn the_schedule_ends_and_honours_the_endpoint() {
        let schedule = Schedule::default();
        let middle = u32::MAX / 2;
        let seconds = |wait: Option<Duration>| wait.map(|w| w.as_secs_f64().round() as u64);
        assert_eq!(seconds(schedule.wait_after(0, None, middle)), None);
        assert_eq!(seconds(schedule.wait_after(1, None, middle)), Some(5));
        assert_eq!(seconds(schedule.wait_after(1, None, 0)), Some(4));
        assert_eq!(seconds(schedule.wait_after(1, None, u32::MAX)), Some(6));
        assert_eq!(seconds(schedule.wait_after(9, None, middle)), Some(86400));
        assert_eq!(seconds(schedule.wait_after(10, None, middle)), None);
        assert_eq!(seconds(schedule.wait_after(1, Some(Duration::from_secs(60)), middle)), Some(60));
        assert_eq!(schedule.tries(), 10);
        assert_eq!(
            schedule.longest().as_secs(),
            (5 + 300 + 1800 + 7200 + 18000 + 36000 + 50400 + 72000 + 86400) * 6 / 5
        );
    }
}
