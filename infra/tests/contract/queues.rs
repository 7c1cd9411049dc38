//! Queues: delays, visibility, and the dead letter.

use std::time::Duration;

use domain::delivery::Channel;
use domain::ids::BotId;
use domain::ports::{Job, QueueName, Queues};
use infra::schema::queue;
use infra::sqs::{Consumer, Received, Replayed, SqsQueues};

use crate::gaps::part;
use crate::world::{World, new_call_id, run};

const NOW: Duration = Duration::ZERO;
/// As long as a queue lets anybody wait.
const LONG: Duration = Duration::from_secs(20);

fn queues(world: &World) -> SqsQueues {
    SqsQueues::new(world.clients.sqs.clone(), &world.names)
}

fn bot() -> BotId {
    BotId::parse("bot").unwrap()
}

/// The next message that carries `job`; the queue is this test's alone, so others are none.
async fn next(consumer: &Consumer) -> Received {
    let mut received = consumer.receive(1, LONG).await.unwrap();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

/// All that uses `call-ended`, in one test: the tests of this binary share the queues.
#[test]
fn jobs_are_taken_deleted_given_back_and_die() {
    run(async |world| {
        let queues = queues(world);
        let consumer = queues.consumer(QueueName::CallEnded);
        assert!(consumer.receive(10, NOW).await.unwrap().is_empty());

        let job = Job { call_id: new_call_id(), channel: None };
        queues.send(QueueName::CallEnded, &bot(), &job, NOW).await.unwrap();
        let taken = next(&consumer).await;
        assert_eq!((&taken.job, taken.receive_count), (&job, 1));
        assert!(consumer.receive(10, NOW).await.unwrap().is_empty(), "it is being handled");
        consumer.extend(&taken.receipt, NOW).await.unwrap();
        let again = next(&consumer).await;
        assert_eq!((&again.job, again.receive_count), (&job, 2));
        consumer.delete(&again.receipt).await.unwrap();
        part("a job that is deleted already is deleted again", async {
            consumer.delete(&again.receipt).await.unwrap();
        })
        .await;
        assert!(consumer.receive(10, NOW).await.unwrap().is_empty());

        let job = Job { call_id: new_call_id(), channel: Some(Channel::Webhook) };
        queues.send(QueueName::CallEnded, &bot(), &job, NOW).await.unwrap();
        for time in 1..=queue(QueueName::CallEnded).max_receive_count {
            let taken = next(&consumer).await;
            assert_eq!(taken.receive_count, time);
            consumer.extend(&taken.receipt, NOW).await.unwrap();
        }
        assert!(consumer.receive(10, NOW).await.unwrap().is_empty(), "it is a dead letter");
        replayed(&queues, &consumer, job).await;
    });
}

/// The one dead letter is seen where it lies, and comes again when it is sent on.
async fn replayed(queues: &SqsQueues, consumer: &Consumer, job: Job) {
    let letters = queues.dead_letters(QueueName::CallEnded);
    assert_eq!(letters.count().await.unwrap(), 1);
    let seen = letters.look(10).await.unwrap();
    assert_eq!(seen.iter().map(|letter| letter.job.clone()).collect::<Vec<_>>(), [Some(job.clone())]);
    assert_eq!(letters.replay().await.unwrap(), Replayed { sent: 1, left: 0 });
    let taken = next(consumer).await;
    assert_eq!((&taken.job, taken.receive_count), (&job, 1), "it counts anew");
    consumer.delete(&taken.receipt).await.unwrap();
    assert_eq!(letters.count().await.unwrap(), 0);
}

#[test]
fn a_delayed_job_comes_later_and_nonsense_does_not_come() {
    run(async |world| {
        let queues = queues(world);
        let consumer = queues.consumer(QueueName::Deliveries);
        let job = Job { call_id: new_call_id(), channel: Some(Channel::Push) };
        queues.send(QueueName::Deliveries, &bot(), &job, Duration::from_millis(9_500)).await.unwrap();
        let name = world.names.queue(QueueName::Deliveries);
        let url = world.clients.sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
        world.clients.sqs.send_message().queue_url(url).message_body("{\"call_id\":7}").send().await.unwrap();
        assert!(consumer.receive(10, Duration::from_secs(1)).await.unwrap().is_empty());
        let taken = next(&consumer).await;
        assert_eq!(taken.job, job);
        consumer.delete(&taken.receipt).await.unwrap();
        // Longer than a quick request may take.
        assert!(consumer.receive(10, Duration::from_secs(6)).await.unwrap().is_empty());
    });
}
