//! HTTP digest authentication in SIP (RFC 3261 §22, RFC 7616, RFC 8760), both sides.
//!
//! It must never make randomness of its own or keep a password.

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
    Sha512_256,
    Sha512_256Sess,
}
