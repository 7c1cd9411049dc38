//! SQS: the queues of `winterbaume-sqs` (delays, visibility, receipts, redrive to a dead-letter
//! queue) under our own JSON protocol. In memory by nature: **a restart loses queues and messages**,
//! and no caller may count on more. It must never hold a lock across an await.
//!
//! The crate's own handler is not used because it polls every 100 ms, answers attributes nobody
//! asked for, fails a whole batch for one bad entry, counts messages that wait for another try as
//! gone, and forgets nothing (receipts of deleted messages, messages past their retention). Here a
//! long poll wakes at once on a send, or when a delay or visibility timeout passes.
//!
//! What differs from AWS, and an adapter must not rely on:
//! - Messages of one group come in the order of sending, and never twice without their visibility timing out.
//! - Of one `MessageGroupId` only so many messages are in flight at once (see `fair`); AWS has no such limit, and gives
//!   quiet groups the first turn by other means.
//! - Counts in `GetQueueAttributes` are exact. No FIFO queues, policies, permissions or move tasks.

mod fair;
mod messages;
mod queues;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use winterbaume_sqs::SqsState;

use wire::Fault;

/// All queues of all regions.
#[derive(Default)]
pub(super) struct Sqs {
    regions: Mutex<BTreeMap<String, SqsState>>,
    /// Rung whenever a message may have become visible.
    changed: Notify,
}

/// Who asks: where it believes to be, and under which name it reached us.
pub(super) struct Caller {
    pub(super) region: String,
    /// Scheme and host, to build queue URLs that the caller can use.
    pub(super) base: String,
}

impl Sqs {
    /// Runs one operation and returns the status and the JSON body to answer with.
    pub(super) async fn answer(
        &self,
        caller: Caller,
        operation: &str,
        body: &[u8],
        stopped: watch::Receiver<bool>,
    ) -> (StatusCode, String) {
        let answer = match operation {
            "ReceiveMessage" => self.receive(&caller, body, stopped).await,
            _ => self.run(&caller, operation, body),
        };
        match answer {
            Ok(answer) => (StatusCode::OK, answer.to_string()),
            Err(fault) => {
                (StatusCode::BAD_REQUEST, json!({"__type": fault.code, "message": fault.message}).to_string())
            }
        }
    }

    fn run(&self, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, Fault> {
        match operation {
            "SendMessage" => self.send(caller, body),
            "SendMessageBatch" => self.send_batch(caller, body),
            "DeleteMessage" => self.delete(caller, body),
            "DeleteMessageBatch" => self.delete_batch(caller, body),
            "ChangeMessageVisibility" => self.change_visibility(caller, body),
            "ChangeMessageVisibilityBatch" => self.change_visibility_batch(caller, body),
            "CreateQueue" => self.create_queue(caller, body),
            "DeleteQueue" => self.delete_queue(caller, body),
            "GetQueueUrl" => self.queue_url(caller, body),
            "ListQueues" => self.list_queues(caller, body),
            "GetQueueAttributes" => self.queue_attributes(caller, body),
            "SetQueueAttributes" => self.set_queue_attributes(caller, body),
            "PurgeQueue" => self.purge_queue(caller, body),
            "TagQueue" => self.tag_queue(caller, body),
            "UntagQueue" => self.untag_queue(caller, body),
            "ListQueueTags" => self.list_queue_tags(caller, body),
            "ListDeadLetterSourceQueues" => self.list_dead_letter_sources(caller, body),
            _ => Err(Fault::new("InvalidAction", format!("the embedded SQS has no operation {operation}"))),
        }
    }

    /// Runs `act` on the queues of the caller's region.
    fn with<T>(&self, caller: &Caller, act: impl FnOnce(&mut SqsState) -> T) -> T {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        act(regions.entry(caller.region.clone()).or_default())
    }
}

impl Caller {
    /// A queue's URL under the name the caller knows us by.
    fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.base)
    }
}

/// The account everything belongs to.
const ACCOUNT: &str = "000000000000";

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::new("InvalidParameterValue", error.to_string()))
}

fn encode(answer: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(answer).map_err(|error| Fault::new("InternalError", error.to_string()))
}

#[cfg(test)]
mod tests;
