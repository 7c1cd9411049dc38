//! Lambda function `admin`: the admin API.
//! It must never hold logic: `functions::admin` does.

#[path = "wiring/sealed.rs"]
mod sealed;
mod wiring;

use std::sync::Arc;

use anyhow::Context;
use functions::admin::keys;
use functions::calls::list;
use functions::push::resend;
use functions::result::Archive;
use functions::{admin, auth, erase, forget, lambda, reseal};
use infra::adapters::Adapters;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::functions::{Admin, settings};
use infra::guarded::EgressPolicy;
use infra::seal::AesSeal;
use infra::secrets::DeploymentSecrets;
use sealed::Fresh;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let config: Admin = settings()?;
    let telemetry = wiring::telemetry(&config.telemetry, "admin", config.names.prefix())?;
    let adapters = Adapters::from_environment(config.names.clone())?;
    let secrets = adapters.secrets(&config.secrets_id);
    let (seal, around) = Fresh::load(telemetry, &adapters, &secrets, &config.kms_key_id).await?;
    let desk = desk(config, &adapters, secrets, seal)?;
    lambda::http(admin::router(desk), around).await
}

fn desk(
    config: Admin,
    adapters: &Adapters,
    secrets: Arc<DeploymentSecrets>,
    seal: Arc<AesSeal>,
) -> anyhow::Result<admin::Desk> {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let objects = adapters.objects();
    let archive = Archive::new(objects.clone(), &config.public_url);
    let ws_public_url = config.ws_public_url.as_deref().map(|url| {
        domain::websocket::base_url(url).with_context(|| {
            format!("ws_public_url `{url}`: write the URL without a path, such as wss://calls.example.com")
        })
    });
    Ok(admin::Desk {
        auth: auth::Desk {
            api_keys: adapters.api_keys(),
            clock: clock.clone(),
            trusted_proxies: config.trusted_proxies.into(),
            doorman: Arc::new(auth::Doorman::of_a_function()),
            turns: Arc::default(),
        },
        clock: clock.clone(),
        entropy: entropy.clone(),
        bots: adapters.bots(),
        trunks: adapters.trunks(),
        calls: adapters.calls(),
        deliveries: adapters.deliveries(),
        endpoints: adapters.endpoints(),
        housekeeping: adapters.housekeeping(),
        servers: adapters.servers(),
        memory: Arc::default(),
        egress: Arc::new(EgressPolicy::from(config.egress)),
        fleet: adapters.fleet(&secrets)?,
        secrets,
        keys: keys::Desk { api_keys: adapters.api_keys(), clock: clock.clone(), entropy },
        list: list::Desk {
            clock: clock.clone(),
            bots: adapters.bots(),
            calls: adapters.calls(),
            public_url: archive.public_url.clone(),
        },
        resend: resend::Desk {
            clock: clock.clone(),
            bots: adapters.bots(),
            deliveries: adapters.deliveries(),
            endpoints: adapters.endpoints(),
            objects: objects.clone(),
            queues: adapters.queues(),
        },
        erase: erase::Desk {
            calls: adapters.calls(),
            housekeeping: adapters.housekeeping(),
            forget: forget::Desk {
                clock,
                deliveries: adapters.deliveries(),
                housekeeping: adapters.housekeeping(),
                objects,
            },
        },
        reseal: reseal::Desk { sealed_rows: adapters.sealed_rows(), seal: seal.clone() },
        archive,
        seal,
        ws_public_url: ws_public_url.transpose()?,
    })
}
