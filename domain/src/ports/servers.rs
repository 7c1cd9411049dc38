//! The heartbeats of fleet servers, and what is made of them. It must never let an older reading, or an older epoch, take the
//! place of a newer one.

use async_trait::async_trait;

use super::{Owned, StoreError};
use crate::fleet::view::{FleetView, ShardSummary};
use crate::fleet::{FleetSummary, ServerRow};
use crate::ids::{Epoch, Owner, ServerId};

#[async_trait]
pub trait Servers: Send + Sync {
    /// The next epoch of a server: strictly greater than any before.
    async fn next_epoch(&self, id: &ServerId) -> Result<Epoch, StoreError>;
    /// Puts the row, unless a newer epoch is there.
    async fn heartbeat(&self, row: &ServerRow) -> Result<Owned, StoreError>;
    /// Takes a server that ended in good order off the list, if the epoch is still its.
    async fn retire(&self, owner: &Owner) -> Result<(), StoreError>;
    /// How many shards the table has.
    fn shards(&self) -> u16;
    /// The shard in which a server's row lies.
    fn shard_of(&self, id: &ServerId) -> u16;
    /// Strongly consistent.
    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError>;
    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError>;
    /// Every row, for those who act on all servers: `reap`, and admins who look at them.
    async fn all(&self) -> Result<Vec<ServerRow>, StoreError>;
    /// Puts the sum of a shard, unless one of a later reading is there.
    async fn put_shard(&self, sum: &ShardSummary) -> Result<(), StoreError>;
    /// The sums that there are, at most one for each shard.
    async fn shard_sums(&self) -> Result<Vec<ShardSummary>, StoreError>;
    /// Puts the fleet's view in all its copies, unless a later one is there.
    async fn put_view(&self, view: &FleetView) -> Result<(), StoreError>;
    /// The copy of the view for the readers of a shard; what was written a moment ago may be missing.
    async fn view(&self, shard: u16) -> Result<Option<FleetView>, StoreError>;
    /// Puts the fleet's summary, unless a later one is there.
    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError>;
    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError>;
}
