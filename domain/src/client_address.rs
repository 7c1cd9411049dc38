//! Whose request it is, where proxies stand before us. It must never believe what a client could have written.

use std::net::IpAddr;

use ipnet::IpNet;

/// The header in which proxies note, one after the other, whom they had a request from.
pub const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request comes from: of the connection; behind a trusted proxy, the last one of the lines of
/// `X-Forwarded-For` (in the order in which they stand in the request) that is not a trusted proxy's.
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let mut hops = forwarded.rev().flat_map(|line| line.rsplit(',')).map(str::trim);
    let mut last = peer;
    // What stands before something unreadable was not written by a proxy of ours.
    while let Some(hop) = hops.next().and_then(|hop| hop.parse::<IpAddr>().ok()) {
        last = hop.to_canonical();
        if !is_trusted(&last) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_nearest_that_is_not_ours() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into();
        let check = |peer: &str, forwarded: &[&str], expect: &str| {
            let found = client_address(peer.parse().unwrap(), &trusted, forwarded.iter().copied());
            assert_eq!(found, expect.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        };
        check("203.0.113.1", &[], "203.0.113.1");
        check("203.0.113.1", &["198.51.100.1"], "203.0.113.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["192.0.2.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["192.0.2.9", "198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["192.0.2.9, nonsense"], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.9, "], "10.0.0.1");
        check("fd00::1", &["2001:db8::1"], "2001:db8::1");
        check("10.0.0.1", &["10.0.0.3"], "10.0.0.3");
    }
}
