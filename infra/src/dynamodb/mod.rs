//! The stores of `domain::ports` over DynamoDB.
//! It must never write without the condition its port states, and never take its own repeated write for a stranger's:
//! the SDK repeats a request whose answer was lost, so each conditional write carries a mark (see `write.rs`).

use std::sync::Arc;

use domain::ports;

use crate::aws::Clients;
use crate::schema::Names;

mod api_keys;
mod bots;
mod calls;
mod deliveries;
mod item;
mod servers;
mod trunks;
mod write;

pub use api_keys::DynamoApiKeys;
pub use bots::DynamoBots;
pub use calls::DynamoCalls;
pub use deliveries::DynamoDeliveries;
pub use servers::DynamoServers;
pub use trunks::DynamoTrunks;

/// One of each store, over the same tables.
#[derive(Clone)]
pub struct Stores {
    pub api_keys: Arc<dyn ports::ApiKeys>,
    pub bots: Arc<dyn ports::Bots>,
    pub trunks: Arc<dyn ports::Trunks>,
    pub calls: Arc<dyn ports::Calls>,
    pub deliveries: Arc<dyn ports::Deliveries>,
    pub servers: Arc<dyn ports::Servers>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Builds every store.
pub fn stores(clients: &Clients, names: &Names) -> Stores {
    let client = &clients.dynamodb;
    Stores {
        api_keys: Arc::new(DynamoApiKeys::new(client.clone(), names)),
        bots: Arc::new(DynamoBots::new(client.clone(), names)),
        trunks: Arc::new(DynamoTrunks::new(client.clone(), names)),
        calls: Arc::new(DynamoCalls::new(client.clone(), names)),
        deliveries: Arc::new(DynamoDeliveries::new(client.clone(), names)),
        servers: Arc::new(DynamoServers::new(client.clone(), names)),
    }
}
