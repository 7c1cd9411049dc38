//! The queues between functions. It must never carry what the rows do not have: a message that is lost costs only time.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::delivery::Channel;
use crate::ids::{BotId, CallId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueName {
    CallEnded,
    Deliveries,
}

/// A message carries ids only.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub call_id: CallId,
    /// `None` on `deliveries`: render first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

#[async_trait]
pub trait Queues: Send + Sync {
    /// `group`: the bot, so that one bot's backlog delays no other (SQS fair queue). `delay` ≤ 15 min.
    async fn send(&self, queue: QueueName, group: &BotId, job: &Job, delay: Duration) -> Result<(), StoreError>;
}
