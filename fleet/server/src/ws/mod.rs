//! The public port: diallers connect here by WebSocket, and a balancer asks whether to send them. A request is judged
//! before its upgrade, in full: afterwards there is nothing left but to close the socket.
//! It must never write anything down for a socket that is not a call yet, and never log what a client sent.

mod addresses;
mod endpoint;
mod query;
mod reception;
mod refusal;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use endpoint::passed_on;
pub(crate) use streams::{Stream, Streams};

use crate::bench::Bench;
use crate::legs::websocket::Limits;
use crate::node::Node;
use addresses::Addresses;

/// What the sockets of one server share.
#[derive(Debug)]
pub(crate) struct Sockets {
    streams: Streams,
    addresses: Addresses,
    limits: Limits,
    /// One task a socket, up to the last byte of its close.
    pub tasks: TaskTracker,
    /// Set when the server ends: sockets close with 1001 from then on.
    pub going: CancellationToken,
}

impl Sockets {
    /// `per_address`: sockets that one client may have open, 0 = any number.
    pub(crate) fn new(limits: Limits, per_address: u32) -> Self {
        Self {
            streams: Streams::default(),
            addresses: Addresses::new(per_address),
            limits,
            tasks: TaskTracker::new(),
            going: CancellationToken::new(),
        }
    }
}

/// What the handlers of the public port work with.
#[derive(Debug, Clone)]
struct Public {
    node: Arc<Node>,
    bench: Option<Bench>,
}

/// The routes of the public port; with a `bench`, its path too.
pub(crate) fn router(node: Arc<Node>, bench: Option<Bench>) -> Router {
    let routes = Router::new()
        .route("/ws/{bot_id}", get(endpoint::connect))
        .route("/ws/{bot_id}/{token}", get(endpoint::connect_by_token))
        .route("/health", get(health));
    routes.with_state(Public { node, bench })
}

/// For a balancer: whether new diallers should come here.
async fn health(State(public): State<Public>) -> (StatusCode, &'static str) {
    if public.node.admission.load().draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    }
}
