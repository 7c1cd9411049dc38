//! Whom to call: a SIP URI as somebody types it.
//! It must never be resolved here but to learn from which address of this machine it is reached.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use domain::phone::parse_dialled;
use sip::message::{DEFAULT_PORT, Scheme, Uri};

use super::source_address;

/// Stands in the call's row and result where the URI's user is no phone number: a number kept for examples.
const STAND_IN: &str = "+12025550143";
/// For numbers in a national spelling, the trunk's own default.
const COUNTRY: &str = "IN";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// The number to dial.
    pub(super) fn number(&self) -> &str {
        self.stand_in().unwrap_or(&self.user)
    }

    /// What the platform is told where the user is no number; the trunk's `to_user` sees to it that the user is called.
    pub(super) fn stand_in(&self) -> Option<&'static str> {
        parse_dialled(&self.user, COUNTRY).is_err().then_some(STAND_IN)
    }

    /// The address of this machine from which the target is reached.
    pub(super) async fn source_address(&self) -> Result<IpAddr> {
        let unknown = || format!("the host {} cannot be found", self.host);
        let host = self.host.trim_matches(['[', ']']);
        let mut found = tokio::net::lookup_host((host, self.port)).await.with_context(unknown)?;
        let first: SocketAddr = found.next().with_context(unknown)?;
        source_address(first).await
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("--to {text}: write sip:NUMBER@HOST[:PORT], e.g. sip:+919876543210@192.168.1.20:5060");
        let Ok(uri) = Uri::parse(text) else { bail!(wrong()) };
        let host = uri.host.filter(|_| matches!(uri.scheme, Scheme::Sip)).with_context(wrong)?;
        let user = uri.user_unescaped().filter(|user| !user.is_empty()).with_context(wrong)?;
        Ok(Self { user, host: host.host.to_owned(), port: host.port.unwrap_or(DEFAULT_PORT) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_uris_are_read() {
        let check = |text: &str, expect: Option<(&str, &str, u16, &str)>| {
            let read: Option<Target> = text.parse().ok();
            let read = read.as_ref().map(|to| (to.user.as_str(), to.host.as_str(), to.port, to.number()));
            assert_eq!(read, expect, "{text}");
        };
        check("sip:+919876543210@127.0.0.1:5070", Some(("+919876543210", "127.0.0.1", 5070, "+919876543210")));
        check("sip:09876543210@pbx.example", Some(("09876543210", "pbx.example", 5060, "09876543210")));
        check("sip:bob@10.0.0.1", Some(("bob", "10.0.0.1", 5060, STAND_IN)));
        check("sip:1000@10.0.0.1", Some(("1000", "10.0.0.1", 5060, STAND_IN)));
        check("sip:10.0.0.1", None);
        check("sips:bob@10.0.0.1", None);
        check("tel:+919876543210", None);
        check("bob", None);
        check("", None);
    }
}
