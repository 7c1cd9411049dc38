//! The deployment's own language model, for bots that name none. Its key may lie among the deployment's secrets, where it
//! can be replaced while the server runs.
//! It must never hold up a call: the key is looked for beside the calls, and the last one stays in use.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::ports::Secrets;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::provider::LlmConfig;

/// How often the key is looked for; the secrets themselves are kept for a minute.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The model, and its key as it was found last.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeploymentModel {
    config: Option<LlmConfig>,
    found: Arc<RwLock<Option<SecretString>>>,
}

impl DeploymentModel {
    /// The model with the key that is there now.
    pub(crate) async fn start(config: Option<LlmConfig>, secrets: &dyn Secrets) -> Self {
        let model = Self { config, found: Arc::default() };
        model.look(secrets).await;
        model
    }

    /// The model, if the deployment has one.
    pub(crate) fn config(&self) -> Option<LlmConfig> {
        let config = self.config.clone()?;
        let found = || self.found.read().unwrap_or_else(PoisonError::into_inner).clone();
        Some(LlmConfig { api_key: config.api_key.clone().or_else(found), ..config })
    }

    /// Looks for the key, unless the settings name one or there is no model.
    async fn look(&self, secrets: &dyn Secrets) {
        if self.config.as_ref().is_none_or(|config| config.api_key.is_some()) {
            return;
        }
        match secrets.llm_api_key().await {
            Ok(key) => *self.found.write().unwrap_or_else(PoisonError::into_inner) = key,
            Err(error) => tracing::warn!(%error, "the language model's key can't be looked for: the last one is used"),
        }
    }

    /// Looks again and again until `stop`.
    pub(crate) async fn keep(self, secrets: Arc<dyn Secrets>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.look(&*secrets).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use domain::ports::StoreError;
    use domain::signing::FleetSecrets;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::timing::Kind;
    use crate::provider::{ProviderConfig, ProviderSettings};

    struct Known(Result<Option<&'static str>, ()>);

    #[async_trait]
    impl Secrets for Known {
        async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
            unreachable!("a model signs nothing")
        }

        async fn llm_api_key(&self) -> Result<Option<SecretString>, StoreError> {
            let away = |()| StoreError::Unavailable { what: "the secrets", cause: "away".into() };
            self.0.map(|key| key.map(SecretString::from)).map_err(away)
        }
    }

    fn config(api_key: Option<&str>) -> LlmConfig {
        let wanted = ProviderSettings {
            vendor: "openai".into(),
            model: Some("m".into()),
            base_url: Some("http://127.0.0.1:1/v1".into()),
            api_key: api_key.map(SecretString::from),
            ..ProviderSettings::default()
        };
        match ProviderConfig::parse(Kind::Llm, wanted) {
            Ok(ProviderConfig::OpenAi(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_among_the_secrets_is_used_and_followed() {
        let key = |model: &DeploymentModel| model.config().unwrap().api_key.map(|key| key.expose_secret().to_owned());
        let model = DeploymentModel::start(Some(config(None)), &Known(Err(()))).await;
        assert_eq!(key(&model), None);
        for (secrets, expect) in [
            (Known(Ok(Some("one"))), Some("one")),
            (Known(Err(())), Some("one")),
            (Known(Ok(Some("two"))), Some("two")),
            (Known(Ok(None)), None),
        ] {
            model.look(&secrets).await;
            assert_eq!(key(&model).as_deref(), expect);
        }
        let named = DeploymentModel::start(Some(config(Some("named"))), &Known(Ok(Some("one")))).await;
        assert_eq!(key(&named).as_deref(), Some("named"), "the settings go first");
        assert!(DeploymentModel::start(None, &Known(Ok(Some("one")))).await.config().is_none());
    }
}
