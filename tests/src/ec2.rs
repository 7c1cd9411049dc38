//! An EC2 instance on loopback as a process on it sees it: the instance metadata service (version 2 only), and the Auto
//! Scaling group that the instance belongs to. It must never answer a request that AWS would refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const INSTANCE: &str = "i-0123456789abcdef0";
pub const GROUP: &str = "ringfleet-test";
pub const HOOK: &str = "drain";
const TOKEN: &str = "AQAEAtoken==";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TARGET_STATE: &str = "autoscaling/target-lifecycle-state";

#[derive(Debug, Default)]
struct Shared {
    metadata: BTreeMap<String, String>,
    /// The group waits at its hook for this instance.
    waits: bool,
    /// What the group was told, in order: actions of its API.
    told: Vec<String>,
    refused: usize,
}

type Known = Arc<Mutex<Shared>>;

/// A running instance.
#[derive(Debug)]
pub struct Ec2 {
    url: String,
    shared: Known,
    serving: JoinHandle<()>,
}

impl Ec2 {
    /// One in service, at these addresses.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(private: &str, public: Option<&str>) -> Result<Self> {
        let shared = Known::default();
        {
            let mut known = lock(&shared);
            known.metadata.insert("instance-id".to_owned(), INSTANCE.to_owned());
            known.metadata.insert("local-ipv4".to_owned(), private.to_owned());
            known.metadata.extend(public.map(|address| ("public-ipv4".to_owned(), address.to_owned())));
            known.metadata.insert(TARGET_STATE.to_owned(), "InService".to_owned());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new()
            .route("/latest/api/token", put(token))
            .route("/latest/meta-data/{*path}", get(metadata))
            .route("/", post(auto_scaling))
            .with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { url, shared, serving })
    }

    /// What the programs on this instance find it with.
    pub fn environment(&self) -> Vec<(String, String)> {
        let names = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_AUTO_SCALING"];
        names.map(|name| (name.to_owned(), self.url.clone())).into()
    }

    /// The settings of a fleet server that belongs to the group.
    pub fn settings() -> Vec<String> {
        vec![format!("fleet.lifecycle.group={GROUP}"), format!("fleet.lifecycle.hook={HOOK}")]
    }

    /// The group takes the instance out. A balancer may have to forget it first: the group `waits` at its hook only then.
    pub fn terminate(&self, waits: bool) {
        let mut known = lock(&self.shared);
        known.metadata.insert(TARGET_STATE.to_owned(), "Terminated".to_owned());
        known.waits = waits;
    }

    /// The group waits for the instance from now on.
    pub fn wait(&self) {
        lock(&self.shared).waits = true;
    }

    /// The instance is interrupted at a time, as spot instances are.
    pub fn interrupt(&self, at: &str) {
        let notice = format!(r#"{{"action": "terminate", "time": "{at}"}}"#);
        lock(&self.shared).metadata.insert("spot/instance-action".to_owned(), notice);
    }

    /// How often the group was told something, by the name of its action.
    pub fn told(&self, action: &str) -> usize {
        lock(&self.shared).told.iter().filter(|told| *told == action).count()
    }

    /// How often the group answered that it waits for nobody.
    pub fn refused(&self) -> usize {
        lock(&self.shared).refused
    }
}

impl Drop for Ec2 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(shared: &Known) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn token(headers: HeaderMap) -> Response {
    match headers.get(TTL_HEADER) {
        Some(ttl) => ([(TTL_HEADER, ttl.clone())], TOKEN).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn metadata(State(shared): State<Known>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    if headers.get(TOKEN_HEADER).is_none_or(|token| token != TOKEN) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match lock(&shared).metadata.get(&path) {
        Some(value) => value.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Auto Scaling's query protocol, as far as an instance speaks it.
async fn auto_scaling(State(shared): State<Known>, headers: HeaderMap, body: String) -> Response {
    match obey(&mut lock(&shared), &headers, &body) {
        Ok(action) => {
            let xml = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
            format!("<{action}Response xmlns=\"{xml}\"><{action}Result/></{action}Response>").into_response()
        }
        Err(error) => {
            let why = format!("{error:#}");
            let text = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>{why}</Message></Error></ErrorResponse>"
            );
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

fn obey(known: &mut Shared, headers: &HeaderMap, body: &str) -> Result<String> {
    headers.get("authorization").context("the request is not signed")?;
    let pairs: BTreeMap<&str, &str> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let action = *pairs.get("Action").context("no Action")?;
    let wanted = match action {
        "RecordLifecycleActionHeartbeat" => None,
        "CompleteLifecycleAction" => Some(("LifecycleActionResult", "CONTINUE")),
        other => anyhow::bail!("no action {other}"),
    };
    let ids = [("AutoScalingGroupName", GROUP), ("LifecycleHookName", HOOK), ("InstanceId", INSTANCE)];
    for (name, value) in ids.into_iter().chain(wanted) {
        anyhow::ensure!(pairs.get(name) == Some(&value), "{name} is {:?}", pairs.get(name));
    }
    if !known.waits {
        known.refused += 1;
        anyhow::bail!("No active Lifecycle Action found with instance ID {INSTANCE}");
    }
    known.told.push(action.to_owned());
    // What is completed is over.
    known.waits = action != "CompleteLifecycleAction";
    Ok(action.to_owned())
}
