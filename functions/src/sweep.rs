//! Sends again what fell due and nobody took: a lost queue message is found here, since rows, not queues, are the truth.
//! It must never do the work itself, and never decide that something is done.

use std::time::Duration;

use domain::call::NextStep;
use domain::ids::{BotId, CallId};
use domain::ports::{CallEntry, Job, QueueName, StoreError};

use crate::platform::Platform;

/// What one pass sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub steps: u32,
    pub deliveries: u32,
}

/// One pass. What a failing store or queue leaves undone, the next pass finds again.
///
/// # Errors
/// When a due index does not answer; single failures are logged and skipped.
pub async fn pass(platform: &Platform) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for step in NextStep::ALL {
        report.steps += steps(platform, *step).await?;
    }
    report.deliveries = deliveries(platform).await?;
    if report != Report::default() {
        tracing::info!(steps = report.steps, deliveries = report.deliveries, "swept");
    }
    Ok(report)
}

async fn steps(platform: &Platform, step: NextStep) -> Result<u32, StoreError> {
    let now = platform.outside.clock.now();
    let due = platform.tables.calls.due(step, now, platform.settings.sweep.batch).await?;
    let mut sent = 0;
    for id in due {
        match send_step(platform, id, step).await {
            Ok(true) => sent += 1,
            Ok(false) => {}
            Err(cause) => tracing::warn!(call.id = %id, step = step.as_str(), error = %cause, "not swept"),
        }
    }
    Ok(sent)
}

async fn send_step(platform: &Platform, id: CallId, step: NextStep) -> Result<bool, StoreError> {
    let Some(CallEntry::Call(row)) = platform.tables.calls.get(id).await? else { return Ok(false) };
    let queue = match step {
        // The analyzer's due time is its lease and its tries are counted there: both are left alone.
        NextStep::Analyze => QueueName::CallEnded,
        NextStep::Announce | NextStep::Push => {
            let again = platform.outside.clock.now() + platform.settings.sweep.again_after;
            if platform.tables.calls.defer_step(id, step, again).await?.is_none() {
                return Ok(false);
            }
            if step == NextStep::Announce { QueueName::CallEnded } else { QueueName::Deliveries }
        }
    };
    send(platform, queue, &row.bot_id, Job { call_id: id, channel: None }).await?;
    Ok(true)
}

async fn deliveries(platform: &Platform) -> Result<u32, StoreError> {
    let limits = &platform.settings.sweep;
    let overdue = platform.outside.clock.now() - limits.grace;
    let mut sent = 0;
    for (call_id, channel) in platform.tables.deliveries.due(overdue, limits.batch).await? {
        let Some(row) = platform.tables.deliveries.get(call_id, channel).await? else { continue };
        match send(platform, QueueName::Deliveries, &row.bot_id, Job { call_id, channel: Some(channel) }).await {
            Ok(()) => sent += 1,
            Err(cause) => tracing::warn!(call.id = %call_id, channel = channel.as_str(), error = %cause, "not swept"),
        }
    }
    Ok(sent)
}

async fn send(platform: &Platform, queue: QueueName, group: &BotId, job: Job) -> Result<(), StoreError> {
    platform.outside.queues.send(queue, group, &job, Duration::ZERO).await
}

#[cfg(test)]
mod tests {
    use domain::delivery::Channel;

    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn what_is_due_is_sent_once_until_it_is_due_again() {
        let world = World::new();
        let now = world.now();
        let announce = world.ended_call(|row| (row.next_step, row.due_at) = (Some(NextStep::Announce), Some(now)));
        let push = world.ended_call(|row| (row.next_step, row.due_at) = (Some(NextStep::Push), Some(now)));
        let later = now + Duration::from_secs(5);
        world.ended_call(|row| (row.next_step, row.due_at) = (Some(NextStep::Announce), Some(later)));
        let platform = world.platform();
        assert_eq!(pass(&platform).await.unwrap(), Report { steps: 2, deliveries: 0 });
        let job = |id| Job { call_id: id, channel: None };
        assert_eq!(world.sent(QueueName::CallEnded), [job(announce.call_id)]);
        assert_eq!(world.sent(QueueName::Deliveries), [job(push.call_id)]);
        assert_eq!(pass(&platform).await.unwrap(), Report::default());
        world.advance(Duration::from_secs(61));
        assert_eq!(pass(&platform).await.unwrap(), Report { steps: 3, deliveries: 0 });
    }

    #[tokio::test]
    async fn deliveries_get_their_grace() {
        let world = World::new();
        let call = world.ended_call(|_| ());
        world.delivery(&call, Channel::Webhook, |_| ());
        let platform = world.platform();
        assert_eq!(pass(&platform).await.unwrap().deliveries, 0);
        world.advance(Duration::from_secs(31));
        assert_eq!(pass(&platform).await.unwrap().deliveries, 1);
        assert_eq!(world.sent(QueueName::Deliveries), [Job { call_id: call.call_id, channel: Some(Channel::Webhook) }]);
    }

    #[tokio::test]
    async fn a_dead_queue_loses_nothing() {
        let world = World::new();
        let now = world.now();
        world.ended_call(|row| (row.next_step, row.due_at) = (Some(NextStep::Push), Some(now)));
        world.break_queues(true);
        let platform = world.platform();
        assert_eq!(pass(&platform).await.unwrap(), Report::default());
        world.break_queues(false);
        world.advance(Duration::from_secs(61));
        assert_eq!(pass(&platform).await.unwrap(), Report { steps: 1, deliveries: 0 });
    }
}
