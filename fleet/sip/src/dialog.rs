//! A dialog (RFC 3261 §12): tags, sequence numbers, route set and remote target, on either side.
//!
//! It must never resolve a name: where a route is named by one, the next hop of the call's start is used.

use std::net::{IpAddr, SocketAddr};

use crate::message::{HeaderName, Message, MessageWriter, NameAddr, Text, Uri, param};
use crate::reply::Request;
use crate::{Transmit, Transport};

/// One dialog.
#[derive(derive_more::Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: Text,
    /// The value of our From, tag included.
    #[debug("(personal)")]
    local: String,
    /// The value of our To, tag included where the peer gave one.
    #[debug("(personal)")]
    remote: String,
    pub(crate) remote_tag: Option<Text>,
    pub(crate) local_seq: u32,
    remote_seq: Option<u32>,
    #[debug("(personal)")]
    remote_target: String,
    route_set: Vec<String>,
    path: Path,
}

/// How a dialog's requests leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) transport: Transport,
    pub(crate) local: SocketAddr,
    /// The next hop that worked at the start.
    pub(crate) next_hop: SocketAddr,
}

/// The first line, the routes and the address of a request in a dialog.
#[derive(derive_more::Debug, Clone)]
pub(crate) struct Routing {
    #[debug("(personal)")]
    pub(crate) request_uri: String,
    pub(crate) routes: Vec<String>,
    pub(crate) remote: SocketAddr,
}

impl Dialog {
    /// The dialog of a 2xx to our INVITE (§12.1.2). `None` when its Contact can't be used.
    pub(crate) fn uac(invite: &Outgoing<'_>, response: &Message, remote_tag: Option<Text>) -> Option<Self> {
        let mut route_set: Vec<String> = response.headers.values(&HeaderName::RecordRoute).map(str::to_owned).collect();
        route_set.reverse();
        let remote_target = match contact(response) {
            Contact::Uri(uri) => uri,
            Contact::None => invite.target.to_owned(),
            Contact::Unusable => return None,
        };
        Some(Dialog {
            call_id: invite.call_id.clone(),
            local: invite.local.to_owned(),
            remote: response.header(&HeaderName::To)?.to_string(),
            remote_tag,
            local_seq: invite.cseq,
            remote_seq: None,
            remote_target,
            route_set,
            path: invite.path,
        })
    }

    /// The dialog that our response to an INVITE makes (§12.1.1). `None` when its Contact can't be used.
    pub(crate) fn uas(request: &Request, local_tag: &str) -> Option<Self> {
        let message = &request.message;
        let from = message.header(&HeaderName::From)?;
        let to = message.header(&HeaderName::To)?;
        let remote_target = match contact(message) {
            Contact::Uri(uri) => uri,
            // RFC 2543 did not ask for one.
            Contact::None => NameAddr::parse(from).ok()?.uri.text.to_owned(),
            Contact::Unusable => return None,
        };
        Some(Dialog {
            call_id: request.essentials.call_id.clone(),
            local: format!("{to};tag={local_tag}"),
            remote: from.to_string(),
            remote_tag: request.essentials.from_tag.clone(),
            local_seq: 0,
            remote_seq: Some(request.essentials.cseq),
            remote_target,
            route_set: message.headers.values(&HeaderName::RecordRoute).map(str::to_owned).collect(),
            path: Path {
                transport: request.source.transport,
                local: request.source.local,
                next_hop: request.source.remote,
            },
        })
    }

    /// Takes the sequence number of a request from the peer; false if it is out of order (§12.2.2).
    pub(crate) fn take_seq(&mut self, cseq: u32) -> bool {
        if self.remote_seq.is_some_and(|last| cseq <= last) {
            return false;
        }
        self.remote_seq = Some(cseq);
        true
    }

    /// Target refresh by a re-INVITE or its 2xx (§12.2).
    pub(crate) fn refresh(&mut self, message: &Message) {
        if let Contact::Uri(uri) = contact(message) {
            self.remote_target = uri;
        }
    }

    /// The next request's sequence number.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.local_seq += 1;
        self.local_seq
    }

    /// Where requests go now (§12.2.1.1).
    pub(crate) fn routing(&self) -> Routing {
        let first = self.route_set.first().map(|route| route_uri(route));
        match first {
            None => Routing {
                request_uri: self.remote_target.clone(),
                routes: Vec::new(),
                remote: self.address_of(&self.remote_target),
            },
            Some(uri) if param_of(uri, "lr") => Routing {
                request_uri: self.remote_target.clone(),
                routes: self.route_set.clone(),
                remote: self.address_of(uri),
            },
            // A strict router: it finds itself in the Request-URI and the target at the end.
            Some(uri) => {
                let mut routes = self.route_set[1..].to_vec();
                routes.push(format!("<{}>", self.remote_target));
                Routing { request_uri: uri.to_owned(), routes, remote: self.address_of(uri) }
            }
        }
    }

    fn address_of(&self, uri: &str) -> SocketAddr {
        let next_hop = self.path.next_hop;
        match Uri::parse(uri).ok().and_then(|uri| uri.socket_addr()) {
            Some(address) if usable(address, next_hop) => address,
            _ => next_hop,
        }
    }

    /// Starts a request of this dialog.
    pub(crate) fn request(&self, method: &str, cseq: u32, via: &str, routing: &Routing) -> MessageWriter {
        let mut writer = MessageWriter::request(method, &routing.request_uri);
        writer.header("Via", via).header("Max-Forwards", 70);
        for route in &routing.routes {
            writer.header("Route", route);
        }
        writer
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format_args!("{cseq} {method}"));
        writer
    }

    /// Addresses a request.
    pub(crate) fn transmit(&self, routing: &Routing, bytes: bytes::Bytes) -> Transmit {
        Transmit { transport: self.path.transport, local: self.path.local, remote: routing.remote, bytes }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.path.transport
    }
}

/// Our INVITE, as its dialogs need it.
pub(crate) struct Outgoing<'a> {
    pub(crate) call_id: &'a Text,
    pub(crate) local: &'a str,
    pub(crate) target: &'a str,
    pub(crate) cseq: u32,
    pub(crate) path: Path,
}

enum Contact {
    Uri(String),
    None,
    Unusable,
}

fn contact(message: &Message) -> Contact {
    let Some(value) = message.headers.values(&HeaderName::Contact).next() else {
        return Contact::None;
    };
    match NameAddr::parse(value) {
        Ok(address) if address.uri.scheme.is_sip() => Contact::Uri(address.uri.text.to_owned()),
        _ => Contact::Unusable,
    }
}

fn route_uri(route: &str) -> &str {
    NameAddr::parse(route).map_or(route, |address| address.uri.text)
}

fn param_of(uri: &str, name: &str) -> bool {
    Uri::parse(uri).is_ok_and(|uri| param(uri.params, name).is_some())
}

/// Whether an address that the peer wrote can be the right one, seen from the hop that worked: a peer behind a NAT
/// writes its private address, which is nobody's here.
fn usable(address: SocketAddr, next_hop: SocketAddr) -> bool {
    if address.is_ipv4() != next_hop.is_ipv4()
        || address.port() == 0
        || address.ip().is_unspecified()
        || address.ip().is_multicast()
    {
        return false;
    }
    match (scope(address.ip()), scope(next_hop.ip())) {
        (Scope::Public, _) => true,
        (theirs, ours) => theirs == ours,
    }
}

#[derive(PartialEq, Eq)]
enum Scope {
    Loopback,
    Private,
    Public,
}

fn scope(ip: IpAddr) -> Scope {
    match ip {
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => Scope::Private,
        // 100.64.0.0/10, carrier-grade NAT (RFC 6598).
        IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64 => Scope::Private,
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Scope::Private,
        IpAddr::V4(_) | IpAddr::V6(_) => Scope::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, next_hop: &str, expect: bool) {
        assert_eq!(usable(address.parse().unwrap(), next_hop.parse().unwrap()), expect);
    }

    #[test]
    fn a_private_address_is_not_followed_out_of_its_net() {
        check("203.0.113.5:5060", "198.51.100.1:5060", true);
        check("203.0.113.5:5060", "10.0.0.1:5060", true);
        check("10.1.2.3:5060", "198.51.100.1:5060", false);
        check("10.1.2.3:5060", "192.168.0.1:5060", true);
        check("100.64.0.9:5060", "198.51.100.1:5060", false);
        check("127.0.0.1:5070", "127.0.0.1:5060", true);
        check("127.0.0.1:5070", "10.0.0.1:5060", false);
        check("0.0.0.0:5060", "10.0.0.1:5060", false);
        check("203.0.113.5:0", "198.51.100.1:5060", false);
        check("[fd00::1]:5060", "[2001:db8::1]:5060", false);
    }
}
