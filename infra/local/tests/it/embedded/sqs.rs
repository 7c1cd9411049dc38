//! SQS as the platform uses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::{SECRET_KEY, World, sdk};

async fn create(sqs: &Client, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
    let mut request = sqs.create_queue().queue_name(name);
    for (name, value) in attributes {
        request = request.attributes(name.clone(), *value);
    }
    request.send().await.unwrap().queue_url.unwrap()
}

async fn send(sqs: &Client, url: &str, body: &str) {
    let request = sqs.send_message().queue_url(url).message_body(body);
    request.send().await.unwrap();
}

async fn receive(sqs: &Client, url: &str, wait: i32) -> Vec<Message> {
    let request = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(wait)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    request.send().await.unwrap().messages.unwrap_or_default()
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter_map(Message::body).collect()
}

async fn counts(sqs: &Client, url: &str) -> [String; 3] {
    let request = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
    let attributes = request.send().await.unwrap().attributes.unwrap();
    [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ]
    .map(|name| attributes[&name].clone())
}

async fn arn(sqs: &Client, url: &str) -> String {
    let name = QueueAttributeName::QueueArn;
    let request = sqs.get_queue_attributes().queue_url(url).attribute_names(name.clone());
    let attributes = request.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes.len(), 1, "only what was asked for");
    attributes[&name].clone()
}

#[tokio::test]
async fn queues_are_made_and_found_again() {
    let World { sqs, aws, .. } = &World::start().await;
    let visibility = (QueueAttributeName::VisibilityTimeout, "7");
    let url = create(sqs, "call-ended", std::slice::from_ref(&visibility)).await;
    assert_eq!(url, format!("{}/000000000000/call-ended", aws.endpoint));
    assert_eq!(create(sqs, "call-ended", &[visibility]).await, url, "made again");
    let found = sqs.get_queue_url().queue_name("call-ended").send().await.unwrap();
    assert_eq!(found.queue_url(), Some(&*url));
    assert_eq!(arn(sqs, &url).await, "arn:aws:sqs:eu-west-1:000000000000:call-ended");

    let other = sqs.create_queue().queue_name("call-ended").attributes(QueueAttributeName::VisibilityTimeout, "8");
    let error = other.send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_name_exists(), "{error:?}");
    let missing = sqs.get_queue_url().queue_name("nope").send().await;
    let error = missing.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let missing = sqs.send_message().queue_url(format!("{url}x")).message_body("x");
    let error = missing.send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
}

#[tokio::test]
async fn queue_urls_bear_the_name_the_client_uses() {
    let World { sqs, aws, .. } = &World::start().await;
    create(sqs, "q", &[]).await;
    let by_name = format!("http://localhost:{}", aws.address.port());
    let other = Client::new(&sdk(&by_name, SECRET_KEY).await);
    let found = other.get_queue_url().queue_name("q").send().await.unwrap();
    let url = found.queue_url.unwrap();
    assert_eq!(url, format!("{by_name}/000000000000/q"));
    let listed = other.list_queues().queue_name_prefix("q").send().await.unwrap();
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&url));
    // Either name leads to the same queue.
    send(&other, &url, "x").await;
    let ours = format!("{}/000000000000/q", aws.endpoint);
    assert_eq!(bodies(&receive(sqs, &ours, 0).await), ["x"]);
}

#[tokio::test]
async fn a_message_is_invisible_until_its_timeout_and_gone_when_deleted() {
    let World { sqs, .. } = &World::start().await;
    // Longer than a machine stands still: what is said of its invisibility is said within it.
    let url = create(sqs, "q", &[(QueueAttributeName::VisibilityTimeout, "10")]).await;
    let number = MessageAttributeValue::builder().data_type("Number").string_value("3");
    let binary = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(aws_sdk_sqs::primitives::Blob::new([0u8, 255]));
    let request = sqs
        .send_message()
        .queue_url(&url)
        .message_body("{\"call\":\"ü\"}")
        .message_attributes("attempt", number.build().unwrap())
        .message_attributes("raw", binary.build().unwrap())
        .message_group_id("tenant-1");
    request.send().await.unwrap();

    let first = receive(sqs, &url, 0).await;
    assert_eq!(bodies(&first), ["{\"call\":\"ü\"}"]);
    let attributes = first[0].message_attributes().unwrap();
    assert_eq!(attributes["attempt"].string_value(), Some("3"));
    assert_eq!(attributes["raw"].binary_value().unwrap().as_ref(), [0, 255]);
    let system = first[0].attributes().unwrap();
    assert_eq!(system[&MessageSystemAttributeName::ApproximateReceiveCount], "1");
    assert_eq!(system[&MessageSystemAttributeName::MessageGroupId], "tenant-1");
    assert_eq!(counts(sqs, &url).await, ["0", "1", "0"]);
    assert!(receive(sqs, &url, 0).await.is_empty(), "invisible");

    let second = receive(sqs, &url, 20).await;
    let system = second[0].attributes().unwrap();
    assert_eq!(system[&MessageSystemAttributeName::ApproximateReceiveCount], "2");
    let visible = |timeout| {
        let request = sqs.change_message_visibility().queue_url(&url);
        let receipt = second[0].receipt_handle().unwrap();
        request.receipt_handle(receipt).visibility_timeout(timeout).send()
    };
    visible(0).await.unwrap();
    assert_eq!(counts(sqs, &url).await, ["1", "0", "0"], "waits for another try");
    let error = visible(5).await.unwrap_err().into_service_error();
    assert!(error.is_message_not_inflight(), "{error:?}");

    let third = receive(sqs, &url, 0).await;
    let delete = || {
        let request = sqs.delete_message().queue_url(&url);
        request.receipt_handle(third[0].receipt_handle().unwrap()).send()
    };
    delete().await.unwrap();
    delete().await.unwrap();
    assert_eq!(counts(sqs, &url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn a_long_poll_gets_a_message_when_it_is_sent_or_due() {
    let World { sqs, .. } = &World::start().await;
    let url = create(sqs, "q", &[]).await;
    let poll = tokio::spawn({
        let (sqs, url) = (sqs.clone(), url.clone());
        async move { receive(&sqs, &url, 20).await }
    });
    send(sqs, &url, "now").await;
    assert_eq!(bodies(&poll.await.unwrap()), ["now"]);

    let delayed = |seconds: i32| {
        let request = sqs.send_message().queue_url(&url).message_body(format!("{seconds}"));
        request.delay_seconds(seconds).send()
    };
    delayed(10).await.unwrap();
    delayed(900).await.unwrap();
    assert_eq!(counts(sqs, &url).await, ["0", "1", "2"]);
    assert!(receive(sqs, &url, 0).await.is_empty(), "not due");
    assert_eq!(bodies(&receive(sqs, &url, 20).await), ["10"]);
    let error = delayed(901).await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidParameterValue"));
    assert!(receive(sqs, &url, 1).await.is_empty(), "a poll ends in time");
}

#[tokio::test]
async fn what_fails_too_often_goes_to_the_dead_letter_queue() {
    let World { sqs, .. } = &World::start().await;
    let dead = create(sqs, "dead", &[]).await;
    let target = arn(sqs, &dead).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{target}","maxReceiveCount":2}}"#);
    let redrive = (QueueAttributeName::RedrivePolicy, &*policy);
    let url = create(sqs, "work", std::slice::from_ref(&redrive)).await;
    assert_eq!(create(sqs, "work", &[redrive]).await, url, "made again");
    send(sqs, &url, "poison").await;
    for _ in 0..2 {
        let got = receive(sqs, &url, 0).await;
        assert_eq!(bodies(&got), ["poison"]);
        let request = sqs.change_message_visibility().queue_url(&url).visibility_timeout(0);
        let request = request.receipt_handle(got[0].receipt_handle().unwrap());
        request.send().await.unwrap();
    }
    let waiting = tokio::spawn({
        let sqs = sqs.clone();
        async move { receive(&sqs, &dead, 20).await }
    });
    assert!(receive(sqs, &url, 0).await.is_empty());
    assert_eq!(bodies(&waiting.await.unwrap()), ["poison"]);
    assert_eq!(counts(sqs, &url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn batches_report_each_entry() {
    let World { sqs, .. } = &World::start().await;
    let url = create(sqs, "q", &[]).await;
    let mut batch = sqs.send_message_batch().queue_url(&url);
    for id in ["a", "b", "c"] {
        let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(id);
        batch = batch.entries(entry.message_group_id("g").build().unwrap());
    }
    let sent = batch.send().await.unwrap();
    assert_eq!((sent.successful().len(), sent.failed().len()), (3, 0));

    let got = receive(sqs, &url, 0).await;
    assert_eq!(bodies(&got), ["a", "b", "c"]);
    let receipts: HashMap<_, _> =
        got.iter().map(|message| (message.body().unwrap(), message.receipt_handle().unwrap())).collect();
    let mut batch = sqs.delete_message_batch().queue_url(&url);
    for (id, receipt) in [("a", receipts["a"]), ("x", "nonsense"), ("c", receipts["c"])] {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(receipt);
        batch = batch.entries(entry.build().unwrap());
    }
    let deleted = batch.send().await.unwrap();
    let ok: Vec<_> = deleted.successful().iter().map(|entry| entry.id()).collect();
    assert_eq!(ok, ["a", "c"]);
    let failed = &deleted.failed()[0];
    assert_eq!((failed.id(), failed.code()), ("x", "ReceiptHandleIsInvalid"));
    assert_eq!(counts(sqs, &url).await, ["0", "1", "0"]);
}

#[tokio::test]
async fn competing_receivers_share_the_messages() {
    let World { sqs, .. } = &World::start().await;
    let url = create(sqs, "q", &[]).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let mut receivers = Vec::new();
    for _ in 0..8 {
        let (sqs, url, taken) = (sqs.clone(), url.clone(), taken.clone());
        receivers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let got = receive(&sqs, &url, 1).await;
                // Nothing may come for a while before all has come, if the sender is slow.
                if got.is_empty() && taken.load(Ordering::SeqCst) >= 40 {
                    return mine;
                }
                taken.fetch_add(got.len(), Ordering::SeqCst);
                mine.extend(got.into_iter().filter_map(|message| message.body));
            }
        }));
    }
    for n in 0..40 {
        send(sqs, &url, &n.to_string()).await;
    }
    let mut all: Vec<u32> = Vec::new();
    for receiver in receivers {
        let mine = tokio::time::timeout(Duration::from_secs(120), receiver).await.expect("a message is lost").unwrap();
        all.extend(mine.iter().map(|body| body.parse::<u32>().unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>(), "each message to one receiver");
}
