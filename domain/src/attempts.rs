//! Failed authentications by address: who fails again and again is to wait longer and longer.
//! It must never see a key, and never take more memory than its table has room for.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// Addresses that are remembered; the one that failed longest ago is forgotten first.
pub const ADDRESSES: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// So many failures cost nothing: somebody has pasted the wrong key.
pub const FREE_FAILURES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// No wait is longer.
pub const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Without a failure for this long an address begins anew.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Who failed, and how often in a row.
#[derive(Debug)]
pub struct Attempts(LruCache<IpAddr, Failures>);

impl Default for Attempts {
    fn default() -> Self {
        Self(LruCache::new(ADDRESSES))
    }
}

impl Attempts {
    /// Notes a failure, and says how long its answer is to be held back; `None` = not at all.
    pub fn note(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        let before = self.0.get(&whose(address)).filter(|known| now.duration_since(known.last) < FORGIVEN_AFTER);
        let count = before.map_or(0, |known| known.count).saturating_add(1);
        self.0.put(whose(address), Failures { count, last: now });
        delay(count)
    }

    /// Addresses that are remembered now.
    pub fn remembered(&self) -> usize {
        self.0.len()
    }
}

/// The wait after so many failures: doubled with each, up to a longest.
fn delay(failures: u32) -> Option<Duration> {
    let beyond = failures.checked_sub(FREE_FAILURES + 1)?;
    Some(FIRST_DELAY.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_DELAY))
}

/// One customer's addresses: of IPv6, everybody has 2^64.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_longest() {
        let check = |failures: u32, expect: Option<u64>| {
            assert_eq!(delay(failures).map(|delay| delay.as_millis()), expect.map(u128::from), "{failures}");
        };
        check(0, None);
        check(5, None);
        check(6, Some(100));
        check(7, Some(200));
        check(11, Some(3200));
        check(12, Some(5000));
        check(u32::MAX, Some(5000));
    }

    #[test]
    fn memory_is_bounded_and_neighbours_of_one_network_are_one() {
        #[expect(clippy::disallowed_methods, reason = "a test of time begins somewhere")]
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for number in 0..10_000_u32 {
            assert_eq!(attempts.note(IpAddr::from(number.to_be_bytes()), now), None);
        }
        assert_eq!(attempts.remembered(), ADDRESSES.get());
        let mut attempts = Attempts::default();
        let waits: Vec<_> =
            (1..=7).map(|host| attempts.note(format!("2001:db8::{host}").parse().unwrap(), now)).collect();
        assert_eq!(waits[..5], [None; 5]);
        assert_eq!(waits[5..], [Some(FIRST_DELAY), Some(FIRST_DELAY * 2)]);
        assert_eq!(attempts.note("2001:db8::1".parse().unwrap(), now + FORGIVEN_AFTER), None);
        assert_eq!(attempts.note("2001:db8:0:1::1".parse().unwrap(), now), None);
    }
}
