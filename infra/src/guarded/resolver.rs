//! Names to addresses for the guarded client: looked up once, judged all together, and those very addresses connected to.
//! It must never hand on an address that was not judged, nor the good ones of a mixed answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use super::policy::{Denied, EgressPolicy};

/// A name has no addresses, or nobody could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name}: {cause}")]
pub struct Unresolved {
    pub name: String,
    pub cause: String,
}

/// Looks up host names.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// Every address of `name`, in the order in which they are to be tried.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved>;
}

/// By the name servers of the system's configuration; search domains are not applied.
pub struct SystemLookup {
    resolver: Result<TokioResolver, String>,
}

impl SystemLookup {
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        });
        Self { resolver: built.map_err(|e| format!("the system's name servers are unknown: {e}")) }
    }
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SystemLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemLookup").field("usable", &self.resolver.is_ok()).finish()
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let unresolved = |cause: String| Unresolved { name: name.to_owned(), cause };
        let resolver = self.resolver.as_ref().map_err(|cause| unresolved(cause.clone()))?;
        // The final dot keeps search domains out.
        let whole = format!("{}.", name.trim_end_matches('.'));
        let found = resolver.lookup_ip(whole).await.map_err(|e| unresolved(e.to_string()))?;
        Ok(found.iter().collect())
    }
}

/// Which judged addresses a client may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// What the policy allows.
    Public,
    /// Of that, the expressly listed addresses only.
    AllowedOnly,
}

/// Where a judged address is dialled, for tests that play the Internet on loopback.
pub type Dial = Arc<dyn Fn(IpAddr) -> SocketAddr + Send + Sync>;

/// The resolver behind a guarded client.
#[derive(Clone)]
pub(super) struct JudgingResolver {
    policy: Arc<EgressPolicy>,
    lookup: Arc<dyn Lookup>,
    dial: Option<Dial>,
    reach: Reach,
}

impl JudgingResolver {
    pub(super) fn new(policy: Arc<EgressPolicy>, lookup: Arc<dyn Lookup>, dial: Option<Dial>, reach: Reach) -> Self {
        Self { policy, lookup, dial, reach }
    }

    async fn judged(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        self.policy.check_name(name)?;
        let bare = name.strip_suffix('.').unwrap_or(name);
        let addresses = if bare.eq_ignore_ascii_case("localhost") {
            self.policy.localhost()
        } else {
            self.lookup.addresses(name).await?
        };
        if addresses.is_empty() {
            return Err(Unresolved { name: name.to_owned(), cause: "it has no addresses".to_owned() }.into());
        }
        for address in &addresses {
            self.policy.check_address(*address)?;
            if self.reach == Reach::AllowedOnly && !self.policy.lists(*address) {
                return Err(Denied::PlainHttp.into());
            }
        }
        let dial = |address| self.dial.as_ref().map_or_else(|| SocketAddr::new(address, 0), |dial| dial(address));
        Ok(addresses.into_iter().map(dial).collect())
    }
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.judged(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
