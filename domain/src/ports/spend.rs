//! Money that is set aside before a call and settled after it. It must never settle a hold twice.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Owned, StoreError};
use crate::ids::CallId;
use crate::money::Money;
use crate::spend::{Account, Hold, Reserved};

/// What bots and trunks with a ceiling have spent, by day, and what is set aside for calls under way.
#[async_trait]
pub trait Spend: Send + Sync {
    /// Adds what is reserved to every account of the hold, if none goes over its ceiling by it; all or none.
    /// A call that has a hold already keeps it.
    async fn reserve(&self, hold: &Hold) -> Result<Reserved, StoreError>;
    async fn held(&self, call: CallId) -> Result<Option<Hold>, StoreError>;
    /// Puts what the call cost in the place of what was reserved, and ends the hold; `Lost` when it is ended already.
    async fn settle(&self, hold: &Hold, cost: Money) -> Result<Owned, StoreError>;
    /// What an account has spent and set aside on its day.
    async fn spent(&self, account: &Account) -> Result<Money, StoreError>;
    /// Calls whose hold is due.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<CallId>, StoreError>;
}
