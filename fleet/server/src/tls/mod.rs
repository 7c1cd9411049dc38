//! The port that diallers connect to: TCP, TLS where there is a certificate, and HTTP/1.1 up to the upgrade.
//! It must never let a slow or broken client hold up another one, and never log what a client sent.

mod certificate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::TcpKeepalive;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use certificate::TlsError;
use certificate::{Certificate, Look};

use crate::config::TlsFiles;

/// Connections that have not come to an upgrade or an answer yet; beyond that, new ones wait in the kernel.
const UNSETTLED: usize = 4096;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for its request's head, and how many bytes that may have.
const HEAD: Duration = Duration::from_secs(10);
const HEAD_MAX: usize = 32 * 1024;
/// Without a free file descriptor, accepting pauses for this long.
const PAUSE: Duration = Duration::from_millis(200);
/// A silent connection is probed after, and then every; what was sent and is not acknowledged for so long ends it.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_secs(45);
/// The certificate's files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the port can't be served.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("the WebSocket port {address} can't be used: {cause}; choose another with --ws")]
    Bind { address: SocketAddr, cause: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The bound port.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    local: SocketAddr,
    certificate: Option<Certificate>,
}

impl Listener {
    /// Binds the port, and reads its certificate if it has one.
    ///
    /// # Errors
    /// Names the address or the file that can't be used.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Self, ListenError> {
        let failed = |cause| ListenError::Bind { address, cause };
        let certificate = tls.cloned().map(Certificate::load).transpose()?;
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let local = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, local, certificate })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// `ws` or `wss`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "wss" } else { "ws" }
    }

    /// Serves `router` until `stop`, one request a connection; handlers find the TCP peer as `ConnectInfo<SocketAddr>`.
    /// Connections that were upgraded live on.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let Self { tcp, certificate, .. } = self;
        let acceptor = certificate.as_ref().map(Certificate::acceptor);
        let renewing = renew(certificate);
        let accepting = accept_all(tcp, acceptor, router, &stop);
        tokio::select! {
            () = stop.cancelled() => {}
            () = accepting => {}
            never = renewing => match never {},
        }
    }
}

async fn accept_all(tcp: TcpListener, acceptor: Option<TlsAcceptor>, router: Router, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(UNSETTLED));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match tcp.accept().await {
            Ok((stream, peer)) => {
                let attended = attend(stream, peer, acceptor.clone(), router.clone());
                let stop = stop.clone();
                tokio::spawn(async move {
                    stop.run_until_cancelled_owned(attended).await;
                    drop(place);
                });
            }
            Err(error) => {
                failed("accept");
                if !is_the_clients(&error) {
                    tracing::error!(%error, "the WebSocket port takes no connection for a moment");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Errors of a connection that was gone before it was accepted; all others are this process's or machine's.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

fn failed(at: &'static str) {
    metrics::counter!("ringfleet_ws_port_failures_total", "at" => at).increment(1);
}

async fn attend(stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>, router: Router) {
    settle(&stream);
    let Some(acceptor) = acceptor else { return http(stream, peer, router).await };
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, peer, router).await,
        // Scanners and plain clients: nothing that an operator could act on.
        Ok(Err(_)) | Err(_) => failed("handshake"),
    }
}

/// How a client's connection behaves, also after its upgrade. A system that can't do one of these is no reason to refuse it.
fn settle(stream: &TcpStream) {
    // Frames of 20 ms must not wait for each other.
    let _ = stream.set_nodelay(true);
    // A client that is simply gone must not hold a connection for the kernel's quarter of an hour.
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY));
    let _ = socket.set_tcp_user_timeout(Some(UNANSWERED));
}

/// One request, and its answer or its upgrade.
async fn http<S>(stream: S, peer: SocketAddr, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = router.clone().oneshot(request.map(Body::new));
        async move {
            let mut response = answered.await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if served.is_err() {
        failed("request");
    }
}

/// Looks for another certificate again and again.
async fn renew(certificate: Option<Certificate>) -> std::convert::Infallible {
    let Some(mut certificate) = certificate else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let outcome = match certificate.look().await {
            Look::Same => continue,
            Look::Renewed => {
                tracing::info!("a new TLS certificate is in use");
                "renewed"
            }
            Look::Refused(error) => {
                tracing::error!(%error, "the new TLS certificate is not used; the one before goes on");
                "refused"
            }
        };
        metrics::counter!("ringfleet_tls_reloads_total", "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests;
