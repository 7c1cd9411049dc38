//! `ringfleet queue`: what was given up is seen, and sent on to who does it.

use domain::ids::CallId;
use domain::ports::QueueName;
use infra::aws::connect;
use infra::config::{AwsConfig, NamesConfig};
use infra::schema::Names;
use infra::sqs::SqsQueues;
use serde_json::{Value, json};

use super::process::{World, run, within};

#[tokio::test]
async fn dead_letters_are_listed_and_replayed() {
    let world = World::new();
    let credentials = ["--set=aws.access_key_id=test", "--set=aws.secret_access_key=test"];
    let running = world.up(&credentials).await;
    let endpoint = running.ready["aws"]["endpoint"].as_str().unwrap().to_owned();
    let config = AwsConfig {
        endpoint: Some(endpoint.clone()),
        region: None,
        access_key_id: Some("test".into()),
        secret_access_key: Some("test".into()),
    };
    let (clients, names) = (connect(&config).await, Names::new(&NamesConfig::default()));
    let command = async |arguments: &[&str]| {
        let mut command = world.command([&["queue"], arguments].concat());
        command.env("AWS_ENDPOINT_URL", &endpoint);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        run(command).await
    };
    let said = command(&["list", "--json"]).await;
    let empty: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(empty["queues"][1], json!({"queue": "deliveries", "dead_letters": 0, "letters": []}));

    let call = CallId::from_parts(1_800_000_000_000, [7; 10]);
    let dead = clients.sqs.get_queue_url().queue_name(names.dead_letters(QueueName::Deliveries)).send().await.unwrap();
    let dead = dead.queue_url.unwrap();
    for body in [json!({"call_id": call, "channel": "push"}).to_string(), "hunter2".to_owned()] {
        clients.sqs.send_message().queue_url(&dead).message_body(body).send().await.unwrap();
    }
    let said = command(&["list"]).await;
    assert!(said.code == Some(0) && said.stdout.contains("deliveries: 2 dead letters"), "{said:?}");
    assert!(said.stdout.contains(&format!("call {call}")) && said.stdout.contains("no job"), "{said:?}");
    assert!(!said.stdout.contains("hunter2") && said.stdout.contains("ringfleet queue replay"), "{said:?}");

    let said = command(&["replay", "--queue", "deliveries"]).await;
    assert_eq!(said.code, Some(1), "something is left: {said:?}");
    assert!(said.stdout.contains("deliveries: 1 sent on; 1 are no jobs"), "{said:?}");
    // Whoever works on the queue finds nothing to do with it, and is done.
    let queues = SqsQueues::new(clients.sqs.clone(), &names);
    assert_eq!(queues.dead_letters(QueueName::Deliveries).count().await.unwrap(), 1);
    let live = clients.sqs.get_queue_url().queue_name(names.queue(QueueName::Deliveries)).send().await.unwrap();
    let live = live.queue_url.unwrap();
    within(async {
        let left = async || {
            let all = aws_sdk_sqs::types::QueueAttributeName::All;
            let answer = clients.sqs.get_queue_attributes().queue_url(&live).attribute_names(all).send().await.unwrap();
            let all = answer.attributes.unwrap();
            let count = |name: &str| {
                let found = all.iter().find(|(key, _)| key.as_str() == name);
                found.map_or(0, |(_, text)| text.parse::<u32>().unwrap())
            };
            count("ApproximateNumberOfMessages") + count("ApproximateNumberOfMessagesNotVisible")
        };
        while left().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let said = command(&["replay", "--json"]).await;
    let again: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(again["queues"][1]["sent"], 0, "{again}");
}
