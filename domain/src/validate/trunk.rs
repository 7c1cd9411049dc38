//! Judges a trunk: nothing that passes can break a SIP message's lines or take over a header that the stack writes.
//! It must never resolve its host.

use std::collections::BTreeSet;

use super::{Findings, is_one_line, is_token};
use crate::field_error::FieldError;
use crate::phone::{E164, NumberRule, is_country};
use crate::trunk::{FromUser, Trunk};

/// Headers that the SIP stack writes itself, with their compact forms (RFC 3261 §7.3.3, §20; RFC 4028).
const OURS: &[&str] = &[
    "accept",
    "allow",
    "authorization",
    "call-id",
    "i",
    "contact",
    "m",
    "cseq",
    "date",
    "event",
    "o",
    "expires",
    "from",
    "f",
    "max-forwards",
    "min-se",
    "p-asserted-identity",
    "p-preferred-identity",
    "privacy",
    "proxy-authorization",
    "proxy-require",
    "rack",
    "record-route",
    "refer-to",
    "r",
    "referred-by",
    "b",
    "remote-party-id",
    "replaces",
    "require",
    "route",
    "rseq",
    "session-expires",
    "x",
    "supported",
    "k",
    "to",
    "t",
    "user-agent",
    "via",
    "v",
    "warning",
    "www-authenticate",
    "proxy-authenticate",
    "c",
    "e",
    "l",
];

impl Trunk {
    /// Everything that is wrong with the trunk, at once.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut found = Findings::default();
        found.length("name", &self.name, 1, 200);
        self.check_address(&mut found);
        self.check_identity(&mut found);
        self.check_headers(&mut found);
        self.check_numbers(&mut found);
        self.check_limits(&mut found);
        found.0
    }

    fn check_address(&self, found: &mut Findings) {
        found.unless(is_host(&self.host), "host", "host", "a host name or an IP address, without port");
        found.unless(self.port != 0, "port", "out_of_range", "must be from 1 to 65535");
        let proxy_fits = self.outbound_proxy.as_ref().is_none_or(|proxy| is_host_port(proxy));
        found.unless(proxy_fits, "outbound_proxy", "host", "a host name or an IP address, with or without a port");
        let domain_fits = self.from_domain.as_ref().is_none_or(|domain| is_host(domain));
        found.unless(domain_fits, "from_domain", "host", "a host name or an IP address, without port");
        let user_fits = self.to_user.as_ref().is_none_or(|user| is_sip_user(user));
        found.unless(user_fits, "to_user", "user", "one that can stand in a SIP URI");
        found.between("inbound_cidrs", self.inbound_cidrs.len(), 0, 1000);
        for (index, net) in self.inbound_cidrs.iter().enumerate() {
            found.unless(
                net.prefix_len() > 0,
                &format!("inbound_cidrs.{index}"),
                "cidr",
                "the carrier's own networks, e.g. 203.0.113.0/24: this one is everybody",
            );
        }
        let codecs: BTreeSet<String> = self.codecs.iter().map(|codec| format!("{codec:?}")).collect();
        found.unless(
            !self.codecs.is_empty() && codecs.len() == self.codecs.len(),
            "codecs",
            "codecs",
            "at least one codec, each once",
        );
    }

    fn check_identity(&self, found: &mut Findings) {
        let texts = [
            ("username", Some(&self.username)),
            ("auth_username", self.auth_username.as_ref()),
            ("realm", self.realm.as_ref()),
        ];
        for (path, text) in texts {
            let fits = text.is_none_or(|text| text.len() <= 256 && is_one_line(text));
            found.unless(fits, path, "text", "one line of at most 256 bytes");
        }
        found.unless(
            self.from_user != FromUser::Username || is_sip_user(&self.username),
            "username",
            "missing",
            "from_user is username: one that can stand in a SIP URI is needed",
        );
    }

    fn check_headers(&self, found: &mut Findings) {
        found.between("headers", self.headers.len(), 0, 50);
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            let fault = if !is_token(name) {
                Some("not a header name")
            } else if OURS.contains(&lower.as_str()) || lower.starts_with("content-") {
                Some("this header is written by the platform")
            } else if !is_one_line(value) || value.len() > 1024 {
                Some("a header value is one line of at most 1024 bytes")
            } else {
                None
            };
            found.0.extend(fault.map(|msg| FieldError::at(&["headers", name], "header", msg)));
        }
    }

    fn check_numbers(&self, found: &mut Findings) {
        for (index, rule) in self.numbers.iter().enumerate() {
            if let Err(e) = NumberRule::parse(rule) {
                found.add(&format!("numbers.{index}"), "number_rule", e.to_string());
            }
        }
        let default_fits = if self.default_number.starts_with('+') {
            E164::parse(&self.default_number).is_ok()
        } else {
            is_sip_user(&self.default_number)
        };
        found.unless(
            default_fits,
            "default_number",
            "phone_number_parsing",
            "an E.164 number, or a plain user part of [A-Za-z0-9._-]",
        );
        found.unless(
            is_country(&self.default_country),
            "default_country",
            "unknown_country",
            "a country code of ISO 3166-1, e.g. IN",
        );
        for (index, code) in self.allowed_countries.iter().enumerate() {
            found.unless(
                is_country(code),
                &format!("allowed_countries.{index}"),
                "unknown_country",
                "a country code of ISO 3166-1, e.g. IN",
            );
        }
        for (name, prefixes) in
            [("allowed_prefixes", &self.allowed_prefixes), ("denied_prefixes", &self.denied_prefixes)]
        {
            found.between(name, prefixes.len(), 0, 1000);
            for (index, prefix) in prefixes.iter().enumerate() {
                let fits = matches!(NumberRule::parse(&format!("{prefix}*")), Ok(NumberRule::Prefix(_)));
                found.unless(fits, &format!("{name}.{index}"), "prefix", "`+` and 1 to 14 leading digits, e.g. +9190");
            }
        }
    }

    fn check_limits(&self, found: &mut Findings) {
        if let Some(calls) = self.max_calls {
            found.between("max_calls", calls, 1, 1_000_000);
        }
        if let Some(rate) = self.max_cps {
            found.between("max_cps", rate, 0.01, 10_000.0);
        }
        if let Some(rate) = self.max_cpm {
            found.between("max_cpm", rate, 1, 600_000);
        }
    }
}

/// What can stand as the user part of a SIP URI without escapes.
fn is_sip_user(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
}

fn is_host(text: &str) -> bool {
    let plain = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    plain && (bare_v6 || url::Host::parse(text).is_ok())
}

fn is_host_port(text: &str) -> bool {
    let port_fits = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    match text.rsplit_once(':') {
        // A bare IPv6 address has more colons than the one before a port.
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => is_host(host) && port_fits(port),
        _ => is_host(text),
    }
}
