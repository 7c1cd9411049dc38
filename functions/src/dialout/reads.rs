//! What one dialout reads, each thing once, and as much of it at once as can be guessed.
//! It must never read the whole fleet where that is large: two shards, and four more before it says that there is no room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::bot::Bot;
use domain::dialout::{DialoutRequest, dialled};
use domain::fleet::ServerRow;
use domain::fleet::view::{FleetView, READ_WHOLE};
use domain::ids::{BotId, TrunkId};
use domain::ports::StoreError;
use domain::share::{Far, Members, TrunkLimits};
use domain::trunk::Trunk;
use futures_util::future::try_join_all;

use super::Desk;
use crate::memory::Moment;

/// Shards that are looked at first, and further ones in a fleet that is not read whole.
const FIRST: usize = 2;
const MORE: usize = 4;

/// A shard and its rows.
type ShardRows = (u16, Arc<Vec<ServerRow>>);

/// Servers as they were read, and how the trunk's limits are divided among them, where it has any.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) rows: Vec<ServerRow>,
    members: Vec<Members>,
}

impl Seen {
    pub(super) fn has_share(&self, server: &ServerRow, limits: &TrunkLimits, group: Option<&str>) -> bool {
        self.members.iter().any(|members| members.has_share(&server.server_id, limits, group))
    }

    pub(super) fn has_room(
        &self,
        server: &ServerRow,
        trunk: &TrunkId,
        limits: &TrunkLimits,
        group: Option<&str>,
    ) -> bool {
        self.members.iter().any(|members| members.has_room(&server.server_id, trunk, limits, group))
    }

    /// Whether there are servers for the trunk, and every one has used its share up.
    fn is_used_up(&self, trunk: &Trunk, limits: &TrunkLimits) -> bool {
        let group = trunk.server_group.as_deref();
        let used_up = |members: &Members| members.is_used_up(&trunk.trunk_id, limits, group);
        self.members.iter().any(used_up)
            && !self.rows.iter().any(|server| self.has_room(server, &trunk.trunk_id, limits, group))
    }
}

#[derive(Debug, Default)]
struct Found {
    bots: HashMap<BotId, Option<Arc<Bot>>>,
    trunks: HashMap<TrunkId, Option<Arc<Trunk>>>,
    own_numbers: HashMap<String, bool>,
    view: Option<Option<Arc<FleetView>>>,
    shards: HashMap<u16, Arc<Vec<ServerRow>>>,
    /// Whether any shard was not read for this dialout, and is as it was remembered.
    remembered: bool,
    /// The order of the shards for a trunk.
    orders: HashMap<TrunkId, Order>,
}

/// The shards in the order in which they are looked at, and what of the trunk it follows from: read ahead, the trunk may
/// be one that was remembered for long, and another by now.
#[derive(Debug, Clone)]
struct Order {
    limits: TrunkLimits,
    group: Option<String>,
    shards: Vec<u16>,
}

impl Order {
    fn is_for(&self, trunk: &Trunk) -> bool {
        self.limits == TrunkLimits::of(trunk) && self.group == trunk.server_group
    }
}

/// One dialout's readings.
pub(super) struct Reads {
    desk: Desk,
    found: Mutex<Found>,
}

impl Reads {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, found: Mutex::default() }
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.desk.clock)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the bot, its trunk, whether the number is the platform's own, and some servers: all at once, if bot and
    /// trunk were seen before. What fails here is asked for again by whoever needs it.
    pub(super) async fn ahead(&self, request: &DialoutRequest) {
        let memory = &self.desk.memory;
        let bot = match memory.bots.last(&request.bot_id) {
            Some(bot) => Some(bot),
            None => self.bot(&request.bot_id).await.ok().flatten(),
        };
        let Some(id) = bot.and_then(|bot| bot.trunk_ids.first().cloned()) else { return };
        let trunk = match memory.trunks.last(&id) {
            Some(trunk) => Some(trunk),
            None => self.trunk(&id).await.ok().flatten(),
        };
        let number = async {
            if let Some(dialled) = trunk.as_ref().and_then(|trunk| dialled(request, trunk).ok()) {
                let _ = self.is_own_number(dialled.e164.as_str()).await;
            }
        };
        let servers = async {
            if let Some(trunk) = &trunk {
                let _ = self.first_look(trunk).await;
            }
        };
        let _ = tokio::join!(self.bot(&request.bot_id), self.trunk(&id), number, servers);
    }

    pub(super) async fn bot(&self, id: &BotId) -> Result<Option<Arc<Bot>>, StoreError> {
        if let Some(found) = self.found().bots.get(id) {
            return Ok(found.clone());
        }
        let (memory, asked) = (&self.desk.memory, self.now());
        let bot = match memory.bots.fresh(id, asked, memory.staleness.entities) {
            Some(bot) => Some(bot),
            None => self.desk.bots.get(id).await?.map(Arc::new).inspect(|bot| {
                memory.bots.keep(id.clone(), asked, bot.clone());
            }),
        };
        self.found().bots.insert(id.clone(), bot.clone());
        Ok(bot)
    }

    pub(super) async fn trunk(&self, id: &TrunkId) -> Result<Option<Arc<Trunk>>, StoreError> {
        if let Some(found) = self.found().trunks.get(id) {
            return Ok(found.clone());
        }
        let (memory, asked) = (&self.desk.memory, self.now());
        let trunk = match memory.trunks.fresh(id, asked, memory.staleness.entities) {
            Some(trunk) => Some(trunk),
            None => self.desk.trunks.get(id).await?.map(Arc::new).inspect(|trunk| {
                memory.trunks.keep(id.clone(), asked, trunk.clone());
            }),
        };
        self.found().trunks.insert(id.clone(), trunk.clone());
        Ok(trunk)
    }

    /// Whether a number (E.164) belongs to a bot of the platform.
    pub(super) async fn is_own_number(&self, number: &str) -> Result<bool, StoreError> {
        if let Some(found) = self.found().own_numbers.get(number) {
            return Ok(*found);
        }
        let own = self.desk.bots.by_number(number).await?.is_some();
        self.found().own_numbers.insert(number.to_owned(), own);
        Ok(own)
    }

    /// Servers to rank first, of two shards that have room as far as is known.
    pub(super) async fn sample(&self, trunk: &Trunk) -> Result<Vec<ServerRow>, StoreError> {
        let shards = self.order(trunk).await?.into_iter().take(FIRST);
        Ok(flat(&self.shards(shards).await?))
    }

    /// Servers to rank when those have not taken the call, as they are now: all of a small fleet; of a large one those of
    /// other shards, and of the first ones too where these were remembered.
    pub(super) async fn rest(&self, trunk: &Trunk) -> Result<Vec<ServerRow>, StoreError> {
        let order = self.order(trunk).await?;
        let known = if self.went_by_memory() { 0 } else { FIRST };
        let shards = if self.is_whole() { order } else { order.into_iter().take(FIRST + MORE).skip(known).collect() };
        Ok(flat(&self.shards_now(shards).await?))
    }

    /// Whether any servers were taken for what they were remembered to be.
    pub(super) fn went_by_memory(&self) -> bool {
        self.found().remembered
    }

    /// The servers that matter for a trunk with limits; `None` when all have used their shares up. Before that is said,
    /// they are looked at as they are now, and some more.
    pub(super) async fn limited(&self, trunk: &Trunk, limits: &TrunkLimits) -> Result<Option<Seen>, StoreError> {
        let seen = self.divided(self.first_look(trunk).await?).await?;
        if !seen.is_used_up(trunk, limits) {
            return Ok(Some(seen));
        }
        let order = self.order(trunk).await?;
        let again = if self.is_whole() { order } else { order.into_iter().take(FIRST + MORE).collect() };
        let seen = self.divided(self.shards_now(again).await?).await?;
        Ok((!seen.is_used_up(trunk, limits)).then_some(seen))
    }

    /// What is read of the fleet in any case before a call goes over this trunk.
    async fn first_look(&self, trunk: &Trunk) -> Result<Vec<ShardRows>, StoreError> {
        let order = self.order(trunk).await?;
        let all = self.is_whole() && !TrunkLimits::of(trunk).is_none();
        let count = if all { order.len() } else { FIRST };
        self.shards(order.into_iter().take(count)).await
    }

    async fn divided(&self, shards: Vec<ShardRows>) -> Result<Seen, StoreError> {
        let now = self.desk.clock.now();
        let rows = flat(&shards);
        let members = match self.view().await? {
            None if self.is_whole() => vec![Members::of(&rows, now)],
            None => Vec::new(),
            Some(view) => {
                let within =
                    |(shard, rows): &ShardRows| Members::within(rows, Far { shard: *shard, view: view.clone() }, now);
                shards.iter().map(within).collect()
            }
        };
        Ok(Seen { rows, members })
    }

    /// A fleet of so few shards is read whole where it must be.
    fn is_whole(&self) -> bool {
        self.desk.servers.shards() <= READ_WHOLE
    }

    async fn view(&self) -> Result<Option<Arc<FleetView>>, StoreError> {
        if self.is_whole() {
            return Ok(None);
        }
        if let Some(found) = self.found().view.clone() {
            return Ok(found);
        }
        let (memory, asked) = (&self.desk.memory, self.now());
        let view = match memory.view.fresh(&(), asked, memory.staleness.servers) {
            Some(view) => Some(view),
            None => {
                // Any copy: readers spread over them.
                let near = self.dice(self.desk.servers.shards());
                let read = self.desk.servers.view(near).await?.map(Arc::new);
                read.inspect(|view| memory.view.keep((), asked, view.clone()))
            }
        };
        self.found().view = Some(view.clone());
        Ok(view)
    }

    /// The shards for a trunk in the order in which they are looked at.
    async fn order(&self, trunk: &Trunk) -> Result<Vec<u16>, StoreError> {
        if let Some(order) = self.found().orders.get(&trunk.trunk_id).filter(|order| order.is_for(trunk)) {
            return Ok(order.shards.clone());
        }
        let view = self.view().await?;
        let shards = self.shuffled(view.as_deref(), trunk);
        let (limits, group) = (TrunkLimits::of(trunk), trunk.server_group.clone());
        self.found().orders.insert(trunk.trunk_id.clone(), Order { limits, group, shards: shards.clone() });
        Ok(shards)
    }

    fn shuffled(&self, view: Option<&FleetView>, trunk: &Trunk) -> Vec<u16> {
        let limits = TrunkLimits::of(trunk);
        let group = trunk.server_group.as_deref();
        let all = 0..self.desk.servers.shards().max(1);
        let (mut first, mut others): (Vec<u16>, Vec<u16>) = match view {
            None => all.partition(|shard| self.had_room(*shard)),
            Some(view) => {
                let named = if limits.is_none() {
                    view.with_room(group)
                } else {
                    view.with_share(&trunk.trunk_id, &limits, group)
                };
                // Nothing is known to be there: what is known may be old.
                if named.is_empty() { (Vec::new(), all.collect()) } else { (named, Vec::new()) }
            }
        };
        // A crowd must not meet at the emptiest shard.
        self.shuffle(&mut first);
        self.shuffle(&mut others);
        first.extend(others);
        first
    }

    /// Whether a server of the shard had a free slot when it was read last.
    fn had_room(&self, shard: u16) -> bool {
        let rows = self.desk.memory.shards.last(&shard);
        rows.is_some_and(|rows| rows.iter().any(|server| server.free > 0 && !server.draining))
    }

    /// Draws as many as can be looked at.
    fn shuffle(&self, shards: &mut [u16]) {
        for at in 0..shards.len().min(FIRST + MORE) {
            let left = u16::try_from(shards.len() - at).unwrap_or(u16::MAX);
            shards.swap(at, at + usize::from(self.dice(left)));
        }
    }

    /// A number below `sides`.
    fn dice(&self, sides: u16) -> u16 {
        (self.desk.entropy.dice() % u32::from(sides.max(1))) as u16
    }

    async fn shards(&self, shards: impl IntoIterator<Item = u16>) -> Result<Vec<ShardRows>, StoreError> {
        try_join_all(shards.into_iter().map(|shard| self.shard(shard))).await
    }

    async fn shard(&self, shard: u16) -> Result<ShardRows, StoreError> {
        let within = self.desk.memory.staleness.servers;
        let found = self.found().shards.get(&shard).cloned();
        if let Some(rows) = found {
            return Ok((shard, rows));
        }
        if let Some(rows) = self.desk.memory.shards.fresh(&shard, self.now(), within) {
            self.found().remembered = true;
            return Ok((shard, rows));
        }
        self.shard_now(shard).await
    }

    async fn shards_now(&self, shards: Vec<u16>) -> Result<Vec<ShardRows>, StoreError> {
        try_join_all(shards.into_iter().map(|shard| self.shard_now(shard))).await
    }

    async fn shard_now(&self, shard: u16) -> Result<ShardRows, StoreError> {
        let asked = self.now();
        let rows = Arc::new(self.desk.servers.of_shard(shard).await?);
        self.desk.memory.shards.keep(shard, asked, rows.clone());
        self.found().shards.insert(shard, rows.clone());
        Ok((shard, rows))
    }
}

fn flat(shards: &[ShardRows]) -> Vec<ServerRow> {
    shards.iter().flat_map(|(_, rows)| rows.iter().cloned()).collect()
}
