//! The queues: sending jobs, and taking them where no Lambda does.
//! It must never put more than ids into a message, and never delete one that was not handled.

mod dead_letters;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use domain::delivery::QUEUE_DELAY_MAX;
use domain::ids::BotId;
use domain::ports::{Job, QueueName, Queues, StoreError};
use tokio::sync::Mutex;

use crate::errors::{store_error, unavailable};
use crate::schema::Names;

pub use dead_letters::{DeadLetter, DeadLetters, Replayed};

/// SQS gives out no more at once.
const BATCH_MAX: i32 = 10;
/// SQS waits no longer.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// SQS hides no longer.
const HIDE_MAX: Duration = Duration::from_secs(12 * 3600);

fn what(queue: QueueName) -> &'static str {
    match queue {
        QueueName::CallEnded => "the queue call-ended",
        QueueName::Deliveries => "the queue deliveries",
    }
}

#[derive(Debug, Clone)]
pub struct SqsQueues {
    client: Client,
    names: Arc<Names>,
    urls: Arc<Mutex<HashMap<QueueName, String>>>,
}

impl SqsQueues {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, names: Arc::new(names.clone()), urls: Arc::default() }
    }

    async fn url(&self, queue: QueueName) -> Result<String, StoreError> {
        let mut urls = self.urls.lock().await;
        if let Some(url) = urls.get(&queue) {
            return Ok(url.clone());
        }
        let found = self
            .client
            .get_queue_url()
            .queue_name(self.names.queue(queue))
            .send()
            .await
            .map_err(|e| store_error(what(queue), e))?;
        let url = found.queue_url.ok_or_else(|| unavailable(what(queue), "it has no URL"))?;
        urls.insert(queue, url.clone());
        Ok(url)
    }

    /// What takes jobs from `queue`.
    pub fn consumer(&self, queue: QueueName) -> Consumer {
        Consumer { queues: self.clone(), queue }
    }
}

#[async_trait]
impl Queues for SqsQueues {
    async fn send(&self, queue: QueueName, group: &BotId, job: &Job, delay: Duration) -> Result<(), StoreError> {
        let body = serde_json::to_string(job).map_err(|e| unavailable(what(queue), e))?;
        // Rounded up: a job that comes too early finds nothing due and is lost till the sweep.
        let delay = delay.min(QUEUE_DELAY_MAX).as_millis().div_ceil(1000);
        let delay = i32::try_from(delay).unwrap_or(i32::MAX);
        let url = self.url(queue).await?;
        let send = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .message_group_id(group.as_str())
            .delay_seconds(delay);
        send.send().await.map(|_| ()).map_err(|e| store_error(what(queue), e))
    }
}

/// A job that was taken: it comes back unless it is deleted in time, and is a dead letter after too many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub job: Job,
    pub message_id: String,
    /// Names this very taking.
    pub receipt: String,
    /// How often the message was taken, this time included.
    pub receive_count: u32,
}

/// Takes jobs from one queue; plays Lambda's event source mapping in local mode.
#[derive(Debug, Clone)]
pub struct Consumer {
    queues: SqsQueues,
    queue: QueueName,
}

impl Consumer {
    pub fn queue(&self) -> QueueName {
        self.queue
    }

    /// Waits up to `wait` (≤ 20 s) for up to `max` (≤ 10) jobs. What is no job stays in the queue until it is a dead letter.
    ///
    /// # Errors
    /// The queue did not answer.
    pub async fn receive(&self, max: u32, wait: Duration) -> Result<Vec<Received>, StoreError> {
        let request = self
            .queues
            .client
            .receive_message()
            .queue_url(self.queues.url(self.queue).await?)
            .max_number_of_messages(i32::try_from(max).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX))
            .wait_time_seconds(seconds(wait.min(WAIT_MAX)))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = request.send().await.map_err(|e| store_error(what(self.queue), e))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(|message| self.read(message)).collect())
    }

    fn read(&self, message: Message) -> Option<Received> {
        let receive_count =
            message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
        let receive_count = receive_count.and_then(|count| count.parse().ok()).unwrap_or(1);
        let message_id = message.message_id.unwrap_or_default();
        match serde_json::from_str(message.body.as_deref().unwrap_or_default()) {
            Ok(job) => Some(Received { job, message_id, receipt: message.receipt_handle?, receive_count }),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                tracing::error!(queue = what(self.queue), %message_id, line, column, "a message is no job");
                None
            }
        }
    }

    /// Done: the job does not come back.
    ///
    /// # Errors
    /// The queue did not answer.
    pub async fn delete(&self, receipt: &str) -> Result<(), StoreError> {
        let request =
            self.queues.client.delete_message().queue_url(self.queues.url(self.queue).await?).receipt_handle(receipt);
        request.send().await.map(|_| ()).map_err(|e| store_error(what(self.queue), e))
    }

    /// Hides the job for `hide` from now on; zero gives it back at once.
    ///
    /// # Errors
    /// The queue did not answer, or the job came back already.
    pub async fn extend(&self, receipt: &str, hide: Duration) -> Result<(), StoreError> {
        let request = self
            .queues
            .client
            .change_message_visibility()
            .queue_url(self.queues.url(self.queue).await?)
            .receipt_handle(receipt);
        let request = request.visibility_timeout(seconds(hide.min(HIDE_MAX)));
        request.send().await.map(|_| ()).map_err(|e| store_error(what(self.queue), e))
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
