//! The one listener: accepts connections, tells by its signature which service a request is for,
//! and hands it over. It must never answer a request whose signature it has not had checked.

use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::Body;
use s3s::service::S3Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dynamodb::DynamoDb;
use super::sigv4::{self, Keys, Refusal};
use super::sqs::{Caller, Sqs};

/// How long requests in progress may take to finish once we stop.
const GRACE: Duration = Duration::from_secs(5);
/// The largest request body of DynamoDB; one of SQS is smaller.
const MAX_BODY: usize = 16 * 1024 * 1024;
const DEFAULT_REGION: &str = "us-east-1";

/// Everything a request may need.
pub(super) struct Services {
    pub(super) keys: Keys,
    pub(super) dynamodb: DynamoDb,
    pub(super) objects: S3Service,
    pub(super) sqs: Sqs,
    /// Keeps other processes away from the data folder for as long as a request may run.
    pub(super) lock: File,
}

/// Serves until `stop` turns true or its sender is dropped, then lets the requests in progress end.
pub(super) async fn serve(listener: TcpListener, services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&services), stop.clone()));
                }
                Err(error) => {
                    // Out of descriptors, mostly: a pause keeps this from spinning.
                    tracing::warn!(%error, "the embedded AWS can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("the embedded AWS cut off the requests in progress");
        connections.shutdown().await;
    }
    if let Err(error) = services.lock.unlock() {
        tracing::debug!(%error, "the data folder's lock goes with the process");
    }
}

async fn connection(stream: TcpStream, services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection went at once");
        return;
    }
    let stopped = stop.clone();
    let service = service_fn(move |request| {
        let (services, stopped) = (Arc::clone(&services), stopped.clone());
        async move { Ok::<_, Infallible>(services.answer(request, stopped).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection to the embedded AWS broke");
                }
                return;
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a request is for.
enum Route {
    DynamoDb,
    Sqs,
    S3,
    Unknown(String),
}

impl Route {
    /// The signature's scope decides; without one, the operation's prefix; without both it can
    /// only be S3, which refuses who isn't signed in.
    fn of(parts: &Parts) -> (Self, String) {
        let scope = sigv4::scope(parts);
        let region = scope.as_ref().map_or(DEFAULT_REGION, |scope| &scope.region).to_owned();
        let route = match (scope, target(parts)) {
            (Some(scope), _) => match scope.service.as_str() {
                "dynamodb" => Self::DynamoDb,
                "sqs" => Self::Sqs,
                "s3" => Self::S3,
                _ => Self::Unknown(scope.service),
            },
            (None, Some((prefix, _))) => match prefix {
                "DynamoDB_20120810" => Self::DynamoDb,
                "AmazonSQS" => Self::Sqs,
                _ => Self::Unknown(prefix.to_owned()),
            },
            (None, None) => Self::S3,
        };
        (route, region)
    }
}

impl Services {
    async fn answer(&self, request: Request<Incoming>, stopped: watch::Receiver<bool>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (route, region) = Route::of(&parts);
        if matches!(route, Route::S3) {
            let request = Request::from_parts(parts, Body::from(body));
            return self.objects.call(request).await.unwrap_or_else(|error| {
                tracing::error!(?error, "the embedded S3 failed");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            });
        }
        if let Route::Unknown(service) = route {
            let message = format!("the embedded AWS has dynamodb, s3 and sqs, not {service}");
            return refuse(StatusCode::BAD_REQUEST, "UnknownOperationException", &message);
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return refuse(status, "RequestEntityTooLarge", &error.to_string());
            }
        };
        if let Err(refusal) = self.keys.verify(&parts, &body) {
            return refused(&refusal);
        }
        let Some((_, operation)) = target(&parts) else {
            let message = "the header x-amz-target is missing: only the JSON protocols are served";
            return refuse(StatusCode::BAD_REQUEST, "UnknownOperationException", message);
        };
        let (status, body) = match route {
            Route::Sqs => {
                let caller = Caller { region, base: format!("http://{}", host(&parts)) };
                self.sqs.answer(caller, operation, &body, stopped).await
            }
            _ => self.dynamodb.answer(operation.to_owned(), body).await,
        };
        json(status, body)
    }
}

/// Splits `x-amz-target` into the service's prefix and the operation.
fn target(parts: &Parts) -> Option<(&str, &str)> {
    let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
    target.rsplit_once('.')
}

/// The name under which the client reached us: what we hand out must be reachable for it too.
fn host(parts: &Parts) -> &str {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default()
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let (code, message) = match refusal {
        Refusal::Unsigned => {
            ("MissingAuthenticationToken", "the request is not signed, or not as signature version 4 wants it")
        }
        Refusal::UnknownKey => ("UnrecognizedClientException", "the access key id is not the one of this endpoint"),
        Refusal::Mismatch => {
            ("InvalidSignatureException", "the signature does not match: is the secret access key right?")
        }
    };
    refuse(StatusCode::FORBIDDEN, code, message)
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"__type": code, "message": message});
    json(status, body.to_string())
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
