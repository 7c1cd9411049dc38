//! Looks at the fleet after a heartbeat: for the shares of trunks, for peers with room, and, where it is this server's
//! turn, to sum up for all others. It must never read more than its own shard and a view of the rest in a fleet of many
//! shards, and never hold up the next heartbeat for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::fleet::view::{FleetView, Limited, READ_WHOLE, ShardSummary};
use domain::fleet::{FleetSummary, ServerRow, leads};
use domain::ids::{ServerId, TrunkId};
use domain::ports::{Clock, Servers, StoreError, Trunks};
use domain::share::{Far, Rest, TrunkLimits};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::admission::Admission;
use crate::node::Ports;
use crate::peers::Peers;

/// One look at the fleet, or one sum of it, may take this long.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// The view of other shards is read this often by those who only use it.
const VIEW_EVERY: Duration = Duration::from_secs(5);
/// A view is made this often at most by the one who makes it, however short its beat.
const MADE_EVERY: Duration = Duration::from_millis(900);
/// Whoever makes the view reads a shard by itself whose sum is older: nobody is there, or nobody sums it up any more.
const SUM_OLD: f64 = 8.0;
/// At most so many shards in one look, so many at once.
const SHARDS_READ: usize = 128;
const AT_ONCE: usize = 16;
/// The limits of trunks are read this often by whoever makes the view.
const LIMITS_EVERY: Duration = Duration::from_secs(10);

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    AsOne,
    /// Others live on what this server sums up.
    AsLeader,
}

pub(crate) struct Lookout {
    me: ServerId,
    servers: Arc<dyn Servers>,
    trunks: Arc<dyn Trunks>,
    clock: Arc<dyn Clock>,
    peers: Peers,
    was: Seen,
    view: Option<Arc<FleetView>>,
    view_read: Option<Instant>,
    view_made: Option<Instant>,
    limited: BTreeMap<TrunkId, Limited>,
    limited_read: Option<Instant>,
}

impl Lookout {
    pub(crate) fn new(me: ServerId, ports: &Ports, peers: Peers) -> Self {
        Self::of(me, ports.servers.clone(), ports.trunks.clone(), ports.clock.clone(), peers)
    }

    fn of(
        me: ServerId,
        servers: Arc<dyn Servers>,
        trunks: Arc<dyn Trunks>,
        clock: Arc<dyn Clock>,
        peers: Peers,
    ) -> Self {
        Self {
            me,
            servers,
            trunks,
            clock,
            peers,
            was: Seen::AsOne,
            view: None,
            view_read: None,
            view_made: None,
            limited: BTreeMap::new(),
            limited_read: None,
        }
    }

    /// Learns who else is there; `None` when the table does not answer.
    pub(crate) async fn look(&mut self, began: Instant, admission: &Admission) -> Option<Seen> {
        let shards = self.servers.shards();
        let seen =
            if shards <= READ_WHOLE { self.whole(began, admission).await } else { self.near(began, admission).await };
        self.was = seen.unwrap_or(Seen::AsOne);
        seen
    }

    /// Of a small fleet, every row.
    async fn whole(&mut self, began: Instant, admission: &Admission) -> Option<Seen> {
        let rows = answered(self.servers.all()).await?;
        let now = self.clock.now();
        admission.observe(began.into_std(), &rows, &Rest::Nothing, now);
        let summary = FleetSummary::by(&self.me, &rows, now);
        self.peers.observe(rows);
        let Some(summary) = summary else { return Some(Seen::AsOne) };
        told(self.servers.put_summary(&summary)).await;
        Some(Seen::AsLeader)
    }

    /// Of a large one, this server's shard, and the view of the rest.
    async fn near(&mut self, began: Instant, admission: &Admission) -> Option<Seen> {
        let shard = self.servers.shard_of(&self.me);
        let read_at = self.clock.now();
        let servers = self.servers.clone();
        let (rows, ()) = tokio::join!(answered(servers.of_shard(shard)), self.read_view(began, shard));
        let rows = rows?;
        let now = self.clock.now();
        let rest = self.view.clone().map_or(Rest::Unseen, |view| Rest::Seen(Far { shard, view }));
        admission.observe(began.into_std(), &rows, &rest, now);
        let leads = leads(&self.me, &rows, now);
        let sum = ShardSummary::of(shard, &rows, &self.me, read_at);
        self.look_for_room(rows, shard, now).await;
        if !leads {
            return Some(Seen::AsOne);
        }
        told(self.servers.put_shard(&sum)).await;
        let makes_view = self.view.as_ref().is_none_or(|view| view.is_next_for(&self.me, shard, now));
        let is_due = self.view_made.is_none_or(|made| made.elapsed() >= MADE_EVERY);
        if makes_view && is_due && timeout(LOOK_LIMIT, self.make_view(sum)).await.is_err() {
            tracing::warn!("the fleet is not summed up within {LOOK_LIMIT:?}");
        }
        Some(Seen::AsLeader)
    }

    async fn read_view(&mut self, began: Instant, shard: u16) {
        let is_due = self.view_read.is_none_or(|read| began.duration_since(read) >= VIEW_EVERY);
        if !is_due && self.was != Seen::AsLeader && self.view.is_some() {
            return;
        }
        if let Some(Some(view)) = answered(self.servers.view(shard)).await {
            self.view_read = Some(began);
            self.view = Some(Arc::new(view));
        }
    }

    /// Tells where a call may go that finds no room here: in this shard, or in one more if nobody has room in this.
    async fn look_for_room(&self, mut rows: Vec<ServerRow>, shard: u16, now: Timestamp) {
        let has_room = rows.iter().any(|row| row.server_id != self.me && row.capacity(now).available > 0);
        if !has_room && let Some(view) = &self.view {
            let roomy: Vec<u16> = view.with_room(None).into_iter().filter(|other| *other != shard).collect();
            // Each shard looks elsewhere, and not all at the emptiest.
            let other = roomy.get(usize::from(shard) % roomy.len().max(1)).copied();
            if let Some(other) = other
                && let Some(more) = answered(self.servers.of_shard(other)).await
            {
                rows.extend(more);
            }
        }
        self.peers.observe(rows);
    }

    /// Makes the sums of all shards into a view and a summary for everybody.
    async fn make_view(&mut self, own: ShardSummary) {
        self.read_limits().await;
        let Some(stored) = answered(self.servers.shard_sums()).await else { return };
        let now = self.clock.now();
        let shards = self.servers.shards();
        let stored = stored.into_iter().filter(|sum| sum.shard < shards);
        let mut sums: BTreeMap<u16, ShardSummary> = stored.map(|sum| (sum.shard, sum)).collect();
        sums.insert(own.shard, own);
        let age = |sum: &ShardSummary| now.duration_since(sum.summed_at).as_secs_f64().abs();
        let mut old: Vec<u16> =
            (0..shards).filter(|shard| sums.get(shard).is_none_or(|sum| age(sum) > SUM_OLD)).collect();
        // The oldest first, those never read before all.
        old.sort_by_key(|shard| sums.get(shard).map(|sum| sum.summed_at));
        let read = stream::iter(old.into_iter().take(SHARDS_READ)).map(|shard| self.sum_up(shard));
        let read: Vec<Option<ShardSummary>> = read.buffer_unordered(AT_ONCE).collect().await;
        sums.extend(read.into_iter().flatten().map(|sum| (sum.shard, sum)));
        if sums.len() < usize::from(shards) {
            return;
        }
        let now = self.clock.now();
        let sums: Vec<ShardSummary> = sums.into_values().collect();
        let view = FleetView::of(&sums, &self.limited, &self.me, now);
        told(self.servers.put_view(&view)).await;
        told(self.servers.put_summary(&FleetSummary::total(&sums, &self.me, now))).await;
        self.view_made = Some(Instant::now());
        self.view = Some(Arc::new(view));
    }

    /// The sum of a shard for which nobody else does it.
    async fn sum_up(&self, shard: u16) -> Option<ShardSummary> {
        let read_at = self.clock.now();
        let rows = answered(self.servers.of_shard(shard)).await?;
        let sum = ShardSummary::of(shard, &rows, &self.me, read_at);
        told(self.servers.put_shard(&sum)).await;
        Some(sum)
    }

    async fn read_limits(&mut self) {
        if self.limited_read.is_some_and(|read| read.elapsed() < LIMITS_EVERY) {
            return;
        }
        if let Some(trunks) = answered(self.trunks.list()).await {
            let limited = trunks.into_iter().map(|trunk| {
                (trunk.trunk_id.clone(), Limited { limits: TrunkLimits::of(&trunk), group: trunk.server_group })
            });
            self.limited = limited.filter(|(_, trunk)| !trunk.limits.is_none()).collect();
            self.limited_read = Some(Instant::now());
        }
    }
}

/// An answer in time.
async fn answered<T>(question: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(LOOK_LIMIT, question).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the fleet is not seen; trunks with limits are closed soon");
            None
        }
        Err(_) => {
            tracing::warn!("the fleet is not seen within {LOOK_LIMIT:?}; trunks with limits are closed soon");
            None
        }
    }
}

/// Readers go by what was told before, and by themselves where that is too old.
async fn told(write: impl Future<Output = Result<(), StoreError>>) {
    if !matches!(timeout(LOOK_LIMIT, write).await, Ok(Ok(()))) {
        tracing::debug!("a sum of the fleet is not written");
    }
}

#[cfg(test)]
mod tests;
