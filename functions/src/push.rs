//! The `deliveries` queue: a message without a channel renders a call's bodies, one with a channel tries to deliver one.
//! It must never send bytes that are not stored, and never change bytes once a delivery row points at them.

mod deliver;
mod gate;
mod render;
mod request;
pub mod resend;

pub(crate) use deliver::hold_back;
pub(crate) use gate::held_back_until;

use domain::ports::{CallEntry, Job, StoreError};

use crate::platform::Platform;

/// Handles one message of `deliveries`; duplicates are harmless.
///
/// # Errors
/// When a store does not answer: the message may come again, and `sweep` finds what is due.
pub async fn handle(platform: &Platform, job: &Job) -> Result<(), StoreError> {
    match job.channel {
        Some(channel) => deliver::deliver(platform, job.call_id, channel).await,
        None => match platform.tables.calls.get(job.call_id).await? {
            Some(CallEntry::Call(row)) => render::render(platform, &row).await,
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
