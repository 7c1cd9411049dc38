//! Queues without HTTP: what a client can't see from outside, or only by waiting.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Caller, Sqs};

struct Client {
    sqs: Sqs,
    stop: watch::Sender<bool>,
}

impl Client {
    fn new() -> Self {
        Self { sqs: Sqs::default(), stop: watch::channel(false).0 }
    }

    async fn ask(&self, operation: &str, mut body: Value) -> Value {
        body["QueueUrl"] = "http://any.host:1/000000000000/q".into();
        let caller = Caller { region: "eu-west-1".into(), base: "http://me:2".into() };
        let body = body.to_string();
        let stopped = self.stop.subscribe();
        let (_, answer) = self.sqs.answer(caller, operation, body.as_bytes(), stopped).await;
        serde_json::from_str(&answer).unwrap()
    }

    async fn with_queue(attributes: Value) -> Self {
        let client = Self::new();
        let body = json!({"QueueName": "q", "Attributes": attributes});
        let made = client.ask("CreateQueue", body).await;
        assert_eq!(made["QueueUrl"], "http://me:2/000000000000/q");
        client
    }

    async fn bodies(&self, receive: Value) -> Vec<String> {
        let answer = self.ask("ReceiveMessage", receive).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
    }

    fn remembered(&self) -> (usize, usize) {
        let regions = self.sqs.regions.lock().unwrap();
        let queue = &regions["eu-west-1"].queues["q"];
        (queue.messages.len(), queue.deleted_handles.len())
    }
}

async fn check_refused(operation: &str, body: Value, code: &str) {
    let client = Client::with_queue(json!({})).await;
    let answer = client.ask(operation, body.clone()).await;
    assert_eq!(answer["__type"], code, "{operation} {body}: {answer}");
}

#[tokio::test]
async fn what_aws_refuses_is_refused() {
    let invalid = "InvalidParameterValue";
    check_refused("SendMessage", json!({"MessageBody": "x", "DelaySeconds": 901}), invalid).await;
    check_refused("SendMessage", json!({"MessageBody": "x", "DelaySeconds": -1}), invalid).await;
    check_refused("SendMessage", json!({"MessageBody": "x".repeat(262_145)}), invalid).await;
    check_refused("SendMessage", json!({"MessageBody": ""}), "MissingParameter").await;
    check_refused("SendMessage", json!({}), invalid).await;
    check_refused("ReceiveMessage", json!({"MaxNumberOfMessages": 11}), invalid).await;
    check_refused("ReceiveMessage", json!({"MaxNumberOfMessages": 0}), invalid).await;
    check_refused("ReceiveMessage", json!({"WaitTimeSeconds": 21}), invalid).await;
    let change = json!({"ReceiptHandle": "nonsense", "VisibilityTimeout": 5});
    check_refused("ChangeMessageVisibility", change, "ReceiptHandleIsInvalid").await;
    let change = json!({"ReceiptHandle": "nonsense", "VisibilityTimeout": 43_201});
    check_refused("ChangeMessageVisibility", change, invalid).await;
    check_refused("DeleteMessage", json!({"ReceiptHandle": "x"}), "ReceiptHandleIsInvalid").await;
    check_refused("Frobnicate", json!({}), "InvalidAction").await;

    let entry = |id: &str| json!({"Id": id, "MessageBody": "x"});
    let ids = |ids: &[&str]| json!({"Entries": ids.iter().map(|id| entry(id)).collect::<Vec<_>>()});
    let batch = "SendMessageBatch";
    let prefix = "AWS.SimpleQueueService.";
    check_refused(batch, ids(&[]), &format!("{prefix}EmptyBatchRequest")).await;
    check_refused(batch, ids(&["a", "a"]), &format!("{prefix}BatchEntryIdsNotDistinct")).await;
    let eleven = ids(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
    check_refused(batch, eleven, &format!("{prefix}TooManyEntriesInBatchRequest")).await;

    let set = |name: &str, value: &str| json!({"Attributes": {name: value}});
    let attributes = "SetQueueAttributes";
    check_refused(attributes, set("VisibilityTimeout", "x"), "InvalidAttributeValue").await;
    check_refused(attributes, set("DelaySeconds", "901"), "InvalidAttributeValue").await;
    check_refused(attributes, set("Visibility", "1"), "InvalidAttributeName").await;
    let to_nowhere = r#"{"deadLetterTargetArn":"arn:aws:sqs:r:0:no","maxReceiveCount":3}"#;
    check_refused(attributes, set("RedrivePolicy", to_nowhere), invalid).await;
    let no_count = r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:q"}"#;
    check_refused(attributes, set("RedrivePolicy", no_count), invalid).await;
    let fifo = json!({"QueueName": "q.fifo"});
    check_refused("CreateQueue", fifo, &format!("{prefix}UnsupportedOperation")).await;
    let same_name = json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "7"}});
    check_refused("CreateQueue", same_name, "QueueAlreadyExists").await;
}

#[tokio::test]
async fn queues_of_two_regions_are_two_queues() {
    let client = Client::with_queue(json!({})).await;
    let elsewhere = Caller { region: "us-east-1".into(), base: "http://me".into() };
    let body = br#"{"QueueName": "q"}"#;
    let stopped = client.stop.subscribe();
    let (_, answer) = client.sqs.answer(elsewhere, "GetQueueUrl", body, stopped).await;
    assert!(answer.contains("AWS.SimpleQueueService.NonExistentQueue"), "{answer}");
}

#[tokio::test]
async fn nothing_is_remembered_of_deleted_messages() {
    let client = Client::with_queue(json!({})).await;
    for _ in 0..3 {
        client.ask("SendMessage", json!({"MessageBody": "x"})).await;
        let got = client.ask("ReceiveMessage", json!({})).await;
        let receipt = json!({"ReceiptHandle": got["Messages"][0]["ReceiptHandle"]});
        assert_eq!(client.ask("DeleteMessage", receipt.clone()).await, json!({}));
        assert_eq!(client.ask("DeleteMessage", receipt).await, json!({}), "twice is fine");
    }
    assert_eq!(client.remembered(), (0, 0));
}

#[tokio::test]
async fn messages_past_their_retention_are_gone() {
    let client = Client::with_queue(json!({"MessageRetentionPeriod": "60"})).await;
    client.ask("SendMessage", json!({"MessageBody": "old"})).await;
    client.ask("SendMessage", json!({"MessageBody": "new"})).await;
    {
        let mut regions = client.sqs.regions.lock().unwrap();
        let queue = regions.get_mut("eu-west-1").unwrap().queues.get_mut("q").unwrap();
        queue.messages[0].sent_timestamp -= 61_000;
    }
    assert_eq!(client.bodies(json!({"MaxNumberOfMessages": 10})).await, ["new"]);
    assert_eq!(client.remembered().0, 1);
}

#[tokio::test]
async fn a_failing_entry_leaves_the_rest_of_its_batch_alone() {
    let client = Client::with_queue(json!({})).await;
    let entries = json!({"Entries": [
        {"Id": "a", "MessageBody": "x"},
        {"Id": "b", "MessageBody": ""},
        {"Id": "c", "MessageBody": "y"},
    ]});
    let answer = client.ask("SendMessageBatch", entries).await;
    let ids = |list: &str| -> Vec<String> {
        let entries = answer[list].as_array().unwrap().iter();
        entries.map(|entry| entry["Id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("Successful"), ["a", "c"]);
    assert_eq!(ids("Failed"), ["b"]);
    assert_eq!(client.bodies(json!({"MaxNumberOfMessages": 10})).await, ["x", "y"]);
}

/// Sends `count` messages `{group}0`, `{group}1`, … of a group.
async fn send_group(client: &Client, group: &str, count: usize) {
    for number in 0..count {
        let body = json!({"MessageBody": format!("{group}{number}"), "MessageGroupId": group});
        client.ask("SendMessage", body).await;
    }
}

#[tokio::test]
async fn a_backlog_of_one_group_stands_in_nobodys_way() {
    let client = Client::with_queue(json!({})).await;
    let ten = || json!({"MaxNumberOfMessages": 10});
    send_group(&client, "a", 3_000).await;
    assert_eq!(client.bodies(ten()).await, ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"]);
    send_group(&client, "b", 2).await;
    send_group(&client, "c", 1).await;
    // Who has the fewest in flight goes first; what is left over is for the others, up to their share.
    let mut second = client.bodies(ten()).await;
    second.sort();
    assert_eq!(second, ["a10", "a11", "a12", "a13", "a14", "a15", "b0", "b1", "c0"]);
    assert_eq!(client.bodies(ten()).await, [""; 0], "16 of a are in flight");
    send_group(&client, "d", 1).await;
    assert_eq!(client.bodies(ten()).await, ["d0"]);
    assert_eq!(client.remembered().0, 3_004, "nothing is lost");
}

#[tokio::test]
async fn a_group_gets_its_next_message_when_one_is_done() {
    let client = Client::with_queue(json!({})).await;
    send_group(&client, "a", 20).await;
    let mut receipts = Vec::new();
    for _ in 0..2 {
        let got = client.ask("ReceiveMessage", json!({"MaxNumberOfMessages": 10})).await;
        receipts.extend(got["Messages"].as_array().unwrap().iter().map(|message| message["ReceiptHandle"].clone()));
    }
    assert_eq!(receipts.len(), 16);
    client.ask("DeleteMessage", json!({"ReceiptHandle": receipts[0]})).await;
    client.ask("ChangeMessageVisibility", json!({"ReceiptHandle": receipts[1], "VisibilityTimeout": 0})).await;
    // The one that was given back is the older one.
    assert_eq!(client.bodies(json!({"MaxNumberOfMessages": 10})).await, ["a1", "a16"]);
}

#[tokio::test]
async fn messages_without_a_group_have_no_share() {
    let client = Client::with_queue(json!({})).await;
    for _ in 0..30 {
        client.ask("SendMessage", json!({"MessageBody": "x"})).await;
    }
    for _ in 0..3 {
        assert_eq!(client.bodies(json!({"MaxNumberOfMessages": 10})).await.len(), 10);
    }
}

/// Polls for 20 s while `act` happens. What is to wake the poll has done so after one turn of the
/// scheduler; a poll that still sleeps then is cut off and comes back empty.
async fn check_wakes(poll: Value, act: impl AsyncFn(&Client), expect: &[&str]) {
    let client = Client::with_queue(json!({"ReceiveMessageWaitTimeSeconds": "20"})).await;
    let then_stop = async {
        act(&client).await;
        tokio::task::yield_now().await;
        client.stop.send_replace(true);
    };
    let (bodies, ()) = tokio::join!(biased; client.bodies(poll), then_stop);
    assert_eq!(bodies, expect);
}

#[tokio::test]
async fn a_long_poll_wakes_on_a_send_and_ends_with_the_process() {
    let send = async |client: &Client| {
        client.ask("SendMessage", json!({"MessageBody": "x"})).await;
    };
    let send_later = async |client: &Client| {
        client.ask("SendMessage", json!({"MessageBody": "x", "DelaySeconds": 900})).await;
    };
    let batch = async |client: &Client| {
        let entries = json!([{"Id": "a", "MessageBody": "x"}]);
        client.ask("SendMessageBatch", json!({"Entries": entries})).await;
    };
    let nothing = async |_: &Client| {};
    check_wakes(json!({}), send, &["x"]).await;
    check_wakes(json!({"WaitTimeSeconds": 10}), batch, &["x"]).await;
    check_wakes(json!({"WaitTimeSeconds": 0}), send, &[]).await;
    check_wakes(json!({}), send_later, &[]).await;
    check_wakes(json!({}), nothing, &[]).await;
}
