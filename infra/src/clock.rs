//! The wall clock and the operating system's random source, as ports.
//! It must never cache a time or a random byte.

use domain::ports::{Clock, Entropy};
use jiff::Timestamp;

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system has a random source");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_fill_all_of_the_buffer() {
        let draw = || {
            let mut bytes = [0; 64];
            OsEntropy.fill(&mut bytes);
            bytes
        };
        assert_ne!(draw(), draw());
        // 64 zero bytes in a row in the last half: 2^-256.
        assert!(draw()[32..].iter().any(|&b| b != 0));
    }
}
