//! What is done to messages: sending, receiving with a long poll, deleting, changing visibility.
//! A message that was handed out is never handed out again before its visibility timeout.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use winterbaume_sqs::SqsState;
use winterbaume_sqs::state::{QueueState, SqsError};
use winterbaume_sqs::types::{Message, MessageAttribute};

use super::fair::{back, set_aside};
use super::queues::{asked_for, find};
use super::wire::{
    AttributeValue, Batch, ChangeVisibility, Delete, Fault, Receive, Received, Send, Single, queue_name, within,
};
use super::{Caller, Sqs, encode, parse};

/// The largest message, and the largest batch.
const MAX_BYTES: usize = 1_048_576;
const MAX_ENTRIES: usize = 10;
/// The name under which a message carries its group; no attribute may be called so.
pub(super) const GROUP: &str = ".MessageGroupId";
/// The length of a receipt handle: four UUIDs.
const RECEIPT_BYTES: usize = 144;

impl Sqs {
    pub(super) fn send(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.single(caller, body, send)
    }

    pub(super) fn send_batch(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.batch(caller, body, send)
    }

    pub(super) fn delete(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.single(caller, body, delete)
    }

    pub(super) fn delete_batch(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.batch(caller, body, delete)
    }

    pub(super) fn change_visibility(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.single(caller, body, change_visibility)
    }

    pub(super) fn change_visibility_batch(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        self.batch(caller, body, change_visibility)
    }

    fn single<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        body: &[u8],
        act: impl Fn(&mut SqsState, &str, T) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        let request: Single<T> = parse(body)?;
        let name = queue_name(&request.queue_url);
        let answer = self.with(caller, |state| act(state, name, request.entry))?;
        self.changed.notify_waiters();
        Ok(answer)
    }

    /// Each entry succeeds or fails by itself, as on AWS.
    fn batch<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        body: &[u8],
        act: impl Fn(&mut SqsState, &str, T) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        let request: Batch<T> = parse(body)?;
        check_entries(request.entries.iter().map(|entry| entry.id.as_str()))?;
        let name = queue_name(&request.queue_url);
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        self.with(caller, |state| {
            find(state, name)?;
            for entry in request.entries {
                match act(state, name, entry.entry) {
                    Ok(mut answer) => {
                        answer["Id"] = entry.id.into();
                        successful.push(answer);
                    }
                    Err(fault) => failed.push(json!({
                        "Id": entry.id,
                        "Code": fault.code,
                        "Message": fault.message,
                        "SenderFault": true,
                    })),
                }
            }
            Ok::<_, Fault>(())
        })?;
        self.changed.notify_waiters();
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    pub(super) async fn receive(
        &self,
        caller: &Caller,
        body: &[u8],
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Value, Fault> {
        let request: Receive = parse(body)?;
        let max = within("MaxNumberOfMessages", request.max_number_of_messages, 1..=10)?;
        let visibility = within("VisibilityTimeout", request.visibility_timeout, 0..=43_200)?;
        let wait = within("WaitTimeSeconds", request.wait_time_seconds, 0..=20)?;
        let name = queue_name(&request.queue_url);
        let max = max.map_or(1, |max| max as usize);
        let wait = match wait {
            Some(wait) => wait,
            None => self.with(caller, |state| find(state, name).map(|queue| queue.queue.receive_wait_time_seconds))?,
        };
        let deadline = Instant::now() + Duration::from_secs(wait.into());
        loop {
            // Listening before looking: a message sent in between must not be slept through.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let look = self.with(caller, |state| take(state, name, max, visibility))?;
            if look.redriven {
                self.changed.notify_waiters();
            }
            let now = Instant::now();
            if !look.messages.is_empty() || now >= deadline || *stopped.borrow() {
                return received(look.messages, &request);
            }
            let again = look.next_visible.map_or(deadline, |after| deadline.min(now + after));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(again) => {}
                _ = stopped.changed() => return received(Vec::new(), &request),
            }
        }
    }
}

fn check_entries<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Fault> {
    let count = ids.len();
    if count == 0 {
        let code = "AWS.SimpleQueueService.EmptyBatchRequest";
        return Err(Fault::new(code, "There should be at least one entry in the request."));
    }
    if count > MAX_ENTRIES {
        let code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
        let message = format!("Maximum number of entries per request are {MAX_ENTRIES}.");
        return Err(Fault::new(code, message));
    }
    if ids.collect::<HashSet<_>>().len() < count {
        let code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
        return Err(Fault::new(code, "An Id is used twice in the batch."));
    }
    Ok(())
}

fn send(state: &mut SqsState, queue: &str, message: Send) -> Result<Value, Fault> {
    let limit = MAX_BYTES.min(find(state, queue)?.queue.maximum_message_size as usize);
    if message.message_body.is_empty() {
        let message = "The request must contain the parameter MessageBody.";
        return Err(Fault::new("MissingParameter", message));
    }
    if message.message_body.len() > limit {
        return Err(Fault::invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )));
    }
    let delay = within("DelaySeconds", message.delay_seconds, 0..=900)?;
    let group = message.message_group_id.map(|group| {
        let value = AttributeValue { data_type: "String".to_owned(), string_value: Some(group), binary_value: None };
        (GROUP.to_owned(), value)
    });
    let attributes = message.message_attributes.into_iter().chain(group);
    let attributes = attributes
        .map(|(name, value)| {
            let kept = MessageAttribute {
                data_type: value.data_type,
                string_value: value.string_value,
                binary_value: value.binary_value.map(String::into_bytes),
            };
            (name, kept)
        })
        .collect();
    let sent = state.send_message(queue, &message.message_body, delay, attributes, None, None)?;
    Ok(json!({"MessageId": sent.message_id, "MD5OfMessageBody": sent.body_md5}))
}

fn delete(state: &mut SqsState, queue: &str, message: Delete) -> Result<Value, Fault> {
    match state.delete_message(queue, &message.receipt_handle) {
        // Deleting what is gone already is fine.
        Err(SqsError::InvalidReceiptHandle { receipt_handle }) if receipt_handle.len() == RECEIPT_BYTES => {}
        deleted => deleted?,
    }
    // The crate would remember every receipt for ever, for what the line above does.
    find(state, queue)?.deleted_handles.clear();
    Ok(json!({}))
}

fn change_visibility(state: &mut SqsState, queue: &str, change: ChangeVisibility) -> Result<Value, Fault> {
    let timeout = within("VisibilityTimeout", Some(change.visibility_timeout), 0..=43_200)?;
    let now = now_ms();
    let messages = &find(state, queue)?.messages;
    let in_flight = messages
        .iter()
        .find(|message| message.receipt_handle.as_ref() == Some(&change.receipt_handle))
        .map(|message| message.visible_at > now);
    if in_flight == Some(false) {
        return Err(Fault::new(
            "AWS.SimpleQueueService.MessageNotInflight",
            "The message is visible again: its timeout has passed.",
        ));
    }
    let timeout = timeout.unwrap_or_default();
    state.change_message_visibility(queue, &change.receipt_handle, timeout)?;
    Ok(json!({}))
}

/// What one look into a queue brought.
struct Look {
    messages: Vec<Message>,
    /// How long until the next hidden message shows.
    next_visible: Option<Duration>,
    /// Whether messages went to the dead-letter queue.
    redriven: bool,
}

fn take(state: &mut SqsState, name: &str, max: usize, visibility: Option<u32>) -> Result<Look, SqsError> {
    let queue = find(state, name)?;
    let oldest = now_ms() - i64::from(queue.queue.message_retention_period) * 1_000;
    queue.messages.retain(|message| message.sent_timestamp > oldest);
    let before = queue.messages.len();
    let mut messages = Vec::new();
    loop {
        let queue = find(state, name)?;
        let count = queue.messages.len();
        let hidden = set_aside(&mut queue.messages, max - messages.len(), now_ms());
        let taken = state.receive_message(name, max - messages.len(), visibility);
        let queue = find(state, name)?;
        back(&mut queue.messages, hidden);
        messages.extend(taken?);
        // Those that went to the dead-letter queue have left their places to others.
        if messages.len() >= max || queue.messages.len() == count {
            break;
        }
    }
    let queue = find(state, name)?;
    let now = now_ms();
    let hidden = queue.messages.iter().map(|message| message.visible_at - now);
    let next_visible = hidden.filter(|after| *after > 0).min();
    Ok(Look {
        messages,
        next_visible: next_visible.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
        redriven: queue.messages.len() < before,
    })
}

fn received(messages: Vec<Message>, request: &Receive) -> Result<Value, Fault> {
    if messages.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<_> = messages
        .into_iter()
        .map(|mut message| {
            let group = message.message_attributes.remove(GROUP);
            let first = message.approximate_first_receive_timestamp;
            let mut attributes = HashMap::from([
                ("SenderId", message.sender_id),
                ("SentTimestamp", message.sent_timestamp.to_string()),
                ("ApproximateReceiveCount", message.approximate_receive_count.to_string()),
                ("ApproximateFirstReceiveTimestamp", first.unwrap_or_default().to_string()),
            ]);
            if let Some(group) = group.and_then(|group| group.string_value) {
                attributes.insert("MessageGroupId", group);
            }
            attributes.retain(|name, _| {
                asked_for(&request.attribute_names, name) || asked_for(&request.message_system_attribute_names, name)
            });
            Received {
                message_id: message.message_id,
                receipt_handle: message.receipt_handle.unwrap_or_default(),
                body: message.body,
                md5_of_body: message.body_md5,
                attributes,
                message_attributes: message
                    .message_attributes
                    .into_iter()
                    .filter(|(name, _)| asked_for(&request.message_attribute_names, name))
                    .map(|(name, value)| (name, attribute(value)))
                    .collect(),
            }
        })
        .collect();
    Ok(json!({"Messages": encode(&messages)?}))
}

fn attribute(value: MessageAttribute) -> AttributeValue {
    AttributeValue {
        data_type: value.data_type,
        string_value: value.string_value,
        binary_value: value.binary_value.and_then(|bytes| String::from_utf8(bytes).ok()),
    }
}

/// How many messages a queue holds, by what can be done with them.
pub(super) struct Counts {
    pub(super) visible: usize,
    pub(super) in_flight: usize,
    pub(super) delayed: usize,
}

impl Counts {
    pub(super) fn of(queue: &QueueState) -> Self {
        let now = now_ms();
        let hidden = queue.messages.iter().filter(|message| message.visible_at > now);
        let (in_flight, delayed): (Vec<_>, Vec<_>) = hidden.partition(|message| message.approximate_receive_count > 0);
        Self {
            visible: queue.messages.len() - in_flight.len() - delayed.len(),
            in_flight: in_flight.len(),
            delayed: delayed.len(),
        }
    }
}

/// The clock the crate reads too.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
