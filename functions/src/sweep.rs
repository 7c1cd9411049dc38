//! Sends again what fell due and nobody took: a lost queue message is found here, since rows, not queues, are the truth.
//! It must never do the work itself, and never decide that something is done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::call::NextStep;
use domain::delivery::{Channel, DeliveryRow};
use domain::endpoint::EndpointId;
use domain::ids::{BotId, CallId};
use domain::ports::{CallEntry, Calls, Clock, Deliveries, Endpoints, Job, QueueName, Queues, StoreError};
use jiff::Timestamp;

use crate::platform::SweepLimits;
use crate::push::{Holding, held_back_until, hold_back};
use crate::spend;

/// What it takes to send again.
#[derive(Clone, derive_more::Debug)]
#[debug("sweep::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub calls: Arc<dyn Calls>,
    pub deliveries: Arc<dyn Deliveries>,
    pub endpoints: Arc<dyn Endpoints>,
    pub queues: Arc<dyn Queues>,
    pub holding: Holding,
    pub spend: spend::Desk,
    pub sweep: SweepLimits,
}

/// What one pass sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub steps: u32,
    pub deliveries: u32,
    /// Money that was set aside and is no longer.
    pub holds: u32,
    /// Deliveries that were put off because their endpoint is down.
    pub held_back: u32,
}

/// Looks at the due deliveries in one pass, at most.
const LOOKS: usize = 20;

/// One pass. What a failing store or queue leaves undone, the next pass finds again.
///
/// # Errors
/// When a due index does not answer; single failures are logged and skipped.
pub async fn pass(desk: &Desk) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for step in NextStep::ALL {
        report.steps += steps(desk, *step).await?;
    }
    deliveries(desk, &mut report).await?;
    report.holds = spend::pass(&desk.spend, &*desk.calls, desk.clock.now(), desk.sweep.batch).await?;
    if report != Report::default() {
        tracing::info!(
            steps = report.steps,
            deliveries = report.deliveries,
            held_back = report.held_back,
            holds = report.holds,
            "swept"
        );
    }
    Ok(report)
}

async fn steps(desk: &Desk, step: NextStep) -> Result<u32, StoreError> {
    let now = desk.clock.now();
    let due = desk.calls.due(step, now, desk.sweep.batch).await?;
    let mut sent = 0;
    for id in due {
        match send_step(desk, id, step).await {
            Ok(true) => sent += 1,
            Ok(false) => {}
            Err(cause) => tracing::warn!(call.id = %id, step = step.as_str(), error = %cause, "not swept"),
        }
    }
    Ok(sent)
}

async fn send_step(desk: &Desk, id: CallId, step: NextStep) -> Result<bool, StoreError> {
    let Some(CallEntry::Call(row)) = desk.calls.get(id).await? else { return Ok(false) };
    let queue = match step {
        // The analyzer's due time is its lease and its tries are counted there: both are left alone.
        NextStep::Analyze => QueueName::CallEnded,
        NextStep::Announce | NextStep::Push => {
            let again = desk.clock.now() + desk.sweep.again_after;
            if desk.calls.defer_step(id, step, again).await?.is_none() {
                return Ok(false);
            }
            domain::failpoint!("sweep.deferred");
            if step == NextStep::Announce { QueueName::CallEnded } else { QueueName::Deliveries }
        }
    };
    send(desk, queue, &row.bot_id, Job { call_id: id, channel: None }).await?;
    domain::failpoint!("sweep.step");
    Ok(true)
}

/// Looks again as long as it can put off what would otherwise stand in others' way: the backlog of one endpoint that
/// is down must not fill every look.
async fn deliveries(desk: &Desk, report: &mut Report) -> Result<(), StoreError> {
    let limits = &desk.sweep;
    let overdue = desk.clock.now() - limits.grace;
    let mut sweeping = Sweeping { desk, endpoints: HashMap::new() };
    let mut seen = HashSet::new();
    for _ in 0..LOOKS {
        let mut due = desk.deliveries.due(overdue, limits.batch).await?;
        let whole = due.len() < limits.batch as usize;
        due.retain(|found| seen.insert(*found));
        let before = report.held_back;
        for (call_id, channel) in due {
            match sweeping.one(call_id, channel).await {
                Ok(Swept::Sent) => report.deliveries += 1,
                Ok(Swept::HeldBack) => report.held_back += 1,
                Ok(Swept::Gone) => {}
                Err(cause) => {
                    tracing::warn!(call.id = %call_id, channel = channel.as_str(), error = %cause, "not swept");
                }
            }
        }
        if whole || report.held_back == before {
            break;
        }
    }
    Ok(())
}

/// What became of one due delivery.
enum Swept {
    Sent,
    /// Its endpoint is down: put off, and no worker was bothered.
    HeldBack,
    Gone,
}

struct Sweeping<'a> {
    desk: &'a Desk,
    /// Until when each endpoint of this pass is held back.
    endpoints: HashMap<(BotId, EndpointId), Option<Timestamp>>,
}

impl Sweeping<'_> {
    async fn one(&mut self, call_id: CallId, channel: Channel) -> Result<Swept, StoreError> {
        let desk = self.desk;
        let Some(row) = desk.deliveries.get(call_id, channel).await? else { return Ok(Swept::Gone) };
        let now = desk.clock.now();
        if let Some(until) = self.held_back_until(&row, now).await? {
            hold_back(&desk.holding, &row, now, until).await?;
            return Ok(Swept::HeldBack);
        }
        send(desk, QueueName::Deliveries, &row.bot_id, Job { call_id, channel: Some(channel) }).await?;
        domain::failpoint!("sweep.delivery");
        Ok(Swept::Sent)
    }

    async fn held_back_until(&mut self, row: &DeliveryRow, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let key = (row.bot_id.clone(), EndpointId::of(row.channel, &row.url));
        if let Some(known) = self.endpoints.get(&key) {
            return Ok(*known);
        }
        let endpoint = self.desk.endpoints.get(&key.0, &key.1).await?;
        let until = endpoint.and_then(|endpoint| held_back_until(&endpoint, now));
        self.endpoints.insert(key, until);
        Ok(until)
    }
}

async fn send(desk: &Desk, queue: QueueName, group: &BotId, job: Job) -> Result<(), StoreError> {
    desk.queues.send(queue, group, &job, Duration::ZERO).await
}

#[cfg(test)]
mod tests {
    use domain::endpoint::{Breaker, EndpointRow};

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
        let desk = world.desk();
        assert_eq!(pass(&desk).await.unwrap(), Report { steps: 2, ..Report::default() });
        let job = |id| Job { call_id: id, channel: None };
        assert_eq!(world.sent(QueueName::CallEnded), [job(announce.call_id)]);
        assert_eq!(world.sent(QueueName::Deliveries), [job(push.call_id)]);
        assert_eq!(pass(&desk).await.unwrap(), Report::default());
        world.advance(Duration::from_secs(61));
        assert_eq!(pass(&desk).await.unwrap(), Report { steps: 3, ..Report::default() });
    }

    #[tokio::test]
    async fn deliveries_get_their_grace() {
        let world = World::new();
        let call = world.ended_call(|_| ());
        world.delivery(&call, Channel::Webhook, |_| ());
        let desk = world.desk();
        assert_eq!(pass(&desk).await.unwrap().deliveries, 0);
        world.advance(Duration::from_secs(31));
        assert_eq!(pass(&desk).await.unwrap().deliveries, 1);
        assert_eq!(world.sent(QueueName::Deliveries), [Job { call_id: call.call_id, channel: Some(Channel::Webhook) }]);
    }

    #[tokio::test]
    async fn the_backlog_of_an_endpoint_that_is_down_stands_in_nobodys_way() {
        let world = World::new();
        world.set(|settings| settings.sweep.batch = 10);
        let now = world.now();
        let down = world.ended_call(|_| ());
        let row = world.delivery(&down, Channel::Push, |_| ());
        for _ in 0..100 {
            let call = world.ended_call(|_| ());
            world.delivery(&call, Channel::Push, |row| row.due_at = now - Duration::from_secs(600));
        }
        let well = world.ended_call(|row| row.bot_id = BotId::parse("other").unwrap());
        world.delivery(&well, Channel::Push, |row| row.due_at = now - Duration::from_secs(31));
        let until = now + Duration::from_secs(300);
        let mut endpoint = EndpointRow::new(row.bot_id.clone(), Channel::Push, &row.url, now);
        endpoint.breaker = Breaker::Open { until, times: 3 };
        world.tables.lock().endpoints.insert((row.bot_id.clone(), endpoint.endpoint.clone()), endpoint);
        let desk = world.desk();
        let report = pass(&desk).await.unwrap();
        assert_eq!(report, Report { deliveries: 1, held_back: 100, ..Report::default() });
        assert_eq!(world.sent(QueueName::Deliveries), [Job { call_id: well.call_id, channel: Some(Channel::Push) }]);
        let put_off = world.tables.lock().deliveries.values().filter(|row| row.due_at >= until).count();
        assert_eq!(put_off, 100);
        assert!(world.tables.lock().deliveries.values().all(|row| row.tries == 0), "no try was used up");
    }

    #[tokio::test]
    async fn a_dead_queue_loses_nothing() {
        let world = World::new();
        let now = world.now();
        world.ended_call(|row| (row.next_step, row.due_at) = (Some(NextStep::Push), Some(now)));
        world.break_queues(true);
        let desk = world.desk();
        assert_eq!(pass(&desk).await.unwrap(), Report::default());
        world.break_queues(false);
        world.advance(Duration::from_secs(61));
        assert_eq!(pass(&desk).await.unwrap(), Report { steps: 1, ..Report::default() });
    }
}
