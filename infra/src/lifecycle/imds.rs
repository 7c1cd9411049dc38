//! The instance metadata service, version 2: tokens, few tries, short limits. It must never take silence for an answer.

use std::net::IpAddr;
use std::time::Duration;

use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use domain::machine::Place;
use domain::ports::StoreError;
use jiff::Timestamp;
use serde::Deserialize;

use crate::errors::{corrupt, refused, unavailable};

const WHAT: &str = "the instance metadata service";
/// It is on this machine: what does not answer at once does not answer.
const CONNECT: Duration = Duration::from_secs(1);
const ONE_TRY: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(5);
const TRIES: u32 = 2;

const ID: &str = "/latest/meta-data/instance-id";
const PRIVATE: &str = "/latest/meta-data/local-ipv4";
const PUBLIC: &str = "/latest/meta-data/public-ipv4";
const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
/// The state towards which the group takes an instance that it ends, also one of its warm pool.
const TERMINATED: [&str; 2] = ["Terminated", "Warmed:Terminated"];

/// What becomes of a spot instance, and when.
#[derive(Debug, Deserialize)]
struct Interruption {
    time: Timestamp,
}

/// A client of the metadata service.
#[derive(Debug, Clone)]
pub struct Imds {
    client: Client,
}

impl Default for Imds {
    fn default() -> Self {
        Self::new()
    }
}

impl Imds {
    /// At its usual address, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
    pub fn new() -> Self {
        let client = Client::builder()
            .max_attempts(TRIES)
            .connect_timeout(CONNECT)
            .read_timeout(ONE_TRY)
            .operation_attempt_timeout(ONE_TRY)
            .operation_timeout(ALL);
        Self { client: client.build() }
    }

    /// Who this instance is and where it is reached.
    ///
    /// # Errors
    /// The service does not answer, or this is no EC2 instance.
    pub async fn place(&self) -> Result<Place, StoreError> {
        let missing = |path| refused(WHAT, format!("there is no {path}"));
        Ok(Place {
            id: self.get(ID).await?.ok_or_else(|| missing(ID))?,
            private: self.address(PRIVATE).await?.ok_or_else(|| missing(PRIVATE))?,
            public: self.address(PUBLIC).await?,
        })
    }

    /// Whether the instance's group ends it.
    pub(super) async fn is_terminated_by_group(&self) -> Result<bool, StoreError> {
        Ok(self.get(TARGET_STATE).await?.is_some_and(|state| TERMINATED.contains(&state.as_str())))
    }

    /// After what time a spot instance is taken away.
    pub(super) async fn interruption(&self) -> Result<Option<Duration>, StoreError> {
        let Some(text) = self.get(INTERRUPTION).await? else { return Ok(None) };
        let notice: Interruption = serde_json::from_str(&text).map_err(|error| corrupt(WHAT, error))?;
        let left = notice.time.duration_since(Timestamp::now());
        Ok(Some(Duration::try_from(left).unwrap_or_default()))
    }

    async fn address(&self, path: &'static str) -> Result<Option<IpAddr>, StoreError> {
        let text = self.get(path).await?;
        text.map(|text| text.parse().map_err(|_| corrupt(WHAT, format!("{path} is no address")))).transpose()
    }

    /// What lies at a path; none if there is nothing.
    async fn get(&self, path: &'static str) -> Result<Option<String>, StoreError> {
        match self.client.get(path).await {
            Ok(text) => Ok(Some(text.as_ref().trim().to_owned())),
            Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => Ok(None),
            Err(ImdsError::ErrorResponse(answer)) => {
                Err(unavailable(WHAT, format!("{path}: status {}", answer.response().status().as_u16())))
            }
            // Its own words are a chain whose first link says it.
            Err(error) => Err(unavailable(WHAT, format!("{path}: {error}"))),
        }
    }
}
