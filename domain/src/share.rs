//! Shares of a trunk's limits: how much of what the whole fleet may use is one server's, from what it knows of the others.
//! It must never read a clock or a table, and never give out more in all than the limit.
//!
//! A server counts for the shares while its heartbeat is not older than [`STALE_FOR_REAP_SECONDS`] and it does not drain.
//! The first `k` by id share a limit, `k` being the number of servers or, if smaller, the smallest of the trunk's limits;
//! a remainder goes to the first of them. Why the sum holds though every server reads the table at another moment:
//! - nobody uses a share by a view older than [`VIEW_VALID`], so a server that can't read the table stops long before the
//!   others leave it out;
//! - a newcomer uses none before [`SETTLE`] has passed, when no view without it is valid any more (one that finds itself
//!   alone need not wait: whoever comes later sees it);
//! - so every valid view holds every server that uses a share, and a view that holds more only makes shares smaller.
//!
//! In a fleet of many shards ([`crate::fleet::view`]) a server reads its own shard only, and counts of the others: it is
//! the `n`-th of its shard, after all in the shards before. The same holds there with longer times: no count is used that
//! was read more than [`COUNT_VALID`] ago, and a newcomer waits [`SETTLE_FAR`]. A share only falls with the number of
//! servers in a view, before one's own place and in all: so every server may divide by a view of its own.
//!
//! Clocks may differ by [`CLOCKS_DIFFER`]. Calls that a server holds beyond its share when others join are
//! taken off the shares of the others as heartbeats tell them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::fleet::view::{COUNT_VALID, FleetView};
use crate::fleet::{STALE_FOR_REAP_SECONDS, ServerRow};
use crate::ids::{ServerId, TrunkId};
use crate::trunk::Trunk;

/// A view of the fleet is good for this long, from the heartbeat before it.
pub const VIEW_VALID: Duration = Duration::from_secs(10);
/// A newcomer waits this long, from its first view: then nobody divides without it any more.
pub const SETTLE: Duration = Duration::from_secs(10);
/// How far the clocks of two servers may be apart.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(20);
/// How long a newcomer waits where others know of it by counts.
pub const SETTLE_FAR: Duration = Duration::from_secs(COUNT_VALID.as_secs() + CLOCKS_DIFFER.as_secs());
/// The longest span of a pace, that of one call in 100 s, and some more.
const REMEMBERED: Duration = Duration::from_secs(120);

/// At most `calls` begin in any `span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub calls: u32,
    pub span: Duration,
}

impl Pace {
    /// A rate as whole calls in any second; a rate below one is one call in any longer span.
    pub fn per_second(rate: f64) -> Self {
        if rate >= 1.0 {
            return Self { calls: rate as u32, span: Duration::from_secs(1) };
        }
        Self { calls: 1, span: Duration::from_secs_f64(1.0 / rate.max(0.01)) }
    }

    pub fn per_minute(calls: u32) -> Self {
        Self { calls, span: Duration::from_secs(60) }
    }
}

/// What a trunk allows the whole fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrunkLimits {
    /// Calls at once.
    pub calls: Option<u32>,
    pub per_second: Option<Pace>,
    pub per_minute: Option<Pace>,
}

impl TrunkLimits {
    pub fn of(trunk: &Trunk) -> Self {
        Self {
            calls: trunk.max_calls,
            per_second: trunk.max_cps.map(Pace::per_second),
            per_minute: trunk.max_cpm.map(Pace::per_minute),
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn paces(&self) -> impl Iterator<Item = Pace> {
        self.per_second.into_iter().chain(self.per_minute)
    }

    /// How many of so many servers get a share: with fewer calls than servers, the rest would have none of some limit.
    pub(crate) fn holders(&self, servers: usize) -> u32 {
        let servers = u32::try_from(servers).unwrap_or(u32::MAX);
        let smallest = self.calls.into_iter().chain(self.paces().map(|pace| pace.calls)).min();
        smallest.map_or(servers, |limit| limit.min(servers))
    }
}

/// The part of `limit` that the server at `rank` of `among` gets.
fn divide(limit: u32, among: u32, rank: u32) -> u32 {
    if rank >= among { 0 } else { limit / among + u32::from(rank < limit % among) }
}

/// The calls of a trunk that some servers hold.
fn held(members: &[&Member], trunk: &TrunkId) -> u32 {
    members.iter().fold(0_u32, |sum, one| sum.saturating_add(one.held(trunk)))
}

/// A server's position among those that share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    rank: u32,
    of: u32,
}

impl Place {
    fn share(self, limit: u32, limits: &TrunkLimits) -> u32 {
        divide(limit, limits.holders(self.of as usize), self.rank)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    id: ServerId,
    group: Option<String>,
    draining: bool,
    calls: BTreeMap<TrunkId, u32>,
}

impl Member {
    fn held(&self, trunk: &TrunkId) -> u32 {
        self.calls.get(trunk).copied().unwrap_or(0)
    }
}

/// Of the shards that a server does not read itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Far {
    /// The one that it does read.
    pub shard: u16,
    pub view: Arc<FleetView>,
}

/// What there is beside the rows that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: they are the whole fleet.
    Nothing,
    /// Other shards, of which nothing is known yet.
    Unseen,
    Seen(Far),
}

/// The servers that count, as one reading of the table has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    rows: Vec<Member>,
    far: Option<Far>,
}

impl Members {
    /// Of a fleet whose every row was read.
    pub fn of(rows: &[ServerRow], now: Timestamp) -> Self {
        let counts = |row: &&ServerRow| row.age_seconds(now) <= STALE_FOR_REAP_SECONDS;
        let member = |row: &ServerRow| Member {
            id: row.server_id.clone(),
            group: row.group.clone(),
            draining: row.draining,
            calls: row.trunk_calls.clone(),
        };
        let mut rows: Vec<Member> = rows.iter().filter(counts).map(member).collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        Self { rows, far: None }
    }

    /// Of a fleet of which one shard's rows were read.
    pub fn within(rows: &[ServerRow], far: Far, now: Timestamp) -> Self {
        Self { far: Some(far), ..Self::of(rows, now) }
    }

    /// Those that share a trunk of this group, by rank.
    fn sharing(&self, group: Option<&str>) -> Vec<&Member> {
        let takes_part =
            |member: &&Member| !member.draining && group.is_none_or(|wanted| member.group.as_deref() == Some(wanted));
        self.rows.iter().filter(takes_part).collect()
    }

    fn place(&self, server: &ServerId, group: Option<&str>) -> Option<Place> {
        let sharing = self.sharing(group);
        let rank = sharing.iter().position(|member| member.id == *server)?;
        let (rank, near) = (u32::try_from(rank).ok()?, u32::try_from(sharing.len()).ok()?);
        let Some(far) = &self.far else { return Some(Place { rank, of: near }) };
        let parts = far.view.parts(&TrunkLimits::default(), group, Some((far.shard, near)));
        Some(Place { rank: parts.part(far.shard).before + rank, of: parts.of })
    }

    /// Whether this is the only server that shares anything.
    fn is_alone(&self, server: &ServerId) -> bool {
        self.far.is_none() && self.sharing(None).iter().all(|member| member.id == *server)
    }

    /// How many calls of a trunk a server may hold. What others hold beyond their shares, or without having one, is
    /// taken off first; the rest is divided among the others.
    fn calls_share(&self, server: &ServerId, trunk: &TrunkId, limits: &TrunkLimits, group: Option<&str>) -> u32 {
        let Some(limit) = limits.calls else { return u32::MAX };
        let (mut open, mut left, mut among) = self.open(trunk, limit, limits, group);
        loop {
            let share = |rank: usize| divide(left, among, u32::try_from(rank).unwrap_or(u32::MAX));
            let (fit, over): (Vec<_>, Vec<_>) = open
                .iter()
                .enumerate()
                .partition(|(rank, member)| member.id == *server || member.held(trunk) <= share(*rank));
            let over: Vec<&Member> = over.into_iter().map(|(_, member)| *member).collect();
            if over.is_empty() {
                return open.iter().position(|member| member.id == *server).map_or(0, share);
            }
            left = left.saturating_sub(held(&over, trunk));
            among = among.saturating_sub(u32::try_from(over.len()).unwrap_or(u32::MAX));
            open = fit.into_iter().map(|(_, member)| *member).collect();
        }
    }

    /// Of the rows, those with a share; what they divide; and among how many: where the view counts more servers in this
    /// shard than were read, theirs is left alone.
    fn open(&self, trunk: &TrunkId, limit: u32, limits: &TrunkLimits, group: Option<&str>) -> (Vec<&Member>, u32, u32) {
        let mut open = self.sharing(group);
        let near = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let shared = held(&open, trunk);
        let all = held(&self.rows.iter().collect::<Vec<_>>(), trunk);
        let Some(far) = &self.far else {
            let holders = limits.holders(open.len());
            open.truncate(holders as usize);
            let left = limit.saturating_sub(all - held(&open, trunk));
            return (open, left, holders);
        };
        let parts = far.view.parts(limits, group, Some((far.shard, near)));
        let holders = parts.holders(far.shard);
        open.truncate(holders as usize);
        let without_share = shared - held(&open, trunk);
        let (quota, known) = match far.view.trunks.get(trunk) {
            Some(seen) => (parts.quota(limit.saturating_sub(seen.out), far.shard, &seen.over), 0),
            None => (parts.quota(limit, far.shard, &Default::default()), all - shared),
        };
        (open, quota.saturating_sub(without_share + known), holders)
    }

    /// Whether a server has a share at all.
    pub fn has_share(&self, server: &ServerId, limits: &TrunkLimits, group: Option<&str>) -> bool {
        self.place(server, group).is_some_and(|place| place.rank < limits.holders(place.of as usize))
    }

    /// Whether a server has a share of the trunk that it does not use up, as far as the table tells.
    pub fn has_room(&self, server: &ServerId, trunk: &TrunkId, limits: &TrunkLimits, group: Option<&str>) -> bool {
        let sharing = self.sharing(group);
        let holders = limits.holders(sharing.len()) as usize;
        let member = sharing.into_iter().take(holders).find(|member| member.id == *server);
        member.is_some_and(|member| member.held(trunk) < self.calls_share(server, trunk, limits, group))
    }

    /// Whether there are servers for the trunk, and every one has used its share up.
    pub fn is_used_up(&self, trunk: &TrunkId, limits: &TrunkLimits, group: Option<&str>) -> bool {
        let sharing = self.sharing(group);
        !sharing.is_empty() && !sharing.iter().any(|member| self.has_room(&member.id, trunk, limits, group))
    }
}

/// Which limit a call would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The server has no share: it is new, or does not see the fleet.
    NoShare,
    Calls,
    Pace,
}

impl Denied {
    /// One word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoShare => "no_share",
            Self::Calls => "calls",
            Self::Pace => "pace",
        }
    }
}

/// A trunk as far as its limits go.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    pub trunk: &'a TrunkId,
    pub limits: TrunkLimits,
    /// The trunk's `server_group`.
    pub group: Option<&'a str>,
}

impl<'a> Over<'a> {
    pub fn of(trunk: &'a Trunk) -> Self {
        Self { trunk: &trunk.trunk_id, limits: TrunkLimits::of(trunk), group: trunk.server_group.as_deref() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    all: Option<Place>,
    group: Option<Place>,
    alone: bool,
}

/// One server's shares over time.
#[derive(Debug)]
pub struct Shares {
    server: ServerId,
    group: Option<String>,
    members: Members,
    /// The moment of the newest view.
    seen: Option<Instant>,
    /// Until when what is known of other shards is good; `None` where there are none.
    good_until: Option<Instant>,
    /// From here on shares are used.
    settled: Option<Instant>,
    /// Others may have begun calls right before: a pace's share is used one span later.
    after_others: bool,
    /// The places of late, each from its moment on.
    places: VecDeque<(Instant, Places)>,
    /// When calls began, by trunk.
    begun: HashMap<TrunkId, VecDeque<Instant>>,
}

impl Shares {
    pub fn new(server: ServerId, group: Option<String>) -> Self {
        Self {
            server,
            group,
            members: Members::default(),
            seen: None,
            good_until: None,
            settled: None,
            after_others: false,
            places: VecDeque::new(),
            begun: HashMap::new(),
        }
    }

    /// Takes in a reading of the table that followed a heartbeat begun at `beat`; `now` is the moment after the reading.
    pub fn observe(&mut self, beat: Instant, now: Instant, rows: &[ServerRow], rest: &Rest, wall: Timestamp) {
        let was_away = self.seen.is_none_or(|seen| beat.saturating_duration_since(seen) > VIEW_VALID);
        self.seen = Some(beat);
        let settle = if *rest == Rest::Nothing { SETTLE } else { SETTLE_FAR };
        (self.members, self.good_until) = match rest {
            Rest::Nothing => (Members::of(rows, wall), None),
            Rest::Unseen => (Members::default(), Some(now)),
            Rest::Seen(far) => (Members::within(rows, far.clone(), wall), Some(now + far.view.valid_for(wall))),
        };
        if was_away {
            let is_far = *rest != Rest::Nothing;
            self.after_others = is_far || !self.was_alone() || rows.iter().any(|row| self.is_recent_other(row, wall));
            self.settled = Some(if self.after_others { now + settle } else { now });
            self.places.clear();
        }
        let places = Places {
            all: self.members.place(&self.server, None),
            group: self.group.as_deref().and_then(|group| self.members.place(&self.server, Some(group))),
            alone: *rest == Rest::Nothing && self.members.is_alone(&self.server),
        };
        if self.places.back().is_none_or(|(_, last)| *last != places) {
            self.places.push_back((now, places));
        }
        while self.places.get(1).is_some_and(|(from, _)| now.saturating_duration_since(*from) > REMEMBERED) {
            self.places.pop_front();
        }
        self.begun.retain(|_, begun| begun.back().is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED));
    }

    /// Begins as a newcomer: for a server that took no part for a while, when others may have divided without it.
    pub fn come_back(&mut self) {
        self.seen = None;
    }

    /// Whether it has a view of the fleet at all.
    pub fn sees(&self) -> bool {
        self.seen.is_some()
    }

    /// Whether all views of late held nobody else.
    fn was_alone(&self) -> bool {
        self.places.iter().all(|(_, places)| places.alone)
    }

    /// Whether this is another server that may have begun calls of late, even if it takes none any more.
    fn is_recent_other(&self, row: &ServerRow, wall: Timestamp) -> bool {
        row.server_id != self.server && row.age_seconds(wall) <= REMEMBERED.as_secs_f64()
    }

    /// Whether one more call over a trunk keeps its limits, with `held` calls of it here.
    ///
    /// # Errors
    /// The limit that it would break.
    pub fn check(&self, now: Instant, over: &Over<'_>, held: u32) -> Result<(), Denied> {
        if over.limits.is_none() {
            return Ok(());
        }
        let sees = self.seen.is_some_and(|seen| now.saturating_duration_since(seen) <= VIEW_VALID)
            && self.good_until.is_none_or(|until| now < until);
        let settled = self.settled.filter(|settled| sees && *settled <= now).ok_or(Denied::NoShare)?;
        if held >= self.members.calls_share(&self.server, over.trunk, &over.limits, over.group) {
            return Err(Denied::Calls);
        }
        for pace in over.limits.paces() {
            let waits = self.after_others && now.saturating_duration_since(settled) < pace.span;
            let share = if waits { 0 } else { self.least_share(now, pace, over) };
            if self.begun_within(now, over.trunk, pace.span) >= share {
                return Err(Denied::Pace);
            }
        }
        Ok(())
    }

    /// Notes that a call began.
    pub fn note(&mut self, now: Instant, over: &Over<'_>) {
        let Some(kept) = over.limits.paces().map(|pace| pace.calls as usize).max() else { return };
        let begun = self.begun.entry(over.trunk.clone()).or_default();
        begun.push_back(now);
        while begun.len() > kept {
            begun.pop_front();
        }
    }

    /// The smallest share of the last span: what another has used until now is not used again.
    fn least_share(&self, now: Instant, pace: Pace, over: &Over<'_>) -> u32 {
        let in_force = self.places.iter().enumerate().filter(|(index, _)| {
            let until = self.places.get(index + 1).map(|(next, _)| *next);
            until.is_none_or(|until| now.saturating_duration_since(until) < pace.span)
        });
        let shares = in_force.map(|(_, (_, places))| {
            let place = match over.group {
                None => places.all,
                Some(group) if self.group.as_deref() == Some(group) => places.group,
                Some(_) => None,
            };
            place.map_or(0, |place| place.share(pace.calls, &over.limits))
        });
        shares.min().unwrap_or(0)
    }

    fn begun_within(&self, now: Instant, trunk: &TrunkId, span: Duration) -> u32 {
        let begun = self.begun.get(trunk).into_iter().flatten().rev();
        let recent = begun.take_while(|at| now.saturating_duration_since(**at) < span).count();
        u32::try_from(recent).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
