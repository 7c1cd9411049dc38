//! Adapters one by one, for a program that uses a few of them: a Lambda function links and starts what its handler is
//! given, and no more. It must never look for credentials anywhere but in the environment, where Lambda puts them: profile
//! files and metadata services cost a cold start milliseconds, and are the business of other programs (`aws::connect`).

use std::sync::{Arc, OnceLock};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use thiserror::Error;

use crate::aws;
use crate::clock::SystemClock;
use crate::config::{EgressConfig, NamesConfig};
use crate::dynamodb::{
    DynamoApiKeys, DynamoBots, DynamoCalls, DynamoDeliveries, DynamoEndpoints, DynamoHousekeeping, DynamoIdempotency,
    DynamoSealedRows, DynamoServers, DynamoSpend, DynamoTrunks,
};
use crate::fleet_client::FleetClient;
use crate::guarded::GuardedClient;
use crate::s3::S3Objects;
use crate::schema::Names;
use crate::seal::{KeyWrap, KmsKey};
use crate::secrets::DeploymentSecrets;
use crate::sqs::SqsQueues;

/// The environment is not that of a Lambda function.
#[derive(Debug, Error)]
#[error("the environment names no region: set AWS_REGION, as Lambda does")]
pub struct NoRegion;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Builds adapters when they are asked for.
#[derive(Debug)]
pub struct Adapters {
    shared: SdkConfig,
    names: Names,
    dynamodb: OnceLock<DynamoDb>,
}

impl Adapters {
    /// For the AWS that the environment names: `AWS_REGION`, `AWS_ACCESS_KEY_ID` and what belongs to it, and
    /// `AWS_ENDPOINT_URL` where it is an emulator.
    ///
    /// # Errors
    /// There is no region.
    pub fn from_environment(names: impl Into<NamesConfig>) -> Result<Self, NoRegion> {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).ok_or(NoRegion)?;
        let mut shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
            .retry_config(aws::retries())
            .timeout_config(aws::quick());
        shared.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        let names = Names::new(&names.into());
        Ok(Self { shared: shared.build(), names, dynamodb: OnceLock::new() })
    }

    fn dynamodb(&self) -> DynamoDb {
        self.dynamodb.get_or_init(|| DynamoDb::new(&self.at("DYNAMODB"))).clone()
    }

    /// What the clients share, and where one service is: `AWS_ENDPOINT_URL_…`, as in the SDK's own settings.
    fn at(&self, service: &str) -> SdkConfig {
        match variable(&format!("AWS_ENDPOINT_URL_{service}")) {
            Some(own) => self.shared.to_builder().endpoint_url(own).build(),
            None => self.shared.clone(),
        }
    }

    pub fn api_keys(&self) -> Arc<DynamoApiKeys> {
        Arc::new(DynamoApiKeys::new(self.dynamodb(), &self.names))
    }

    pub fn bots(&self) -> Arc<DynamoBots> {
        Arc::new(DynamoBots::new(self.dynamodb(), &self.names))
    }

    pub fn trunks(&self) -> Arc<DynamoTrunks> {
        Arc::new(DynamoTrunks::new(self.dynamodb(), &self.names))
    }

    pub fn calls(&self) -> Arc<DynamoCalls> {
        Arc::new(DynamoCalls::new(self.dynamodb(), &self.names))
    }

    pub fn deliveries(&self) -> Arc<DynamoDeliveries> {
        Arc::new(DynamoDeliveries::new(self.dynamodb(), &self.names))
    }

    pub fn endpoints(&self) -> Arc<DynamoEndpoints> {
        Arc::new(DynamoEndpoints::new(self.dynamodb(), &self.names))
    }

    pub fn housekeeping(&self) -> Arc<DynamoHousekeeping> {
        Arc::new(DynamoHousekeeping::new(self.dynamodb(), &self.names))
    }

    pub fn idempotency(&self) -> Arc<DynamoIdempotency> {
        Arc::new(DynamoIdempotency::new(self.dynamodb(), &self.names))
    }

    pub fn sealed_rows(&self) -> Arc<DynamoSealedRows> {
        Arc::new(DynamoSealedRows::new(self.dynamodb(), &self.names))
    }

    pub fn servers(&self) -> Arc<DynamoServers> {
        Arc::new(DynamoServers::new(self.dynamodb(), &self.names))
    }

    pub fn spend(&self) -> Arc<DynamoSpend> {
        Arc::new(DynamoSpend::new(self.dynamodb(), &self.names))
    }

    pub fn objects(&self) -> Arc<S3Objects> {
        Arc::new(S3Objects::new(aws::s3(&self.at("S3")), &self.names))
    }

    /// A function sends only, and Lambda takes for it: the patience of a long poll is longer than its own life.
    pub fn queues(&self) -> Arc<SqsQueues> {
        Arc::new(SqsQueues::new(aws_sdk_sqs::Client::new(&self.at("SQS")), &self.names))
    }

    /// The deployment's secrets under `id` (name or ARN); nothing is read before somebody asks for one.
    pub fn secrets(&self, id: &str) -> Arc<DeploymentSecrets> {
        Arc::new(DeploymentSecrets::secrets_manager(
            aws_sdk_secretsmanager::Client::new(&self.at("SECRETS_MANAGER")),
            id,
        ))
    }

    /// What unwraps the deployment's data keys: the KMS key of that id, ARN or alias.
    pub fn wrap(&self, kms_key: &str) -> Arc<dyn KeyWrap> {
        Arc::new(KmsKey::new(aws_sdk_kms::Client::new(&self.at("KMS")), kms_key))
    }

    /// Requests to fleet servers, signed with those secrets.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn fleet(&self, secrets: &Arc<DeploymentSecrets>) -> Result<Arc<FleetClient>, reqwest::Error> {
        FleetClient::new(secrets.clone(), Arc::new(SystemClock)).map(Arc::new)
    }

    /// Requests to where users' URLs lead.
    pub fn outbound(&self, egress: EgressConfig) -> Arc<GuardedClient> {
        Arc::new(GuardedClient::new(egress.into()))
    }
}
