//! The fleet as the control plane sees it: heartbeats, ranking, and the words spoken on a server's private port.
//! It must never pick at random by itself: dice come in as arguments.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::ids::{BotId, CallId, Epoch, KeyId, Owner, ServerId, TrunkId};
use crate::secret::Personal;

pub mod view;

/// One row of `Servers`: the last heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRow {
    pub server_id: ServerId,
    pub epoch: Epoch,
    /// `host:port` of the private HTTP port.
    pub address: String,
    #[serde(default)]
    pub ws_url: String,
    /// `host:port` to which carriers send SIP; empty where a server takes none.
    #[serde(default)]
    pub sip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub calls: u32,
    pub max: u32,
    pub free: u32,
    /// Live calls by trunk.
    #[serde(default)]
    pub trunk_calls: BTreeMap<TrunkId, u32>,
    pub draining: bool,
    pub version: String,
    pub heartbeat_at: Timestamp,
}

impl ServerRow {
    pub fn owner(&self) -> Owner {
        Owner { server_id: self.server_id.clone(), epoch: self.epoch }
    }

    /// What it adds to the fleet's capacity; nothing while its heartbeat is stale.
    pub fn capacity(&self, now: Timestamp) -> Capacity {
        if self.age_seconds(now) > STALE_FOR_RANKING_SECONDS {
            return Capacity::default();
        }
        let available = if self.draining { 0 } else { self.free };
        Capacity { healthy: 1, calls: self.calls, max: self.max, available }
    }

    /// Seconds since the heartbeat; 0 for one from the future (clock skew).
    pub fn age_seconds(&self, now: Timestamp) -> f64 {
        now.duration_since(self.heartbeat_at).as_secs_f64().max(0.0)
    }
}

/// A heartbeat older than this does not count for ranking.
pub const STALE_FOR_RANKING_SECONDS: f64 = 10.0;
/// A heartbeat older than this makes `reap` knock at the private port.
pub const STALE_FOR_REAP_SECONDS: f64 = 30.0;

/// Servers that may take a call now, best first: fresh, not draining, in `group` where one is asked for, with a
/// free slot; more free slots first. `dice` (one a server, any values) breaks ties so that a crowd of callers spreads.
pub fn rank(
    servers: &[ServerRow],
    now: Timestamp,
    group: Option<&str>,
    dice: impl Fn(&ServerId) -> u32,
) -> Vec<ServerRow> {
    let mut fit: Vec<&ServerRow> = servers
        .iter()
        .filter(|s| !s.draining && s.free > 0 && s.age_seconds(now) <= STALE_FOR_RANKING_SECONDS)
        .filter(|s| group.is_none_or(|wanted| s.group.as_deref() == Some(wanted)))
        .collect();
    // Ordering by free slots alone would send every concurrent dialout to one server: quarter steps are coarse enough.
    let bucket = |s: &ServerRow| u64::from(s.free) * 4 / u64::from(s.max.max(1));
    fit.sort_by(|a, b| {
        bucket(b)
            .cmp(&bucket(a))
            .then_with(|| dice(&a.server_id).cmp(&dice(&b.server_id)))
            .then_with(|| a.server_id.cmp(&b.server_id))
    });
    fit.into_iter().cloned().collect()
}

/// Capacity over some servers: the whole fleet, or one group of it. Draining ones offer nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Servers with a fresh heartbeat.
    #[serde(default)]
    pub healthy: u32,
    pub calls: u32,
    pub max: u32,
    /// Free slots.
    pub available: u32,
}

impl Capacity {
    /// How full the servers are, 0 to 100.
    pub fn busy_percent(&self) -> f64 {
        if self.max == 0 { 0.0 } else { f64::from(self.calls) * 100.0 / f64::from(self.max) }
    }
}

impl std::ops::AddAssign for Capacity {
    fn add_assign(&mut self, other: Self) {
        self.healthy = self.healthy.saturating_add(other.healthy);
        self.calls = self.calls.saturating_add(other.calls);
        self.max = self.max.saturating_add(other.max);
        self.available = self.available.saturating_add(other.available);
    }
}

/// The capacity of one `server_group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCapacity {
    /// `None`: servers without a group.
    pub group: Option<String>,
    pub capacity: Capacity,
}

/// What `GET /health/fleet` and the fleet's metrics say, written down by one server for all readers: they need not read
/// every heartbeat then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSummary {
    pub capacity: Capacity,
    /// The same by group.
    #[serde(default)]
    pub groups: Vec<GroupCapacity>,
    pub summed_by: ServerId,
    pub summed_at: Timestamp,
}

/// A summary older than this is not believed: together with the heartbeats' own age, what is told is right within 4 s.
pub const SUMMARY_FRESH_SECONDS: f64 = 3.0;

impl FleetSummary {
    pub fn of(servers: &[ServerRow], by: &ServerId, now: Timestamp) -> Self {
        let sums = view::ShardSummary::of(0, servers, by, now);
        Self::total([&sums], by, now)
    }

    /// The sum over shards.
    pub fn total<'a>(shards: impl IntoIterator<Item = &'a view::ShardSummary>, by: &ServerId, now: Timestamp) -> Self {
        let mut groups: BTreeMap<Option<String>, Capacity> = BTreeMap::new();
        let mut capacity = Capacity::default();
        for sum in shards.into_iter().flat_map(|shard| &shard.groups) {
            *groups.entry(sum.group.clone()).or_default() += sum.capacity;
            capacity += sum.capacity;
        }
        groups.retain(|_, capacity| *capacity != Capacity::default());
        let groups = groups.into_iter().map(|(group, capacity)| GroupCapacity { group, capacity }).collect();
        Self { capacity, groups, summed_by: by.clone(), summed_at: now }
    }

    /// The sum, if it is `server`'s turn to write it.
    pub fn by(server: &ServerId, servers: &[ServerRow], now: Timestamp) -> Option<Self> {
        leads(server, servers, now).then(|| Self::of(servers, server, now))
    }

    /// Whether it may be told as it is; one from the future is a broken clock's.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.summed_at).as_secs_f64().abs() <= SUMMARY_FRESH_SECONDS
    }
}

/// Whether a server sums up for all in `servers`: the lowest id of those with a fresh heartbeat does.
pub fn leads(server: &ServerId, servers: &[ServerRow], now: Timestamp) -> bool {
    let fresh = servers.iter().filter(|s| s.age_seconds(now) <= STALE_FOR_RANKING_SECONDS);
    fresh.map(|s| &s.server_id).min() == Some(server)
}

/// Sums the fresh servers.
pub fn capacity(servers: &[ServerRow], now: Timestamp) -> Capacity {
    let mut sum = Capacity::default();
    servers.iter().for_each(|server| sum += server.capacity(now));
    sum
}

/// Body of `POST /calls` on a server's private port.
#[derive(derive_more::Debug, Clone, Serialize, Deserialize)]
pub struct DialCommand {
    pub call_id: CallId,
    pub server_id: ServerId,
    pub epoch: Epoch,
    pub bot_id: BotId,
    pub bot_version: u64,
    pub trunk_id: TrunkId,
    /// E.164.
    pub to: Personal<String>,
    /// E.164.
    pub from: Personal<String>,
    /// As received.
    #[debug("(personal)")]
    pub variables: Option<Box<serde_json::value::RawValue>>,
    pub key_id: KeyId,
    /// The client waits no longer than this: a server that is later refuses.
    pub deadline: Timestamp,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Why a server did not take a call it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    Full,
    Draining,
    /// No successful heartbeat for 10 s, or still starting.
    NotReady,
    TrunkLimit,
    /// Another server or another epoch was meant (409).
    WrongServer,
    /// The id is fenced: it was refused for good (409).
    Fenced,
    /// `deadline` has passed.
    TooLate,
    /// Bot or trunk could not be read at that version.
    Unreadable,
    /// The tables did not answer: whether the call's row is this server's is not known, to it neither.
    Unsettled,
}

/// A server's answer to `POST /calls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "reason", rename_all = "snake_case")]
pub enum DialAnswer {
    Accepted,
    Refused(Refusal),
}

/// Body of `GET /health` on a server's private port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    pub server_id: ServerId,
    pub epoch: Epoch,
    pub calls: u32,
    pub draining: bool,
}

/// A server's answer to `POST /drain` and `POST /undrain`, whose body is the [`Owner`] that is meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum DrainAnswer {
    /// As asked; this is how the server stands now.
    Done(Alive),
    /// The process ends when its calls have: it lets nobody in again (409).
    Ending,
    /// Another server or another epoch was meant (409).
    WrongServer,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str, free: u32, age: i64, draining: bool) -> ServerRow {
        ServerRow {
            server_id: ServerId::parse(id).unwrap(),
            epoch: Epoch(1),
            address: "127.0.0.1:1".into(),
            ws_url: String::new(),
            sip: String::new(),
            group: (id == "g").then(|| "pool".into()),
            calls: 100 - free,
            max: 100,
            free,
            trunk_calls: BTreeMap::new(),
            draining,
            version: "0".into(),
            heartbeat_at: Timestamp::from_second(1000 - age).unwrap(),
        }
    }

    #[test]
    fn the_lowest_fresh_server_sums() {
        let now = Timestamp::from_second(1000).unwrap();
        let all = [server("a", 10, 11, false), server("b", 90, 0, true), server("c", 90, 1, false)];
        let by = |id: &str| FleetSummary::by(&ServerId::parse(id).unwrap(), &all, now);
        assert_eq!((by("a"), by("c")), (None, None));
        let summary = by("b").unwrap();
        assert_eq!(summary.capacity, capacity(&all, now));
        assert_eq!(summary.groups, [GroupCapacity { group: None, capacity: summary.capacity }]);
        let check = |ms: i64, expect: bool| {
            assert_eq!(summary.is_fresh(now + jiff::SignedDuration::from_millis(ms)), expect, "{ms}");
        };
        check(0, true);
        check(3000, true);
        check(3001, false);
        check(-2000, true);
        check(-3_600_000, false);
    }

    #[test]
    fn only_fresh_open_servers_with_room_rank_and_emptier_ones_first() {
        let now = Timestamp::from_second(1000).unwrap();
        let check = |servers: &[ServerRow], group: Option<&str>, expect: &[&str]| {
            let ranked = rank(servers, now, group, |_| 0);
            let ids: Vec<&str> = ranked.iter().map(|s| s.server_id.as_str()).collect();
            assert_eq!(ids, expect);
        };
        let all = [
            server("a", 10, 0, false),
            server("b", 90, 0, false),
            server("c", 90, 11, false),
            server("d", 90, 0, true),
            server("e", 0, 0, false),
            server("g", 50, 0, false),
        ];
        check(&all, None, &["b", "g", "a"]);
        check(&all, Some("pool"), &["g"]);
        check(&all, Some("none"), &[]);
        check(&[server("x", 1, -5, false)], None, &["x"]);
        let sum = capacity(&all, now);
        assert_eq!(sum, Capacity { healthy: 5, calls: 10 + 10 + 90 + 100 + 50, max: 500, available: 10 + 90 + 50 });
        assert_eq!((sum.busy_percent(), Capacity::default().busy_percent()), (52.0, 0.0));
    }
}
