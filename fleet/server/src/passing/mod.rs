//! Passing a WebSocket on: a server without a slot hands the client to a peer over the private network and carries the
//! bytes from then on. It must never pass on what was passed to it, and never tell the peer the client's key.

mod introduction;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HOST, HeaderName, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use domain::fleet::ServerRow;
use domain::ids::ServerId;
use domain::ports::{Clock, Entropy, Secrets};
use domain::signing::{SIGNATURE_HEADER, sign};
use domain::websocket::path_of;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use introduction::{INTRODUCTION, Introduction};

use crate::door::without_credentials;
use crate::node::Ports;
use crate::peers::Peers;

/// WebSockets of others that this server carries at once; beyond that a client is told to come again.
const TUNNELS: usize = 1024;
/// Peers that one client is offered to.
const PEERS: usize = 8;
/// A peer is near: who takes longer is gone.
const CONNECT: Duration = Duration::from_secs(1);
/// For a peer's answer: it reads the bot and takes a slot.
const ANSWER: Duration = Duration::from_secs(3);
/// For all of it: a dialler gives up at some 10 s.
const BUDGET: Duration = Duration::from_secs(6);

/// What passing on needs, and what is under way of it.
#[derive(derive_more::Debug)]
pub(crate) struct Passing {
    #[debug(skip)]
    secrets: Arc<dyn Secrets>,
    #[debug(skip)]
    clock: Arc<dyn Clock>,
    #[debug(skip)]
    entropy: Arc<dyn Entropy>,
    me: ServerId,
    peers: Peers,
    places: Arc<Semaphore>,
    tunnels: TaskTracker,
    cut: CancellationToken,
}

/// Why one peer did not take a client.
#[derive(Debug, Error)]
enum NotTaken {
    #[error("the peer is not reachable")]
    Unreachable,
    #[error("the peer did not answer in time")]
    Silent,
    #[error("the peer answered {0}")]
    Answered(StatusCode),
    #[error("the fleet's secrets can't be read, or the request can't be made")]
    NotAsked,
}

impl Passing {
    pub(crate) fn new(me: ServerId, peers: Peers, ports: &Ports) -> Self {
        Self {
            secrets: ports.secrets.clone(),
            clock: ports.clock.clone(),
            entropy: ports.entropy.clone(),
            me,
            peers,
            places: Arc::new(Semaphore::new(TUNNELS)),
            tunnels: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Finds a peer for a client that the door let in; answers the client's upgrade in the peer's words. `None`: every
    /// server is full.
    pub(crate) async fn pass_on(&self, guest: &Introduction, request: Request) -> Option<Response> {
        // A body can't be looked at from two threads: it must not stand in the way of waiting.
        let (head, _) = request.into_parts();
        let place = self.places.clone().try_acquire_owned().ok()?;
        let found = tokio::time::timeout(BUDGET, self.find(guest, &head)).await.ok().flatten();
        let Some(mut theirs) = found else {
            metrics::counter!("ringfleet_ws_passed_on_total", "outcome" => "nobody").increment(1);
            return None;
        };
        metrics::counter!("ringfleet_ws_passed_on_total", "outcome" => "passed").increment(1);
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = handshake(theirs.headers());
        let mut ours = Request::from_parts(head, Body::empty());
        let (near, far) = (hyper::upgrade::on(&mut ours), hyper::upgrade::on(&mut theirs));
        let carried = tunnel::carry(near, far);
        let cut = self.cut.clone();
        self.tunnels.spawn(async move {
            let open = metrics::gauge!("ringfleet_ws_tunnels");
            open.increment(1.0);
            cut.run_until_cancelled_owned(carried).await;
            open.decrement(1.0);
            drop(place);
        });
        Some(answer)
    }

    /// Returns when no client is carried any more.
    pub(crate) async fn finished(&self) {
        self.tunnels.close();
        self.tunnels.wait().await;
    }

    /// Ends what is still carried.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Peers with room by their last heartbeat; those with the same room in an order of their own for each client.
    fn ranked(&self) -> Vec<ServerRow> {
        let salt = self.entropy.dice();
        let dice = |id: &ServerId| {
            let start = 0x811c_9dc5 ^ salt;
            id.as_str().bytes().fold(start, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        };
        self.peers.with_room(&self.me, None, self.clock.now(), dice)
    }

    async fn find(&self, guest: &Introduction, head: &Parts) -> Option<Response<Incoming>> {
        for peer in self.ranked().iter().take(PEERS) {
            match self.offer(peer, guest, head).await {
                Ok(taken) => {
                    tracing::info!(bot.id = %guest.bot_id, server.id = %peer.server_id, "a WebSocket is passed on");
                    return Some(taken);
                }
                Err(why) => {
                    metrics::counter!("ringfleet_ws_passed_on_total", "outcome" => "refused").increment(1);
                    tracing::debug!(server.id = %peer.server_id, %why, "a peer takes no WebSocket");
                }
            }
        }
        None
    }

    async fn offer(
        &self,
        peer: &ServerRow,
        guest: &Introduction,
        head: &Parts,
    ) -> Result<Response<Incoming>, NotTaken> {
        let asked = self.asked(peer, guest, head).await.ok_or(NotTaken::NotAsked)?;
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect(&peer.address)).await;
        let Ok(Ok(stream)) = connected else { return Err(NotTaken::Unreachable) };
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| NotTaken::Unreachable)?;
        // It ends with its answer, or hands the connection over; without either, when its sender is dropped here.
        tokio::spawn(connection.with_upgrades());
        match tokio::time::timeout(ANSWER, sender.send_request(asked)).await {
            Ok(Ok(answer)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            Ok(Ok(answer)) => Err(NotTaken::Answered(answer.status())),
            Ok(Err(_)) | Err(_) => Err(NotTaken::Silent),
        }
    }

    /// The client's request as the peer gets it: signed, with the door's verdict in the place of the credentials.
    async fn asked(&self, peer: &ServerRow, guest: &Introduction, head: &Parts) -> Option<Request> {
        let secrets = self.secrets.fleet().await.ok()?;
        let mut path = path_of(&guest.bot_id);
        if let Some(query) = head.uri.query() {
            path = format!("{path}?{}", without_credentials(query));
        }
        let introduction = guest.to_header();
        let signature = sign(&secrets, "GET", &path, self.clock.now(), introduction.as_bytes());
        let mut asked = Request::builder().uri(path).body(Body::empty()).ok()?;
        let headers = asked.headers_mut();
        *headers = handshake(&head.headers);
        headers.insert(HOST, peer.address.parse().ok()?);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(INTRODUCTION, introduction);
        headers.insert(SIGNATURE_HEADER, signature.parse().ok()?);
        Some(asked)
    }
}

/// The headers of a WebSocket's handshake, either way.
fn handshake(headers: &HeaderMap) -> HeaderMap {
    let is_of_it =
        |name: &HeaderName| *name == UPGRADE || *name == CONNECTION || name.as_str().starts_with("sec-websocket-");
    headers.iter().filter(|(name, _)| is_of_it(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
