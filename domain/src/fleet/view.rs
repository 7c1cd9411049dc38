//! The fleet in few words: what each shard of `Servers` comes to, and what all of them do, so that nobody has to read
//! every heartbeat. It must never count a server out that may still use a share of a trunk, nor grow with the number of
//! servers instead of that of shards.
//!
//! In each shard one server ([`super::leads`]) writes a [`ShardSummary`] at each of its beats; one server of the fleet makes
//! them into a [`FleetView`] that all read. Every number carries the moment of the reading that it comes from, so that
//! its age is known however many hands it went through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Capacity, STALE_FOR_REAP_SECONDS, ServerRow};
use crate::ids::{ServerId, TrunkId};
use crate::share::{CLOCKS_DIFFER, TrunkLimits};

/// Up to so many shards, whoever wants to know the fleet reads them all; beyond, it reads one and a [`FleetView`].
pub const READ_WHOLE: u16 = 8;
/// So many shards share one copy of the view: no copy is read by more servers than one partition answers.
pub const SHARDS_A_COPY: u16 = 32;
/// What a view says of a shard is good for this long after the shard was read.
pub const COUNT_VALID: Duration = Duration::from_secs(30);
/// A view that is not followed by another for this long needs another server to write it.
const ABANDONED: Duration = Duration::from_secs(5);
/// The longer it is abandoned, the more servers step in: their number doubles each time this has passed.
const DOUBLING: Duration = Duration::from_secs(2);
/// At most so many trunks are listed: those with the most calls.
const MAX_TRUNKS: usize = 500;

/// What the servers of one group in one shard come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSum {
    pub group: Option<String>,
    pub capacity: Capacity,
    /// Servers that may use a share of a trunk: heard of within 30 s, and not draining.
    pub sharing: u32,
    /// Calls that those hold, by trunk.
    pub held: BTreeMap<TrunkId, u32>,
}

/// What one shard comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSummary {
    pub shard: u16,
    pub groups: Vec<GroupSum>,
    /// Calls of servers that drain, by trunk.
    pub leaving: BTreeMap<TrunkId, u32>,
    pub summed_by: ServerId,
    /// Before the shard was read, by the clock of who read it.
    pub summed_at: Timestamp,
}

impl ShardSummary {
    /// The sum of a shard that was read at `read_at` or later.
    pub fn of(shard: u16, servers: &[ServerRow], by: &ServerId, read_at: Timestamp) -> Self {
        let mut groups: BTreeMap<Option<String>, GroupSum> = BTreeMap::new();
        let mut leaving = BTreeMap::new();
        for server in servers {
            let sum = groups.entry(server.group.clone()).or_insert_with(|| GroupSum {
                group: server.group.clone(),
                capacity: Capacity::default(),
                sharing: 0,
                held: BTreeMap::new(),
            });
            sum.capacity += server.capacity(read_at);
            if server.age_seconds(read_at) > STALE_FOR_REAP_SECONDS {
                continue;
            }
            sum.sharing += u32::from(!server.draining);
            let held = if server.draining { &mut leaving } else { &mut sum.held };
            for (trunk, calls) in &server.trunk_calls {
                *held.entry(trunk.clone()).or_default() += calls;
            }
        }
        let groups = groups.into_values().collect();
        Self { shard, groups, leaving, summed_by: by.clone(), summed_at: read_at }
    }
}

/// Servers of a group in a shard: the group's place in [`FleetView::groups`], how many share, free slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount(pub u16, pub u32, pub u32);

/// A shard in a view: when it was read (Unix milliseconds), and its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCounts(pub i64, pub Vec<GroupCount>);

/// A trunk with a limit, in a view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkView {
    /// Calls in the whole fleet.
    pub held: u32,
    /// Of them, those that come off the limit before the rest is shared: of servers that drain or are in another
    /// group, and of shards that hold more than their part.
    pub out: u32,
    /// Those shards.
    #[serde(with = "bits")]
    pub over: BTreeSet<u16>,
}

/// All shards together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    pub groups: Vec<Option<String>>,
    /// One for each shard, in their order.
    pub shards: Vec<ShardCounts>,
    /// Trunks with a limit that carry calls.
    pub trunks: BTreeMap<TrunkId, TrunkView>,
    pub summed_by: ServerId,
    pub summed_at: Timestamp,
}

/// A trunk as a view is made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    pub limits: TrunkLimits,
    pub group: Option<String>,
}

impl FleetView {
    /// `shards` holds one sum for each shard, in their order.
    pub fn of(shards: &[ShardSummary], limited: &BTreeMap<TrunkId, Limited>, by: &ServerId, now: Timestamp) -> Self {
        let names: BTreeSet<&Option<String>> = shards.iter().flat_map(|s| s.groups.iter().map(|g| &g.group)).collect();
        let groups: Vec<Option<String>> = names.into_iter().cloned().collect();
        let index = |group: &Option<String>| groups.binary_search(group).map_or(u16::MAX, |at| at as u16);
        let count = |sum: &GroupSum| GroupCount(index(&sum.group), sum.sharing, sum.capacity.available);
        let counts = |shard: &ShardSummary| {
            ShardCounts(shard.summed_at.as_millisecond(), shard.groups.iter().map(count).collect())
        };
        let shards_counted = shards.iter().map(counts).collect();
        let mut view =
            Self { groups, shards: shards_counted, trunks: BTreeMap::new(), summed_by: by.clone(), summed_at: now };
        let trunks = limited.iter().map(|(id, trunk)| (id.clone(), view.trunk(id, trunk, shards)));
        let mut trunks: Vec<(TrunkId, TrunkView)> = trunks.filter(|(_, trunk)| trunk.held > 0).collect();
        trunks.sort_by(|(a, one), (b, other)| other.held.cmp(&one.held).then_with(|| a.cmp(b)));
        trunks.truncate(MAX_TRUNKS);
        view.trunks = trunks.into_iter().collect();
        view
    }

    fn trunk(&self, id: &TrunkId, trunk: &Limited, shards: &[ShardSummary]) -> TrunkView {
        let group = trunk.group.as_deref();
        let held_by = |held: &BTreeMap<TrunkId, u32>| held.get(id).copied().unwrap_or(0);
        let in_group = |sum: &&GroupSum| group.is_none_or(|wanted| sum.group.as_deref() == Some(wanted));
        let all = |shard: &ShardSummary| {
            held_by(&shard.leaving) + shard.groups.iter().map(|sum| held_by(&sum.held)).sum::<u32>()
        };
        let sharing =
            |shard: &ShardSummary| -> u32 { shard.groups.iter().filter(in_group).map(|sum| held_by(&sum.held)).sum() };
        let total: u32 = shards.iter().map(all).sum();
        let mut found = TrunkView { held: total, ..TrunkView::default() };
        let Some(limit) = trunk.limits.calls.filter(|_| total > 0) else { return found };
        let parts = self.parts(&trunk.limits, group, None);
        // Where nobody has a share, what is held comes off as well.
        let (mut open, idle): (Vec<&ShardSummary>, Vec<&ShardSummary>) =
            shards.iter().partition(|shard| parts.holders(shard.shard) > 0);
        found.out = total - open.iter().map(|shard| sharing(shard)).sum::<u32>();
        found.over = idle.iter().filter(|shard| sharing(shard) > 0).map(|shard| shard.shard).collect();
        loop {
            let quota = |shard: u16| parts.quota(limit.saturating_sub(found.out), shard, &found.over);
            let (over, fit): (Vec<_>, Vec<_>) = open.into_iter().partition(|s| sharing(s) > quota(s.shard));
            if over.is_empty() {
                return found;
            }
            found.out += over.iter().map(|shard| sharing(shard)).sum::<u32>();
            found.over.extend(over.iter().map(|shard| shard.shard));
            open = fit;
        }
    }

    fn counts<'a>(&'a self, shard: &'a ShardCounts, group: Option<&str>) -> impl Iterator<Item = &'a GroupCount> {
        let wanted = group.map(|group| self.groups.iter().position(|name| name.as_deref() == Some(group)));
        shard.1.iter().filter(move |count| wanted.is_none_or(|wanted| wanted == Some(usize::from(count.0))))
    }

    /// How the servers that share a trunk lie in the shards; of one's own shard one may know more than the view does.
    pub(crate) fn parts(&self, limits: &TrunkLimits, group: Option<&str>, own: Option<(u16, u32)>) -> Parts {
        let sharing = |(shard, counts): (usize, &ShardCounts)| {
            let counted = self.counts(counts, group).map(|count| count.1).sum::<u32>();
            own.filter(|(own, _)| usize::from(*own) == shard).map_or(counted, |(_, known)| known.max(counted))
        };
        let sharing: Vec<u32> = self.shards.iter().enumerate().map(sharing).collect();
        let all: u32 = sharing.iter().sum();
        let holders = limits.holders(all as usize);
        let mut before = 0;
        let mut parts = Vec::with_capacity(sharing.len());
        for servers in sharing {
            parts.push(Part { before, servers, holders: holders.saturating_sub(before).min(servers) });
            before += servers;
        }
        Parts { of: all, parts }
    }

    /// How long what it says is still good, at the moment `now`; it says something of each shard.
    pub fn valid_for(&self, now: Timestamp) -> Duration {
        let left = |shard: &ShardCounts| {
            let age = now.as_millisecond() - shard.0;
            let limit = COUNT_VALID.as_millis() as i64;
            if age < -(CLOCKS_DIFFER.as_millis() as i64) { 0 } else { limit.saturating_sub(age.max(0)).max(0) }
        };
        Duration::from_millis(self.shards.iter().map(left).min().unwrap_or(0).unsigned_abs())
    }

    /// Shards with free slots in a group, those with the most first.
    pub fn with_room(&self, group: Option<&str>) -> Vec<u16> {
        let free = |shard: &ShardCounts| self.counts(shard, group).map(|count| count.2).sum::<u32>();
        let mut roomy: Vec<(u32, u16)> = (0..)
            .zip(&self.shards)
            .map(|(shard, counts)| (free(counts), shard))
            .filter(|(free, _)| *free > 0)
            .collect();
        roomy.sort_by(|a, b| b.cmp(a));
        roomy.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Shards in which servers have a share of a trunk: those that hold no more than their part, if there are any.
    pub fn with_share(&self, trunk: &TrunkId, limits: &TrunkLimits, group: Option<&str>) -> Vec<u16> {
        let parts = self.parts(limits, group, None);
        let over = |shard: &u16| self.trunks.get(trunk).is_some_and(|trunk| trunk.over.contains(shard));
        let holding = (0..self.shards.len() as u16).filter(|shard| parts.holders(*shard) > 0);
        let (full, open): (Vec<u16>, Vec<u16>) = holding.partition(over);
        if open.is_empty() { full } else { open }
    }

    /// Whether the server that leads `shard` writes the next view. Its writer goes on; once it is abandoned, few others step
    /// in, chosen by chance that all see alike, and more the longer nobody has.
    pub fn is_next_for(&self, server: &ServerId, shard: u16, now: Timestamp) -> bool {
        if self.summed_by == *server {
            return true;
        }
        let age = now.duration_since(self.summed_at).as_secs_f64().abs();
        let beyond = age - ABANDONED.as_secs_f64();
        if beyond < 0.0 {
            return false;
        }
        let steps = (beyond / DOUBLING.as_secs_f64()).min(31.0) as u32;
        let chance = spread(self.summed_at.as_millisecond().unsigned_abs() ^ (u64::from(shard) << 48));
        chance % (self.shards.len().max(1) as u64) < 1_u64 << steps
    }
}

/// Mixes the bits of a number (SplitMix64's last step).
fn spread(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The servers of a shard among all that share a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Servers in the shards before.
    pub(crate) before: u32,
    pub(crate) servers: u32,
    /// Those of its servers that have a share.
    pub(crate) holders: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Servers in all shards.
    pub(crate) of: u32,
    parts: Vec<Part>,
}

impl Parts {
    pub(crate) fn part(&self, shard: u16) -> Part {
        self.parts.get(usize::from(shard)).copied().unwrap_or(Part { before: self.of, servers: 0, holders: 0 })
    }

    pub(crate) fn holders(&self, shard: u16) -> u32 {
        self.part(shard).holders
    }

    /// What a shard may hold of `left`, which all shards but those in `out` divide.
    pub(crate) fn quota(&self, left: u32, shard: u16, out: &BTreeSet<u16>) -> u32 {
        let holders = self.holders(shard);
        if holders == 0 || out.contains(&shard) {
            return 0;
        }
        let is_in = |shard: &usize| u16::try_from(*shard).is_ok_and(|shard| !out.contains(&shard));
        let among: u32 = (0..self.parts.len()).filter(is_in).map(|at| self.parts[at].holders).sum();
        let before: u32 = (0..usize::from(shard)).filter(is_in).map(|at| self.parts[at].holders).sum();
        // A remainder goes to the first, one each.
        holders * (left / among) + (left % among).saturating_sub(before).min(holders)
    }
}

/// A set of shards as hexadecimal digits of four each, so that a trunk that is over its part everywhere stays short.
mod bits {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(set: &BTreeSet<u16>, out: S) -> Result<S::Ok, S::Error> {
        let digits = set.last().map_or(0, |last| last / 4 + 1);
        let digit = |at: u16| (0..4).filter(|bit| set.contains(&(at * 4 + bit))).fold(0, |sum, bit| sum | 1_u32 << bit);
        let text: String = (0..digits).filter_map(|at| char::from_digit(digit(at), 16)).collect();
        out.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u16>, D::Error> {
        let text = String::deserialize(from)?;
        let mut set = BTreeSet::new();
        for (at, digit) in (0_u16..).zip(text.chars()) {
            let digit = digit.to_digit(16).ok_or_else(|| serde::de::Error::custom("no set of shards"))?;
            set.extend(
                (0..4).filter(|bit| digit >> bit & 1 == 1).filter_map(|bit| at.checked_mul(4)?.checked_add(bit)),
            );
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests;
