//! Slows down addresses whose keys don't hold: the answer stays 401 and says when to come again, and comes later and later.
//! And remembers whose use was noted of late, so that a crowd with one key writes once.
//! It must never see a key itself, never make one that holds wait, and never take more memory than its table has room for.
//!
//! A table of one process: on Lambda each container has its own, so there the gateway's firewall counts what matters.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use domain::api_key::KeyHash;
use domain::attempts::Attempts;
use domain::client_address::{self, FORWARDED_FOR};
use http::request::Parts;
use ipnet::IpNet;
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Keys whose last use is remembered.
const KEYS: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// Answers that are held back at once; beyond that they are given without delay, so that nobody fills the memory.
const HELD_BACK: usize = 256;

/// Remembers who failed.
#[derive(Debug)]
pub struct Doorman {
    failures: Mutex<Attempts>,
    /// When the use of a key was noted, by this process.
    uses: Mutex<LruCache<KeyHash, Timestamp>>,
    waiting: Semaphore,
}

impl Default for Doorman {
    fn default() -> Self {
        Self { failures: Mutex::default(), uses: Mutex::new(LruCache::new(KEYS)), waiting: Semaphore::new(HELD_BACK) }
    }
}

impl Doorman {
    /// For a function of Lambda, which says when to come again and holds nobody back: one that waits is paid for, takes the
    /// place of another's request, and may not live as long as the wait.
    pub fn of_a_function() -> Self {
        Self { waiting: Semaphore::new(0), ..Self::default() }
    }

    /// Notes a failure, waits as long as this address has earned, and answers when it should come again.
    pub(super) async fn refuse(&self, address: Option<IpAddr>) -> Option<Duration> {
        metrics::counter!("ringfleet_auth_failures_total").increment(1);
        let delay = self.note(address?)?;
        metrics::counter!("ringfleet_auth_slowed_total").increment(1);
        if let Ok(_place) = self.waiting.try_acquire() {
            tokio::time::sleep(delay).await;
        }
        Some(delay)
    }

    /// Whether nobody in this process has noted a use of the key since `not_since`; whoever is told so does it now.
    pub(super) fn is_first_use(&self, key: &KeyHash, now: Timestamp, not_since: Timestamp) -> bool {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let first = uses.get(key).is_none_or(|noted| *noted < not_since);
        if first {
            uses.put(key.clone(), now);
        }
        first
    }

    /// The use was not noted after all.
    pub(super) fn forget_use(&self, key: &KeyHash) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).pop(key);
    }

    /// The wait that this address has earned with one failure more.
    fn note(&self, address: IpAddr) -> Option<Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.note(address, Instant::now().into_std())
    }
}

/// The address that a request comes from: of API Gateway's event, else of the connection, or whom a trusted proxy names.
pub(super) fn client_address(parts: &Parts, trusted: &[IpNet]) -> Option<IpAddr> {
    let gateway = parts.extensions.get::<RequestContext>().and_then(|context| match context {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.as_deref()?.parse().ok(),
        _ => None,
    });
    let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let lines: Vec<&str> =
        parts.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    Some(client_address::client_address(gateway.or(connection)?, trusted, lines.into_iter()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use domain::attempts::{FORGIVEN_AFTER, LONGEST_DELAY};
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::Authenticated;
    use crate::testing::World;

    #[test]
    fn the_address_is_the_connections_or_whom_a_trusted_proxy_names() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let check = |peer: &str, forwarded: &[&str], expect: &str| {
            let mut request = Request::builder();
            for line in forwarded {
                request = request.header(FORWARDED_FOR, *line);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            assert_eq!(client_address(&parts, &trusted), Some(expect.parse().unwrap()), "{peer} {forwarded:?}");
        };
        check("203.0.113.1", &["198.51.100.1"], "203.0.113.1");
        check("10.0.0.1", &["192.0.2.9", "198.51.100.1"], "198.51.100.1");
        let (parts, ()) = Request::new(()).into_parts();
        assert_eq!(client_address(&parts, &trusted), None);
    }

    async fn open(_: Authenticated) {}

    async fn knock(app: &Router, address: &str, key: &str) -> (u16, Option<String>, Duration) {
        let mut request = Request::builder().uri("/").header("x-api-key", key).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1)));
        let began = Instant::now();
        let answer = app.clone().oneshot(request).await.unwrap();
        let wait = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), wait, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_waits_and_who_has_a_key_does_not() {
        const NONE: Duration = Duration::ZERO;
        let world = World::new();
        world.key("sk_test_client", |_| ());
        let app = Router::new().route("/", get(open)).with_state(world.desk::<crate::auth::Desk>());
        for _ in 0..5 {
            assert_eq!(knock(&app, "203.0.113.1", "wrong-key").await, (401, None, NONE));
        }
        let waits = |ms| Duration::from_millis(ms);
        assert_eq!(knock(&app, "203.0.113.1", "wrong-key").await, (401, Some("1".into()), waits(100)));
        assert_eq!(knock(&app, "203.0.113.1", "wrong-key").await, (401, Some("1".into()), waits(200)));
        // A good key from the same address goes through, and another address is not concerned.
        assert_eq!(knock(&app, "203.0.113.1", "sk_test_client").await, (200, None, NONE));
        assert_eq!(knock(&app, "203.0.113.2", "wrong-key").await, (401, None, NONE));
        assert_eq!(knock(&app, "203.0.113.1", "wrong-key").await, (401, Some("1".into()), waits(400)));
        tokio::time::advance(FORGIVEN_AFTER).await;
        assert_eq!(knock(&app, "203.0.113.1", "wrong-key").await, (401, None, NONE));
        // The neighbours of one IPv6 network are one.
        for host in 1..=5 {
            assert_eq!(knock(&app, &format!("2001:db8::{host}"), "wrong-key").await, (401, None, NONE));
        }
        assert_eq!(knock(&app, "2001:db8::6", "wrong-key").await.2, waits(100));
    }

    #[tokio::test(start_paused = true)]
    async fn with_every_place_for_waiting_taken_the_answer_comes_at_once() {
        let doorman = Doorman::default();
        let _all = doorman.waiting.try_acquire_many(u32::try_from(HELD_BACK).unwrap()).unwrap();
        let address = "203.0.113.1".parse().unwrap();
        for _ in 0..20 {
            doorman.note(address);
        }
        let began = Instant::now();
        assert_eq!(doorman.refuse(Some(address)).await, Some(LONGEST_DELAY));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_says_when_to_come_again_and_holds_nobody_back() {
        let doorman = Doorman::of_a_function();
        let address = "203.0.113.1".parse().unwrap();
        let began = Instant::now();
        for _ in 0..20 {
            doorman.refuse(Some(address)).await;
        }
        assert_eq!(doorman.refuse(Some(address)).await, Some(LONGEST_DELAY));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
