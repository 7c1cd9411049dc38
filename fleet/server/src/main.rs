//! The program `ringfleet-fleet`: one fleet server that joins a deployment through its tables.
//! It only reads settings and picks adapters: it must never know whether the services are AWS's or somebody's laptop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use clap::error::ErrorKind;
use domain::machine::Place;
use infra::aws::{Clients, auto_scaling, connect};
use infra::clock::{OsEntropy, SystemClock};
use infra::config::{
    AwsConfig, ConfigError, EgressConfig, LlmConfig, NamesConfig, Periods, TelemetryConfig, assign, load,
};
use infra::dynamodb::stores;
use infra::guarded::{EgressPolicy, GuardedClient, client};
use infra::lifecycle::{Imds, Instance};
use infra::s3::S3Objects;
use infra::schema::Names;
use infra::seal::{AesSeal, follow, wrap_of};
use infra::secrets::DeploymentSecrets;
use infra::sqs::SqsQueues;
use infra::supervisor::Supervisor;
use infra::telemetry::{self, TelemetryError};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use server::lifecycle::{Lifecycle, Rhythm};
use server::provider::timing::Kind;
use server::provider::{LlmConfig as ServerLlm, ModelSet, ProviderConfig, ProviderSettings, Speech, SpeechConfig};
use server::{Addresses, Ports, Server, ServerConfig, ServerSettings, SettingsError, Timing, start};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use toml::{Table, Value};

const PREFIX: &str = "RINGFLEET_";
/// The exit code of a mistake in flags or settings, as clap has it.
const USAGE: u8 = 2;
/// Histograms are drained this often, since nobody may ever scrape them, and the supervisor hears of us.
const UPKEEP: Duration = Duration::from_secs(5);
/// One word to whoever takes the machine, when there is no time for a second.
const FAREWELL: Duration = Duration::from_secs(6);
/// Threads that block are not waited for longer than this at the end.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// One fleet server: SIP, media and calls. It joins the deployment whose tables it is given (AWS_ENDPOINT_URL, AWS_REGION
/// and credentials, as for every AWS tool).
#[derive(Debug, Parser)]
#[command(name = "ringfleet-fleet", version)]
struct Cli {
    /// A file with settings; ringfleet.sample.toml explains every key
    #[arg(long, value_name = "FILE", env = "RINGFLEET_CONFIG")]
    config: Option<PathBuf>,
    /// The secrets shared with the control plane
    #[arg(long, value_name = "FILE")]
    fleet_secret_file: Option<PathBuf>,
    /// This server's id, which lasts over restarts [default: the host's name]
    #[arg(long, value_name = "ID")]
    server_id: Option<String>,
    /// SIP over UDP; RTP uses the same address [default: 127.0.0.1:5060]
    #[arg(long, value_name = "ADDRESS")]
    sip: Option<SocketAddr>,
    /// Ports for RTP and RTCP, in pairs [default: 20000-29999]
    #[arg(long, value_name = "A-B")]
    rtp_ports: Option<String>,
    /// The private port for the control plane, with /metrics [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDRESS")]
    fleet_http: Option<SocketAddr>,
    /// Where diallers connect by WebSocket [default: 127.0.0.1:8091]
    #[arg(long, value_name = "ADDRESS")]
    ws: Option<SocketAddr>,
    /// Calls at once [default: 100]
    #[arg(long, value_name = "N")]
    max_calls: Option<u32>,
    /// Where what ended calls leave is kept until the control plane has it [default: spool]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The folder of the speech models [default: ringfleet/models in the user's cache folder, ~/.cache]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// What is logged on standard error, as in RUST_LOG [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Any other setting, e.g. --set periods.drain=5m
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say that it is ready in one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    fleet_secret_file: Option<PathBuf>,
    /// In Secrets Manager, instead of a file.
    fleet_secret_id: Option<String>,
    /// The key that the data keys among them are wrapped with, where it does not lie beside their file.
    wrap_key_file: Option<PathBuf>,
    /// The KMS key that they are wrapped with, instead of a key file.
    kms_key_id: Option<String>,
    models: Option<PathBuf>,
    aws: AwsConfig,
    names: NamesConfig,
    egress: EgressConfig,
    periods: Periods,
    llm: LlmConfig,
    telemetry: TelemetryConfig,
    fleet: ServerSettings,
    // Keys of the whole platform, so that one file can serve both programs.
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
    #[serde(rename = "http")]
    _http: Option<IgnoredAny>,
    #[serde(rename = "public_url")]
    _public_url: Option<IgnoredAny>,
    #[serde(rename = "ws_public_url")]
    _ws_public_url: Option<IgnoredAny>,
    #[serde(rename = "trusted_proxies")]
    _trusted_proxies: Option<IgnoredAny>,
    #[serde(rename = "prices")]
    _prices: Option<IgnoredAny>,
    #[serde(rename = "admin_key")]
    _admin_key: Option<IgnoredAny>,
    #[serde(rename = "fleet_mode")]
    _fleet_mode: Option<IgnoredAny>,
    #[serde(rename = "aws_listen")]
    _aws_listen: Option<IgnoredAny>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be had");
    let done = runtime.and_then(|runtime| {
        let done = runtime.block_on(run(cli));
        runtime.shutdown_timeout(LEFTOVERS);
        done
    });
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        let usage = error.is::<ConfigError>() || error.is::<SettingsError>() || error.is::<TelemetryError>();
        ExitCode::from(if usage { USAGE } else { 1 })
    })
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let settings: Settings = load(cli.config.as_deref(), PREFIX, layer(&cli)?)?;
    telemetry::init(&settings.telemetry)?;
    infra::failpoint::arm()?;
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics cannot be recorded")?;
    let place = place(&settings.fleet).await?;
    let config = server_config(&settings, place.as_ref())?;
    let clients = connect(&settings.aws).await;
    let ports = ports(&settings, &clients).await?;
    let models = settings.models.clone().unwrap_or_else(ModelSet::default_dir);
    let speech = tokio::task::spawn_blocking(move || load_speech(&models)).await.context("no speech")?;
    let server_id = config.server_id.to_string();
    let server = start(config, ports, speech, Some(metrics.clone())).await?;
    let signals = Signals::new()?;
    let lifecycle = lifecycle(&settings, place).await?;
    announce(&cli, &server_id, &server);
    let supervisor = Supervisor::of_this_process();
    supervisor.ready();
    let upkeep = tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
            supervisor.alive();
        }
    });
    let code = serve(server, &server_id, signals, lifecycle, settings.periods.lifecycle_stay.0).await;
    upkeep.abort();
    Ok(code)
}

/// Serves until something asks the process to end, and drains: for `stay` at least, if that is its machine.
async fn serve(
    server: Server,
    server_id: &str,
    mut signals: Signals,
    lifecycle: Option<Lifecycle>,
    stay: Duration,
) -> ExitCode {
    let force = CancellationToken::new();
    let (code, by_machine) = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, calls = server.calls(), "draining; a second signal ends the live calls");
            (ExitCode::SUCCESS, false)
        }
        () = server.superseded() => {
            tracing::error!(server.id = %server_id, "another process has taken over this id; ending");
            // The control plane ends the calls of an older incarnation: they must not talk on.
            force.cancel();
            (ExitCode::FAILURE, false)
        }
        () = goes(lifecycle.as_ref()) => {
            tracing::info!(calls = server.calls(), "draining for the machine; a second signal ends the live calls");
            (ExitCode::SUCCESS, true)
        }
    };
    // Whoever stops the service of a machine that goes does not insist yet.
    let let_pass = usize::from(by_machine);
    let stay = if by_machine { stay } else { Duration::ZERO };
    let mut drained = std::pin::pin!(server.drain(force.clone(), stay));
    tokio::select! {
        () = &mut drained => {}
        () = insisted(&mut signals, lifecycle.as_ref(), let_pass) => {
            force.cancel();
            drained.await;
        }
    }
    if let Some(lifecycle) = lifecycle {
        let in_haste = force.is_cancelled();
        leave(lifecycle, in_haste, signals).await;
    }
    code
}

/// Returns when the machine is to go.
async fn goes(lifecycle: Option<&Lifecycle>) {
    match lifecycle {
        Some(lifecycle) => lifecycle.goes().await,
        None => std::future::pending().await,
    }
}

/// Returns when a drain has to end: after one signal more than are let pass, or since the machine is about to vanish.
async fn insisted(signals: &mut Signals, lifecycle: Option<&Lifecycle>, let_pass: usize) {
    let signalled = async {
        for _ in 0..=let_pass {
            signals.next().await;
        }
    };
    let vanishes = async {
        match lifecycle {
            Some(lifecycle) => lifecycle.vanishes().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = signalled => {}
        () = vanishes => {}
    }
}

/// Tells whoever takes the machine that it may.
async fn leave(mut lifecycle: Lifecycle, in_haste: bool, mut signals: Signals) {
    let told = lifecycle.drained();
    if in_haste {
        let _ = tokio::time::timeout(FAREWELL, told).await;
        return;
    }
    tokio::select! {
        () = told => {}
        _ = signals.next() => {}
    }
}

/// This machine, where a setting asks for it.
async fn place(fleet: &ServerSettings) -> Result<Option<Place>> {
    if fleet.addresses == Addresses::Own && fleet.lifecycle.hook()?.is_none() {
        return Ok(None);
    }
    let unknown =
        "this machine's id and addresses are not known: fleet.addresses and fleet.lifecycle are for EC2 instances";
    Ok(Some(Imds::new().place().await.context(unknown)?))
}

/// The watch over this machine, where somebody may end it and waits.
async fn lifecycle(settings: &Settings, place: Option<Place>) -> Result<Option<Lifecycle>> {
    let Some((hook, place)) = settings.fleet.lifecycle.hook()?.zip(place) else { return Ok(None) };
    let machine = Instance {
        imds: Imds::new(),
        auto_scaling: auto_scaling(&settings.aws).await,
        id: place.id,
        group: hook.group,
        hook: hook.hook,
    };
    let Periods { lifecycle_look, lifecycle_hold, .. } = &settings.periods;
    let rhythm = Rhythm { look: lifecycle_look.0, hold: lifecycle_hold.0 };
    Ok(Some(Lifecycle::start(Arc::new(machine), rhythm)))
}

/// The flags as the top layer of the settings.
fn layer(cli: &Cli) -> Result<Table, ConfigError> {
    let mut flags = Table::new();
    for assignment in &cli.set {
        assign(&mut flags, assignment)?;
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let address = |address: &Option<SocketAddr>| address.map(|address| address.to_string());
    let texts = [
        ("", "fleet_secret_file", path(&cli.fleet_secret_file)),
        ("", "models", path(&cli.models)),
        ("telemetry", "level", cli.log.clone()),
        ("fleet", "server_id", cli.server_id.clone()),
        ("fleet", "sip", address(&cli.sip)),
        ("fleet", "rtp_ports", cli.rtp_ports.clone()),
        ("fleet", "http", address(&cli.fleet_http)),
        ("fleet", "ws", address(&cli.ws)),
        ("fleet", "spool", path(&cli.spool)),
    ];
    let texts = texts.into_iter().filter_map(|(section, key, text)| Some((section, key, Value::String(text?))));
    let numbers = cli.max_calls.map(|calls| ("fleet", "max_calls", Value::Integer(calls.into())));
    for (section, key, value) in texts.chain(numbers) {
        let table = match section {
            "" => Some(&mut flags),
            section => flags.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut(),
        };
        // A section that --set made something else of is refused when it is read.
        if let Some(table) = table {
            table.insert(key.to_owned(), value);
        }
    }
    Ok(flags)
}

fn server_config(settings: &Settings, place: Option<&Place>) -> Result<ServerConfig> {
    let periods = &settings.periods;
    let timing = Timing {
        heartbeat: periods.heartbeat.0,
        checkpoint: periods.checkpoint.0,
        announce_by: periods.announce_by.0,
        drain: periods.drain.0,
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "fleet" } else { host };
    let fleet = match place {
        Some(place) => settings.fleet.clone().located(place)?,
        None => settings.fleet.clone(),
    };
    Ok(fleet.check(host, timing, language_model(&settings.llm)?)?)
}

fn language_model(llm: &LlmConfig) -> Result<Option<ServerLlm>> {
    let LlmConfig { base_url, api_key, model } = llm.clone();
    let wanted = match (base_url, model) {
        (None, None) => return Ok(None),
        (base_url @ Some(_), model @ Some(_)) => {
            ProviderSettings { vendor: "openai".to_owned(), model, base_url, api_key, ..ProviderSettings::default() }
        }
        _ => bail!("llm.base_url and llm.model go together: set both or none"),
    };
    match ProviderConfig::parse(Kind::Llm, wanted) {
        Ok(ProviderConfig::OpenAi(config)) => Ok(Some(config)),
        _ => bail!("llm.base_url is no URL of an API: write e.g. https://llm.example.com/v1"),
    }
}

async fn ports(settings: &Settings, clients: &Clients) -> Result<Ports> {
    let secrets = match (&settings.fleet_secret_id, &settings.fleet_secret_file) {
        (Some(id), _) => DeploymentSecrets::secrets_manager(clients.secrets.clone(), id.clone()),
        (None, Some(path)) => DeploymentSecrets::file(path),
        (None, None) => bail!("the deployment's secrets are needed: --fleet-secret-file FILE, or fleet_secret_id"),
    };
    let unusable = "the deployment's secrets cannot be used";
    let (key, file) = (settings.kms_key_id.as_deref(), settings.wrap_key_file.as_deref());
    let wrap = wrap_of(&clients.kms, key, file, &secrets).context(unusable)?;
    let seal = Arc::new(AesSeal::load(&secrets, &*wrap).await.context(unusable)?);
    let secrets = Arc::new(secrets);
    follow(&seal, secrets.clone(), wrap);
    let names = Names::new(&settings.names);
    let stores = stores(clients, &names);
    let policy = EgressPolicy::from(settings.egress.clone());
    Ok(Ports {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        api_keys: stores.api_keys,
        bots: stores.bots,
        trunks: stores.trunks,
        calls: stores.calls,
        servers: stores.servers,
        objects: Arc::new(S3Objects::new(clients.s3.clone(), &names)),
        queues: Arc::new(SqsQueues::new(clients.sqs.clone(), &names)),
        http: client(policy.clone()).context("the HTTP client cannot be built")?,
        outbound: Arc::new(GuardedClient::new(policy)),
        secrets,
        seal,
    })
}

fn load_speech(folder: &std::path::Path) -> Arc<Speech> {
    let (models, missing) = ModelSet::scan(folder);
    if let Some(missing) = missing {
        tracing::warn!("{missing}");
    }
    let speech = Speech::load(&models, SpeechConfig::default());
    for warning in &speech.status().warnings {
        tracing::warn!("{warning}");
    }
    Arc::new(speech)
}

fn announce(cli: &Cli, server_id: &str, server: &Server) {
    let (sip, http, ws) = (server.sip, server.http, &server.ws);
    let text = if cli.json {
        let http = format!("http://{http}");
        serde_json::json!({"ready": true, "server_id": server_id, "sip": sip.to_string(), "http": http, "ws": ws})
            .to_string()
    } else {
        format!(
            "Fleet server {server_id} takes calls: SIP {sip} (UDP), WebSocket {ws}/ws/BOT, private port http://{http}"
        )
    };
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What asks a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Help and version are answers; everything else is one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let message = text.split("\nUsage:").next().unwrap_or_default();
    let message = message.split("\nFor more information").next().unwrap_or_default();
    complain(&format!("{}; see ringfleet-fleet --help", message.trim_start_matches("error: ").trim_end()));
    ExitCode::from(USAGE)
}

fn complain(message: &str) {
    let words: Vec<&str> = message.split_whitespace().collect();
    let _ = writeln!(std::io::stderr(), "ringfleet-fleet: {}", words.join(" "));
}
