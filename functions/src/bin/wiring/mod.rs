//! What every function's main does first: settings from the environment, telemetry, adapters, the platform.
//! It must never be used outside of a main, and never decide anything about a request.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use functions::platform::{LanguageModel, Outside, Platform, ReapLimits, Settings};
use infra::clock::{OsEntropy, SystemClock};
use infra::config::{AwsConfig, EgressConfig, LlmConfig, NamesConfig, Periods, PricesConfig, TelemetryConfig, load};
use infra::fleet_client::FleetClient;
use infra::guarded::GuardedClient;
use infra::s3::S3Objects;
use infra::schema::Names;
use infra::seal::{AesSeal, LocalKeyFile, follow};
use infra::secrets::DeploymentSecrets;
use infra::sqs::SqsQueues;
use serde::Deserialize;

/// A function's settings: each key from `RINGFLEET_…`, or from the file that `RINGFLEET_CONFIG` names.
#[derive(Debug, Deserialize)]
struct FunctionConfig {
    /// Where clients reach the API.
    public_url: String,
    /// The deployment's secrets in Secrets Manager: name or ARN.
    secrets_id: String,
    /// The file whose key unwraps the data keys among those secrets.
    #[serde(default)]
    wrap_key_file: Option<PathBuf>,
    /// How diallers reach the fleet's WebSocket ports.
    #[serde(default)]
    ws_public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    trusted_proxies: Vec<ipnet::IpNet>,
    #[serde(default)]
    aws: AwsConfig,
    #[serde(default)]
    names: NamesConfig,
    #[serde(default)]
    egress: EgressConfig,
    #[serde(default)]
    periods: Periods,
    #[serde(default)]
    llm: LlmConfig,
    #[serde(default)]
    prices: PricesConfig,
    #[serde(default)]
    telemetry: TelemetryConfig,
}

/// Builds the platform of this function.
pub(crate) async fn platform() -> Result<Platform> {
    let file = std::env::var_os("RINGFLEET_CONFIG").map(PathBuf::from);
    let config: FunctionConfig = load(file.as_deref(), "RINGFLEET_", toml::Table::new())?;
    infra::telemetry::init(&config.telemetry)?;
    let ws_public_url = config.ws_public_url.as_deref().map(|url| {
        domain::websocket::base_url(url).with_context(|| {
            format!("ws_public_url `{url}`: write the URL without a path, such as wss://calls.example.com")
        })
    });
    let ws_public_url = ws_public_url.transpose()?;
    let clients = infra::aws::connect(&config.aws).await;
    let names = Names::new(&config.names);
    let secrets = Arc::new(DeploymentSecrets::secrets_manager(clients.secrets.clone(), config.secrets_id.clone()));
    let unusable = "the deployment's secrets cannot be used";
    let wrap = LocalKeyFile::of(config.wrap_key_file.as_deref(), &secrets).context(unusable)?;
    let seal = Arc::new(AesSeal::load(&secrets, &wrap).await.context(unusable)?);
    follow(&seal, secrets.clone(), wrap);
    let fleet =
        FleetClient::new(secrets.clone(), Arc::new(SystemClock)).context("the fleet's client cannot be built")?;
    let stores = infra::dynamodb::stores(&clients, &names);
    Ok(Platform {
        tables: stores,
        outside: Outside {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            objects: Arc::new(S3Objects::new(clients.s3, &names)),
            queues: Arc::new(SqsQueues::new(clients.sqs, &names)),
            outbound: Arc::new(GuardedClient::new(config.egress.clone().into())),
            fleet: Arc::new(fleet),
            secrets,
            seal,
        },
        settings: Arc::new(settings(config, ws_public_url)),
        doorman: Arc::default(),
        turns: Arc::default(),
    })
}

fn settings(config: FunctionConfig, ws_public_url: Option<String>) -> Settings {
    let model = config.llm.base_url.zip(config.llm.model);
    let key = config.llm.api_key;
    let reap = ReapLimits { every: config.periods.reap.0, stale: config.periods.reap_stale.0, ..ReapLimits::default() };
    Settings {
        ws_public_url,
        trusted_proxies: config.trusted_proxies,
        prices: config.prices.into(),
        schedule: config.periods.schedule(),
        breaker: config.periods.breaker(),
        analysis_model: model.map(|(base_url, model)| LanguageModel { base_url, api_key: key, model }),
        reap,
        ..Settings::new(config.public_url)
    }
}
