//! Who may connect to a bot by WebSocket, judged before the upgrade by the bot's `websocket.access`.
//! It must never print a key or a token, never tell a missing one from a wrong one, and never make one that holds wait.

mod credentials;
mod keys;
mod refused;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use domain::attempts::Attempts;
use domain::bot::Bot;
use domain::client_address::{FORWARDED_FOR, client_address};
use domain::connect_token::{self, TokenError};
use domain::ids::KeyId;
use domain::ports::{ApiKeys, Clock, Secrets, StoreError};
use domain::secret::ExposeSecret;
use domain::websocket::Access;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use credentials::{Query, without_credentials};
pub(crate) use refused::{Refused, problem};

use credentials::Credential;
use keys::Keys;

use crate::node::Node;

/// Answers that are held back at once; beyond that they are given without delay, so that nobody fills the memory.
const HELD_BACK: usize = 256;

/// What the door remembers from one connection to the next: lost, it costs nothing but its effect.
#[derive(derive_more::Debug)]
pub(crate) struct Door {
    #[debug(skip)]
    secrets: Arc<dyn Secrets>,
    #[debug(skip)]
    clock: Arc<dyn Clock>,
    /// Proxies whose `X-Forwarded-For` is believed.
    trusted: Vec<IpNet>,
    keys: Keys,
    attempts: Mutex<Attempts>,
    waiting: Semaphore,
}

/// Somebody who wants in.
#[derive(derive_more::Debug)]
pub(crate) struct Knock<'a> {
    pub bot: &'a Bot,
    /// The TCP peer.
    pub peer: SocketAddr,
    #[debug("(headers)")]
    pub headers: &'a HeaderMap,
    pub query: &'a Query,
}

/// What becomes of a knock.
#[derive(Debug)]
pub(crate) enum Verdict {
    Welcome {
        /// The API key's, or the connect token's; none where the bot's door asks for none.
        key_id: Option<KeyId>,
        /// Of the real client, behind whatever proxies.
        address: IpAddr,
    },
    Refused(Refused),
}

impl Door {
    pub(crate) fn new(
        trusted: Vec<IpNet>,
        api_keys: Arc<dyn ApiKeys>,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            keys: Keys::new(api_keys, clock.clone()),
            secrets,
            clock,
            trusted,
            attempts: Mutex::default(),
            waiting: Semaphore::new(HELD_BACK),
        }
    }

    /// The client's address behind the proxies of this deployment.
    pub(crate) fn address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
        client_address(peer.ip(), &self.trusted, lines.into_iter())
    }

    /// Notes a failure of this address, and holds the answer back as long as it has earned; answers that wait.
    async fn slow(&self, address: IpAddr) -> Option<Duration> {
        let wait = {
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.note(address, Instant::now().into_std())
        }?;
        metrics::counter!("ringfleet_ws_refusals_slowed_total").increment(1);
        if let Ok(_place) = self.waiting.try_acquire() {
            tokio::time::sleep(wait).await;
        }
        Some(wait)
    }
}

/// Judges a knock.
pub(crate) async fn admit(node: &Node, knock: Knock<'_>) -> Verdict {
    node.door.admit(knock).await
}

/// Nobody is behind this door: whoever tries one name after the other is slowed like one who tries keys.
pub(crate) async fn no_such_bot(node: &Node, peer: SocketAddr, headers: &HeaderMap) -> Refused {
    let address = node.door.address(peer, headers);
    node.door.turn_away(Refused::NoSuchBot, address).await
}

impl Door {
    async fn admit(&self, knock: Knock<'_>) -> Verdict {
        let address = self.address(knock.peer, knock.headers);
        let judged = match knock.bot.websocket.access {
            Access::Open => Ok(None),
            Access::Allowlist if knock.bot.websocket.cidrs.iter().any(|net| net.contains(&address)) => Ok(None),
            Access::Allowlist => Err(Refused::Address(address)),
            Access::Key => self.by_key(&knock).await.map(Some),
        };
        match judged {
            Ok(key_id) => Verdict::Welcome { key_id, address },
            Err(refused) => Verdict::Refused(self.turn_away(refused, address).await),
        }
    }

    /// Counts a refusal, and holds back the answer to whoever may be guessing.
    async fn turn_away(&self, refused: Refused, address: IpAddr) -> Refused {
        metrics::counter!("ringfleet_ws_refused_total", "reason" => refused.code()).increment(1);
        match refused {
            Refused::NoKey { .. } => Refused::NoKey { retry_after: self.slow(address).await },
            Refused::NoSuchBot => {
                self.slow(address).await;
                Refused::NoSuchBot
            }
            other => other,
        }
    }

    /// Whose key or token it is. Of several that were shown, one that holds is enough.
    async fn by_key(&self, knock: &Knock<'_>) -> Result<KeyId, Refused> {
        let mut why = Refused::NoKey { retry_after: None };
        for shown in credentials::shown(knock.headers, knock.query) {
            match self.judge(knock.bot, &shown).await {
                Ok(Some(key_id)) => return Ok(key_id),
                Ok(None) => {}
                Err(worse) => why = worse,
            }
        }
        Err(why)
    }

    /// `None` = it does not hold.
    async fn judge(&self, bot: &Bot, shown: &Credential) -> Result<Option<KeyId>, Refused> {
        match shown {
            Credential::Key(key) => match self.keys.caller(key).await.map_err(unavailable)? {
                Some(caller) if caller.may_use(&bot.bot_id) => Ok(Some(caller.key_id)),
                Some(_) => Err(Refused::NoSuchBot),
                None => Ok(None),
            },
            Credential::Token(token) => {
                let secrets = self.secrets.fleet().await.map_err(unavailable)?;
                match connect_token::verify(&secrets, token.expose_secret(), bot, self.clock.now()) {
                    Ok(claims) => Ok(Some(claims.id)),
                    Err(TokenError::OtherBot) => Err(Refused::NoSuchBot),
                    Err(why) => {
                        tracing::debug!(bot.id = %bot.bot_id, %why, "a connect token does not hold");
                        Ok(None)
                    }
                }
            }
        }
    }
}

fn unavailable(cause: StoreError) -> Refused {
    tracing::error!(error = %cause, "nobody can be let in by a key");
    Refused::Unavailable
}

#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
