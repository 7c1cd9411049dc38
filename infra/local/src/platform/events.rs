//! Plays Lambda's event sources: the queues' messages and the schedules drive the same handlers as on AWS.
//! It must never delete a message whose handling failed, and never drop one that it has taken without trying it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Job, QueueName, StoreError};
use functions::platform::Platform as Functions;
use functions::{analyze, push, reap, retain, sweep};
use infra::config::Periods;
use infra::schema;
use infra::sqs::{Consumer, Received, SqsQueues};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Jobs of one queue that are handled at once. The queue hands out a small share of that to any one bot, so that one
/// whose CRM hangs delays nobody else.
const CONCURRENT: usize = 256;
/// SQS hands out no more at once.
const BATCH: usize = 10;
/// A poll that is under way is waited for at the end, so it is short.
const POLL: Duration = Duration::from_secs(2);
/// Between two polls of a queue that does not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what is queued may take at the end; the rest comes back with the next start's sweep.
const EMPTYING: Duration = Duration::from_secs(10);

/// The running event sources.
#[derive(Debug)]
pub(super) struct EventSources {
    /// In the order in which they must be emptied: the first sends to the second.
    queues: Vec<Source>,
    schedules: Source,
}

#[derive(Debug)]
struct Source {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts all of them. The first sweep is made at once: it brings back what a restart of the queues has dropped.
pub(super) fn start(functions: &Functions, queues: &SqsQueues, periods: &Periods) -> EventSources {
    let desk: Arc<analyze::Desk> = Arc::new(functions.into());
    let call_ended = consumer(queues.consumer(QueueName::CallEnded), move |job| {
        let desk = desk.clone();
        async move { analyze::handle(&desk, &job).await }
    });
    let desk: Arc<push::Desk> = Arc::new(functions.into());
    let deliveries = consumer(queues.consumer(QueueName::Deliveries), move |job| {
        let desk = desk.clone();
        async move { push::handle(&desk, &job).await }
    });

    let stop = CancellationToken::new();
    let desk: Arc<sweep::Desk> = Arc::new(functions.into());
    let sweeper = every(periods.sweep.0, stop.clone(), "sweep", move || {
        let desk = desk.clone();
        async move { sweep::pass(&desk).await.map(|_| ()) }
    });
    let desk: Arc<reap::Desk> = Arc::new(functions.into());
    let reaper = every(periods.reap.0, stop.clone(), "reap", move || {
        let desk = desk.clone();
        async move { reap::pass(&desk).await.map(|_| ()) }
    });
    let desk: Arc<retain::Desk> = Arc::new(functions.into());
    let retainer = every(periods.retain.0, stop.clone(), "retain", move || {
        let desk = desk.clone();
        async move { retain::pass(&desk).await.map(|_| ()) }
    });
    let tasks = vec![tokio::spawn(sweeper), tokio::spawn(reaper), tokio::spawn(retainer)];
    let schedules = Source { stop, tasks };
    EventSources { queues: vec![call_ended, deliveries], schedules }
}

impl EventSources {
    /// Stops the schedules, handles what the queues still hold, and stops.
    pub(super) async fn finish(self) {
        self.schedules.finish().await;
        let emptied = tokio::time::timeout(EMPTYING, async {
            for queue in self.queues {
                queue.finish().await;
            }
        });
        if emptied.await.is_err() {
            tracing::warn!("results are left in the queues; the next start's sweep sends them");
        }
    }
}

impl Source {
    async fn finish(mut self) {
        self.stop.cancel();
        for task in &mut self.tasks {
            if let Err(error) = task.await {
                tracing::error!(panicked = error.is_panic(), "an event source ended badly");
            }
        }
    }
}

/// Whoever does not finish in order must not leave tasks behind.
impl Drop for Source {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn consumer<H, F>(consumer: Consumer, handle: H) -> Source
where
    H: Fn(Job) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let consuming = tokio::spawn(consume(consumer, Arc::new(handle), stop.clone()));
    Source { stop, tasks: vec![consuming] }
}

/// Takes and handles messages until it is told to stop and the queue is empty.
async fn consume<H, F>(consumer: Consumer, handle: Arc<H>, stop: CancellationToken)
where
    H: Fn(Job) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() == CONCURRENT {
            running.join_next().await;
            continue;
        }
        let room = BATCH.min(CONCURRENT - running.len());
        let stopping = stop.is_cancelled();
        let wait = if stopping { Duration::ZERO } else { POLL };
        match consumer.receive(u32::try_from(room).unwrap_or(1), wait).await {
            // What is being handled may send a message to its own queue.
            Ok(none) if none.is_empty() && stopping => {
                if running.join_next().await.is_none() {
                    return;
                }
            }
            Ok(taken) => {
                for received in taken {
                    running.spawn(handle_one(consumer.clone(), Arc::clone(&handle), received));
                }
            }
            Err(_) if stopping => return,
            Err(error) => {
                tracing::warn!(queue = ?consumer.queue(), %error, "the queue does not answer");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn handle_one<H, F>(consumer: Consumer, handle: Arc<H>, received: Received)
where
    H: Fn(Job) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let call = received.job.call_id;
    let queue = consumer.queue();
    let limit = Duration::from_secs(u64::from(schema::queue(queue).function_timeout_seconds));
    // In a task of its own: a panic is one message's failure, as on Lambda.
    let mut handling = tokio::spawn(handle(received.job));
    let failure = match tokio::time::timeout(limit, &mut handling).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error.to_string()),
        // A panic's text may quote a call; it was told where it happened.
        Ok(Err(error)) => Some(if error.is_panic() { "it panicked" } else { "it was cut off" }.to_owned()),
        Err(_) => {
            handling.abort();
            Some(format!("not done within {limit:?}"))
        }
    };
    match failure {
        None => {
            if let Err(error) = consumer.delete(&received.receipt).await {
                tracing::warn!(?queue, call.id = %call, %error, "a handled message comes again");
            }
        }
        // Left in the queue: it is shown again when its visibility timeout is over.
        Some(error) => {
            tracing::warn!(?queue, call.id = %call, times = received.receive_count, error, "a message was not handled; it comes again");
        }
    }
}

/// Runs `pass` at once and then every `period`, counted from the end of the last.
async fn every<P, F>(period: Duration, stop: CancellationToken, what: &'static str, pass: P)
where
    P: Fn() -> F + Send,
    F: Future<Output = Result<(), StoreError>> + Send,
{
    loop {
        if let Err(error) = pass().await {
            tracing::warn!(what, %error, "a pass failed; the next one tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::ids::{BotId, CallId};
    use domain::ports::Queues;
    use futures_util::future::join_all;
    use infra::aws::connect;
    use infra::config::{AwsConfig, NamesConfig};
    use infra::schema::{Names, ensure};
    use tokio::sync::mpsc;

    use super::*;
    use crate::embedded::{self, EmbeddedConfig};

    /// Generous: nothing is measured, and nobody may wait for ever.
    const DEADLINE: Duration = Duration::from_secs(120);
    const BACKLOG: u16 = 2_000;

    fn job(number: u16) -> Job {
        let mut random = [0; 10];
        random[..2].copy_from_slice(&number.to_be_bytes());
        Job { call_id: CallId::from_parts(1_795_341_600_000, random), channel: None }
    }

    async fn queues(folder: &std::path::Path) -> (embedded::Embedded, SqsQueues) {
        let config = EmbeddedConfig {
            data: folder.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            access_key: "test".into(),
            secret_key: "test".into(),
        };
        let services = embedded::start(config).await.unwrap();
        let aws = AwsConfig {
            endpoint: Some(services.endpoint.clone()),
            region: Some("eu-central-1".into()),
            access_key_id: Some("test".into()),
            secret_access_key: Some("test".into()),
        };
        let (clients, names) = (connect(&aws).await, Names::new(&NamesConfig::default()));
        ensure(&clients, &names).await.unwrap();
        (services, SqsQueues::new(clients.sqs, &names))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bot_with_thousands_of_hanging_jobs_delays_no_other_bot() {
        let folder = tempfile::tempdir().unwrap();
        let (_services, queues) = queues(folder.path()).await;
        let [hanging, well] = ["hanging", "well"].map(|id| BotId::parse(id).unwrap());
        let send = async |bot: &BotId, number: u16| {
            queues.send(QueueName::Deliveries, bot, &job(number), Duration::ZERO).await.unwrap();
        };
        for number in (0..BACKLOG).step_by(50) {
            join_all((number..number + 50).map(|number| send(&hanging, number))).await;
        }

        let begun = Arc::new(AtomicUsize::new(0));
        let (told, mut heard) = mpsc::channel(16);
        let hangs: Arc<std::collections::HashSet<CallId>> = Arc::new((0..BACKLOG).map(|n| job(n).call_id).collect());
        let counter = Arc::clone(&begun);
        let _source = consumer(queues.consumer(QueueName::Deliveries), move |job| {
            let (told, hangs, begun) = (told.clone(), Arc::clone(&hangs), Arc::clone(&counter));
            async move {
                if hangs.contains(&job.call_id) {
                    begun.fetch_add(1, Ordering::SeqCst);
                    told.send(None).await.unwrap();
                    std::future::pending::<()>().await;
                }
                told.send(Some(job.call_id)).await.unwrap();
                Ok(())
            }
        });
        let mut hear = async || tokio::time::timeout(DEADLINE, heard.recv()).await.expect("nothing happens").unwrap();
        assert_eq!(hear().await, None, "the backlog was there first");
        for number in BACKLOG..BACKLOG + 20 {
            send(&well, number).await;
        }
        let mut done = Vec::new();
        while done.len() < 20 {
            done.extend(hear().await);
        }
        assert!(begun.load(Ordering::SeqCst) * 4 < CONCURRENT, "no bot gets more than its share");
    }
}
