//! The AWS inside the process: DynamoDB, S3 and SQS behind one listener, so that the production
//! adapters run unchanged on a laptop and in tests. It is only ever a choice of endpoint: nothing
//! outside this folder may know whether it talks to this or to AWS.
//!
//! What is durable: a DynamoDB write or an S3 object that was acknowledged survives kill -9 of the
//! process. DynamoDB lives in `dynamodb.sqlite` (write-ahead log), objects below `s3/`.
//! What is not: **queues and their messages live in memory.** A restart drops them; whoever starts
//! the platform creates the queues again, and the sweep brings back the work from the tables.
//!
//! Requests are told apart by the service in the scope of their signature (see `sigv4`); every
//! signature is checked, also on loopback, so that a web page or another user of the machine can
//! not reach the data. What differs from AWS is listed at the head of each service's module.

mod dynamodb;
mod listener;
mod s3;
mod sigv4;
mod sqs;

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use dynamodb::DynamoDb;
use listener::Services;
use sigv4::Keys;
use sqs::Sqs;

/// How often items past their TTL are deleted. AWS promises "within a few days".
const TTL_SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What the embedded AWS needs to start.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// The folder that holds everything durable; created if missing, used by one process at a time.
    pub data: PathBuf,
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// The one access key id that is let in.
    pub access_key: String,
    /// Its secret, with which every request must be signed.
    pub secret_key: String,
}

impl fmt::Debug for EmbeddedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Why the embedded AWS could not start. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The data folder can't be created, read or written.
    #[error("cannot use the data folder {}: {source}: free some space, fix its permissions or choose another folder", path.display())]
    Folder {
        /// The folder or file that failed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the data folder open.
    #[error("the data folder {} is in use by another process: stop that one or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database file can't be opened.
    #[error("cannot open the database {}: {source}: move the file away to start empty", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<dynoxide::errors::DynoxideError>,
    },
    /// The listening address can't be had.
    #[error("cannot listen on {listen}: {source}: choose another address or stop what uses it")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running embedded AWS. Dropping it stops it too, without waiting for the requests in progress.
#[derive(Debug)]
pub struct Embedded {
    /// What to set as `AWS_ENDPOINT_URL`, such as `http://127.0.0.1:43117`.
    pub endpoint: String,
    /// The address really listened on.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Starts the three services on one listener; returns once requests can be sent.
///
/// # Errors
/// When the data folder, the database or the address can't be used.
pub async fn start(config: EmbeddedConfig) -> Result<Embedded, EmbeddedError> {
    let lock = claim(&config.data)?;
    let (dynamodb, objects) = open_stores(&config).await?;
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| EmbeddedError::Listen { listen, source })?;
    let address = listener.local_addr().map_err(|source| EmbeddedError::Listen { listen, source })?;

    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sweep_ttl(dynamodb.clone(), stopped.clone()));
    let services = Arc::new(Services {
        keys: Keys { access_key: config.access_key, secret_key: config.secret_key },
        dynamodb,
        objects,
        sqs: Sqs::default(),
        lock,
    });
    let serving = tokio::spawn(listener::serve(listener, services, stopped));
    let endpoint = format!("http://{}", reachable(address));
    tracing::debug!(%endpoint, data = %config.data.display(), "embedded AWS is up");
    Ok(Embedded { endpoint, address, stop, serving })
}

impl Embedded {
    /// Stops taking requests, ends long polls, and waits for the requests in progress (a few
    /// seconds at most). There is nothing to flush: what was acknowledged is already durable.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the embedded AWS ended badly");
        }
    }
}

/// Creates the data folder and takes its lock, which the kernel frees however the process ends.
fn claim(data: &Path) -> Result<File, EmbeddedError> {
    let folder = |path: &Path| {
        let path = path.to_owned();
        move |source| EmbeddedError::Folder { path, source }
    };
    std::fs::create_dir_all(data).map_err(folder(data))?;
    let path = data.join("embedded.lock");
    let lock = File::create(&path).map_err(folder(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse { path: data.to_owned() }),
        Err(TryLockError::Error(source)) => Err(folder(&path)(source)),
    }
}

async fn open_stores(config: &EmbeddedConfig) -> Result<(DynamoDb, s3s::service::S3Service), EmbeddedError> {
    let database = config.data.join("dynamodb.sqlite");
    let objects = config.data.join("s3");
    let auth = s3s::auth::SimpleAuth::from_single(&*config.access_key, &*config.secret_key);
    let opened = tokio::task::spawn_blocking(move || {
        let dynamodb = DynamoDb::open(&database)
            .map_err(|source| EmbeddedError::Database { path: database, source: Box::new(source) })?;
        let objects = s3::open(&objects, auth).map_err(|source| EmbeddedError::Folder { path: objects, source })?;
        Ok((dynamodb, objects))
    });
    opened.await.unwrap_or_else(|error| {
        Err(EmbeddedError::Folder { path: config.data.clone(), source: io::Error::other(error) })
    })
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

async fn sweep_ttl(dynamodb: DynamoDb, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TTL_SWEEP_EVERY) => dynamodb.sweep_ttl().await,
        }
    }
}
