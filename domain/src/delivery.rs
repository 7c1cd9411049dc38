//! Deliveries of a result: their rows, what an attempt's answer means, and when the next try is due.
//! It must never send anything, and never change a body once it is stored.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{BotId, CallId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Every try failed; only a resend brings it back.
    Dead,
}

/// One row of `Deliveries`; the row, not the queue, is the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRow {
    pub call_id: CallId,
    pub channel: Channel,
    pub bot_id: BotId,
    pub state: DeliveryState,
    /// Tries begun so far.
    pub tries: u32,
    /// When the next try may begin; while one runs, when its lease ends.
    pub due_at: Timestamp,
    pub created_at: Timestamp,
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
}

/// `webhook-id` of a delivery (Standard Webhooks): the same on every try.
pub fn webhook_id(call: CallId, channel: Channel) -> String {
    format!("{call}-{}", channel.as_str())
}

/// One row of `Attempts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub answer: String,
}

/// What came back of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status {
        code: u16,
        retry_after: Option<Duration>,
    },
    /// No HTTP answer: connection, TLS, time-out, policy.
    NoAnswer,
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
        Answer::Status { .. } | Answer::NoAnswer => Verdict::Retry { at_least: None },
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
    }
}
