//! SIP, SIPS and other URIs (RFC 3261 §19.1); it must never resolve a name.

use std::net::{IpAddr, SocketAddr};

use super::ParseError;
use super::scan::{is_token, param, unescape};

/// The port of a SIP URI or Via that names none.
pub const DEFAULT_PORT: u16 = 5060;

/// A parsed URI that borrows its text.
#[derive(derive_more::Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole text.
    #[debug("(personal)")]
    pub text: &'a str,
    pub scheme: Scheme<'a>,
    /// With its escapes and without a password; for `tel:` the number.
    #[debug("(personal)")]
    pub user: Option<&'a str>,
    /// `None` for schemes other than `sip:` and `sips:`.
    pub host: Option<HostPort<'a>>,
    /// After the first semicolon, without it.
    pub params: &'a str,
    /// After the question mark.
    #[debug("(personal)")]
    pub headers: Option<&'a str>,
}

/// The scheme of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    Sip,
    Sips,
    Tel,
    Other(&'a str),
}

/// A host with an optional port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// Without the brackets of an IPv6 reference.
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Uri<'a> {
    /// Parses a URI as it stands in a Request-URI or between angle brackets.
    ///
    /// # Errors
    /// [`ParseError::Uri`] when the text is no URI, or no valid one for `sip:` and `sips:`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let (scheme, rest) = text.split_once(':').ok_or(ParseError::Uri)?;
        let starts_well = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well
            || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            || text.bytes().any(|b| b <= b' ' || b == 0x7f || matches!(b, b'<' | b'>' | b'"'))
        {
            return Err(ParseError::Uri);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            return Self::sip(text, Scheme::Sip, rest);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return Self::sip(text, Scheme::Sips, rest);
        }
        let tel = scheme.eq_ignore_ascii_case("tel");
        let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
        if rest.is_empty() {
            return Err(ParseError::Uri);
        }
        Ok(Uri {
            text,
            scheme: if tel { Scheme::Tel } else { Scheme::Other(scheme) },
            user: tel.then_some(number),
            host: None,
            params: if tel { params } else { "" },
            headers: None,
        })
    }

    fn sip(text: &'a str, scheme: Scheme<'a>, rest: &'a str) -> Result<Self, ParseError> {
        // The user part may hold ';' and '?', so it is cut off first (§19.1.1, RFC 4475 §3.1.1.9).
        let (user, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => {
                let user = userinfo.split_once(':').map_or(userinfo, |(user, _)| user);
                if user.is_empty() {
                    return Err(ParseError::Uri);
                }
                (Some(user), rest)
            }
            None => (None, rest),
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (host, params) = rest.split_once(';').unwrap_or((rest, ""));
        Ok(Uri { text, scheme, user, host: Some(HostPort::parse(host)?), params, headers })
    }

    /// The value of a URI parameter; `Some("")` for one without a value.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        param(self.params, name)
    }

    /// The user part with its escapes undone, once.
    pub fn user_unescaped(&self) -> Option<String> {
        self.user.map(unescape)
    }

    /// Where a request to this URI goes without asking any name service: its address, if it is one.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let host = self.host?;
        let ip = match self.param("maddr") {
            Some(maddr) => HostPort::parse(maddr).ok()?.ip()?,
            None => host.ip()?,
        };
        Some(SocketAddr::new(ip, host.port.unwrap_or(DEFAULT_PORT)))
    }
}

impl<'a> HostPort<'a> {
    /// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// [`ParseError::Host`] for anything else, an IPv6 address without brackets included (RFC 5118 §4.2).
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(ParseError::Host)?;
            // RFC 5118 §4.10: a grammar bug of RFC 3261 allowed three colons, and it must be tolerated.
            host.replacen(":::", "::", 1).parse::<std::net::Ipv6Addr>().map_err(|_| ParseError::Host)?;
            let port = match rest.trim_matches([' ', '\t']) {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or(ParseError::Host)?),
            };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let host = host.trim_matches([' ', '\t']);
        let v6 = text.starts_with('[');
        if host.is_empty() || !v6 && !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        {
            return Err(ParseError::Host);
        }
        let port = port.map(|port| port_number(port.trim_matches([' ', '\t'])));
        Ok(HostPort { host, port: port.transpose()? })
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.replacen(":::", "::", 1).parse().ok()
    }
}

fn port_number(text: &str) -> Result<u16, ParseError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Host);
    }
    text.parse().map_err(|_| ParseError::Host)
}

impl<'a> Scheme<'a> {
    /// Whether requests to such a URI can be for us.
    pub const fn is_sip(self) -> bool {
        matches!(self, Scheme::Sip | Scheme::Sips)
    }

    /// The scheme as it is written.
    pub fn name(self) -> &'a str {
        match self {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel => "tel",
            Scheme::Other(name) => {
                debug_assert!(is_token(name));
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, user: Option<&str>, host: &str, port: Option<u16>) {
        let uri = Uri::parse(text).unwrap();
        let parsed = uri.host.unwrap();
        assert_eq!((uri.user_unescaped().as_deref(), parsed.host, parsed.port), (user, host, port));
    }

    #[track_caller]
    fn bad(text: &str) {
        assert!(Uri::parse(text).is_err(), "{text} was accepted");
    }

    #[test]
    fn sip_uris() {
        check("sip:example.com", None, "example.com", None);
        check("SIP:bob@192.0.2.1:5070;transport=udp", Some("bob"), "192.0.2.1", Some(5070));
        check("sips:bob:secret@example.com", Some("bob"), "example.com", None);
        check("sip:[2001:db8::10]:5070", None, "2001:db8::10", Some(5070));
        check("sip:[2001:db8::10:5070]", None, "2001:db8::10:5070", None);
        check("sip:user;par=u%40example.net@example.com", Some("user;par=u@example.net"), "example.com", None);
        check("sip:+15551234;phone-context=a?b@gw", Some("+15551234;phone-context=a?b"), "gw", None);
        check("sip:value%25%34%31@h", Some("value%41"), "h", None);
        check("sip:null-%00-null@h", Some("null-\0-null"), "h", None);
    }

    #[test]
    fn not_uris() {
        for text in [
            "",
            "sip",
            "sip:",
            "sip:@h",
            "sip:a b@h",
            "<sip:a@h>",
            "sip:h:",
            "sip:h:99999",
            "sip:h:-1",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[::zz]",
            "1sip:h",
            "sip:h\r\nX:y",
            "sip:h o",
        ] {
            bad(text);
        }
    }

    #[test]
    fn other_schemes_are_known_by_name_only() {
        let tel = Uri::parse("tel:+1-201-555;phone-context=x").unwrap();
        assert_eq!((tel.scheme, tel.user, tel.host), (Scheme::Tel, Some("+1-201-555"), None));
        let odd = Uri::parse("nobodyKnowsThisScheme:totallyopaquecontent").unwrap();
        assert_eq!(odd.scheme, Scheme::Other("nobodyKnowsThisScheme"));
        assert!(!odd.scheme.is_sip());
    }

    #[test]
    fn parameters_and_addresses() {
        let uri = Uri::parse("sip:a@192.0.2.9;lr;X=%41?Subject=x").unwrap();
        assert_eq!((uri.param("LR"), uri.param("x"), uri.param("y")), (Some(""), Some("%41"), None));
        assert_eq!(uri.headers, Some("Subject=x"));
        assert_eq!(uri.socket_addr(), Some("192.0.2.9:5060".parse().unwrap()));
        assert_eq!(Uri::parse("sip:a@example.com").unwrap().socket_addr(), None);
        let maddr = Uri::parse("sip:a@example.com:5071;maddr=[::1]").unwrap();
        assert_eq!(maddr.socket_addr(), Some("[::1]:5071".parse().unwrap()));
    }
}
