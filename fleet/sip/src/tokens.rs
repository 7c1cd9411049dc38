//! Tags, branches and nonces from a seed; it must never ask the system for randomness.

use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use crate::message::Text;

/// The magic cookie of RFC 3261 §8.1.1.7.
pub(crate) const COOKIE: &str = "z9hG4bK";

/// A source of unpredictable words, as good as its seed.
#[derive(Debug)]
pub(crate) struct Tokens(ChaCha12Rng);

impl Tokens {
    pub(crate) fn new(seed: u64) -> Self {
        Tokens(ChaCha12Rng::seed_from_u64(seed))
    }

    fn word(&mut self) -> String {
        format!("{:032x}", self.0.random::<u128>())
    }

    pub(crate) fn branch(&mut self) -> Text {
        Text::from(format!("{COOKIE}{}", self.word()))
    }

    pub(crate) fn tag(&mut self) -> Text {
        Text::from(self.word())
    }

    pub(crate) fn call_id(&mut self) -> Text {
        Text::from(self.word())
    }

    pub(crate) fn cnonce(&mut self) -> String {
        self.word()
    }

    pub(crate) fn secret(&mut self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.0.fill_bytes(&mut secret);
        secret
    }

    /// Seconds for a Retry-After on a glare of re-INVITEs (RFC 3261 §14.2).
    pub(crate) fn retry_after(&mut self) -> u32 {
        self.0.random_range(0..=10)
    }
}
