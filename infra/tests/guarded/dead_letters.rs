//! What the queue gives up is not lost: the row is the truth, and `sweep` finds it.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{Channel, DeliveryState};
use domain::ports::{Job, QueueName};
use infra::guarded::EgressPolicy;
use infra::schema::queue;
use infra::sqs::Consumer;

use crate::internet::{Internet, OK, Play};
use crate::plant::Plant;

/// The next message; the queue is this test's alone.
async fn next(consumer: &Consumer) -> infra::sqs::Received {
    let mut received = consumer.receive(1, Duration::from_secs(10)).await.unwrap();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

#[tokio::test]
async fn a_dead_letter_loses_nothing_and_replaying_it_does_no_harm() {
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
    assert!(consumer.receive(1, Duration::ZERO).await.unwrap().is_empty(), "it is a dead letter");
    assert_eq!(plant.delivery(call).await.state, DeliveryState::Pending);

    // The next sweep that finds it overdue sends it anew.
    plant.set(plant.now() + Duration::from_secs(31));
    let report = functions::sweep::pass(&plant.platform).await.unwrap();
    assert_eq!(report.deliveries, 1);
    let taken = next(&consumer).await;
    functions::push::handle(&plant.platform, &taken.job).await.unwrap();
    consumer.delete(&taken.receipt).await.unwrap();
    assert_eq!((plant.delivery(call).await.state, net.seen().len()), (DeliveryState::Delivered, 1));

    // An operator moves the dead letter back: it finds nothing to do.
    let name = plant.names.dead_letters(QueueName::Deliveries);
    let sqs = &plant.clients.sqs;
    let dead = sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let letters = sqs.receive_message().queue_url(dead).wait_time_seconds(5).send().await.unwrap();
    let letter: Job = serde_json::from_str(letters.messages()[0].body().unwrap()).unwrap();
    assert_eq!(letter, job);
    functions::push::handle(&plant.platform, &letter).await.unwrap();
    assert_eq!((plant.delivery(call).await.tries, net.seen().len()), (1, 1));
}
