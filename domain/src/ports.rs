//! What the platform needs of the outside world, as traits; `infra` implements them, `functions` and `server` use them.
//! It must never name an implementation. Every write that matters is conditional, and says whether its condition held.

mod api_keys;
mod calls;
mod clock;
mod deliveries;
mod entities;
mod fleet;
mod housekeeping;
mod idempotency;
mod machine;
mod objects;
mod outbound;
mod queues;
mod sealed_rows;
mod secrets;
mod servers;
mod spend;
mod store;
mod tables;

pub use api_keys::{ApiKeys, KeyChange};
pub use calls::{CallEntry, Calls, Claim};
pub use clock::{Clock, Entropy, mint_call_id};
pub use deliveries::{Deliveries, Endpoints};
pub use entities::{Bots, Trunks};
pub use fleet::{Fleet, FleetError};
pub use housekeeping::{Housekeeping, NumberPage};
pub use idempotency::{Idempotency, KeyClaim};
pub use machine::Machine;
pub use objects::Objects;
pub use outbound::{Egress, Outbound, OutboundAnswer, OutboundError, OutboundRequest};
pub use queues::{Job, QueueName, Queues};
pub use sealed_rows::{NoCursor, SealedCursor, SealedPlace, SealedRow, SealedRows};
pub use secrets::{Seal, SealError, Secrets, bot_entity, trunk_entity};
pub use servers::Servers;
pub use spend::Spend;
pub use store::{Deletion, Owned, Put, StoreError};
pub use tables::Tables;
