//! Which URLs, names and addresses are allowed. Pure judgement: no lookup, no connection.
//! It must never allow what it does not recognise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

use crate::config::EgressConfig;

/// Longer URLs are refused.
const URL_MAX: usize = 2048;

/// Why a URL, a name or an address is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denied {
    #[error("a URL has at most {URL_MAX} characters")]
    TooLong,
    #[error("it is no absolute URL")]
    NotUrl,
    #[error("a URL has no spaces, control characters or backslashes")]
    Character,
    #[error("only https is allowed")]
    Scheme,
    #[error("plain http is allowed to listed addresses only")]
    PlainHttp,
    #[error("a URL has no user name or password: put the token where tokens go")]
    Userinfo,
    #[error("port {0} is not one of web servers")]
    Port(u16),
    #[error("the host name `{0}` is not a public one")]
    Name(String),
    #[error("the address {address} is not allowed: {why}")]
    Address { address: IpAddr, why: &'static str },
}

/// What users' URLs may reach: the public Internet by https, and what a deployment lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Addresses that are allowed though they are not public.
    pub allow_cidrs: Vec<IpNet>,
    /// Whether plain http may be spoken with those.
    pub allow_http: bool,
    /// Hosts that are refused with all below them: the deployment's own names.
    pub deny_hosts: Vec<String>,
    /// Addresses that are refused though they are public: the deployment's own, whatever name leads there.
    pub deny_cidrs: Vec<IpNet>,
}

impl From<EgressConfig> for EgressPolicy {
    fn from(config: EgressConfig) -> Self {
        Self {
            allow_cidrs: config.allow_cidrs,
            allow_http: config.allow_http,
            deny_hosts: config.deny_hosts,
            deny_cidrs: config.deny_cidrs,
        }
    }
}

impl EgressPolicy {
    /// Judges all that can be judged without a lookup.
    ///
    /// # Errors
    /// Says which rule the URL breaks.
    pub fn check_url(&self, text: &str) -> Result<Url, Denied> {
        if text.len() > URL_MAX {
            return Err(Denied::TooLong);
        }
        // Parsers drop or turn these, each in its own way.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Denied::Character);
        }
        let url = Url::parse(text).map_err(|_| Denied::NotUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(Denied::Scheme),
        }
        // An empty user name leaves no trace in the parsed URL.
        let rest = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches('/');
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if !url.username().is_empty() || url.password().is_some() || authority.contains('@') {
            return Err(Denied::Userinfo);
        }
        let listed = self.check_host(&url)?;
        if url.scheme() == "http" && !listed && is_literal_or_localhost(&url) {
            return Err(Denied::PlainHttp);
        }
        match url.port() {
            Some(port) if is_odd_port(port) => Err(Denied::Port(port)),
            _ => Ok(url),
        }
    }

    /// Judges the host; `true` if it is a listed address (or `localhost`, when loopback is listed).
    fn check_host(&self, url: &Url) -> Result<bool, Denied> {
        match url.host().ok_or(Denied::NotUrl)? {
            Host::Ipv4(ip) => self.check_address(ip.into()).map(|()| self.lists(ip.into())),
            Host::Ipv6(ip) => self.check_address(ip.into()).map(|()| self.lists(ip.into())),
            Host::Domain(name) => self.check_name(name).map(|()| is_localhost(name)),
        }
    }

    /// Judges an address; for each that is about to be connected to.
    ///
    /// # Errors
    /// Says why the address is not public.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Denied> {
        if self.denies(address) {
            return Err(Denied::Address { address, why: "the deployment's own" });
        }
        if self.lists(address) {
            return Ok(());
        }
        let why = match address {
            IpAddr::V4(ip) => special_v4(ip),
            IpAddr::V6(ip) => special_v6(ip),
        };
        why.map_or(Ok(()), |why| Err(Denied::Address { address, why }))
    }

    fn denies(&self, address: IpAddr) -> bool {
        self.deny_cidrs.iter().any(|net| net.contains(&address))
    }

    /// Whether the deployment lists this address.
    pub(super) fn lists(&self, address: IpAddr) -> bool {
        !self.denies(address) && self.allow_cidrs.iter().any(|net| net.contains(&address))
    }

    /// The loopback addresses that are listed: what `localhost` means.
    pub(super) fn localhost(&self) -> Vec<IpAddr> {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        loopback.into_iter().filter(|address| self.lists(*address)).collect()
    }

    /// Judges a host name, before any lookup.
    ///
    /// # Errors
    /// The name is single-label, special-use, or none.
    pub fn check_name(&self, name: &str) -> Result<(), Denied> {
        if is_localhost(name) && !self.localhost().is_empty() {
            return Ok(());
        }
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_suffix('.').unwrap_or(&lower);
        let labels: Vec<&str> = bare.split('.').collect();
        let well_formed = bare.len() <= 253 && labels.iter().all(|label| is_label(label));
        let last = labels.last().copied().unwrap_or_default();
        let numeric = last.bytes().all(|b| b.is_ascii_digit());
        let ours = |host: &String| {
            let above = bare.strip_suffix(host.to_ascii_lowercase().trim_matches('.'));
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        if !well_formed || labels.len() < 2 || numeric || NOT_PUBLIC.contains(&last) || self.deny_hosts.iter().any(ours)
        {
            return Err(Denied::Name(name.to_owned()));
        }
        Ok(())
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_localhost(name: &str) -> bool {
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost")
}

pub(super) fn is_literal_or_localhost(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

/// Last labels under which only private or special names live (RFC 6761, 6762, 7686, 8375, 9476; ICANN's `internal`; custom).
const NOT_PUBLIC: &[&str] = &[
    "alt",
    "arpa",
    "cluster",
    "consul",
    "corp",
    "docker",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
];

/// Ports of services that understand enough of an HTTP request to be harmed by one (WHATWG Fetch's list and data stores).
const ODD_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389, 427, 445, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993, 995, 1080, 1433, 1521, 1719, 1720,
    1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 3659, 4045, 4190, 4369, 4444, 5060, 5061, 5432, 5672,
    5900, 5984, 6000, 6379, 6380, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7000, 7001, 8086, 9042, 9092, 9100,
    9160, 9200, 9300, 10080, 10250, 11211, 15672, 27017, 27018, 27019,
];

fn is_odd_port(port: u16) -> bool {
    ODD_PORTS.contains(&port)
}

/// The IPv4 blocks that are not the public Internet (IANA Special-Purpose Address Registry), and addresses of clouds' own
/// services that lie outside them.
const SPECIAL_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "cloud metadata"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local, metadata"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "AMT"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved, broadcast"),
];

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let bits = ip.to_bits();
    SPECIAL_V4.iter().find(|(net, length, _)| (bits ^ net.to_bits()) >> (32 - length) == 0).map(|(_, _, why)| *why)
}

/// Blocks inside 2000::/3 that are not the public Internet.
const SPECIAL_V6: &[(Ipv6Addr, u32, &str)] = &[
    // Teredo, benchmarking, ORCHID and the like; nothing that a CRM would have.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4, embeds an IPv4 address"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let bits = ip.to_bits();
    if bits >> 125 != 0b001 {
        // Loopback, mapped and compatible IPv4, NAT64, discard-only, unique local, link-local, site-local, multicast, SRv6, unassigned.
        return Some("outside global unicast");
    }
    // ISATAP (RFC 5214 §6.1): an IPv4 address behind 0000:5efe or 0200:5efe.
    if matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe) {
        return Some("ISATAP, embeds an IPv4 address");
    }
    SPECIAL_V6.iter().find(|(net, length, _)| (bits ^ net.to_bits()) >> (128 - length) == 0).map(|(_, _, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> EgressPolicy {
        EgressPolicy {
            allow_cidrs: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            allow_http: true,
            ..EgressPolicy::default()
        }
    }

    #[test]
    fn addresses() {
        let check = |address: &str, allowed: bool| {
            assert_eq!(EgressPolicy::default().check_address(address.parse().unwrap()).is_ok(), allowed, "{address}");
        };
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
        ] {
            check(public, true);
        }
        for public in [
            "198.20.0.0",
            "223.255.255.255",
            "169.253.255.255",
            "11.0.0.0",
            "2606:4700::1111",
            "2a00:1450:4009::1",
            "2001:200::1",
        ] {
            check(public, true);
        }
        for special in [
            "0.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
        ] {
            check(special, false);
        }
        for special in [
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            check(special, false);
        }
        for special in [
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "::1.1.1.1",
            "64:ff9b::1.1.1.1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
        ] {
            check(special, false);
        }
        for special in [
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:101:101::1",
            "3fff::1",
            "5f00::1",
            "2606:4700::5efe:a00:1",
        ] {
            check(special, false);
        }
    }

    #[test]
    fn listed_addresses_are_allowed_and_nothing_else_with_them() {
        let check =
            |url: &str, expect: Result<(), Denied>| assert_eq!(local().check_url(url).map(|_| ()), expect, "{url}");
        check("http://127.0.0.1:8080/x", Ok(()));
        check("http://[::1]:8080/x", Ok(()));
        check("https://127.0.0.1/", Ok(()));
        check("http://localhost:11434/v1", Ok(()));
        check("http://LOCALHOST./", Ok(()));
        check("http://93.184.216.34/", Err(Denied::PlainHttp));
        check("https://93.184.216.34/", Ok(()));
        check("http://10.0.0.1/", Err(Denied::Address { address: "10.0.0.1".parse().unwrap(), why: "private" }));
        // Where it leads is judged when it is looked up.
        check("http://crm.example.com/", Ok(()));
        check("https://x.localhost/", Err(Denied::Name("x.localhost".into())));
        check("http://127.0.0.1:6379/", Err(Denied::Port(6379)));
        let silent = EgressPolicy { allow_http: false, ..local() };
        assert_eq!(silent.check_url("http://127.0.0.1/").unwrap_err(), Denied::Scheme);
    }

    #[test]
    fn names() {
        let check =
            |name: &str, allowed: bool| assert_eq!(EgressPolicy::default().check_name(name).is_ok(), allowed, "{name}");
        for public in [
            "crm.example.com",
            "example.com.",
            "xn--mnchen-3ya.de",
            "a_b.example.com",
            "internal.example.com",
            "localhost.com",
        ] {
            check(public, true);
        }
        for special in [
            "localhost",
            "localhost.",
            "intranet",
            "",
            ".",
            "..",
            "a..com",
            "db.internal",
            "DB.INTERNAL.",
            "x.svc.cluster.local",
            "x.home.arpa",
        ] {
            check(special, false);
        }
        for odd in [
            "1.168.192.in-addr.arpa",
            "x.onion",
            "x.lan",
            "{{crm.host}}",
            "{{crm.host}}.example.com",
            "a b.com",
            "1.2.3.4.5",
            &"a.".repeat(150),
        ] {
            check(odd, false);
        }
    }

    #[test]
    fn the_deployments_own_names() {
        let policy = EgressPolicy { deny_hosts: vec!["Fleet.example.com.".into()], ..EgressPolicy::default() };
        let check = |name: &str, allowed: bool| assert_eq!(policy.check_name(name).is_ok(), allowed, "{name}");
        check("fleet.example.com", false);
        check("FLEET.example.com.", false);
        check("api.fleet.example.com", false);
        check("notfleet.example.com", true);
        check("example.com", true);
    }

    #[test]
    fn urls() {
        let check = |url: &str, expect: Result<(), Denied>| {
            assert_eq!(EgressPolicy::default().check_url(url).map(|_| ()), expect, "{url}")
        };
        check("https://crm.example.com:8443/a?b=c#d", Ok(()));
        check("HTTPS://CRM.EXAMPLE.COM/", Ok(()));
        check("https://crm.example.com/@x?u=a@b", Ok(()));
        check("https://@crm.example.com/", Err(Denied::Userinfo));
        check("https://u@crm.example.com/", Err(Denied::Userinfo));
        check("https:u@crm.example.com/", Err(Denied::Userinfo));
        check("https://crm.example.com/\u{a0}", Err(Denied::Character));
        check("https://crm.example.com\\@evil.example.com/", Err(Denied::Character));
        check(" https://crm.example.com/", Err(Denied::Character));
        check("https://crm.example.com:22/", Err(Denied::Port(22)));
        check("https://", Err(Denied::NotUrl));
        check("", Err(Denied::NotUrl));
        check(&format!("https://crm.example.com/{}", "a".repeat(2048)), Err(Denied::TooLong));
    }
}
