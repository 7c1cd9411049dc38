//! Starts and ends a fleet server in the right order. It must never take a call before what an earlier process left is
//! in hand, and never stop while a call that it could finish is alive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use call::io::Control;
use domain::ids::Epoch;
use domain::ports::StoreError;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::audio::{AudioEngine, AudioError};
use crate::bench::Bench;
use crate::config::{ServerConfig, WsConfig};
use crate::door::Door;
use crate::finish::spool::{Spool, SpoolError};
use crate::finish::{Finishing, FinishingConfig};
use crate::heartbeat::{self, Heart, HeartbeatError, Identity, Pulse};
use crate::legs::SipLegs;
use crate::legs::websocket::Limits;
use crate::live::Live;
use crate::lookout::Lookout;
use crate::model::DeploymentModel;
use crate::node::{Node, Ports};
use crate::passing::Passing;
use crate::peers::Peers;
use crate::provider::Speech;
use crate::recording::{Recordings, WriterError};
use crate::signalling::{Incoming, Signalling, SignallingError};
use crate::sip_door::{self, Directory, SipDoor};
use crate::tls::{ListenError, Listener};
use crate::ws::{self, Sockets};
use crate::{accept, http, recover};

/// Incoming INVITEs that may wait to be looked at.
const INCOMING_QUEUE: usize = 256;
/// Rows of ours without a call, and calls without a row, are looked for this often; rows younger than this are left alone.
const RECONCILED_EVERY: Duration = Duration::from_secs(30);
/// Calls that the drain limit ended get this long to say goodbye on the wire.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Ended calls get this long to be told before the process ends; the spool keeps the rest for the next start.
const TELL_LIMIT: Duration = Duration::from_secs(30);
/// How long the first heartbeat may take.
const FIRST_BEAT: Duration = Duration::from_secs(30);
/// What an earlier process left is told before this one is heard of, but for no longer than this: with the first
/// heartbeat of a new incarnation, `reap` may end the calls of the old one from their checkpoints.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Why a server did not start: each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}; give the server a folder it can write with --spool")]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Recording(#[from] WriterError),
    #[error(transparent)]
    Audio(#[from] AudioError),
    #[error("{0}; is another server running there? Choose another address with --sip")]
    Signalling(#[from] SignallingError),
    #[error("the private HTTP port {address} can't be used: {cause}; choose another with --fleet-http")]
    Http { address: SocketAddr, cause: std::io::Error },
    #[error(transparent)]
    WebSocket(#[from] ListenError),
    #[error("the tables can't be reached: {0}; check the AWS endpoint and credentials")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Heartbeat(#[from] HeartbeatError),
    #[error("no heartbeat got through within 30 s; check the AWS endpoint and the tables")]
    NoHeartbeat,
    #[error(
        "another process with the server id {0} has taken over; give each server an id of its own with --server-id"
    )]
    Superseded(String),
}

/// A running fleet server.
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    heart: Heart,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    drain_limit: Duration,
    /// Where SIP is bound.
    pub sip: SocketAddr,
    /// Where the private port is bound.
    pub http: SocketAddr,
    /// Where diallers reach a bot by WebSocket, before `/ws/BOT`.
    pub ws: String,
}

/// Starts a server; it takes calls when this returns.
///
/// # Errors
/// Says what failed and what to do.
pub async fn start(
    config: ServerConfig,
    ports: Ports,
    speech: Arc<Speech>,
    metrics: Option<PrometheusHandle>,
) -> Result<Server, StartError> {
    // Nobody waits for it, but for a call that comes in at once.
    drop(tokio::task::spawn_blocking(domain::phone::prepare));
    let spool = Spool::open(&config.spool)?;
    let recordings = Recordings::start()?;
    let rtp = AudioEngine::start(config.sip.ip(), &config.rtp_ports, config.media_threads, &recordings)?;
    let (incoming, inbox) = mpsc::channel(INCOMING_QUEUE);
    let max_calls = config.max_calls.min(u32::from(rtp.room()));
    let seed = u64::from(ports.entropy.dice()) << 32 | u64::from(ports.entropy.dice());
    let sip_door = SipDoor {
        directory: Directory::new(ports.trunks.clone()),
        unknown: config.sip_unknown,
        overflow: config.sip_overflow,
    };
    // The bench's caller is in no trunk.
    let gate = sip_door.gate().filter(|_| config.bench.is_none());
    let advertised = config.sip_advertised;
    let signalling = Signalling::start(config.sip, advertised, max_calls as usize * 2, seed, incoming, gate)?;
    let (listener, http) = listen(config.http).await?;
    let port = Listener::bind(config.ws.listen, config.ws.tls.as_ref()).await?;
    let (ws_local, ws_url) = ws_urls(&config.ws, &port);

    let epoch = ports.servers.next_epoch(&config.server_id).await?;
    let sip = signalling.local;
    let identity = identity(&config, epoch, http, ws_url, sip);
    let admission = Admission::new(max_calls, config.server_id.clone(), config.group.clone());
    let finishing = Finishing::new(
        spool.clone(),
        ports.clock.clone(),
        ports.calls.clone(),
        ports.objects.clone(),
        ports.queues.clone(),
        FinishingConfig { announce_by: config.announce_by },
    );
    let peers = Peers::default();
    let node = Arc::new(Node {
        identity: identity.clone(),
        admission: admission.clone(),
        door: Door::new(
            config.ws.trusted_proxies.clone(),
            ports.api_keys.clone(),
            ports.secrets.clone(),
            ports.clock.clone(),
        ),
        passing: Passing::new(config.server_id.clone(), peers.clone(), &ports),
        live: Live::default(),
        finishing,
        legs: SipLegs::new(signalling, rtp, config.media_advertised),
        sip_door,
        peers,
        recordings,
        speech,
        model: DeploymentModel::start(config.llm.clone(), &*ports.secrets).await,
        checkpoint_every: config.checkpoint_every,
        sockets: Sockets::new(Limits::new(config.ws.max_rate), config.ws.per_address),
        calls: TaskTracker::new(),
        ports,
    });
    recover::spool(&node)?;
    if tokio::time::timeout(RECOVERY_LIMIT, node.finishing.settled()).await.is_err() {
        tracing::warn!(calls = node.finishing.open(), "calls of an earlier process are still being told of");
    }

    let heart = beat(&config, identity, admission, spool, &node).await?;
    let stop = CancellationToken::new();
    let bench = config.bench.clone().map(|bench| Bench::new(bench, &node.legs, node.recordings.clone()));
    let tasks = vec![
        tokio::spawn(serve(listener, http::router(node.clone(), metrics), stop.clone())),
        tokio::spawn(port.serve(ws::router(node.clone(), bench.clone()), stop.clone())),
        tokio::spawn(node.sip_door.directory.clone().keep(stop.clone())),
        tokio::spawn(take_incoming(node.clone(), bench, inbox)),
        tokio::spawn(node.model.clone().keep(node.ports.secrets.clone(), stop.clone())),
        tokio::spawn(keep_reconciled(node.clone(), heart.silences(), stop.clone())),
    ];
    tracing::info!(server.id = %config.server_id, epoch = epoch.0, %sip, %http, ws = %ws_local, max_calls, "fleet server takes calls");
    Ok(Server { node, heart, stop, tasks, drain_limit: config.drain_limit, sip, http, ws: ws_local })
}

/// What others know of this server by: advertised addresses where it has some, those that it listens at where not.
fn identity(config: &ServerConfig, epoch: Epoch, http: SocketAddr, ws_url: String, sip: SocketAddr) -> Identity {
    Identity {
        server_id: config.server_id.clone(),
        epoch,
        address: config.http_advertised.clone().unwrap_or_else(|| http.to_string()),
        ws_url,
        sip: config.sip_advertised.unwrap_or(sip).to_string(),
        group: config.group.clone(),
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::Http { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

/// Where the WebSocket port is reached from this machine, and what the fleet is told of it: nothing, if it is bound to
/// every address and no setting says under which it is known.
fn ws_urls(config: &WsConfig, port: &Listener) -> (String, String) {
    let (scheme, local) = (port.scheme(), port.local());
    match (&config.advertised, local.ip()) {
        (Some(url), _) => (url.clone(), url.clone()),
        (None, ip) if ip.is_unspecified() => {
            let loopback: IpAddr = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            (format!("{scheme}://{}", SocketAddr::new(loopback, local.port())), String::new())
        }
        (None, _) => {
            let url = format!("{scheme}://{local}");
            (url.clone(), url)
        }
    }
}

async fn beat(
    config: &ServerConfig,
    identity: Identity,
    admission: Admission,
    spool: Spool,
    node: &Node,
) -> Result<Heart, StartError> {
    let lookout = Lookout::new(identity.server_id.clone(), &node.ports, node.peers.clone());
    let mut heart = heartbeat::start(
        identity,
        config.heartbeat,
        admission,
        lookout,
        spool,
        node.ports.servers.clone(),
        node.ports.clock.clone(),
    )?;
    match tokio::time::timeout(FIRST_BEAT, heart.started()).await {
        Ok(true) => Ok(heart),
        Ok(false) => Err(StartError::Superseded(config.server_id.to_string())),
        Err(_) => Err(StartError::NoHeartbeat),
    }
}

async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    // A dialler that a peer passes on talks through here: frames of 20 ms must not wait for each other.
    let listener = listener.tap_io(|tcp| {
        let _ = tcp.set_nodelay(true);
    });
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the private port has failed");
    }
}

/// Calls that come in by SIP, each looked at beside the others.
async fn take_incoming(node: Arc<Node>, bench: Option<Bench>, mut inbox: mpsc::Receiver<Incoming>) {
    while let Some(incoming) = inbox.recv().await {
        match &bench {
            Some(bench) if bench.wants(&incoming) => bench.take(incoming),
            _ => drop(tokio::spawn(sip_door::take(node.clone(), incoming))),
        }
    }
}

async fn keep_reconciled(node: Arc<Node>, mut silences: watch::Receiver<u64>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = silences.changed() => {}
            () = tokio::time::sleep(RECONCILED_EVERY) => {}
        }
        accept::reconcile(&node, RECONCILED_EVERY).await;
    }
}

impl Server {
    /// Live calls right now.
    pub fn calls(&self) -> u32 {
        self.node.admission.load().calls
    }

    /// Returns when this server must go: another incarnation writes its heartbeats.
    pub async fn superseded(&self) {
        let mut pulse = self.heart.watch();
        let _ = pulse.wait_for(|pulse| *pulse == Pulse::Superseded).await;
    }

    /// Takes no further call and passes on who still comes, for `stay` at least; lets the live calls finish up to the drain
    /// limit or until `force`, ends the rest with a result, tells everything, and stops.
    pub async fn drain(self, force: CancellationToken, stay: Duration) {
        let node = &self.node;
        node.admission.end();
        node.calls.close();
        tracing::info!(calls = node.admission.load().calls, limit = ?self.drain_limit, "draining");
        let finished = async {
            // Whom it passes on meanwhile is waited for too.
            tokio::time::sleep(stay).await;
            tokio::join!(node.calls.wait(), node.passing.finished());
        };
        tokio::select! {
            () = finished => {}
            () = tokio::time::sleep(self.drain_limit) => tracing::warn!("drain limit reached; ending the calls that are left"),
            () = force.cancelled() => tracing::warn!("drain forced; ending the calls that are left"),
        }
        node.sockets.going.cancel();
        node.passing.cut();
        node.live.control_all(Control::Drain);
        if tokio::time::timeout(LAST_WORDS, node.calls.wait()).await.is_err() {
            tracing::error!("calls are left that did not end; the next start or the reaper ends them");
        }
        if tokio::time::timeout(TELL_LIMIT, node.finishing.settled()).await.is_err() {
            tracing::warn!(calls = node.finishing.open(), "ended calls stay in the spool for the next start");
        }
        node.sockets.tasks.close();
        if tokio::time::timeout(LAST_WORDS, node.sockets.tasks.wait()).await.is_err() {
            tracing::warn!(sockets = node.sockets.tasks.len(), "diallers are left that do not close their sockets");
        }
        self.stop.cancel();
        self.heart.retire().await;
        for task in self.tasks {
            task.abort();
        }
    }
}
