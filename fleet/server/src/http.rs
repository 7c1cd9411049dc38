//! The private port: offers of calls, hang-ups, drains and health for the control plane, diallers that a peer passes on,
//! metrics for operators.
//! It must never act on an unsigned request, and never be reachable from outside the private network.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, Refusal};
use domain::ids::{CallId, Owner};
use domain::signing::{SIGNATURE_HEADER, verify};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::accept;
use crate::admission::Admission;
use crate::node::Node;
use crate::ws;

/// Variables have 64 KiB at most; the rest is small.
const BODY_LIMIT: usize = 512 * 1024;

#[derive(Clone)]
struct Private {
    node: Arc<Node>,
    metrics: Option<PrometheusHandle>,
}

/// The routes of the private port.
pub(crate) fn router(node: Arc<Node>, metrics: Option<PrometheusHandle>) -> Router {
    Router::new()
        .route("/calls", post(offer))
        .route("/calls/{call_id}/hangup", post(hang_up))
        .route("/drain", post(drain))
        .route("/undrain", post(undrain))
        .route("/ws/{bot_id}", get(take_guest))
        .route("/health", get(health))
        .route("/metrics", get(render_metrics))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Private { node, metrics })
}

/// Checks the signature over method, path, time and body.
async fn signed(node: &Node, method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Response> {
    let header = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    let Some(header) = header else {
        return Err((StatusCode::UNAUTHORIZED, "the request is not signed").into_response());
    };
    let secrets = node.ports.secrets.fleet().await.map_err(|error| {
        tracing::error!(%error, "the fleet's secrets can't be read");
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    })?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    verify(&secrets, header, method, path, body, node.ports.clock.now()).map_err(|error| {
        tracing::warn!(%error, "a request on the private port was refused");
        (StatusCode::UNAUTHORIZED, error.to_string()).into_response()
    })
}

async fn offer(State(private): State<Private>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refused) = signed(&private.node, "POST", &uri, &headers, &body).await {
        return refused;
    }
    let command: DialCommand = match serde_json::from_slice(&body) {
        Ok(command) => command,
        Err(error) => {
            // The reader's words may quote the command; its place is enough.
            let place = format!("not a command: line {} column {}", error.line(), error.column());
            return (StatusCode::UNPROCESSABLE_ENTITY, place).into_response();
        }
    };
    // The control plane may hang up while we decide; the call must not be half accepted then.
    let node = private.node.clone();
    let decided = tokio::spawn(async move { accept::offer(&node, command).await }).await;
    match decided {
        Ok(answer) => (status_of(answer), Json(answer)).into_response(),
        Err(error) => {
            tracing::error!(panicked = error.is_panic(), "an offer was not decided");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn status_of(answer: DialAnswer) -> StatusCode {
    match answer {
        DialAnswer::Accepted => StatusCode::OK,
        DialAnswer::Refused(Refusal::WrongServer | Refusal::Fenced) => StatusCode::CONFLICT,
        // No refusal that the control plane may take for one: it has to find out what became of the row.
        DialAnswer::Refused(Refusal::Unsettled) => StatusCode::INTERNAL_SERVER_ERROR,
        DialAnswer::Refused(
            Refusal::Full
            | Refusal::Draining
            | Refusal::NotReady
            | Refusal::TrunkLimit
            | Refusal::TooLate
            | Refusal::Unreadable,
        ) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn hang_up(
    State(private): State<Private>,
    Path(call): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = signed(&private.node, "POST", &uri, &headers, &body).await {
        return refused;
    }
    match CallId::parse(&call) {
        Ok(call) if accept::hang_up(&private.node, call) => StatusCode::ACCEPTED.into_response(),
        Ok(_) => (StatusCode::NOT_FOUND, "no such call lives here").into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

async fn drain(State(private): State<Private>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    turn(&private.node, &uri, &headers, &body, |admission| {
        admission.drain();
        true
    })
    .await
}

async fn undrain(State(private): State<Private>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    turn(&private.node, &uri, &headers, &body, Admission::resume).await
}

/// Turns admission by `act`, which says whether it could; answers how this server stands then.
async fn turn(
    node: &Node,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    act: impl FnOnce(&Admission) -> bool,
) -> Response {
    if let Err(refused) = signed(node, "POST", uri, headers, body).await {
        return refused;
    }
    match serde_json::from_slice::<Owner>(body) {
        Ok(owner) if owner == node.identity.owner() => {}
        // An address may have got another server since the control plane read it.
        Ok(_) => return (StatusCode::CONFLICT, Json(DrainAnswer::WrongServer)).into_response(),
        Err(error) => return (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
    if !act(&node.admission) {
        return (StatusCode::CONFLICT, Json(DrainAnswer::Ending)).into_response();
    }
    let stands = alive(node);
    tracing::info!(draining = stands.draining, calls = stands.calls, "admission turned by the control plane");
    Json(DrainAnswer::Done(stands)).into_response()
}

/// A dialler that a peer has no slot for; the signature is over the peer's word for it.
async fn take_guest(State(private): State<Private>, Path(bot): Path<String>, request: Request) -> Response {
    ws::passed_on(&private.node, &bot, request).await
}

async fn health(State(private): State<Private>) -> Json<Alive> {
    Json(alive(&private.node))
}

fn alive(node: &Node) -> Alive {
    let load = node.admission.load();
    Alive {
        server_id: node.identity.server_id.clone(),
        epoch: node.identity.epoch,
        calls: load.calls,
        draining: load.draining,
    }
}

async fn render_metrics(State(private): State<Private>) -> Response {
    match &private.metrics {
        Some(handle) => handle.render().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
