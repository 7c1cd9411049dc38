//! The embedded AWS as the platform uses it: the Rust SDK, over HTTP, through one endpoint.

mod durability;
mod dynamodb;
mod listener;
mod s3;
mod sqs;

use std::path::Path;

use local::embedded::{Embedded, EmbeddedConfig, start};
use tempfile::TempDir;

const ACCESS_KEY: &str = "embedded";
const SECRET_KEY: &str = "embedded-secret";

/// A running embedded AWS on a folder of its own, with clients of all three services.
struct World {
    aws: Embedded,
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    _data: TempDir,
}

impl World {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let aws = start(config(data.path())).await.unwrap();
        let sdk = sdk(&aws.endpoint, SECRET_KEY).await;
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&sdk),
            s3: s3_client(&sdk),
            sqs: aws_sdk_sqs::Client::new(&sdk),
            aws,
            _data: data,
        }
    }
}

pub(crate) fn config(data: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        data: data.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        access_key: ACCESS_KEY.into(),
        secret_key: SECRET_KEY.into(),
    }
}

async fn sdk(endpoint: &str, secret_key: &str) -> aws_config::SdkConfig {
    let keys = aws_sdk_dynamodb::config::Credentials::new(ACCESS_KEY, secret_key, None, None, "test");
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region("eu-west-1")
        .credentials_provider(keys)
        .endpoint_url(endpoint)
        .load()
        .await
}

fn s3_client(sdk: &aws_config::SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}
