//! The one HTTP client for URLs that users give: pushes, webhooks, pre-fetches, tools, providers' `base_url`.
//! It must never connect to an address that it did not judge, follow a redirect, or use a proxy of the environment.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use domain::ports::{Egress, Outbound, OutboundAnswer, OutboundError, OutboundRequest};
use reqwest::{Client, ClientBuilder, Proxy, redirect, retry};
use url::Url;

mod policy;
mod resolver;

pub use policy::{Denied, EgressPolicy};
pub use resolver::{Dial, Lookup, SystemLookup, Unresolved};

use resolver::{JudgingResolver, Reach};

const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 4;
/// Connect time limits differ by use, not by request: a handful in all.
const MAX_KEPT_CLIENTS: usize = 16;
/// A name that never resolves, here or elsewhere (RFC 6761 §6.4).
const NOWHERE: &str = "http://refused.invalid:9";

/// What a guarded client stands on. Tests replace the lookup, the dialling and the trusted roots; the judgement stays.
#[derive(Clone)]
pub struct Wiring {
    pub lookup: Arc<dyn Lookup>,
    /// Where a judged address is really dialled.
    pub dial: Option<Dial>,
    /// Instead of the system's roots, if any.
    pub roots: Vec<reqwest::Certificate>,
}

impl Default for Wiring {
    fn default() -> Self {
        Self { lookup: Arc::new(SystemLookup::new()), dial: None, roots: Vec::new() }
    }
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring")
            .field("dial", &self.dial.is_some())
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// [`Outbound`] under an [`EgressPolicy`].
#[derive(Debug)]
pub struct GuardedClient {
    policy: Arc<EgressPolicy>,
    wiring: Wiring,
    clients: Mutex<HashMap<(Reach, Duration), Client>>,
}

/// A client for streaming APIs (language models, speech), under the same guard: what the policy does not allow fails to
/// connect. Plain http is spoken with literal allowed addresses and `localhost` only. Check a URL with
/// [`Outbound::check`] before use: it says why.
///
/// # Errors
/// The trusted roots cannot be loaded.
pub fn client(policy: EgressPolicy) -> Result<Client, reqwest::Error> {
    client_with(policy, Wiring::default(), Duration::from_secs(5))
}

/// As [`client`], with other wiring and connect time limit.
///
/// # Errors
/// The trusted roots cannot be loaded.
pub fn client_with(policy: EgressPolicy, wiring: Wiring, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    let policy = Arc::new(policy);
    let judge = Arc::clone(&policy);
    // reqwest asks no resolver about literal addresses; what is asked about every URL is its proxy.
    let detour = Proxy::custom(move |url| {
        let named_in_clear = url.scheme() == "http" && !policy::is_literal_or_localhost(url);
        (named_in_clear || judge.check_url(url.as_str()).is_err()).then_some(NOWHERE)
    });
    builder(&policy, &wiring, Reach::Public, connect_timeout).proxy(detour).build()
}

fn builder(policy: &Arc<EgressPolicy>, wiring: &Wiring, reach: Reach, connect_timeout: Duration) -> ClientBuilder {
    let resolver = JudgingResolver::new(Arc::clone(policy), Arc::clone(&wiring.lookup), wiring.dial.clone(), reach);
    let builder = Client::builder()
        .dns_resolver(Arc::new(resolver))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .user_agent(concat!("ringfleet/", env!("CARGO_PKG_VERSION")));
    if wiring.roots.is_empty() { builder } else { builder.tls_certs_only(wiring.roots.clone()) }
}

impl GuardedClient {
    pub fn new(policy: EgressPolicy) -> Self {
        Self::with(policy, Wiring::default())
    }

    pub fn with(policy: EgressPolicy, wiring: Wiring) -> Self {
        Self { policy: Arc::new(policy), wiring, clients: Mutex::default() }
    }

    /// The client for a judged URL; kept, so that connections are used again.
    fn client(&self, url: &Url, connect_timeout: Duration) -> Result<Client, OutboundError> {
        // In the clear, names may lead to expressly allowed addresses only.
        let reach = if url.scheme() == "http" { Reach::AllowedOnly } else { Reach::Public };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(reach, connect_timeout)) {
            return Ok(client.clone());
        }
        let client = builder(&self.policy, &self.wiring, reach, connect_timeout)
            .build()
            .map_err(|e| OutboundError::Connect(innermost(&e)))?;
        if clients.len() < MAX_KEPT_CLIENTS {
            clients.insert((reach, connect_timeout), client.clone());
        }
        Ok(client)
    }
}

#[async_trait]
impl Outbound for GuardedClient {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        let url = self.policy.check_url(&request.url).map_err(blocked)?;
        let client = self.client(&url, request.connect_timeout)?;
        let sending = client
            .request(request.method, url)
            .headers(request.headers)
            .body(request.body)
            .timeout(request.total_timeout);
        let response = sending.send().await.map_err(|e| failure(&e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read(response, request.answer_limit).await;
        Ok(OutboundAnswer { status, headers, body })
    }
}

impl Egress for EgressPolicy {
    fn check(&self, url: &str) -> Result<(), OutboundError> {
        self.check_url(url).map(|_| ()).map_err(blocked)
    }
}

/// Up to `limit` bytes of the answer. Once the status is known the exchange counts as answered, however its body ends.
async fn read(mut response: reqwest::Response, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(error = innermost(&error), "an answer's body broke off");
                break;
            }
        }
    }
    body.freeze()
}

fn blocked(denied: Denied) -> OutboundError {
    OutboundError::Blocked(denied.to_string())
}

fn failure(error: &reqwest::Error) -> OutboundError {
    let mut inner: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = inner {
        if let Some(denied) = cause.downcast_ref::<Denied>() {
            return OutboundError::Blocked(denied.to_string());
        }
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return OutboundError::Dns(unresolved.to_string());
        }
        inner = cause.source();
    }
    if error.is_connect() {
        OutboundError::Connect(innermost(error))
    } else if error.is_timeout() {
        OutboundError::Timeout
    } else {
        OutboundError::Broken(innermost(error))
    }
}

/// The innermost cause: the outer ones repeat the URL, which may hold a token.
fn innermost(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
