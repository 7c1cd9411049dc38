//! The first admin key: whoever starts the platform gets it, once.
//! It must never store a key's text, nor mint a key while a usable one is there.

use anyhow::{Result, bail};
use domain::api_key::Role;
use domain::ports::Clock;
use functions::admin::keys::{NewKey, create};
use functions::platform::Platform as Functions;
use functions::problem::Refusal;
use infra::aws::Clients;
use infra::clock::SystemClock;
use infra::schema::Names;
use infra::secrets::DeploymentSecrets;
use secrecy::{ExposeSecret, SecretString};

use super::wiring::Adapters;
use crate::settings::Settings;

/// What the key is called in lists.
const NAME: &str = "first admin";

/// Mints the first admin key of a deployment, or `another` beside those that are there; none if there is one already.
///
/// # Errors
/// The tables or the secrets can't be used.
pub(crate) async fn first_admin_key(
    settings: &Settings,
    clients: &Clients,
    secrets: DeploymentSecrets,
    another: bool,
) -> Result<Option<String>> {
    let names = Names::new(&settings.names);
    let functions = Adapters::new(settings, clients, &names, secrets).await?.functions(settings, "");
    if another { mint(&functions).await } else { settle(&functions, None).await }
}

/// Takes the given key in, or mints one if there is no usable admin key yet; answers what was minted.
pub(super) async fn settle(functions: &Functions, given: Option<&SecretString>) -> Result<Option<String>> {
    if let Some(key) = given {
        return match create(&functions.into(), NewKey::admin(NAME, Some(key.clone()))).await {
            Ok(_) | Err(Refusal::Exists) => Ok(None),
            Err(Refusal::Invalid(faults)) => {
                let why: Vec<&str> = faults.iter().map(|fault| fault.msg.as_str()).collect();
                bail!("the admin key from admin_key or RINGFLEET_ADMIN_KEY cannot be used: {}", why.join("; "))
            }
            Err(other) => Err(other.into()),
        };
    }
    let now = SystemClock.now();
    let keys = functions.tables.api_keys.list().await?;
    if keys.iter().any(|key| key.role == Role::Admin && key.usable(now)) {
        return Ok(None);
    }
    mint(functions).await
}

async fn mint(functions: &Functions) -> Result<Option<String>> {
    let created = create(&functions.into(), NewKey::admin(NAME, None)).await?;
    Ok(created.minted.map(|key| key.expose_secret().to_owned()))
}
