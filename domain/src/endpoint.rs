//! The health of the places where results go: one row an endpoint, shared by all workers. A breaker keeps deliveries off
//! an endpoint that fails again and again; one that says it is gone is disabled until its bot is replaced.
//! It must never judge a single delivery (that is `delivery`), and never use up a try for what it holds back.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::delivery::Channel;
use crate::ids::{BotId, CallId};

/// Calls in a row that got 410 before a `push` endpoint is taken for gone. A `webhook` is gone at the first.
pub const GONE_CALLS: usize = 3;

/// One endpoint of a bot: a channel and a URL. Another URL is another endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct EndpointId(String);

impl EndpointId {
    /// `channel#` and half a digest of the URL: the URL itself may hold a token.
    pub fn of(channel: Channel, url: &str) -> Self {
        let digest = Sha256::digest(url.as_bytes());
        let short: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{}#{short}", channel.as_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When deliveries to an endpoint are held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open the breaker; at least 1.
    pub after: u32,
    /// How long it stays open the first time; doubled each time a probe fails.
    pub pause: Duration,
    /// It never stays open longer than this, whatever the endpoint asks for.
    pub longest: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { after: 5, pause: Duration::from_secs(30), longest: Duration::from_secs(15 * 60) }
    }
}

impl BreakerRules {
    /// The pause before the `times`-th probe (1-based).
    fn pause(&self, times: u32) -> Duration {
        let doubled = 2_u32.checked_pow(times.saturating_sub(1)).and_then(|factor| self.pause.checked_mul(factor));
        doubled.unwrap_or(self.longest).min(self.longest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    /// Deliveries go through.
    Closed { failures: u32 },
    /// Deliveries are held back until then.
    Open { until: Timestamp, times: u32 },
    /// One delivery is trying it; the others wait, at the longest until the probe's lease ends.
    HalfOpen { until: Timestamp, times: u32 },
}

impl Breaker {
    /// One word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// The last calls in a row that got 410 while the bot had this version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub bot_version: u64,
    pub calls: Vec<CallId>,
    /// Since when the endpoint is disabled, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
}

/// One row of `Endpoints`; an endpoint without one is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    pub bot_id: BotId,
    pub endpoint: EndpointId,
    pub channel: Channel,
    /// Scheme, host and port; a path or query may hold a token.
    pub origin: String,
    /// Rises by one with each change: a change is stored if the one it was made from still stands.
    pub rev: u64,
    pub breaker: Breaker,
    #[serde(default)]
    pub gone: Gone,
    pub changed_at: Timestamp,
}

/// Whether a delivery may try an endpoint now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Go,
    /// The breaker's pause is over: one may try, and all others wait for what it finds.
    Probe,
    /// Not before this.
    Wait {
        until: Timestamp,
    },
}

/// What a try says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It answered, and not with a failure of its own.
    Alive,
    /// 410 to this call, while the bot had this version.
    Gone { call: CallId, bot_version: u64 },
    /// 5xx, 429, or no answer.
    Failing,
    /// It asked to be left alone for so long.
    Throttled { wait: Duration },
}

impl EndpointRow {
    /// An endpoint of which nothing is known.
    pub fn new(bot_id: BotId, channel: Channel, url: &str, now: Timestamp) -> Self {
        let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        Self {
            bot_id,
            endpoint: EndpointId::of(channel, url),
            channel,
            origin,
            rev: 0,
            breaker: Breaker::Closed { failures: 0 },
            gone: Gone::default(),
            changed_at: now,
        }
    }

    pub fn admission(&self, now: Timestamp) -> Admission {
        match self.breaker {
            Breaker::Closed { .. } => Admission::Go,
            Breaker::Open { until, .. } | Breaker::HalfOpen { until, .. } if now < until => Admission::Wait { until },
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => Admission::Probe,
        }
    }

    /// Since when the endpoint is disabled; a bot that was replaced since then (`current`) has enabled it again.
    pub fn disabled_since(&self, current: Option<u64>) -> Option<Timestamp> {
        let replaced = current.is_some_and(|version| version > self.gone.bot_version);
        self.gone.disabled_at.filter(|_| !replaced)
    }

    /// The row while one delivery probes, until `lease` ends.
    pub fn probing(&self, lease: Timestamp) -> Self {
        let times = match self.breaker {
            Breaker::Closed { .. } => 0,
            Breaker::Open { times, .. } | Breaker::HalfOpen { times, .. } => times,
        };
        Self { breaker: Breaker::HalfOpen { until: lease, times }, ..self.clone() }
    }

    /// The row after a probe that found out nothing: the next delivery may probe at once.
    pub fn released(&self, now: Timestamp) -> Self {
        match self.breaker {
            Breaker::HalfOpen { times, .. } => Self { breaker: Breaker::Open { until: now, times }, ..self.clone() },
            Breaker::Closed { .. } | Breaker::Open { .. } => self.clone(),
        }
    }

    /// The row after a try.
    #[must_use]
    pub fn after(&self, seen: &Sighting, rules: &BreakerRules, now: Timestamp) -> Self {
        let breaker = match seen {
            Sighting::Alive | Sighting::Gone { .. } => Breaker::Closed { failures: 0 },
            Sighting::Failing => self.failed(rules, now),
            Sighting::Throttled { wait } => self.throttled(*wait, rules, now),
        };
        let gone = match seen {
            Sighting::Gone { call, bot_version } => self.gone_again(*call, *bot_version, now),
            // Somebody is there. Whether it is disabled by then is not this try's to say.
            Sighting::Alive => Gone { calls: Vec::new(), ..self.gone.clone() },
            // A server that is down says nothing about what it would have said.
            Sighting::Failing | Sighting::Throttled { .. } => self.gone.clone(),
        };
        Self { breaker, gone, ..self.clone() }
    }

    fn failed(&self, rules: &BreakerRules, now: Timestamp) -> Breaker {
        match self.breaker {
            Breaker::Closed { failures } if failures + 1 < rules.after => Breaker::Closed { failures: failures + 1 },
            Breaker::Closed { .. } => Breaker::Open { until: now + rules.pause(1), times: 1 },
            Breaker::HalfOpen { times, .. } => {
                let times = times.saturating_add(1);
                Breaker::Open { until: now + rules.pause(times), times }
            }
            // It began before the breaker opened, and says nothing new.
            open @ Breaker::Open { .. } => open,
        }
    }

    fn throttled(&self, wait: Duration, rules: &BreakerRules, now: Timestamp) -> Breaker {
        let asked = now + wait.min(rules.longest);
        match self.breaker {
            Breaker::Closed { .. } => Breaker::Open { until: asked, times: 1 },
            Breaker::Open { until, times } => Breaker::Open { until: until.max(asked), times },
            Breaker::HalfOpen { times, .. } => Breaker::Open { until: asked, times: times.saturating_add(1) },
        }
    }

    fn gone_again(&self, call: CallId, bot_version: u64, now: Timestamp) -> Gone {
        // What an older version of the bot saw is of no account once it was replaced.
        let mut gone = if bot_version > self.gone.bot_version {
            Gone { bot_version, ..Gone::default() }
        } else {
            self.gone.clone()
        };
        if !gone.calls.contains(&call) && gone.calls.len() < GONE_CALLS {
            gone.calls.push(call);
        }
        let enough = match self.channel {
            Channel::Webhook => 1,
            Channel::Push => GONE_CALLS,
        };
        if gone.calls.len() >= enough {
            gone.disabled_at = gone.disabled_at.or(Some(now));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_614_400 + seconds).unwrap()
    }

    fn call(number: u8) -> CallId {
        CallId::from_parts(1, [number; 10])
    }

    fn row(channel: Channel) -> EndpointRow {
        EndpointRow::new(BotId::parse("b").unwrap(), channel, "https://crm.example.com:8443/x?token=t", at(0))
    }

    fn rules() -> BreakerRules {
        BreakerRules { after: 3, ..BreakerRules::default() }
    }

    #[test]
    fn an_endpoint_is_a_channel_and_a_url() {
        let of = |channel, url| EndpointId::of(channel, url);
        assert_eq!(of(Channel::Push, "https://a/x"), of(Channel::Push, "https://a/x"));
        assert_ne!(of(Channel::Push, "https://a/x"), of(Channel::Webhook, "https://a/x"));
        assert_ne!(of(Channel::Push, "https://a/x"), of(Channel::Push, "https://a/y"));
        assert_eq!(row(Channel::Push).origin, "https://crm.example.com:8443", "no path, no query");
    }

    #[test]
    fn a_breaker_goes_from_state_to_state() {
        use Breaker::{Closed, HalfOpen, Open};
        use Sighting::{Alive, Failing, Throttled};
        let throttled = |seconds| Throttled { wait: Duration::from_secs(seconds) };
        // (before, seen at 100) → after
        let check = |before: Breaker, seen: Sighting, after: Breaker| {
            let row = EndpointRow { breaker: before, ..row(Channel::Push) };
            assert_eq!(row.after(&seen, &rules(), at(100)).breaker, after, "{before:?} {seen:?}");
        };
        check(Closed { failures: 0 }, Alive, Closed { failures: 0 });
        check(Closed { failures: 2 }, Alive, Closed { failures: 0 });
        check(Closed { failures: 0 }, Failing, Closed { failures: 1 });
        check(Closed { failures: 2 }, Failing, Open { until: at(130), times: 1 });
        check(Closed { failures: 0 }, throttled(120), Open { until: at(220), times: 1 });
        check(Closed { failures: 0 }, throttled(u64::MAX), Open { until: at(1000), times: 1 });
        check(Open { until: at(110), times: 1 }, Failing, Open { until: at(110), times: 1 });
        check(Open { until: at(110), times: 1 }, throttled(5), Open { until: at(110), times: 1 });
        check(Open { until: at(110), times: 1 }, Alive, Closed { failures: 0 });
        check(HalfOpen { until: at(130), times: 1 }, Failing, Open { until: at(160), times: 2 });
        check(HalfOpen { until: at(130), times: 4 }, Failing, Open { until: at(580), times: 5 });
        check(HalfOpen { until: at(130), times: 40 }, Failing, Open { until: at(1000), times: 41 });
        check(HalfOpen { until: at(130), times: u32::MAX }, Failing, Open { until: at(1000), times: u32::MAX });
        check(HalfOpen { until: at(130), times: 2 }, Alive, Closed { failures: 0 });
        check(HalfOpen { until: at(130), times: 2 }, throttled(7), Open { until: at(107), times: 3 });
    }

    #[test]
    fn one_probes_when_the_pause_is_over() {
        use Breaker::{Closed, HalfOpen, Open};
        let check = |breaker: Breaker, expect: Admission| {
            assert_eq!(EndpointRow { breaker, ..row(Channel::Push) }.admission(at(100)), expect, "{breaker:?}");
        };
        check(Closed { failures: 2 }, Admission::Go);
        check(Open { until: at(101), times: 1 }, Admission::Wait { until: at(101) });
        check(Open { until: at(100), times: 1 }, Admission::Probe);
        check(HalfOpen { until: at(130), times: 1 }, Admission::Wait { until: at(130) });
        check(HalfOpen { until: at(99), times: 1 }, Admission::Probe);
        let open = EndpointRow { breaker: Open { until: at(90), times: 3 }, ..row(Channel::Push) };
        let probing = open.probing(at(130));
        assert_eq!(probing.breaker, HalfOpen { until: at(130), times: 3 });
        assert_eq!(probing.released(at(101)).admission(at(101)), Admission::Probe);
        assert_eq!(open.released(at(101)), open);
    }

    /// Sees 410 (a call's number) or an answer (0) in turn; whether the endpoint is disabled after each.
    #[track_caller]
    fn check_gone(channel: Channel, seen: &[(u8, u64)], expect: &[bool]) {
        let mut row = row(channel);
        for ((number, version), expect) in seen.iter().zip(expect) {
            let sighting = match number {
                0 => Sighting::Alive,
                255 => Sighting::Failing,
                _ => Sighting::Gone { call: call(*number), bot_version: *version },
            };
            row = row.after(&sighting, &rules(), at(0));
            assert_eq!(row.disabled_since(Some(*version)).is_some(), *expect, "{channel:?} {seen:?}");
        }
    }

    #[test]
    fn a_webhook_is_gone_at_once_and_a_push_after_three_calls_in_a_row() {
        use Channel::{Push, Webhook};
        check_gone(Webhook, &[(1, 1)], &[true]);
        check_gone(Push, &[(1, 1), (2, 1), (3, 1)], &[false, false, true]);
        // The same call's tries count once.
        check_gone(Push, &[(1, 1), (1, 1), (1, 1), (2, 1)], &[false; 4]);
        // An answer in between breaks the row, a server that is down does not.
        check_gone(Push, &[(1, 1), (2, 1), (0, 1), (3, 1), (4, 1)], &[false; 5]);
        check_gone(Push, &[(1, 1), (2, 1), (255, 1), (3, 1)], &[false, false, false, true]);
        // A bot that was replaced begins anew, and may be disabled anew.
        check_gone(Push, &[(1, 1), (2, 1), (3, 2)], &[false; 3]);
        check_gone(Webhook, &[(1, 1), (0, 2), (2, 2)], &[true, false, true]);
    }

    #[test]
    fn what_is_disabled_is_so_until_the_bot_is_replaced() {
        let gone = Sighting::Gone { call: call(1), bot_version: 4 };
        let row = row(Channel::Webhook).after(&gone, &rules(), at(7));
        let check = |current: Option<u64>, since: Option<Timestamp>| {
            assert_eq!(row.disabled_since(current), since, "{current:?}");
        };
        check(Some(4), Some(at(7)));
        check(Some(3), Some(at(7)));
        check(Some(5), None);
        check(None, Some(at(7)));
    }
}
