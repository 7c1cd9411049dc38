//! What each Lambda function reads from its environment: one struct a function, with what that function uses.
//! It must never hold a setting that says where AWS is or who we are there: Lambda gives those to the SDK itself.

use ipnet::IpNet;
use serde::Deserialize;

use super::variables::variables;
use super::{ConfigError, EgressConfig, NamesConfig, Period, Periods, PricesConfig, Shards, TelemetryConfig, load};

/// Every variable of ours begins with it.
pub const PREFIX: &str = "RINGFLEET_";

/// Reads a function's settings from the environment, and from nowhere else.
///
/// # Errors
/// A variable is missing, or does not hold what its setting wants.
pub fn settings<T: serde::de::DeserializeOwned>() -> Result<T, ConfigError> {
    load(None, PREFIX, toml::Table::new())
}

/// The names of tables alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Prefix {
    prefix: String,
}

/// The names of tables and queues, and how their indexes are spread.
#[derive(Debug, Clone, Deserialize)]
pub struct Tables {
    prefix: String,
    #[serde(default)]
    shards: Shards,
}

/// As [`Tables`], and the bucket's.
#[derive(Debug, Clone, Deserialize)]
pub struct TablesAndBucket {
    prefix: String,
    bucket: String,
    #[serde(default)]
    shards: Shards,
}

impl Prefix {
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl From<Prefix> for NamesConfig {
    fn from(names: Prefix) -> Self {
        Self { prefix: names.prefix, ..Self::default() }
    }
}

impl Tables {
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl From<Tables> for NamesConfig {
    fn from(names: Tables) -> Self {
        Self { prefix: names.prefix, bucket: None, shards: names.shards }
    }
}

impl TablesAndBucket {
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl From<TablesAndBucket> for NamesConfig {
    fn from(names: TablesAndBucket) -> Self {
        Self { prefix: names.prefix, bucket: Some(names.bucket), shards: names.shards }
    }
}

/// Of [`LlmConfig`](super::LlmConfig), what may stand in the open; the key is one of the deployment's secrets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Llm {
    pub base_url: Option<String>,
    pub model: Option<String>,
}

/// When deliveries are tried again, and when they are held back.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Retries {
    retry: Vec<Period>,
    retry_jitter_percent: u32,
    breaker_after: u32,
    breaker_pause: Period,
    breaker_longest: Period,
}

impl Default for Retries {
    fn default() -> Self {
        let Periods { retry, retry_jitter_percent, breaker_after, breaker_pause, breaker_longest, .. } =
            Periods::default();
        Self { retry, retry_jitter_percent, breaker_after, breaker_pause, breaker_longest }
    }
}

impl From<Retries> for Periods {
    fn from(retries: Retries) -> Self {
        let Retries { retry, retry_jitter_percent, breaker_after, breaker_pause, breaker_longest } = retries;
        Self { retry, retry_jitter_percent, breaker_after, breaker_pause, breaker_longest, ..Self::default() }
    }
}

/// How closely lost servers are watched.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Reaping {
    pub reap: Period,
    pub reap_stale: Period,
}

impl Default for Reaping {
    fn default() -> Self {
        let Periods { reap, reap_stale, .. } = Periods::default();
        Self { reap, reap_stale }
    }
}

/// When a server is taken for silent.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Silence {
    pub reap_stale: Period,
}

impl Default for Silence {
    fn default() -> Self {
        Self { reap_stale: Periods::default().reap_stale }
    }
}

/// The REQUEST authorizer.
#[derive(Debug, Deserialize)]
pub struct Auth {
    pub names: Prefix,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// `POST /api/v1/dialout`.
#[derive(Debug, Deserialize)]
pub struct Dialout {
    /// The deployment's secrets in Secrets Manager: name or ARN.
    pub secrets_id: String,
    pub names: Tables,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub prices: PricesConfig,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Calls and recordings.
#[derive(Debug, Deserialize)]
pub struct Calls {
    /// Where clients reach the API.
    pub public_url: String,
    pub secrets_id: String,
    pub names: TablesAndBucket,
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The admin API.
#[derive(Debug, Deserialize)]
pub struct Admin {
    pub public_url: String,
    /// How diallers reach the fleet's WebSocket ports.
    #[serde(default)]
    pub ws_public_url: Option<String>,
    pub secrets_id: String,
    /// The KMS key that unwraps the data keys: id, ARN or alias.
    pub kms_key_id: String,
    pub names: TablesAndBucket,
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub egress: EgressConfig,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// `/health` and `/health/fleet`.
#[derive(Debug, Deserialize)]
pub struct FleetHealth {
    pub names: Tables,
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The API's description.
#[derive(Debug, Deserialize)]
pub struct Docs {
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The queue `call-ended`.
#[derive(Debug, Deserialize)]
pub struct Analyze {
    pub public_url: String,
    pub secrets_id: String,
    pub kms_key_id: String,
    pub names: TablesAndBucket,
    #[serde(default)]
    pub egress: EgressConfig,
    #[serde(default)]
    pub llm: Llm,
    #[serde(default)]
    pub prices: PricesConfig,
    #[serde(default)]
    pub periods: Silence,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The queue `deliveries`.
#[derive(Debug, Deserialize)]
pub struct Push {
    pub public_url: String,
    pub secrets_id: String,
    pub kms_key_id: String,
    pub names: TablesAndBucket,
    #[serde(default)]
    pub egress: EgressConfig,
    #[serde(default)]
    pub periods: Retries,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The schedule that sends again what fell due.
#[derive(Debug, Deserialize)]
pub struct Sweep {
    pub names: Tables,
    #[serde(default)]
    pub prices: PricesConfig,
    #[serde(default)]
    pub periods: Retries,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The schedule that ends the calls of lost servers.
#[derive(Debug, Deserialize)]
pub struct Reap {
    pub secrets_id: String,
    pub names: TablesAndBucket,
    #[serde(default)]
    pub periods: Reaping,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The schedule that deletes what bots don't keep any longer.
#[derive(Debug, Deserialize)]
pub struct Retain {
    pub names: TablesAndBucket,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Every function's binary, and the variables that it reads.
pub fn read_by_each() -> Vec<(&'static str, Vec<String>)> {
    fn read<T: serde::de::DeserializeOwned>(binary: &'static str) -> (&'static str, Vec<String>) {
        (binary, variables::<T>(PREFIX))
    }
    vec![
        read::<Auth>("auth"),
        read::<Dialout>("dialout"),
        read::<Calls>("calls"),
        read::<Admin>("admin"),
        read::<FleetHealth>("fleet_health"),
        read::<Docs>("docs"),
        read::<Analyze>("analyze"),
        read::<Push>("push"),
        read::<Sweep>("sweep"),
        read::<Reap>("reap"),
        read::<Retain>("retain"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list that templates and scripts read; `UPDATE_EXPECT=1` writes it anew.
    #[test]
    fn the_list_of_variables_is_what_the_functions_read() {
        let mut text =
            "# binary\tvariable: what each Lambda function reads, made from infra/src/config/functions.rs\n".to_owned();
        for (binary, variables) in read_by_each() {
            for variable in variables {
                text.push_str(&format!("{binary}\t{variable}\n"));
            }
        }
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/settings.tsv");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), text);
    }

    #[test]
    fn nobody_reads_where_aws_is_nor_a_secret() {
        for (binary, variables) in read_by_each() {
            assert!(variables.iter().all(|name| name.starts_with(PREFIX) && name.len() > PREFIX.len()), "{binary}");
            for variable in variables {
                let secret = ["_AWS_", "API_KEY", "_ACCESS_", "WRAP_KEY"].iter().any(|part| variable.contains(part));
                assert!(!secret, "{binary} reads {variable}");
            }
        }
    }
}
