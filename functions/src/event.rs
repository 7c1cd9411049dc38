//! Queue messages as Lambda hands them over: a batch in, the ids of those that failed out.
//! It must never let one message's failure hold up the rest of its batch.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::ports::{Job, StoreError};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::timeout;

/// Handles all messages at once, each by `handle`: one hanging endpoint holds up no other, and what is not done `within`
/// that time has failed: a function that is killed says nothing of the others.
/// A message that is no job can't become one: it is logged and dropped.
pub async fn batch<F, R>(event: SqsEvent, within: Duration, handle: F) -> SqsBatchResponse
where
    F: Fn(Job) -> R,
    R: Future<Output = Result<(), StoreError>>,
{
    let failed = join_all(event.records.into_iter().map(|message| one(message, within, &handle))).await;
    let mut answer = SqsBatchResponse::default();
    for id in failed.into_iter().flatten() {
        answer.add_failure(id);
    }
    answer
}

/// The message's id if it has to come again.
async fn one<F, R>(message: SqsMessage, within: Duration, handle: &F) -> Option<String>
where
    F: Fn(Job) -> R,
    R: Future<Output = Result<(), StoreError>>,
{
    let id = message.message_id.unwrap_or_default();
    let Ok(job) = serde_json::from_str::<Job>(message.body.as_deref().unwrap_or_default()) else {
        tracing::error!(message.id = %id, "a queue message is no job");
        return None;
    };
    let call = job.call_id;
    // A panic is one message's failure, too; the hook has said where.
    match timeout(within, AssertUnwindSafe(handle(job)).catch_unwind()).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Err(_)) => Some(id),
        Ok(Ok(Err(cause))) => {
            tracing::warn!(call.id = %call, error = %cause, "a job failed; it comes again");
            Some(id)
        }
        Err(_) => {
            tracing::warn!(call.id = %call, "a job was not done in time; it comes again");
            Some(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HANGS: &str = "0190a5f0-0000-7000-8000-000000000002";

    #[tokio::test(start_paused = true)]
    async fn only_failed_jobs_come_again() {
        let id = "0190a5f0-0000-7000-8000-000000000001";
        let event: SqsEvent = serde_json::from_value(json!({"Records": [
            {"messageId": "good", "body": format!(r#"{{"call_id":"{id}"}}"#)},
            {"messageId": "bad", "body": format!(r#"{{"call_id":"{id}","channel":"push"}}"#)},
            {"messageId": "junk", "body": "hello"},
            {"messageId": "panics", "body": format!(r#"{{"call_id":"{id}","channel":"webhook"}}"#)},
            {"messageId": "hangs", "body": format!(r#"{{"call_id":"{HANGS}"}}"#)},
        ]}))
        .unwrap();
        let answer = batch(event, Duration::from_secs(58), |job| async move {
            assert_ne!(job.channel, Some(domain::delivery::Channel::Webhook), "this one panics");
            if job.call_id.to_string() == HANGS {
                std::future::pending::<()>().await;
            }
            if job.channel.is_some() {
                Err(StoreError::Unavailable { what: "calls", cause: "test".into() })
            } else {
                Ok(())
            }
        })
        .await;
        let failed: Vec<_> =
            answer.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        assert_eq!(failed, ["bad", "panics", "hangs"]);
    }
}
