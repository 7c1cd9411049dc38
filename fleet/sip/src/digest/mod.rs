//! HTTP digest authentication in SIP (RFC 3261 §22, RFC 7616, RFC 8760), both sides.
//!
//! It must never make randomness of its own, keep a clear password longer than a call needs it, or compare secrets
//! in a time that depends on them.

mod client;
mod server;
#[cfg(test)]
mod tests;

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};

pub use client::{Challenge, Session, strongest};
pub use server::claimed_username;
pub(crate) use server::{Claim, Nonces};

use crate::message::{param, split, trim, unquote};

/// A digest algorithm, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
    Sha512_256,
    Sha512_256Sess,
}

impl Algorithm {
    const ALL: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Md5Sess,
        Algorithm::Sha256,
        Algorithm::Sha256Sess,
        Algorithm::Sha512_256,
        Algorithm::Sha512_256Sess,
    ];

    /// The name in a challenge.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
            Algorithm::Sha512_256 => "SHA-512-256",
            Algorithm::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| text.eq_ignore_ascii_case(algorithm.name()))
    }

    const fn is_session(self) -> bool {
        matches!(self, Algorithm::Md5Sess | Algorithm::Sha256Sess | Algorithm::Sha512_256Sess)
    }

    fn hash(self, data: &[u8]) -> String {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => hex::encode(Md5::digest(data)),
            Algorithm::Sha256 | Algorithm::Sha256Sess => hex::encode(Sha256::digest(data)),
            Algorithm::Sha512_256 | Algorithm::Sha512_256Sess => hex::encode(Sha512_256::digest(data)),
        }
    }
}

/// The quality of protection of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qop {
    /// The form of RFC 2069, for peers that offer nothing else.
    None,
    Auth,
    /// Covers the body as well.
    AuthInt,
}

impl Qop {
    const fn name(self) -> &'static str {
        match self {
            Qop::None => "",
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }
}

/// Why a challenge can't be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("not a digest challenge")]
    Scheme,
    #[error("realm or nonce missing")]
    Incomplete,
    #[error("unknown algorithm")]
    Algorithm,
    #[error("unknown quality of protection")]
    Qop,
}

/// Everything that goes into one response.
struct Input<'a> {
    algorithm: Algorithm,
    /// H(username ":" realm ":" password)
    secret: &'a str,
    nonce: &'a str,
    qop: Qop,
    nc: &'a str,
    cnonce: &'a str,
    method: &'a str,
    uri: &'a str,
    body: &'a [u8],
}

fn secret(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> String {
    algorithm.hash(format!("{username}:{realm}:{password}").as_bytes())
}

/// The response value (RFC 7616 §3.4.1).
fn response(input: &Input<'_>) -> String {
    let hash = |text: String| input.algorithm.hash(text.as_bytes());
    let Input { nonce, nc, cnonce, method, uri, .. } = input;
    let ha1 = if input.algorithm.is_session() {
        hash(format!("{}:{nonce}:{cnonce}", input.secret))
    } else {
        input.secret.to_owned()
    };
    let ha2 = match input.qop {
        Qop::AuthInt => hash(format!("{method}:{uri}:{}", input.algorithm.hash(input.body))),
        Qop::None | Qop::Auth => hash(format!("{method}:{uri}")),
    };
    match input.qop {
        Qop::None => hash(format!("{ha1}:{nonce}:{ha2}")),
        Qop::Auth | Qop::AuthInt => hash(format!("{ha1}:{nonce}:{nc}:{cnonce}:{}:{ha2}", input.qop.name())),
    }
}

/// The parameters of a `Digest …` header value.
struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    fn of(value: &'a str) -> Result<Self, DigestError> {
        let value = trim(value);
        let (scheme, rest) = value.split_once([' ', '\t']).ok_or(DigestError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(DigestError::Scheme);
        }
        Ok(Params(rest))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        // Each element of the list is one parameter.
        split(self.0, b',').find_map(|element| param(element, name))
    }

    /// The text between the quotes, with its escapes: what is hashed and written back (RFC 7616 §3.4).
    fn raw(&self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        Some(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(unquote)
    }
}
