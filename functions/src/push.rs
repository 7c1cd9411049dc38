//! The `deliveries` queue: a message without a channel renders a call's bodies, one with a channel tries to deliver one.
//! It must never send bytes that are not stored, and never change bytes once a delivery row points at them.

mod deliver;
mod gate;
mod render;
mod request;
pub mod resend;

pub use deliver::Holding;
pub(crate) use deliver::hold_back;
pub(crate) use gate::held_back_until;

use std::sync::Arc;

use domain::ports::{
    Bots, CallEntry, Calls, Clock, Deliveries, Endpoints, Entropy, Job, Outbound, Queues, Seal, StoreError,
};

use crate::platform::{AnalysisLimits, DeliveryLimits, ReapLimits, SweepLimits};
use crate::result::Archive;
use crate::salvage;

/// What it takes to render and deliver.
#[derive(Clone, derive_more::Debug)]
#[debug("push::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub bots: Arc<dyn Bots>,
    pub calls: Arc<dyn Calls>,
    pub deliveries: Arc<dyn Deliveries>,
    pub endpoints: Arc<dyn Endpoints>,
    pub queues: Arc<dyn Queues>,
    pub outbound: Arc<dyn Outbound>,
    pub seal: Arc<dyn Seal>,
    pub archive: Archive,
    pub salvage: salvage::Desk,
    pub holding: Holding,
    pub delivery: DeliveryLimits,
    pub analysis: AnalysisLimits,
    pub reap: ReapLimits,
    pub sweep: SweepLimits,
}

/// Handles one message of `deliveries`; duplicates are harmless.
///
/// # Errors
/// When a store does not answer: the message may come again, and `sweep` finds what is due.
pub async fn handle(desk: &Desk, job: &Job) -> Result<(), StoreError> {
    match job.channel {
        Some(channel) => deliver::deliver(desk, job.call_id, channel).await,
        None => match desk.calls.get(job.call_id).await? {
            Some(CallEntry::Call(row)) => render::render(desk, &row).await,
            Some(CallEntry::Fenced(_)) | None => {
                tracing::warn!(call.id = %job.call_id, "push for a call that does not exist");
                Ok(())
            }
        },
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
