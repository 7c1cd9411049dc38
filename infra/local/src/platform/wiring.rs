//! Adapters for ports: what of `infra` stands behind `functions` and the fleet server.
//! It must never choose between worlds: there is one adapter for each port, here and on AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use functions::memory::{Memory, Staleness};
use functions::platform::{
    AnalysisLimits, LanguageModel, Outside, Platform as Functions, ReapLimits, Settings as FunctionSettings,
    SweepLimits, Tables,
};
use infra::aws::Clients;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::{LlmConfig as LlmSettings, Periods};
use infra::dynamodb::stores;
use infra::fleet_client::FleetClient;
use infra::guarded::{EgressPolicy, GuardedClient, client};
use infra::s3::S3Objects;
use infra::schema::Names;
use infra::seal::{AesSeal, follow, wrap_of};
use infra::secrets::DeploymentSecrets;
use infra::sqs::SqsQueues;
use server::provider::{LlmConfig, ProviderConfig, ProviderSettings, timing::Kind};

use crate::settings::Settings;

/// Every adapter, once.
pub(super) struct Adapters {
    stores: Tables,
    pub(super) queues: SqsQueues,
    objects: Arc<S3Objects>,
    secrets: Arc<DeploymentSecrets>,
    seal: Arc<AesSeal>,
    egress: Arc<EgressPolicy>,
    outbound: Arc<GuardedClient>,
    fleet: Arc<FleetClient>,
    /// For language models, under the same guard.
    llm_http: reqwest::Client,
}

impl Adapters {
    pub(super) async fn new(
        settings: &Settings,
        clients: &Clients,
        names: &Names,
        secrets: DeploymentSecrets,
    ) -> Result<Self> {
        let unusable = "the deployment's secrets cannot be used";
        let (key, file) = (settings.kms_key_id.as_deref(), settings.wrap_key_file.as_deref());
        let wrap = wrap_of(&clients.kms, key, file, &secrets).context(unusable)?;
        let seal = Arc::new(AesSeal::load(&secrets, &*wrap).await.context(unusable)?);
        let secrets = Arc::new(secrets);
        follow(&seal, secrets.clone(), wrap);
        let policy = EgressPolicy::from(settings.egress.clone());
        let cannot = "the HTTP client cannot be built";
        Ok(Self {
            stores: stores(clients, names),
            queues: SqsQueues::new(clients.sqs.clone(), names),
            objects: Arc::new(S3Objects::new(clients.s3.clone(), names)),
            fleet: Arc::new(FleetClient::new(secrets.clone(), Arc::new(SystemClock)).context(cannot)?),
            secrets,
            seal,
            llm_http: client(policy.clone()).context(cannot)?,
            egress: Arc::new(policy.clone()),
            outbound: Arc::new(GuardedClient::new(policy)),
        })
    }

    pub(super) fn functions(&self, settings: &Settings, public_url: &str) -> Functions {
        Functions {
            tables: self.stores.clone(),
            outside: Outside {
                clock: Arc::new(SystemClock),
                entropy: Arc::new(OsEntropy),
                objects: self.objects.clone(),
                queues: Arc::new(self.queues.clone()),
                egress: self.egress.clone(),
                outbound: self.outbound.clone(),
                fleet: self.fleet.clone(),
                secrets: self.secrets.clone(),
                seal: self.seal.clone(),
            },
            settings: Arc::new(function_settings(settings, public_url)),
            doorman: Arc::default(),
            turns: Arc::default(),
            memory: Arc::new(Memory::new(Staleness {
                entities: settings.periods.remember.0,
                servers: settings.periods.remember_servers.0,
            })),
        }
    }

    pub(super) fn server(&self) -> server::Ports {
        let stores = self.stores.clone();
        server::Ports {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            api_keys: stores.api_keys,
            bots: stores.bots,
            trunks: stores.trunks,
            calls: stores.calls,
            servers: stores.servers,
            objects: self.objects.clone(),
            queues: Arc::new(self.queues.clone()),
            outbound: self.outbound.clone(),
            secrets: self.secrets.clone(),
            seal: self.seal.clone(),
            http: self.llm_http.clone(),
        }
    }
}

/// The periods of the settings in the places where the handlers look for them; at the defaults, theirs.
fn function_settings(settings: &Settings, public_url: &str) -> FunctionSettings {
    let Periods { sweep, reap_stale, announce_by, .. } = settings.periods.clone();
    let (sweep, stale, announce_by) = (sweep.0, reap_stale.0, announce_by.0);
    let llm = &settings.llm;
    let analysis_model = llm.base_url.clone().zip(llm.model.clone()).map(|(base_url, model)| LanguageModel {
        base_url,
        api_key: llm.api_key.clone(),
        model,
    });
    FunctionSettings {
        trusted_proxies: settings.trusted_proxies.clone(),
        ws_public_url: settings.ws_public_url.as_deref().and_then(domain::websocket::base_url),
        prices: settings.prices.clone().into(),
        schedule: settings.periods.schedule(),
        breaker: settings.periods.breaker(),
        analysis_model,
        analysis: AnalysisLimits { record_wait: announce_by * 2, ..AnalysisLimits::default() },
        reap: ReapLimits { stale, unknown_server: stale * 2, announce_again: sweep, ..ReapLimits::default() },
        // The queue's own message comes first; then a pass that finds a job still due sends it.
        sweep: SweepLimits {
            again_after: sweep.max(Duration::from_secs(1)),
            grace: sweep / 2,
            ..SweepLimits::default()
        },
        ..FunctionSettings::new(public_url)
    }
}

/// The model of bots that name none, as the fleet server wants it; none if the settings name none.
pub(super) fn language_model(settings: &Settings) -> Result<Option<LlmConfig>> {
    let LlmSettings { base_url, api_key, model } = settings.llm.clone();
    let wanted = match (base_url, model) {
        (None, None) => return Ok(None),
        (base_url @ Some(_), model @ Some(_)) => {
            ProviderSettings { vendor: "openai".to_owned(), model, base_url, api_key, ..ProviderSettings::default() }
        }
        _ => bail!("llm.base_url and llm.model go together: set both or none"),
    };
    match ProviderConfig::parse(Kind::Llm, wanted) {
        Ok(ProviderConfig::OpenAi(config)) => Ok(Some(config)),
        _ => bail!("llm.base_url is no URL of an API: write e.g. http://127.0.0.1:11434/v1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_periods_leave_the_handlers_their_defaults() {
        let made = function_settings(&Settings::defaults(), "http://127.0.0.1:1/");
        assert_eq!(format!("{made:?}"), format!("{:?}", FunctionSettings::new("http://127.0.0.1:1")));
    }

    #[test]
    fn a_language_model_has_a_url_and_a_name() {
        let check = |url: Option<&str>, model: Option<&str>, expect: Result<bool, &str>| {
            let mut settings = Settings::defaults();
            settings.llm.base_url = url.map(str::to_owned);
            settings.llm.model = model.map(str::to_owned);
            match (language_model(&settings), expect) {
                (Ok(found), Ok(some)) => assert_eq!(found.is_some(), some, "{url:?} {model:?}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{url:?} {model:?}: {got:?}"),
            }
        };
        check(None, None, Ok(false));
        check(Some("http://127.0.0.1:1/v1"), Some("m"), Ok(true));
        check(Some("http://127.0.0.1:1/v1"), None, Err("go together"));
        check(None, Some("m"), Err("go together"));
        check(Some("nonsense"), Some("m"), Err("is no URL"));
    }
}
