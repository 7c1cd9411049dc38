//! An address block such as `203.0.113.0/24`. Never resolves a name.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A block of IPv4 or IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u128,
    mask: u128,
    v4: bool,
}

/// Why a text is not an address block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is no IP address.
    #[error("not an IP address")]
    Address,
    /// The prefix length is no number or longer than the address.
    #[error("prefix length out of range")]
    Prefix,
}

impl Cidr {
    /// Builds a block from an address in it and a prefix length in bits.
    ///
    /// # Errors
    /// [`CidrError::Prefix`] when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        let (bits, v4) = address_bits(address);
        let width = if v4 { 32 } else { 128 };
        if prefix > width {
            return Err(CidrError::Prefix);
        }
        let low = u32::from(width - prefix);
        let mask = u128::MAX.checked_shl(low).unwrap_or(0);
        Ok(Self { network: bits & mask, mask, v4 })
    }

    /// Whether the address lies in the block. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, v4) = address_bits(address);
        v4 == self.v4 && bits & self.mask == self.network
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| CidrError::Address)?;
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| CidrError::Prefix)?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        Self::new(address, prefix)
    }
}

/// Makes `::ffff:a.b.c.d` and `a.b.c.d` the same source, as a dual-stack socket reports the former.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => address,
        },
    }
}

fn address_bits(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains() {
        for (block, address, expect) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/24", "10.1.2.250", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::9", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ] {
            let block: Cidr = block.parse().unwrap();
            assert_eq!(block.contains(address.parse().unwrap()), expect, "{block:?} {address}");
        }
    }

    #[test]
    fn refuses() {
        for (text, expect) in [
            ("", CidrError::Address),
            ("example.org/8", CidrError::Address),
            ("10.0.0.0/33", CidrError::Prefix),
            ("10.0.0.0/-1", CidrError::Prefix),
            ("10.0.0.0/", CidrError::Prefix),
            ("::/129", CidrError::Prefix),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(expect), "{text}");
        }
    }
}
