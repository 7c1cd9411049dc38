//! The seal of a function that opens stored secrets: its data keys are looked at again before an invocation, since a
//! process may have stood still for hours. It must never start a function whose keys can't be had.

use std::sync::Arc;

use anyhow::{Context, Result};
use functions::lambda::Around;
use infra::adapters::Adapters;
use infra::seal::{AesSeal, Follower, follow};
use infra::secrets::DeploymentSecrets;

use crate::wiring::Telemetry;

/// The telemetry, and the data keys as they are now.
#[derive(Debug)]
pub(crate) struct Fresh {
    telemetry: Telemetry,
    keys: Follower,
}

impl Fresh {
    /// Unwraps the deployment's data keys with the KMS key.
    pub(crate) async fn load(
        telemetry: Telemetry,
        adapters: &Adapters,
        secrets: &Arc<DeploymentSecrets>,
        kms_key: &str,
    ) -> Result<(Arc<AesSeal>, Self)> {
        let wrap = adapters.wrap(kms_key);
        let seal = AesSeal::load(secrets, &*wrap).await.context("the deployment's secrets cannot be used")?;
        let seal = Arc::new(seal);
        let keys = follow(&seal, secrets.clone(), wrap);
        Ok((seal, Self { telemetry, keys }))
    }
}

impl Around for Fresh {
    async fn before(&self) {
        self.keys.look().await;
    }

    fn after(&self) {
        self.telemetry.after();
    }
}
