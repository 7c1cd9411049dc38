//! The first admin key: whoever starts the platform gets it, once.
//! It must never store a key's text, nor mint a key while a usable one is there.

use anyhow::{Result, bail};
use domain::api_key::Role;
use domain::ports::Clock;
use functions::admin::keys::{NewKey, create};
use functions::platform::Platform as Functions;
use functions::problem::Refusal;
use infra::clock::SystemClock;
use secrecy::{ExposeSecret, SecretString};

/// What the key is called in lists.
const NAME: &str = "first admin";

/// Takes the given key in, or mints one if there is no usable admin key yet; answers what was minted.
pub(super) async fn settle(functions: &Functions, given: Option<&SecretString>) -> Result<Option<String>> {
    if let Some(key) = given {
        return match create(functions, NewKey::admin(NAME, Some(key.clone()))).await {
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
    let created = create(functions, NewKey::admin(NAME, None)).await?;
    Ok(created.minted.map(|key| key.expose_secret().to_owned()))
}
