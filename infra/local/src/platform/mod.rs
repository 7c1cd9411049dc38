//! The whole platform in one process: the AWS it works against, the control plane's HTTP and event sources, and a fleet
//! server. It only starts and stops them in the right order: it must never do what one of them should.

mod admin_key;
mod aws;
mod events;
mod ready;
mod wiring;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use functions::router;
use infra::clock::OsEntropy;
use infra::schema::{self, Names};
use infra::secrets::{DeploymentSecrets, create_if_absent};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use server::provider::{ModelSet, Speech, SpeechConfig};
use server::{Server, ServerConfig, Timing};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use admin_key::first_admin_key;
pub use ready::{AwsPlace, Ready};

use crate::settings::{FleetMode, Settings};
use aws::Aws;
use events::EventSources;
use wiring::Adapters;

/// With less free space the first call would already be at risk.
const FREE_SPACE_MIN: u64 = 64 * 1024 * 1024;
/// HTTP requests in progress may take this long at the end.
const HTTP_GRACE: Duration = Duration::from_secs(5);
/// Histograms of metrics are drained this often; nobody may ever scrape them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A running platform. It is ended by [`Platform::stop`]: one that is dropped goes on in part until the process ends.
#[derive(Debug)]
pub struct Platform {
    ready: Ready,
    speech: String,
    server: Option<Server>,
    events: EventSources,
    http: Http,
    upkeep: JoinHandle<()>,
    aws: Aws,
}

impl Platform {
    /// Starts a platform with the speech models that are there; what is missing is in [`Platform::speech`].
    ///
    /// # Errors
    /// One line that says what can't be had and what to do.
    pub async fn start(settings: Settings) -> Result<Self> {
        let wanted = Wanted::of(&settings)?;
        let speech = match wanted.server {
            Some(_) => Some(load_speech(settings.models_folder()).await?),
            None => None,
        };
        Self::start_parts(settings, wanted, speech).await
    }

    /// As [`Platform::start`], with speech that the caller loaded, to share it.
    ///
    /// # Errors
    /// As [`Platform::start`].
    pub async fn start_with(settings: Settings, speech: Arc<Speech>) -> Result<Self> {
        let wanted = Wanted::of(&settings)?;
        Self::start_parts(settings, wanted, Some(speech)).await
    }

    async fn start_parts(settings: Settings, wanted: Wanted, speech: Option<Arc<Speech>>) -> Result<Self> {
        let data = prepare_folder(&settings.data_folder())?;
        // What people mistype most is tried first, before anything is written.
        let (listener, address) = listen(settings.http).await?;
        let public_url = settings.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));

        let aws = aws::start(&settings, &data).await?;
        let names = Names::new(&settings.names);
        schema::ensure(&aws.clients, &names).await.with_context(|| {
            format!("the tables at {} cannot be made: check the endpoint, the region and the credentials", aws.endpoint)
        })?;
        let (secrets, fleet_secret_file) = secrets(&settings, &aws, &data)?;
        let adapters = Adapters::new(&settings, &aws.clients, &names, secrets).await?;
        let functions = adapters.functions(&settings, &public_url);
        let metrics = metrics()?;
        let server = match (wanted.server, &speech) {
            (Some(mut config), Some(speech)) => {
                config.spool = data.join(config.spool);
                Some(server::start(config, adapters.server(), speech.clone(), Some(metrics.clone())).await?)
            }
            _ => None,
        };
        let events = events::start(&functions, &adapters.queues, &settings.periods);
        // Last: a key that was minted by a start that then failed would be lost.
        let admin_key = admin_key::settle(&functions, settings.admin_key.as_ref()).await?;
        // Until then clients wait in the port's queue: a first request must not be refused for a key that is being made.
        let http = Http::serve(listener, router::api(&functions));
        let ready = Ready {
            ready: true,
            http: public_url,
            sip: server.as_ref().map(|server| server.sip.to_string()),
            ws: server.as_ref().map(|server| server.ws.clone()),
            fleet_http: server.as_ref().map(|server| format!("http://{}", reachable(server.http))),
            aws: AwsPlace {
                endpoint: aws.endpoint.clone(),
                region: aws.clients.region.clone(),
                credentials_file: aws.credentials_file.clone(),
            },
            data,
            fleet_secret_file,
            admin_key,
        };
        let speech = match &speech {
            Some(speech) if server.is_some() => speech.status().to_string(),
            _ => String::new(),
        };
        Ok(Self { ready, speech, server, events, http, upkeep: tokio::spawn(upkeep(metrics)), aws })
    }

    /// What is where.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// What speech the embedded fleet server has, and what it lacks; empty without one.
    pub fn speech(&self) -> &str {
        &self.speech
    }

    /// Live calls of the embedded fleet server.
    pub fn calls(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::calls)
    }

    /// Returns when the embedded fleet server must go because another one has taken over its id.
    pub async fn superseded(&self) {
        match &self.server {
            Some(server) => server.superseded().await,
            None => std::future::pending().await,
        }
    }

    /// Lets calls finish (up to the drain limit, or until `force`), sends what they leave, and stops.
    pub async fn stop(self, force: CancellationToken) {
        // The API answers meanwhile: whoever watches a call sees its end.
        if let Some(server) = self.server {
            server.drain(force.clone(), Duration::ZERO).await;
        }
        tokio::select! {
            () = self.events.finish() => {}
            () = force.cancelled() => {}
        }
        self.http.finish().await;
        self.upkeep.abort();
        if let Some(embedded) = self.aws.embedded {
            embedded.stop().await;
        }
    }
}

/// Loads the models in `folder`; blocks a thread of its own for a second or two.
///
/// # Errors
/// The thread cannot be had.
pub async fn load_speech(folder: PathBuf) -> Result<Arc<Speech>> {
    let load = move || {
        let (models, missing) = ModelSet::scan(&folder);
        if let Some(missing) = missing {
            tracing::warn!("{missing}");
        }
        let speech = Speech::load(&models, SpeechConfig::default());
        for warning in &speech.status().warnings {
            tracing::warn!("{warning}");
        }
        Arc::new(speech)
    };
    tokio::task::spawn_blocking(load).await.context("the speech models cannot be loaded")
}

/// Makes the data folder, absolute, with some room left in it.
fn prepare_folder(data: &Path) -> Result<PathBuf> {
    let cannot = || format!("cannot use the data folder {}: choose another with --data", data.display());
    std::fs::create_dir_all(data).with_context(cannot)?;
    let data = data.canonicalize().with_context(cannot)?;
    if let Some(free) = free_space(&data)
        && free < FREE_SPACE_MIN
    {
        bail!(
            "no space in the data folder {}: {} MiB are free and {} MiB are needed; free some, or choose another folder with --data",
            data.display(),
            free / 1024 / 1024,
            FREE_SPACE_MIN / 1024 / 1024
        );
    }
    Ok(data)
}

/// Bytes that this user may still write in `folder`; none where the system does not say.
pub(crate) fn free_space(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let cannot =
        || format!("cannot serve the API on {address}: stop what listens there, or choose another with --http");
    let listener = TcpListener::bind(address).await.with_context(cannot)?;
    let bound = listener.local_addr().with_context(cannot)?;
    Ok((listener, bound))
}

/// The address a client on this machine can use: a wildcard isn't one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where the deployment's secrets are; a file is made if it is not there yet.
fn secrets(settings: &Settings, aws: &Aws, data: &Path) -> Result<(DeploymentSecrets, Option<PathBuf>)> {
    if let Some(id) = &settings.fleet_secret_id {
        return Ok((DeploymentSecrets::secrets_manager(aws.clients.secrets.clone(), id.clone()), None));
    }
    let path = settings.fleet_secret_file.clone().unwrap_or_else(|| data.join("secrets").join("fleet.json"));
    let path = std::path::absolute(path)?;
    create_if_absent(&path, &OsEntropy).with_context(|| {
        format!("cannot write the secrets file {}: choose another with --fleet-secret-file", path.display())
    })?;
    Ok((DeploymentSecrets::file(&path), Some(path)))
}

/// What can be judged before anything is started.
struct Wanted {
    /// None while the fleet is external.
    server: Option<ServerConfig>,
}

impl Wanted {
    fn of(settings: &Settings) -> Result<Self> {
        let language_model = wiring::language_model(settings)?;
        if let Some(url) = settings.ws_public_url.as_deref().filter(|url| domain::websocket::base_url(url).is_none()) {
            bail!("ws_public_url `{url}`: write the URL without a path, such as wss://calls.example.com");
        }
        let periods = &settings.periods;
        let timing = Timing {
            heartbeat: periods.heartbeat.0,
            checkpoint: periods.checkpoint.0,
            announce_by: periods.announce_by.0,
            drain: periods.drain.0,
        };
        let server = match settings.fleet_mode {
            FleetMode::Embedded => Some(settings.fleet.clone().check("local", timing, language_model)?),
            FleetMode::External => None,
        };
        Ok(Self { server })
    }
}

/// The process's one recorder of metrics.
fn metrics() -> Result<PrometheusHandle> {
    static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let installed = RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().map_err(|e| e.to_string()));
    installed.clone().map_err(|error| anyhow::anyhow!("metrics cannot be recorded: {error}"))
}

async fn upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// The served API.
#[derive(Debug)]
struct Http {
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Http {
    fn serve(listener: TcpListener, router: axum::Router) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            // Who calls is known by address: failed authentication is slowed by it.
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            let served = axum::serve(listener, service).with_graceful_shutdown(stopped.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the API is no longer served");
            }
        });
        Self { stop, serving }
    }

    /// Takes no more requests, and waits a moment for those in progress.
    async fn finish(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(HTTP_GRACE, &mut self.serving).await.is_err() {
            tracing::warn!("HTTP requests in progress were cut off");
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
