//! Heartbeats: this server's load, written on change and at a steady beat, on a runtime of their own so that no amount
//! of call work can make the server look dead. It must never admit anybody by itself: it only says whether it got through.

use std::sync::Arc;
use std::time::Duration;

use domain::fleet::ServerRow;
use domain::ids::{Epoch, Owner, ServerId};
use domain::ports::{Clock, Owned, Servers};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::finish::spool::Spool;
use crate::lookout::{Lookout, Seen};

/// Writes on change are at least this far apart.
const CHANGE_GAP: Duration = Duration::from_millis(250);
/// After this many periods without a heartbeat others may have acted as if this server were gone.
const NOTABLE_PERIODS: u32 = 4;
/// One write may take this long.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// Who sums up for others beats this many times as often: what it tells must not be old.
const LEADER_PACE: u32 = 2;

#[derive(Debug, Error)]
pub enum HeartbeatError {
    #[error("the heartbeat thread can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the heartbeat runtime can't be started: {0}")]
    Runtime(std::io::Error),
}

/// What stays the same in every heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub server_id: ServerId,
    pub epoch: Epoch,
    /// `host:port` of the private port.
    pub address: String,
    /// Where diallers reach the WebSocket port; empty if that can't be known.
    pub ws_url: String,
    /// `host:port` to which carriers send SIP.
    pub sip: String,
    pub group: Option<String>,
}

impl Identity {
    pub(crate) fn owner(&self) -> Owner {
        Owner { server_id: self.server_id.clone(), epoch: self.epoch }
    }
}

/// How the heart is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    Starting,
    Beating,
    /// A newer incarnation of this server writes heartbeats: this one must go.
    Superseded,
}

#[derive(Debug)]
pub(crate) struct Heart {
    pulse: watch::Receiver<Pulse>,
    silences: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Starts the heart.
///
/// # Errors
/// When no thread or runtime can be had.
pub(crate) fn start(
    identity: Identity,
    period: Duration,
    admission: Admission,
    lookout: Lookout,
    spool: Spool,
    servers: Arc<dyn Servers>,
    clock: Arc<dyn Clock>,
) -> Result<Heart, HeartbeatError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HeartbeatError::Runtime)?;
    let (pulse_out, pulse) = watch::channel(Pulse::Starting);
    let (silences_out, silences) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let beat =
        Beat { identity, period, admission, lookout, spool, servers, clock, pulse: pulse_out, silences: silences_out };
    let thread = std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || runtime.block_on(beat.run(stopped)))
        .map_err(HeartbeatError::Thread)?;
    Ok(Heart { pulse, silences, stop, thread: Some(thread) })
}

impl Heart {
    /// Waits for the first heartbeat that got through; false when another incarnation has taken over.
    pub(crate) async fn started(&mut self) -> bool {
        let seen = self.pulse.wait_for(|pulse| *pulse != Pulse::Starting).await.map(|pulse| *pulse);
        seen.is_ok_and(|pulse| pulse == Pulse::Beating)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Pulse> {
        self.pulse.clone()
    }

    /// Counts how often this server was silent for long and is heard again: stopped, swapped out, or cut off.
    pub(crate) fn silences(&self) -> watch::Receiver<u64> {
        self.silences.clone()
    }

    /// Stops beating and takes the server off the list.
    pub(crate) async fn retire(mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

struct Beat {
    identity: Identity,
    period: Duration,
    admission: Admission,
    lookout: Lookout,
    spool: Spool,
    servers: Arc<dyn Servers>,
    clock: Arc<dyn Clock>,
    pulse: watch::Sender<Pulse>,
    silences: watch::Sender<u64>,
}

impl Beat {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.admission.watch();
        let mut last_success = Instant::now();
        let mut last_look: Option<Instant> = None;
        let mut every = self.period;
        loop {
            let began = Instant::now();
            match self.write().await {
                Ok(Owned::Written) => {
                    let silence = std::mem::replace(&mut last_success, Instant::now()).elapsed();
                    // After the write: two that begin together see each other. Not with every change: the table is the fleet's.
                    let due = last_look.is_none_or(|last| began.duration_since(last) >= every * 3 / 4);
                    if due || !self.admission.sees_fleet() {
                        let seen = self.lookout.look(began, &self.admission).await;
                        last_look = seen.is_some().then_some(began);
                        every = if seen == Some(Seen::AsLeader) { self.period / LEADER_PACE } else { self.period };
                    }
                    // A full disk means that an end could be lost: then no new call is taken.
                    self.admission.set_ready(self.spool.probe().is_ok());
                    if silence > self.period * NOTABLE_PERIODS {
                        tracing::warn!(?silence, "heard again after a silence");
                        self.silences.send_modify(|count| *count += 1);
                    }
                    self.pulse.send_if_modified(|pulse| std::mem::replace(pulse, Pulse::Beating) != Pulse::Beating);
                }
                Ok(Owned::Lost) => {
                    self.admission.set_ready(false);
                    self.pulse.send_replace(Pulse::Superseded);
                    return;
                }
                Err(error) => {
                    tracing::warn!(error, "heartbeat not written");
                    metrics::counter!("ringfleet_heartbeat_failures_total").increment(1);
                }
            }
            changes.mark_unchanged();
            let gap = tokio::time::sleep(CHANGE_GAP.min(self.period));
            let period = tokio::time::sleep(every);
            tokio::select! {
                () = period => {}
                () = async { gap.await; let _ = changes.changed().await; } => {}
                _ = stopped.wait_for(|stop| *stop) => {
                    let _ = tokio::time::timeout(WRITE_LIMIT, self.servers.retire(&self.identity.owner())).await;
                    return;
                }
            }
        }
    }

    async fn write(&self) -> Result<Owned, String> {
        let load = self.admission.load();
        let row = ServerRow {
            server_id: self.identity.server_id.clone(),
            epoch: self.identity.epoch,
            address: self.identity.address.clone(),
            ws_url: self.identity.ws_url.clone(),
            sip: self.identity.sip.clone(),
            group: self.identity.group.clone(),
            calls: load.calls,
            max: load.max,
            free: load.free(),
            trunk_calls: load.trunk_calls,
            draining: load.draining,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat_at: self.clock.now(),
        };
        match tokio::time::timeout(WRITE_LIMIT, self.servers.heartbeat(&row)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {WRITE_LIMIT:?}")),
        }
    }
}
