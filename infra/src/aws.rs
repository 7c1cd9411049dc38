//! The AWS clients, built once from [`AwsConfig`]; their time limits and tries are set here and nowhere else.
//! It must never hold a credential longer than the SDK needs it, and never ask which environment it is in.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, Region};
use secrecy::ExposeSecret;

use crate::config::AwsConfig;

/// No connection within this: the service is not there.
const CONNECT: Duration = Duration::from_secs(1);
/// Tries of one operation, the first included.
const TRIES: u32 = 2;
/// One try of a DynamoDB, Secrets Manager or KMS request, and both together.
const QUICK_TRY: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_secs(5);
/// A long poll lasts 20 s; a try and all tries.
const POLL_TRY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(65);
/// One object or one part of it; a try and all tries.
const TRANSFER_TRY: Duration = Duration::from_secs(60);
const TRANSFER: Duration = Duration::from_secs(125);

/// One client a service.
#[derive(Debug, Clone)]
pub struct Clients {
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub s3: aws_sdk_s3::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub kms: aws_sdk_kms::Client,
    /// The region that was settled on.
    pub region: String,
}

/// Builds the clients. What `config` leaves open, the SDK takes from its usual places (`AWS_ENDPOINT_URL`,
/// `AWS_REGION`, the credential chain); without any region it is `us-east-1`.
pub async fn connect(config: &AwsConfig) -> Clients {
    let (shared, region) = shared(config).await;
    Clients {
        dynamodb: aws_sdk_dynamodb::Client::new(&shared),
        sqs: sqs(&shared),
        s3: s3(&shared),
        secrets: aws_sdk_secretsmanager::Client::new(&shared),
        kms: aws_sdk_kms::Client::new(&shared),
        region,
    }
}

/// A client of EC2's Auto Scaling, for a server whose machine belongs to a group; as [`connect`].
pub async fn auto_scaling(config: &AwsConfig) -> aws_sdk_autoscaling::Client {
    aws_sdk_autoscaling::Client::new(&shared(config).await.0)
}

/// What all clients share, and the region that was settled on.
async fn shared(config: &AwsConfig) -> (SdkConfig, String) {
    let region = config
        .region
        .clone()
        .or_else(|| std::env::var("AWS_REGION").ok())
        .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok());
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.clone()))
        .retry_config(retries())
        .timeout_config(quick());
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        loader =
            loader.credentials_provider(Credentials::new(id, secret.expose_secret(), None, None, "ringfleet config"));
    }
    (loader.load().await, region)
}

/// The client of SQS, beside what all clients share.
fn sqs(shared: &SdkConfig) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::config::Builder::from(shared).timeout_config(timeouts(POLL_TRY, POLL));
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// The client of S3, beside what all clients share.
pub(crate) fn s3(shared: &SdkConfig) -> aws_sdk_s3::Client {
    // Only AWS itself serves buckets as host names.
    let path_style = shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let config = aws_sdk_s3::config::Builder::from(shared)
        .timeout_config(timeouts(TRANSFER_TRY, TRANSFER))
        .force_path_style(path_style);
    aws_sdk_s3::Client::from_conf(config.build())
}

pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(TRIES)
}

/// The limits of whoever has none of its own.
pub(crate) fn quick() -> TimeoutConfig {
    timeouts(QUICK_TRY, QUICK)
}

/// Every limit is named: one that is not would be taken from the clients' shared settings.
fn timeouts(one_try: Duration, all: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(one_try).operation_timeout(all).build()
}
