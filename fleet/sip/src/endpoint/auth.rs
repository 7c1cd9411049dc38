//! Digest for our requests: which challenges are answered, and when to give up.

use super::call::Auth;
use crate::digest::{Session, strongest};
use crate::message::{HeaderName, Message};
use crate::tokens::Tokens;

/// Challenges answered for one request at most: two hops with a stale nonce each.
const MAX_TRIES: u8 = 4;

impl Auth {
    /// Forgets what was answered: a new request begins.
    pub(super) fn begin(&mut self) {
        self.answered.clear();
        self.tries = 0;
    }

    /// Takes up the challenges of a 401 or 407; false when there is nothing to answer or the credentials were refused.
    pub(super) fn take_up(&mut self, response: &Message, tokens: &mut Tokens) -> bool {
        let Some(credentials) = &self.credentials else {
            return false;
        };
        self.tries += 1;
        if self.tries > MAX_TRIES {
            return false;
        }
        let mut answered = false;
        for (challenge_header, header) in
            [(HeaderName::WwwAuthenticate, "Authorization"), (HeaderName::ProxyAuthenticate, "Proxy-Authorization")]
        {
            let values = response.headers.all(&challenge_header).map(|value| value.as_str());
            for challenge in strongest(values, credentials) {
                let key = (header, challenge.realm.clone());
                if self.answered.contains(&key) && !challenge.stale {
                    return false;
                }
                self.sessions.retain(|(name, session)| *name != header || session.realm() != challenge.realm);
                self.sessions.push((header, Session::new(challenge, credentials, tokens.cnonce())));
                self.answered.push(key);
                answered = true;
            }
        }
        answered
    }

    /// The headers for one request; every nonce count rises.
    pub(super) fn headers(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<(&'static str, String)> {
        self.sessions.iter_mut().map(|(name, session)| (*name, session.authorize(method, uri, body))).collect()
    }
}
