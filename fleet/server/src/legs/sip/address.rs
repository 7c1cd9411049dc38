//! What a trunk's settings make of two numbers: Request-URI, From, To and identity headers.
//! It must never resolve or send anything.

use domain::phone;
use domain::trunk::{FromUser, IdentityHeader, NumberFormat, Trunk};

/// The addressing of one INVITE.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub(super) struct Addressing {
    #[debug("(personal)")]
    pub target: String,
    #[debug("(personal)")]
    pub from_uri: String,
    #[debug("(personal)")]
    pub from_display: Option<String>,
    #[debug("(personal)")]
    pub to_uri: String,
    #[debug("(personal)")]
    pub headers: Vec<(String, String)>,
}

/// Writes the numbers as the trunk wants them.
pub(super) fn of(trunk: &Trunk, to: &str, from: &str) -> Addressing {
    let to_user = trunk.to_user.clone().unwrap_or_else(|| format_number(to, trunk.to_format));
    let from_number = format_number(from, trunk.from_format);
    let domain = trunk.from_domain.as_deref().unwrap_or(&trunk.host);
    let from_user = match trunk.from_user {
        FromUser::CallerId => from_number.clone(),
        FromUser::Username => trunk.username.clone(),
    };
    let host = host(trunk);
    let identity = format!("<sip:{}@{domain}>", user(&from_number));
    let mut headers: Vec<(String, String)> = match trunk.identity_header {
        IdentityHeader::None => Vec::new(),
        // RFC 3325 §9.1 and §9.2.
        IdentityHeader::Pai => vec![("P-Asserted-Identity".to_owned(), identity)],
        IdentityHeader::Ppi => vec![("P-Preferred-Identity".to_owned(), identity)],
        IdentityHeader::Rpid => {
            let privacy = if trunk.privacy { "full" } else { "off" };
            vec![("Remote-Party-ID".to_owned(), format!("{identity};party=calling;screen=yes;privacy={privacy}"))]
        }
    };
    let (from_uri, from_display) = if trunk.privacy {
        headers.push(("Privacy".to_owned(), "id".to_owned()));
        // RFC 3323 §4.1.1.3.
        ("sip:anonymous@anonymous.invalid".to_owned(), Some("Anonymous".to_owned()))
    } else {
        (format!("sip:{}@{domain}", user(&from_user)), None)
    };
    headers.extend(trunk.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    Addressing {
        target: format!("sip:{}@{host}", user(&to_user)),
        from_uri,
        from_display,
        to_uri: format!("sip:{}@{host}", user(&to_user)),
        headers,
    }
}

/// `host[:port]` as it stands in a URI.
fn host(trunk: &Trunk) -> String {
    let host = if trunk.host.contains(':') && !trunk.host.starts_with('[') {
        format!("[{}]", trunk.host)
    } else {
        trunk.host.clone()
    };
    if trunk.port == 5060 { host } else { format!("{host}:{}", trunk.port) }
}

fn format_number(number: &str, format: NumberFormat) -> String {
    phone::write(number, format)
}

/// Escapes what a SIP user part may not hold (RFC 3261 §25.1 `user`).
fn user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `host[:port]` of the next hop: the outbound proxy where there is one.
pub(super) fn next_hop(trunk: &Trunk) -> (String, u16) {
    let Some(proxy) = &trunk.outbound_proxy else { return (trunk.host.clone(), trunk.port) };
    match proxy.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            Err(_) => (proxy.clone(), 5060),
        },
        _ => (proxy.clone(), 5060),
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::TrunkId;
    use serde_json::{Value, json};

    use super::*;

    fn trunk(settings: Value) -> Trunk {
        let mut base = json!({"trunk_id":"t","name":"t","host":"sip.example.net","default_number":"+911234567890"});
        for (key, value) in settings.as_object().unwrap() {
            base[key] = value.clone();
        }
        let trunk: Trunk = serde_json::from_value(base).unwrap();
        assert_eq!(trunk.trunk_id, TrunkId::parse("t").unwrap());
        trunk
    }

    #[test]
    fn numbers_and_names_are_written_as_the_trunk_wants() {
        let check = |settings: Value, target: &str, from: &str, headers: &[(&str, &str)]| {
            let made = of(&trunk(settings.clone()), "+919876543210", "+911234567890");
            let got: Vec<_> = made.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(
                (made.target.as_str(), made.from_uri.as_str(), got.as_slice()),
                (target, from, headers),
                "{settings}"
            );
        };
        check(json!({}), "sip:+919876543210@sip.example.net", "sip:+911234567890@sip.example.net", &[]);
        check(
            json!({"port":5080,"to_format":"e164"}),
            "sip:919876543210@sip.example.net:5080",
            "sip:+911234567890@sip.example.net",
            &[],
        );
        check(json!({"to_user":"bob"}), "sip:bob@sip.example.net", "sip:+911234567890@sip.example.net", &[]);
        check(
            json!({"from_user":"username","username":"acc 1","from_domain":"me.example","identity_header":"pai"}),
            "sip:+919876543210@sip.example.net",
            "sip:acc%201@me.example",
            &[("P-Asserted-Identity", "<sip:+911234567890@me.example>")],
        );
        check(
            json!({"privacy":true,"identity_header":"pai","headers":{"X-Tenant":"7"}}),
            "sip:+919876543210@sip.example.net",
            "sip:anonymous@anonymous.invalid",
            &[("P-Asserted-Identity", "<sip:+911234567890@sip.example.net>"), ("Privacy", "id"), ("X-Tenant", "7")],
        );
    }

    #[test]
    fn the_next_hop_is_the_proxy_where_there_is_one() {
        let check = |settings: Value, expect: (&str, u16)| {
            let (host, port) = next_hop(&trunk(settings));
            assert_eq!((host.as_str(), port), expect);
        };
        check(json!({}), ("sip.example.net", 5060));
        check(json!({"port":5070}), ("sip.example.net", 5070));
        check(json!({"outbound_proxy":"10.0.0.1"}), ("10.0.0.1", 5060));
        check(json!({"outbound_proxy":"edge.example:5090"}), ("edge.example", 5090));
        check(json!({"outbound_proxy":"[::1]:5090"}), ("[::1]", 5090));
    }
}
