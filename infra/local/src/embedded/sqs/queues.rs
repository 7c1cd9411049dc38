//! What is done to queues: making, finding, describing, changing, emptying. Settings out of their
//! range and dead-letter queues that don't exist are refused, as on AWS.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde_json::{Value, json};
use winterbaume_sqs::SqsState;
use winterbaume_sqs::state::{QueueState, SqsError};

use super::messages::Counts;
use super::wire::{
    CreateQueue, Fault, GetQueueAttributes, GetQueueUrl, ListQueues, OnQueue, SetQueueAttributes, TagQueue, UntagQueue,
    queue_name, within,
};
use super::{ACCOUNT, Caller, Sqs, encode, parse};

/// The settings a queue can be given, and what they may be.
const SETTINGS: [(&str, RangeInclusive<i64>); 5] = [
    ("DelaySeconds", 0..=900),
    ("MaximumMessageSize", 1_024..=1_048_576),
    ("MessageRetentionPeriod", 60..=1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0..=20),
    ("VisibilityTimeout", 0..=43_200),
];
/// Settings that are taken and mean nothing here.
const IGNORED_SETTINGS: [&str; 5] =
    ["Policy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"];

impl Sqs {
    pub(super) fn create_queue(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: CreateQueue = parse(body)?;
        let name = &request.queue_name;
        if name.ends_with(".fifo") || request.attributes.contains_key("FifoQueue") {
            return Err(Fault::new(
                "AWS.SimpleQueueService.UnsupportedOperation",
                "the embedded SQS has no FIFO queues",
            ));
        }
        self.with(caller, |state| {
            check_settings(state, &request.attributes)?;
            let (region, settings) = (&caller.region, &request.attributes);
            state.create_queue(name, region, ACCOUNT, settings, Some(&request.tags))?;
            Ok(json!({"QueueUrl": caller.url(name)}))
        })
    }

    pub(super) fn delete_queue(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: OnQueue = parse(body)?;
        self.with(caller, |state| state.delete_queue(queue_name(&request.queue_url)))?;
        self.changed.notify_waiters();
        Ok(json!({}))
    }

    pub(super) fn queue_url(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: GetQueueUrl = parse(body)?;
        self.with(caller, |state| {
            find(state, &request.queue_name)?;
            Ok(json!({"QueueUrl": caller.url(&request.queue_name)}))
        })
    }

    pub(super) fn list_queues(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: ListQueues = parse(body)?;
        let prefix = request.queue_name_prefix.unwrap_or_default();
        let mut names: Vec<_> = self.with(caller, |state| {
            let names = state.queues.keys().filter(|name| name.starts_with(&prefix));
            names.cloned().collect()
        });
        names.sort_unstable();
        let urls: Vec<_> = names.iter().map(|name| caller.url(name)).collect();
        Ok(json!({"QueueUrls": urls}))
    }

    pub(super) fn queue_attributes(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: GetQueueAttributes = parse(body)?;
        let mut attributes = self.with(caller, |state| {
            let name = queue_name(&request.queue_url);
            let counts = Counts::of(find(state, name)?);
            let mut attributes = state.get_queue_attributes(name)?;
            // The crate's own counts leave out what was received once and waits for another try.
            for (name, count) in [
                ("ApproximateNumberOfMessages", counts.visible),
                ("ApproximateNumberOfMessagesNotVisible", counts.in_flight),
                ("ApproximateNumberOfMessagesDelayed", counts.delayed),
            ] {
                attributes.insert(name.to_owned(), count.to_string());
            }
            Ok::<_, Fault>(attributes)
        })?;
        attributes.retain(|name, _| asked_for(&request.attribute_names, name));
        Ok(json!({"Attributes": attributes}))
    }

    pub(super) fn set_queue_attributes(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: SetQueueAttributes = parse(body)?;
        self.with(caller, |state| {
            let name = queue_name(&request.queue_url);
            find(state, name)?;
            check_settings(state, &request.attributes)?;
            state.set_queue_attributes(name, &request.attributes)?;
            Ok(json!({}))
        })
    }

    pub(super) fn purge_queue(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: OnQueue = parse(body)?;
        self.with(caller, |state| state.purge_queue(queue_name(&request.queue_url)))?;
        Ok(json!({}))
    }

    pub(super) fn tag_queue(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: TagQueue = parse(body)?;
        let name = queue_name(&request.queue_url);
        self.with(caller, |state| state.tag_queue(name, &request.tags))?;
        Ok(json!({}))
    }

    pub(super) fn untag_queue(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: UntagQueue = parse(body)?;
        let name = queue_name(&request.queue_url);
        self.with(caller, |state| state.untag_queue(name, &request.tag_keys))?;
        Ok(json!({}))
    }

    pub(super) fn list_queue_tags(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: OnQueue = parse(body)?;
        let name = queue_name(&request.queue_url);
        let tags = self.with(caller, |state| state.list_queue_tags(name))?;
        Ok(json!({"Tags": encode(&tags)?}))
    }

    pub(super) fn list_dead_letter_sources(&self, caller: &Caller, body: &[u8]) -> Result<Value, Fault> {
        let request: OnQueue = parse(body)?;
        let name = queue_name(&request.queue_url);
        let sources = self.with(caller, |state| state.list_dead_letter_source_queues(name))?;
        let mut urls: Vec<_> = sources.iter().map(|url| caller.url(queue_name(url))).collect();
        urls.sort_unstable();
        Ok(json!({"queueUrls": urls}))
    }
}

/// The queue of this name.
pub(super) fn find<'a>(state: &'a mut SqsState, name: &str) -> Result<&'a mut QueueState, SqsError> {
    state.queues.get_mut(name).ok_or(SqsError::NonExistentQueue)
}

/// Whether a list of names asks for this one; no name asks for nothing.
pub(super) fn asked_for(names: &[String], name: &str) -> bool {
    names.iter().any(|asked| {
        let prefix = asked.strip_suffix(".*");
        asked == "All" || asked == name || prefix.is_some_and(|prefix| name.starts_with(prefix))
    })
}

fn check_settings(state: &SqsState, settings: &HashMap<String, String>) -> Result<(), Fault> {
    for (name, value) in settings {
        if let Some((_, range)) = SETTINGS.iter().find(|(known, _)| known == name) {
            let number = value.parse().map_err(|_| {
                let code = "InvalidAttributeValue";
                Fault::new(code, format!("Invalid value for the parameter {name}."))
            })?;
            within(name, Some(number), range.clone())
                .map_err(|fault| Fault { code: "InvalidAttributeValue", ..fault })?;
        } else if name == "RedrivePolicy" {
            check_redrive(state, value)?;
        } else if !IGNORED_SETTINGS.contains(&name.as_str()) {
            let message = format!("Unknown Attribute {name}.");
            return Err(Fault::new("InvalidAttributeName", message));
        }
    }
    Ok(())
}

/// A dead-letter queue must exist first: otherwise messages would vanish in it.
fn check_redrive(state: &SqsState, policy: &str) -> Result<(), Fault> {
    if policy.is_empty() || policy == "{}" {
        return Ok(());
    }
    let policy: Value =
        serde_json::from_str(policy).map_err(|error| Fault::invalid(format!("RedrivePolicy: {error}")))?;
    let tries = &policy["maxReceiveCount"];
    let tries = tries.as_i64().or_else(|| tries.as_str()?.parse().ok());
    if within("maxReceiveCount", tries, 1..=1_000)?.is_none() {
        return Err(Fault::invalid("RedrivePolicy: maxReceiveCount is missing."));
    }
    let target = policy["deadLetterTargetArn"].as_str().unwrap_or_default();
    match state.queues.values().any(|queue| queue.queue.arn == target) {
        true => Ok(()),
        false => Err(Fault::invalid(format!("RedrivePolicy: Dead letter target {target} does not exist."))),
    }
}
