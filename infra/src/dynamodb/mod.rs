//! The stores of `domain::ports` over DynamoDB.
//! It must never write without the condition its port states, and never take its own repeated write for a stranger's:
//! the SDK repeats a request whose answer was lost, so each conditional write carries a mark (see `write.rs`).

use std::sync::Arc;

use domain::ports::Tables;

use crate::aws::Clients;
use crate::schema::Names;

mod api_keys;
mod bots;
mod calls;
mod deliveries;
mod endpoints;
mod housekeeping;
mod idempotency;
mod item;
mod sealed_rows;
mod servers;
mod spend;
mod transact;
mod trunks;
mod write;

pub use api_keys::DynamoApiKeys;
pub use bots::DynamoBots;
pub use calls::DynamoCalls;
pub use deliveries::DynamoDeliveries;
pub use endpoints::DynamoEndpoints;
pub use housekeeping::DynamoHousekeeping;
pub use idempotency::DynamoIdempotency;
pub use sealed_rows::DynamoSealedRows;
pub use servers::DynamoServers;
pub use spend::DynamoSpend;
pub use trunks::DynamoTrunks;

/// Builds every store.
pub fn stores(clients: &Clients, names: &Names) -> Tables {
    let client = &clients.dynamodb;
    Tables {
        api_keys: Arc::new(DynamoApiKeys::new(client.clone(), names)),
        bots: Arc::new(DynamoBots::new(client.clone(), names)),
        trunks: Arc::new(DynamoTrunks::new(client.clone(), names)),
        calls: Arc::new(DynamoCalls::new(client.clone(), names)),
        deliveries: Arc::new(DynamoDeliveries::new(client.clone(), names)),
        idempotency: Arc::new(DynamoIdempotency::new(client.clone(), names)),
        housekeeping: Arc::new(DynamoHousekeeping::new(client.clone(), names)),
        endpoints: Arc::new(DynamoEndpoints::new(client.clone(), names)),
        sealed_rows: Arc::new(DynamoSealedRows::new(client.clone(), names)),
        servers: Arc::new(DynamoServers::new(client.clone(), names)),
        spend: Arc::new(DynamoSpend::new(client.clone(), names)),
    }
}
