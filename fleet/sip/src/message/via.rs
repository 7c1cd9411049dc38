//! The Via header (RFC 3261 §20.42, RFC 3581).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::scan::{is_token, param, split, trim};
use super::{DEFAULT_PORT, HostPort, ParseError};
use crate::Source;

/// One Via value that borrows its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport token; unknown ones are fine (RFC 4475 §3.1.1.10).
    pub transport: &'a str,
    pub sent_by: HostPort<'a>,
    /// Without the first semicolon.
    pub params: &'a str,
    text: &'a str,
}

impl<'a> Via<'a> {
    /// Parses one value.
    ///
    /// # Errors
    /// [`ParseError::Via`].
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let text = trim(text);
        let mut protocol = text.splitn(3, '/');
        let mut next = || protocol.next().map(trim).ok_or(ParseError::Via);
        let (name, version, rest) = (next()?, next()?, next()?);
        if !name.eq_ignore_ascii_case("SIP") || version != "2.0" {
            return Err(ParseError::Via);
        }
        let (transport, rest) = rest.split_once([' ', '\t']).ok_or(ParseError::Via)?;
        let (sent_by, params) = match rest.split_once(';') {
            Some((sent_by, params)) if split(params, b';').all(|part| !part.is_empty()) => (sent_by, params),
            Some(_) => return Err(ParseError::Via),
            None => (rest, ""),
        };
        if !is_token(transport) {
            return Err(ParseError::Via);
        }
        Ok(Via { transport, sent_by: HostPort::parse(trim(sent_by)).map_err(|_| ParseError::Via)?, params, text })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a str> {
        param(self.params, "branch").filter(|branch| !branch.is_empty())
    }

    /// Whether the sender asks for an answer to the port it really sent from (RFC 3581 §3).
    pub fn wants_rport(&self) -> bool {
        param(self.params, "rport").is_some()
    }

    /// The value as a server writes it back: with the address that it really came from, whatever the sender claimed.
    pub(crate) fn with_source(&self, source: &Source) -> String {
        let head = self.text.find(';').map_or(self.text, |at| &self.text[..at]);
        let mut out = trim(head).to_owned();
        for part in split(self.params, b';').filter(|part| !part.is_empty()) {
            let key = part.split_once('=').map_or(part, |(key, _)| key);
            let ours = ["received", "rport"];
            if !ours.iter().any(|name| trim(key).eq_ignore_ascii_case(name)) {
                let _ = write!(out, ";{part}");
            }
        }
        let remote = source.remote;
        if self.wants_rport() {
            let _ = write!(out, ";received={};rport={}", remote.ip(), remote.port());
        } else if self.sent_by.ip() != Some(remote.ip()) {
            let _ = write!(out, ";received={}", remote.ip());
        }
        out
    }

    /// Where the response to a request goes (RFC 3261 §18.2.2, RFC 3581 §4): always to the address it really came
    /// from, so that nobody can point us at a third party.
    pub(crate) fn response_address(&self, source: &Source) -> SocketAddr {
        if self.wants_rport() {
            return source.remote;
        }
        match self.sent_by.port.unwrap_or(DEFAULT_PORT) {
            0 => source.remote,
            port => SocketAddr::new(source.remote.ip(), port),
        }
    }
}

/// The value of the Via of our own requests.
pub(crate) fn ours(transport: &str, advertised: SocketAddr, branch: &str) -> String {
    let host = match advertised.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let port = advertised.port();
    format!("SIP/2.0/{transport} {host}:{port};branch={branch};rport")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    fn source(remote: &str) -> Source {
        Source { transport: Transport::Udp, local: "192.0.2.1:5060".parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[track_caller]
    fn check(via: &str, from: &str, expect: &str, reply_to: &str) {
        let via = Via::parse(via).unwrap();
        assert_eq!(via.with_source(&source(from)), expect);
        assert_eq!(via.response_address(&source(from)), reply_to.parse().unwrap());
    }

    #[test]
    fn answers_go_where_the_request_came_from() {
        check(
            "SIP/2.0/UDP 192.0.2.9:5080;branch=z9hG4bKa",
            "192.0.2.9:1024",
            "SIP/2.0/UDP 192.0.2.9:5080;branch=z9hG4bKa",
            "192.0.2.9:5080",
        );
        check(
            "SIP/2.0/UDP host.example.com;branch=z9hG4bKa",
            "192.0.2.9:1024",
            "SIP/2.0/UDP host.example.com;branch=z9hG4bKa;received=192.0.2.9",
            "192.0.2.9:5060",
        );
        check(
            "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKa",
            "192.0.2.9:1024",
            "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;received=192.0.2.9;rport=1024",
            "192.0.2.9:1024",
        );
        // A spoofed received or rport is overwritten.
        check(
            "SIP/2.0/UDP 10.0.0.1;received=169.254.169.254;rport=80;branch=z9hG4bKa",
            "192.0.2.9:1024",
            "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;received=192.0.2.9;rport=1024",
            "192.0.2.9:1024",
        );
        check(
            "SIP/2.0/UDP 192.0.2.9:0;branch=z9hG4bKa",
            "192.0.2.9:7",
            "SIP/2.0/UDP 192.0.2.9:0;branch=z9hG4bKa",
            "192.0.2.9:7",
        );
    }

    #[test]
    fn white_space_is_allowed_where_the_grammar_has_it() {
        let via = Via::parse("SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8  ").unwrap();
        assert_eq!(
            (via.transport, via.sent_by.host, via.branch()),
            ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8"))
        );
        let via = Via::parse("SIP/2.0/UDP [2001:db8::1] : 5061;received=[::2]").unwrap();
        assert_eq!((via.sent_by.host, via.sent_by.port), ("2001:db8::1", Some(5061)));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "HTTP/2.0/UDP h",
            "SIP/3.0/UDP h",
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP h;",
            "SIP/2.0/UDP ;branch=a",
            "SIP/2.0/U,P h",
            "SIP/2.0/UDP h:x",
        ] {
            assert!(Via::parse(text).is_err(), "{text} was accepted");
        }
    }
}
