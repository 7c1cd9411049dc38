//! Answers challenges; the `uri` is exactly the Request-URI that is sent.

use std::fmt::Write as _;

use super::{Algorithm, DigestError, Input, Params, Qop, response, secret};
use crate::Credentials;
use crate::message::{quote, split, trim};

/// A digest challenge, as far as we can answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// As it was quoted.
    pub realm: String,
    nonce: String,
    opaque: Option<String>,
    pub algorithm: Algorithm,
    /// Whether the challenge named its algorithm; old servers don't know the parameter.
    named: bool,
    pub qop: Qop,
    /// Only the nonce was too old; the credentials are not in doubt.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header.
    ///
    /// # Errors
    /// [`DigestError`] when we can't answer it.
    pub fn parse(value: &str) -> Result<Self, DigestError> {
        let params = Params::of(value)?;
        let (Some(realm), Some(nonce)) = (params.raw("realm"), params.raw("nonce")) else {
            return Err(DigestError::Incomplete);
        };
        let named = params.text("algorithm");
        let algorithm = match &named {
            Some(name) => Algorithm::parse(name).ok_or(DigestError::Algorithm)?,
            None => Algorithm::Md5,
        };
        Ok(Challenge {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            opaque: params.raw("opaque").map(str::to_owned),
            algorithm,
            named: named.is_some(),
            qop: qop(params.text("qop").as_deref())?,
            stale: params.text("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

fn qop(offered: Option<&str>) -> Result<Qop, DigestError> {
    let Some(offered) = offered else {
        return Ok(Qop::None);
    };
    let mut found = Err(DigestError::Qop);
    for name in split(offered, b',').map(trim) {
        if name.eq_ignore_ascii_case("auth") {
            return Ok(Qop::Auth);
        }
        if name.eq_ignore_ascii_case("auth-int") {
            found = Ok(Qop::AuthInt);
        }
    }
    found
}

/// The strongest challenge of each realm that we can answer with `credentials` (RFC 8760 §2.4).
pub fn strongest<'a>(values: impl Iterator<Item = &'a str>, credentials: &Credentials) -> Vec<Challenge> {
    let mut chosen: Vec<Challenge> = Vec::new();
    for challenge in values.filter_map(|value| Challenge::parse(value).ok()) {
        if credentials.realm.as_ref().is_some_and(|realm| *realm != challenge.realm) {
            continue;
        }
        match chosen.iter_mut().find(|other| other.realm == challenge.realm) {
            Some(other) if other.algorithm < challenge.algorithm => *other = challenge,
            Some(_) => {}
            None => chosen.push(challenge),
        }
    }
    chosen
}

/// One nonce in use: answers request after request with a rising count.
#[derive(Clone)]
pub struct Session {
    challenge: Challenge,
    username: String,
    secret: String,
    cnonce: String,
    nc: u32,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("realm", &self.challenge.realm).field("nc", &self.nc).finish_non_exhaustive()
    }
}

impl Session {
    /// Takes up a challenge; `cnonce` must be unpredictable and free of quotes.
    pub fn new(challenge: Challenge, credentials: &Credentials, cnonce: String) -> Self {
        Session {
            secret: secret(challenge.algorithm, &credentials.username, &challenge.realm, &credentials.password),
            username: credentials.username.clone(),
            challenge,
            cnonce,
            nc: 0,
        }
    }

    /// The realm that this session answers.
    pub fn realm(&self) -> &str {
        &self.challenge.realm
    }

    /// The value of the Authorization or Proxy-Authorization header of one request.
    pub fn authorize(&mut self, method: &str, uri: &str, body: &[u8]) -> String {
        self.nc = self.nc.saturating_add(1);
        let nc = format!("{:08x}", self.nc);
        let challenge = &self.challenge;
        let response = response(&Input {
            algorithm: challenge.algorithm,
            secret: &self.secret,
            nonce: &challenge.nonce,
            qop: challenge.qop,
            nc: &nc,
            cnonce: &self.cnonce,
            method,
            uri,
            body,
        });
        let mut out = format!(
            "Digest username={}, realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quote(&self.username),
            challenge.realm,
            challenge.nonce,
        );
        if challenge.named {
            let _ = write!(out, ", algorithm={}", challenge.algorithm.name());
        }
        if challenge.qop != Qop::None || challenge.algorithm.is_session() {
            let _ = write!(out, ", cnonce=\"{}\"", self.cnonce);
        }
        if challenge.qop != Qop::None {
            let _ = write!(out, ", qop={}, nc={nc}", challenge.qop.name());
        }
        if let Some(opaque) = &challenge.opaque {
            let _ = write!(out, ", opaque=\"{opaque}\"");
        }
        out
    }
}
