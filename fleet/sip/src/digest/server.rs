//! Challenges and checks the answers. A nonce carries its own proof, so that a flood of requests leaves nothing behind;
//! only nonces that were used well are remembered, until they are too old.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;

use super::{Algorithm, Input, Params, Qop, response, secret};
use crate::AuthOutcome;
use crate::message::quote;

/// How long a nonce is good.
const LIFETIME: Duration = Duration::from_secs(300);
/// Most nonces remembered; the oldest go first, and are then refused as stale.
const MAX_USED: usize = 100_000;

/// The nonces of one endpoint.
#[derive(Debug)]
pub(crate) struct Nonces {
    secret: [u8; 32],
    epoch: Option<Instant>,
    issued: u64,
    /// The highest count seen for each nonce.
    used: HashMap<String, u32>,
    /// The same nonces, oldest first, with the time of their issue in milliseconds.
    order: VecDeque<(u64, String)>,
    /// Nonces issued before this many milliseconds are stale, because they may have been forgotten.
    floor: u64,
}

/// The request whose credentials are checked.
pub(crate) struct Claim<'a> {
    /// The value of the Authorization header.
    pub(crate) authorization: &'a str,
    pub(crate) method: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
}

impl Nonces {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Nonces { secret, epoch: None, issued: 0, used: HashMap::new(), order: VecDeque::new(), floor: 0 }
    }

    /// The value of a WWW-Authenticate header.
    pub(crate) fn challenge(&mut self, now: Instant, realm: &str, algorithm: Algorithm, stale: bool) -> String {
        self.issued += 1;
        let stamp = format!("{:012x}{:08x}", self.millis(now), self.issued & 0xffff_ffff);
        // Clients hash and repeat what stands between the quotes, so that is what the nonce is bound to.
        let realm = quote(realm);
        let proof = self.proof(&stamp, &realm[1..realm.len() - 1], algorithm);
        let stale = if stale { ", stale=true" } else { "" };
        format!("Digest realm={realm}, nonce=\"{stamp}{proof}\", algorithm={}, qop=\"auth\"{stale}", algorithm.name())
    }

    /// Judges the credentials of one request.
    ///
    /// The digest `uri` is taken as the client gives it: proxies rewrite the Request-URI on the way.
    pub(crate) fn check(&mut self, now: Instant, claim: &Claim<'_>) -> AuthOutcome {
        let Ok(params) = Params::of(claim.authorization) else {
            return AuthOutcome::Missing;
        };
        let algorithm = match params.text("algorithm") {
            Some(name) => Algorithm::parse(&name),
            None => Some(Algorithm::Md5),
        };
        let qop = match params.text("qop").as_deref() {
            None => Some(Qop::None),
            Some("auth") => Some(Qop::Auth),
            Some("auth-int") => Some(Qop::AuthInt),
            Some(_) => None,
        };
        let (Some(algorithm), Some(qop)) = (algorithm, qop) else {
            return AuthOutcome::Missing;
        };
        let field = |name: &str| params.raw(name).unwrap_or_default();
        let (realm, nonce, nc) = (field("realm"), field("nonce"), field("nc"));
        let Some(issued) = self.issued_at(nonce, realm, algorithm) else {
            return AuthOutcome::Missing;
        };
        let expected = response(&Input {
            algorithm,
            secret: &secret(algorithm, claim.username, realm, claim.password),
            nonce,
            qop,
            nc,
            cnonce: field("cnonce"),
            method: claim.method,
            uri: field("uri"),
            body: claim.body,
        });
        let given = field("response").to_ascii_lowercase();
        let user = params.text("username").unwrap_or_default();
        let right = expected.as_bytes().ct_eq(given.as_bytes()) & user.as_bytes().ct_eq(claim.username.as_bytes());
        if !bool::from(right) {
            return AuthOutcome::Rejected;
        }
        let count = match qop {
            // Without a count a nonce is good for one request.
            Qop::None => Some(u32::MAX),
            Qop::Auth | Qop::AuthInt => u32::from_str_radix(nc, 16).ok(),
        };
        let old = self.millis(now).saturating_sub(issued) > LIFETIME.as_millis() as u64;
        match count {
            Some(count) if !old && issued >= self.floor && self.take(issued, nonce, count) => AuthOutcome::Accepted,
            _ => AuthOutcome::Stale,
        }
    }

    /// Uses up a count of a nonce; false if it was used before.
    fn take(&mut self, issued: u64, nonce: &str, count: u32) -> bool {
        if let Some(highest) = self.used.get_mut(nonce) {
            let fresh = count > *highest;
            *highest = count.max(*highest);
            return fresh;
        }
        while self.used.len() >= MAX_USED {
            let Some((oldest, nonce)) = self.order.pop_front() else {
                break;
            };
            self.used.remove(&nonce);
            self.floor = self.floor.max(oldest + 1);
        }
        self.used.insert(nonce.to_owned(), count);
        self.order.push_back((issued, nonce.to_owned()));
        true
    }

    /// Forgets nonces that are too old to be used again.
    pub(crate) fn expire(&mut self, now: Instant) {
        let now = self.millis(now);
        while let Some((issued, _)) = self.order.front() {
            if now.saturating_sub(*issued) <= LIFETIME.as_millis() as u64 {
                break;
            }
            if let Some((_, nonce)) = self.order.pop_front() {
                self.used.remove(&nonce);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.used.len()
    }

    /// When one of our nonces was issued; `None` if it is not ours, or was for another realm or algorithm.
    fn issued_at(&self, nonce: &str, realm: &str, algorithm: Algorithm) -> Option<u64> {
        let (stamp, proof) = nonce.split_at_checked(20)?;
        let expected = self.proof(stamp, realm, algorithm);
        let ours = bool::from(expected.as_bytes().ct_eq(proof.as_bytes()));
        ours.then(|| u64::from_str_radix(stamp.get(..12)?, 16).ok()).flatten()
    }

    fn proof(&self, stamp: &str, realm: &str, algorithm: Algorithm) -> String {
        // Hashed twice with the key, so that nothing can be appended to what was signed.
        let key = hex::encode(self.secret);
        let inner = Algorithm::Sha256.hash(format!("{key}:{stamp}:{}:{realm}", algorithm.name()).as_bytes());
        let mut outer = Algorithm::Sha256.hash(format!("{key}:{inner}").as_bytes());
        outer.truncate(32);
        outer
    }

    fn millis(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The user name in an Authorization value, before anything is proven.
pub fn claimed_username(authorization: &str) -> Option<String> {
    Params::of(authorization).ok()?.text("username")
}
