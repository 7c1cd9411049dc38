//! Pairs of UDP ports for calls: an even one for RTP and the odd one above it for RTCP (RFC 3550 §11).
//! It must never hand out a port that something else on the machine holds.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Mutex;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum PortError {
    #[error("no free pair of RTP ports in {0}-{1}; widen the range with --rtp-ports")]
    Exhausted(u16, u16),
    #[error("RTP socket on {0}: {1}")]
    Socket(SocketAddr, std::io::Error),
    #[error("the RTP port range {0}-{1} holds no even port with an odd one above it")]
    EmptyRange(u16, u16),
}

/// The sockets of one call; dropping them frees the ports.
#[derive(Debug)]
pub struct RtpSockets {
    pub rtp: UdpSocket,
    /// Held so that nobody else is given the port that the far side sends RTCP to.
    pub rtcp: UdpSocket,
    pub local: SocketAddr,
}

/// Hands out pairs round robin, so that a port rests as long as possible before it is used again.
#[derive(Debug)]
pub struct PortPool {
    ip: IpAddr,
    first: u16,
    pairs: u16,
    next: Mutex<u16>,
}

impl PortPool {
    /// # Errors
    /// When the range holds no pair.
    pub fn new(ip: IpAddr, range: &RangeInclusive<u16>) -> Result<Self, PortError> {
        let first = range.start().checked_add(range.start() % 2).unwrap_or(u16::MAX);
        let pairs = range.end().saturating_sub(first).saturating_add(1) / 2;
        if first >= *range.end() || pairs == 0 {
            return Err(PortError::EmptyRange(*range.start(), *range.end()));
        }
        Ok(Self { ip, first, pairs, next: Mutex::new(0) })
    }

    /// How many calls the range has room for.
    pub fn pairs(&self) -> u16 {
        self.pairs
    }

    /// Binds the next free pair.
    ///
    /// # Errors
    /// When every pair is taken, or the machine is out of sockets.
    pub fn bind(&self) -> Result<RtpSockets, PortError> {
        for _ in 0..self.pairs {
            let pair = {
                let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let pair = *next;
                *next = (pair + 1) % self.pairs;
                pair
            };
            let local = SocketAddr::new(self.ip, self.first + pair * 2);
            match Self::bind_pair(local) {
                Ok(sockets) => return Ok(sockets),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(PortError::Socket(local, error)),
            }
        }
        Err(PortError::Exhausted(self.first, self.first + (self.pairs - 1) * 2 + 1))
    }

    fn bind_pair(local: SocketAddr) -> std::io::Result<RtpSockets> {
        let rtp = UdpSocket::bind(local)?;
        let rtcp = UdpSocket::bind(SocketAddr::new(local.ip(), local.port() + 1))?;
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        Ok(RtpSockets { rtp, rtcp, local })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_pairs() {
        let check = |range, expect: Option<u16>| {
            assert_eq!(
                PortPool::new("127.0.0.1".parse().unwrap(), &range).ok().map(|p| p.pairs()),
                expect,
                "{range:?}"
            );
        };
        check(20000..=20001, Some(1));
        check(20001..=20003, Some(1));
        check(20000..=20009, Some(5));
        check(20000..=20000, None);
        check(20001..=20002, None);
        check(65535..=65535, None);
    }

    #[test]
    fn taken_ports_are_passed_over_and_freed_ones_come_back() {
        // Below the ports that the system gives to whoever asks for any.
        let pool = PortPool::new("127.0.0.1".parse().unwrap(), &(10_400..=10_405)).unwrap();
        let first = pool.bind().unwrap();
        let second = pool.bind().unwrap();
        let third = pool.bind().unwrap();
        assert_eq!(first.local.port() % 2, 0);
        assert!(matches!(pool.bind(), Err(PortError::Exhausted(10_400, 10_405))));
        let freed = second.local;
        drop(second);
        assert_eq!(pool.bind().unwrap().local, freed);
        drop((first, third));
    }
}
