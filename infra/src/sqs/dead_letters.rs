//! What lies in the queue behind a queue: messages that were taken too often without being done. A row is the truth and
//! not its message, so nothing is lost with them; replaying them is the quick way to have it done.
//! It must never delete a dead letter that was not sent on, nor tell what a message holds that is no job.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use domain::ports::{Job, QueueName, StoreError};
use jiff::Timestamp;

use super::{BATCH_MAX, SqsQueues, seconds, what};
use crate::errors::{store_error, unavailable};

/// Hidden for this long while they are looked at or sent on.
const HIDE: Duration = Duration::from_secs(60);
/// A long poll asks all of SQS's servers; a short one may find nothing though there is something.
const WAIT: Duration = Duration::from_secs(1);
/// Jobs of no bot's queue are one group.
const NO_GROUP: &str = "replayed";

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub message_id: String,
    /// When it was sent, first of all.
    pub sent_at: Option<Timestamp>,
    /// None where the message is no job; such a one is never sent on.
    pub job: Option<Job>,
}

/// What became of the dead letters of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    pub sent: u64,
    /// Those that are no jobs: they stay.
    pub left: u64,
}

/// The dead letters of one queue.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    queues: SqsQueues,
    queue: QueueName,
}

impl SqsQueues {
    /// What lies behind `queue`.
    pub fn dead_letters(&self, queue: QueueName) -> DeadLetters {
        DeadLetters { queues: self.clone(), queue }
    }
}

impl DeadLetters {
    pub fn queue(&self) -> QueueName {
        self.queue
    }

    /// How many there are, about: hidden ones included.
    ///
    /// # Errors
    /// The queue did not answer.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.queues.client.get_queue_attributes().queue_url(self.url().await?);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let all = answer.map_err(|e| store_error(what(self.queue), e))?.attributes.unwrap_or_default();
        Ok(names.iter().filter_map(|name| all.get(name)?.parse::<u64>().ok()).sum())
    }

    /// Up to `max` of them; they stay where they are.
    ///
    /// # Errors
    /// The queue did not answer.
    pub async fn look(&self, max: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let url = self.url().await?;
        let (mut seen, mut letters, mut taken) = (HashSet::new(), Vec::new(), Vec::new());
        while letters.len() < max {
            let messages = self.take(&url).await?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                taken.extend(message.receipt_handle.clone());
                let letter = read(&message);
                if letters.len() < max && seen.insert(letter.message_id.clone()) {
                    letters.push(letter);
                }
            }
        }
        // Only at the end: a message that is given back at once would be the next one taken.
        for receipt in taken {
            let give_back = self.queues.client.change_message_visibility().queue_url(&url).receipt_handle(receipt);
            give_back.visibility_timeout(0).send().await.map_err(|e| store_error(what(self.queue), e))?;
        }
        Ok(letters)
    }

    /// Sends every one of them on to its queue. Each is sent before it is deleted: cut off in between, its job is done
    /// twice, which changes nothing.
    ///
    /// # Errors
    /// A queue did not answer; what was sent on until then is done.
    pub async fn replay(&self) -> Result<Replayed, StoreError> {
        let (from, to) = (self.url().await?, self.queues.url(self.queue).await?);
        let (mut replayed, mut left) = (Replayed::default(), HashSet::new());
        loop {
            let messages = self.take(&from).await?;
            // Those that are left come back when they are no longer hidden.
            if messages.iter().all(|message| left.contains(message.message_id.as_deref().unwrap_or_default())) {
                break;
            }
            for message in messages {
                if read(&message).job.is_none() {
                    left.insert(message.message_id.unwrap_or_default());
                    continue;
                }
                self.send_on(&from, &to, message).await?;
                replayed.sent += 1;
            }
        }
        replayed.left = left.len() as u64;
        Ok(replayed)
    }

    async fn send_on(&self, from: &str, to: &str, message: Message) -> Result<(), StoreError> {
        let failed = what(self.queue);
        let group = system(&message, &MessageSystemAttributeName::MessageGroupId).unwrap_or(NO_GROUP).to_owned();
        let send = self.queues.client.send_message().queue_url(to).message_group_id(group);
        send.set_message_body(message.body).send().await.map_err(|e| store_error(failed, e))?;
        let delete = self.queues.client.delete_message().queue_url(from);
        delete.set_receipt_handle(message.receipt_handle).send().await.map_err(|e| store_error(failed, e))?;
        Ok(())
    }

    async fn take(&self, url: &str) -> Result<Vec<Message>, StoreError> {
        let names = [MessageSystemAttributeName::MessageGroupId, MessageSystemAttributeName::SentTimestamp];
        let request = self.queues.client.receive_message().queue_url(url).max_number_of_messages(BATCH_MAX);
        let request = request.visibility_timeout(seconds(HIDE)).wait_time_seconds(seconds(WAIT));
        let answer = request.set_message_system_attribute_names(Some(names.to_vec())).send().await;
        Ok(answer.map_err(|e| store_error(what(self.queue), e))?.messages.unwrap_or_default())
    }

    async fn url(&self) -> Result<String, StoreError> {
        let name = self.queues.names.dead_letters(self.queue);
        let found = self.queues.client.get_queue_url().queue_name(&name).send().await;
        let url = found.map_err(|e| store_error(what(self.queue), e))?.queue_url;
        url.ok_or_else(|| unavailable(what(self.queue), format!("{name} has no URL")))
    }
}

fn read(message: &Message) -> DeadLetter {
    let sent = system(message, &MessageSystemAttributeName::SentTimestamp).and_then(|ms| ms.parse().ok());
    DeadLetter {
        message_id: message.message_id.clone().unwrap_or_default(),
        sent_at: sent.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        job: message.body.as_deref().and_then(|body| serde_json::from_str(body).ok()),
    }
}

fn system<'a>(message: &'a Message, name: &MessageSystemAttributeName) -> Option<&'a str> {
    message.attributes.as_ref()?.get(name).map(String::as_str)
}
