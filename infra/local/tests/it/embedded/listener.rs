//! One endpoint for three services: routing, signatures, starting and stopping.

use std::error::Error;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use local::embedded::{EmbeddedError, start};

use super::{ACCESS_KEY, SECRET_KEY, World, config, s3_client, sdk};

#[tokio::test]
async fn one_endpoint_serves_all_three_services() {
    let world = World::start().await;
    assert_eq!(world.aws.endpoint, format!("http://{}", world.aws.address));
    let tables = world.dynamodb.list_tables().send().await.unwrap();
    assert!(tables.table_names().is_empty());
    let queues = world.sqs.list_queues().send().await.unwrap();
    assert!(queues.queue_urls().is_empty());
    let buckets = world.s3.list_buckets().send().await.unwrap();
    assert!(buckets.buckets().is_empty());
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_every_service() {
    let world = World::start().await;
    let sdk = sdk(&world.aws.endpoint, "guessed").await;
    let tables = aws_sdk_dynamodb::Client::new(&sdk).list_tables().send().await;
    assert_eq!(tables.unwrap_err().code(), Some("InvalidSignatureException"));
    let queues = aws_sdk_sqs::Client::new(&sdk).list_queues().send().await;
    assert_eq!(queues.unwrap_err().code(), Some("InvalidSignatureException"));
    let buckets = s3_client(&sdk).list_buckets().send().await;
    assert_eq!(buckets.unwrap_err().code(), Some("SignatureDoesNotMatch"));
}

async fn check_refused(
    world: &World,
    request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    status: u16,
    text: &str,
) {
    let http = reqwest::Client::new();
    let response = request(&http, &world.aws.endpoint).send().await.unwrap();
    assert_eq!(response.status(), status, "{text}");
    let body = response.text().await.unwrap();
    assert!(body.contains(text), "{body}");
}

#[tokio::test]
async fn what_is_not_signed_or_not_ours_is_refused() {
    let world = World::start().await;
    let scope = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20261122/eu-west-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=00"
        )
    };
    let unsigned = "MissingAuthenticationToken";
    for target in ["DynamoDB_20120810.ListTables", "AmazonSQS.ListQueues"] {
        let request = |http: &reqwest::Client, url: &str| http.post(url).header("x-amz-target", target);
        check_refused(&world, request, 403, unsigned).await;
    }
    let bucket = |http: &reqwest::Client, url: &str| http.get(format!("{url}/bucket/key"));
    check_refused(&world, bucket, 403, "AccessDenied").await;
    let forged = |http: &reqwest::Client, url: &str| {
        http.post(url)
            .header("authorization", scope("dynamodb"))
            .header("x-amz-date", "20261122T000000Z")
            .header("x-amz-target", "DynamoDB_20120810.ListTables")
    };
    check_refused(&world, forged, 403, "InvalidSignatureException").await;
    let stranger = |http: &reqwest::Client, url: &str| {
        let scope = scope("sqs").replace(ACCESS_KEY, "somebody");
        http.post(url).header("authorization", scope)
    };
    check_refused(&world, stranger, 403, "UnrecognizedClientException").await;
    let elsewhere = |http: &reqwest::Client, url: &str| http.post(url).header("authorization", scope("kms"));
    check_refused(&world, elsewhere, 400, "not kms").await;
}

#[tokio::test]
async fn a_folder_and_an_address_are_used_once_at_a_time() {
    let world = World::start().await;
    let data = tempfile::tempdir().unwrap();

    let mut taken = config(data.path());
    taken.listen = world.aws.address;
    let error = start(taken).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&world.aws.address.to_string()));

    let first = start(config(data.path())).await.unwrap();
    let error = start(config(data.path())).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error}");
    first.stop().await;
    start(config(data.path())).await.unwrap().stop().await;

    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = start(config(&file)).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Folder { .. }), "{error}");
    assert!(!error.to_string().contains('\n') && error.source().is_some());

    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("dynamodb.sqlite"), "not a database".repeat(100)).unwrap();
    let error = start(config(broken.path())).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Database { .. }), "{error}");
}

#[tokio::test]
async fn stopping_ends_long_polls_and_frees_the_address() {
    let world = World::start().await;
    let made = world.sqs.create_queue().queue_name("q").send().await.unwrap();
    let url = made.queue_url.unwrap();
    let poll = world.sqs.receive_message().queue_url(url).wait_time_seconds(20);
    let poll = tokio::spawn(poll.send());
    // Another answer shows that the listener has taken the poll's connection before we stop; if
    // it had not, the poll would fail to connect, which is an end as well.
    world.sqs.list_queues().send().await.unwrap();
    let address = world.aws.address;
    world.aws.stop().await;
    if let Ok(answer) = poll.await.unwrap() {
        assert!(answer.messages().is_empty());
    }
    tokio::net::TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn the_secret_stays_out_of_debug_output() {
    let config = config(std::path::Path::new("/data"));
    let text = format!("{config:?}");
    assert!(text.contains(ACCESS_KEY) && !text.contains(SECRET_KEY), "{text}");
}
