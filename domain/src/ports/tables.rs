//! The ports to the tables, together. It must never hold anything but ports.

use std::fmt;
use std::sync::Arc;

use super::{
    ApiKeys, Bots, Calls, Deliveries, Endpoints, Housekeeping, Idempotency, SealedRows, Servers, Spend, Trunks,
};

/// The tables, one port each; cheap to clone.
#[derive(Clone)]
pub struct Tables {
    pub api_keys: Arc<dyn ApiKeys>,
    pub bots: Arc<dyn Bots>,
    pub trunks: Arc<dyn Trunks>,
    pub calls: Arc<dyn Calls>,
    pub deliveries: Arc<dyn Deliveries>,
    pub idempotency: Arc<dyn Idempotency>,
    pub housekeeping: Arc<dyn Housekeeping>,
    pub endpoints: Arc<dyn Endpoints>,
    pub sealed_rows: Arc<dyn SealedRows>,
    pub servers: Arc<dyn Servers>,
    pub spend: Arc<dyn Spend>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}
