//! `Idempotency-Key`: what lies under a client's key, and what a request that comes upon it may do.
//! It must never hold the header's text, into which a client may put anything, but only its hash.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ids::{CallId, KeyId};

/// Longest key, characters.
pub const MAX_KEY: usize = 255;
/// How long a request that has begun keeps all others off: longer than any can last.
pub const LEASE: Duration = Duration::from_secs(35);
/// How long an entry counts.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Why a header is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("an Idempotency-Key has 1 to 255 characters; this one has {0}")]
    Length(usize),
    #[error("an Idempotency-Key has printable ASCII characters only")]
    Character,
    #[error("a request has one Idempotency-Key")]
    Repeated,
}

impl KeyError {
    /// The machine word of a 422 answer.
    pub fn word(self) -> &'static str {
        match self {
            Self::Length(0) => "string_too_short",
            Self::Length(_) => "string_too_long",
            Self::Character => "string_pattern_mismatch",
            Self::Repeated => "too_many",
        }
    }
}

/// A client's key within its scope: the API key's id, `#`, and the SHA-256 of the header in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopedKey(String);

impl ScopedKey {
    /// Reads every `Idempotency-Key` header of a request; `None` when there is none.
    ///
    /// # Errors
    /// When there are several, or one that is no key.
    pub fn read<'a>(caller: &KeyId, headers: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, KeyError> {
        let mut headers = headers.into_iter();
        let Some(header) = headers.next() else { return Ok(None) };
        if headers.next().is_some() {
            return Err(KeyError::Repeated);
        }
        if !header.iter().all(|b| (b' '..=b'~').contains(b)) {
            return Err(KeyError::Character);
        }
        let text = header.trim_ascii();
        if text.is_empty() || text.len() > MAX_KEY {
            return Err(KeyError::Length(text.len()));
        }
        Ok(Some(Self(format!("{caller}#{}", hex::encode(Sha256::digest(text))))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a request's body, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BodyHash(String);

impl BodyHash {
    pub fn of(body: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(body)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A request is at it, or died at it.
    InFlight,
    /// It was answered with 200.
    Done,
}

impl Progress {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Done => "done",
        }
    }
}

/// One row of `Idempotency`. Call id and attempt together say which request holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: ScopedKey,
    pub body_hash: BodyHash,
    /// The one call that may be placed under this key.
    pub call_id: CallId,
    /// Requests that have held this call id, this one included.
    pub attempt: u32,
    pub progress: Progress,
    /// While in flight: others stay off until then.
    pub lease_until: Timestamp,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Entry {
    /// The entry of the first request for a call.
    pub fn begin(key: ScopedKey, body_hash: BodyHash, call_id: CallId, now: Timestamp) -> Self {
        Self {
            key,
            body_hash,
            call_id,
            attempt: 1,
            progress: Progress::InFlight,
            lease_until: now + LEASE,
            created_at: now,
            expires_at: now + KEEP,
        }
    }

    /// The entry of the request that takes over from this one's, with the same call id.
    pub fn resumed(&self, now: Timestamp) -> Self {
        Self {
            attempt: self.attempt.saturating_add(1),
            progress: Progress::InFlight,
            lease_until: now + LEASE,
            expires_at: now + KEEP,
            ..self.clone()
        }
    }

    /// Whether both are held by the same request.
    pub fn is_held_as(&self, other: &Self) -> bool {
        self.call_id == other.call_id && self.attempt == other.attempt
    }

    /// What a request with this body may do that finds this entry.
    pub fn verdict(&self, body: &BodyHash, now: Timestamp) -> Verdict {
        if now >= self.expires_at {
            return Verdict::Begin;
        }
        if self.body_hash != *body {
            return Verdict::Mismatch;
        }
        match self.progress {
            Progress::Done => Verdict::Replay,
            // No holder leases for longer: further ahead lies only what a wrong clock has written.
            Progress::InFlight if self.lease_until > now && self.lease_until <= now + 2 * LEASE => {
                Verdict::Wait { until: self.lease_until }
            }
            Progress::InFlight => Verdict::Resume,
        }
    }

    /// The entry once its holder has let go; `None` when it is gone.
    #[must_use]
    pub fn let_go(&self, how: LetGo) -> Option<Self> {
        match how {
            LetGo::Done => Some(Self { progress: Progress::Done, ..self.clone() }),
            LetGo::GiveBack { at } => Some(Self { lease_until: at, ..self.clone() }),
            LetGo::Release => None,
        }
    }
}

/// What a request may do with the entry it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The entry no longer counts: a call of its own.
    Begin,
    /// The request before died on the way: its call id, whose fate has to be found out.
    Resume,
    /// The same answer again.
    Replay,
    /// Another request is at it.
    Wait { until: Timestamp },
    /// The key belongs to another body.
    Mismatch,
}

/// How a holder lets go of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetGo {
    /// The call was placed: the answer may be given again.
    Done,
    /// It was not, and never will be: the key is free.
    Release,
    /// Whether it was is not known: the next request goes on with the same call id at once.
    GiveBack { at: Timestamp },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(headers: &[&[u8]]) -> Result<Option<ScopedKey>, KeyError> {
        ScopedKey::read(&KeyId::parse("k1").unwrap(), headers.iter().copied())
    }

    #[test]
    fn a_key_is_one_header_of_printable_ascii() {
        let check = |headers: &[&[u8]], expect: Option<KeyError>| assert_eq!(key(headers).err(), expect, "{headers:?}");
        check(&[], None);
        check(&[b"K1"], None);
        check(&[b"a key: {\"with\"} ~signs"], None);
        check(&[&[b'k'; 255]], None);
        check(&[&[b'k'; 256]], Some(KeyError::Length(256)));
        check(&[b""], Some(KeyError::Length(0)));
        check(&[b"  "], Some(KeyError::Length(0)));
        check(&[b"a\tb"], Some(KeyError::Character));
        check(&["clé".as_bytes()], Some(KeyError::Character));
        check(&[b"K1", b"K1"], Some(KeyError::Repeated));
    }

    #[test]
    fn a_scope_is_the_callers_and_the_header_is_not_kept() {
        let of = |caller: &str, header: &str| {
            ScopedKey::read(&KeyId::parse(caller).unwrap(), [header.as_bytes()]).unwrap().unwrap()
        };
        assert_eq!(of("k1", "+919876543210"), of("k1", " +919876543210 "));
        assert_ne!(of("k1", "x"), of("k2", "x"));
        assert_ne!(of("k1", "x"), of("k1", "X"));
        assert!(!of("k1", "+919876543210").as_str().contains("98765"));
    }

    #[test]
    fn what_a_request_may_do_with_what_it_finds() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let at = |seconds: i64| now + jiff::SignedDuration::from_secs(seconds);
        let (ours, theirs) = (BodyHash::of(b"{}"), BodyHash::of(b"{} "));
        let first = Entry::begin(key(&[b"K"]).unwrap().unwrap(), ours.clone(), CallId::from_parts(1, [0; 10]), now);
        let done = first.let_go(LetGo::Done).unwrap();
        let back = first.let_go(LetGo::GiveBack { at: at(4) }).unwrap();
        let second = first.resumed(at(40));
        let ahead = Entry { lease_until: at(3600), ..first.clone() };
        let check = |found: &Entry, body: &BodyHash, seconds: i64, expect: Verdict| {
            assert_eq!(found.verdict(body, at(seconds)), expect, "{found:?} after {seconds} s");
        };
        check(&first, &ours, 0, Verdict::Wait { until: at(35) });
        check(&first, &ours, 34, Verdict::Wait { until: at(35) });
        check(&first, &ours, 35, Verdict::Resume);
        check(&first, &theirs, 0, Verdict::Mismatch);
        check(&first, &theirs, 35, Verdict::Mismatch);
        check(&done, &ours, 0, Verdict::Replay);
        check(&done, &ours, 86_399, Verdict::Replay);
        check(&done, &ours, 86_400, Verdict::Begin);
        check(&done, &theirs, 86_399, Verdict::Mismatch);
        check(&done, &theirs, 86_400, Verdict::Begin);
        check(&back, &ours, 4, Verdict::Resume);
        check(&second, &ours, 74, Verdict::Wait { until: at(75) });
        check(&second, &ours, 75, Verdict::Resume);
        check(&second, &ours, 86_400 + 39, Verdict::Resume);
        check(&second, &ours, 86_400 + 40, Verdict::Begin);
        check(&ahead, &ours, 0, Verdict::Resume);
    }

    #[test]
    fn who_holds_an_entry_is_told_by_call_and_attempt() {
        let now = Timestamp::UNIX_EPOCH;
        let begin = |id: u8| {
            Entry::begin(key(&[b"K"]).unwrap().unwrap(), BodyHash::of(b""), CallId::from_parts(1, [id; 10]), now)
        };
        let (first, other) = (begin(0), begin(1));
        let second = first.resumed(now);
        assert_eq!((second.call_id, second.attempt, second.created_at), (first.call_id, 2, now));
        assert!(first.is_held_as(&first.let_go(LetGo::Done).unwrap()));
        assert!(!first.is_held_as(&second) && !first.is_held_as(&other));
        assert_eq!(first.let_go(LetGo::Release), None);
    }
}
