//! What the queue gives up is not lost: the row is the truth, and `sweep` finds it.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{Channel, DeliveryState};
use domain::ports::{Job, QueueName};
use infra::guarded::EgressPolicy;
use infra::schema::queue;
use infra::sqs::{Consumer, Replayed};

use crate::internet::{Internet, OK, Play};
use crate::plant::Plant;

/// The next message; the queue is this test's alone.
async fn next(consumer: &Consumer) -> infra::sqs::Received {
    let mut received = consumer.receive(1, Duration::from_secs(20)).await.unwrap();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

/// A rendered push whose message five workers took and died over: its CRM, the platform, the message, and its queue.
async fn dead_letter() -> (Internet, Plant, Job, Consumer) {
    let net = Internet::start([Play::text(OK)]).await;
    let plant = Plant::start(Arc::new(net.client(EgressPolicy::default(), "crm.test=93.184.216.34"))).await;
    let bot = plant.bot("https://crm.test/api").await;
    let call = plant.rendered(&bot.bot_id).await;
    let job = Job { call_id: call, channel: Some(Channel::Push) };
    // Five workers take the message and die.
    let consumer = plant.queues.consumer(QueueName::Deliveries);
    for _ in 0..queue(QueueName::Deliveries).max_receive_count {
        let taken = next(&consumer).await;
        assert_eq!(taken.job, job);
        consumer.extend(&taken.receipt, Duration::ZERO).await.unwrap();
    }
    (net, plant, job, consumer)
}

#[tokio::test]
async fn a_dead_letter_loses_nothing_and_replaying_it_does_no_harm() {
    let (net, plant, job, consumer) = dead_letter().await;
    let call = job.call_id;
    assert!(consumer.receive(1, Duration::ZERO).await.unwrap().is_empty(), "it is a dead letter");
    assert_eq!(plant.delivery(call).await.state, DeliveryState::Pending);

    // The next sweep that finds it overdue sends it anew.
    plant.set(plant.now() + Duration::from_secs(31));
    let report = functions::sweep::pass(&(&plant.platform).into()).await.unwrap();
    assert_eq!(report.deliveries, 1);
    let taken = next(&consumer).await;
    functions::push::handle(&(&plant.platform).into(), &taken.job).await.unwrap();
    consumer.delete(&taken.receipt).await.unwrap();
    assert_eq!((plant.delivery(call).await.state, net.seen().len()), (DeliveryState::Delivered, 1));

    // An operator moves the dead letter back: it finds nothing to do.
    let dead = plant.queues.dead_letters(QueueName::Deliveries);
    assert_eq!(dead.look(10).await.unwrap()[0].job, Some(job.clone()));
    assert_eq!(dead.replay().await.unwrap(), Replayed { sent: 1, left: 0 });
    let taken = next(&consumer).await;
    assert_eq!(taken.job, job);
    functions::push::handle(&(&plant.platform).into(), &taken.job).await.unwrap();
    assert_eq!((plant.delivery(call).await.tries, net.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_ends_in_a_delivered_push() {
    let (net, plant, job, consumer) = dead_letter().await;
    let call = job.call_id;
    assert!(consumer.receive(1, Duration::ZERO).await.unwrap().is_empty(), "it is a dead letter");
    // One that is no job lies beside it, and more than are taken at once.
    let name = plant.names.dead_letters(QueueName::Deliveries);
    let url = plant.clients.sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let put =
        async |body: String| plant.clients.sqs.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    put("hunter2".to_owned()).await;
    for _ in 0..11 {
        put(serde_json::to_string(&job).unwrap()).await;
    }

    let dead = plant.queues.dead_letters(QueueName::Deliveries);
    assert_eq!(dead.count().await.unwrap(), 13);
    let seen = dead.look(100).await.unwrap();
    assert_eq!((seen.len(), seen.iter().filter(|letter| letter.job.as_ref() == Some(&job)).count()), (13, 12));
    assert_eq!((dead.look(3).await.unwrap().len(), dead.count().await.unwrap()), (3, 13), "they stay");
    assert_eq!(dead.replay().await.unwrap(), Replayed { sent: 12, left: 1 });
    assert_eq!(dead.count().await.unwrap(), 1, "what is no job is not thrown away");

    for _ in 0..12 {
        let taken = next(&consumer).await;
        functions::push::handle(&(&plant.platform).into(), &taken.job).await.unwrap();
        consumer.delete(&taken.receipt).await.unwrap();
    }
    assert_eq!((plant.delivery(call).await.state, net.seen().len()), (DeliveryState::Delivered, 1), "and once");
}
