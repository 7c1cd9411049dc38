//! A bot's WebSocket settings: who may connect to it, and how it is spoken to there.
//! It must never judge a connection: the door of a fleet server does, by what stands here.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;
use utoipa::ToSchema;

use crate::ids::BotId;

/// The member `websocket` of a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct WebSocket {
    pub access: Access,
    /// Networks of clients, e.g. `203.0.113.0/24`; needed with `allowlist`, and without effect otherwise.
    #[schema(value_type = Vec<String>)]
    pub cidrs: Vec<IpNet>,
    /// The protocol that every client speaks, whatever its first messages look like; none = it is detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Milliseconds of audio in one message to a client whose protocol leaves that to the bot; 20 to 100.
    pub chunk_ms: u32,
    /// Connect tokens that were made before this moment are refused: set it to now to take all of them back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_after: Option<Timestamp>,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self { access: Access::Key, cidrs: Vec::new(), dialect: None, chunk_ms: 20, tokens_after: None }
    }
}

/// Who may connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Who shows an API key that may use this bot, or a connect token of this bot.
    #[default]
    Key,
    /// Whose address lies in `cidrs`.
    Allowlist,
    /// Anybody who knows the URL.
    Open,
}

impl Access {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Allowlist => "allowlist",
            Self::Open => "open",
        }
    }
}

/// A protocol of diallers, by the word that stands in settings and in `?dialect=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Native,
    Twilio,
    Exotel,
    Plivo,
    /// Spoken as Plivo's is.
    Vobiz,
    Telnyx,
    Vonage,
    Genesys,
    Jambonz,
    Asterisk,
    Freeswitch,
    /// Nothing but audio, in binary messages.
    Raw,
}

/// A word names no protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "no such dialect: write native, twilio, exotel, plivo, vobiz, telnyx, vonage, genesys, jambonz, asterisk, freeswitch or raw"
)]
pub struct DialectError;

impl Dialect {
    pub const ALL: [Self; 12] = [
        Self::Native,
        Self::Twilio,
        Self::Exotel,
        Self::Plivo,
        Self::Vobiz,
        Self::Telnyx,
        Self::Vonage,
        Self::Genesys,
        Self::Jambonz,
        Self::Asterisk,
        Self::Freeswitch,
        Self::Raw,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Twilio => "twilio",
            Self::Exotel => "exotel",
            Self::Plivo => "plivo",
            Self::Vobiz => "vobiz",
            Self::Telnyx => "telnyx",
            Self::Vonage => "vonage",
            Self::Genesys => "genesys",
            Self::Jambonz => "jambonz",
            Self::Asterisk => "asterisk",
            Self::Freeswitch => "freeswitch",
            Self::Raw => "raw",
        }
    }
}

impl FromStr for Dialect {
    type Err = DialectError;
    fn from_str(word: &str) -> Result<Self, DialectError> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == word).ok_or(DialectError)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The path at which a bot is reached on the WebSocket port of any fleet server.
pub fn path_of(bot: &BotId) -> String {
    format!("/ws/{bot}")
}

/// Reads the URL under which WebSocket ports are reached: `ws` or `wss`, a host, perhaps a port, and nothing behind.
/// Without a slash at its end.
pub fn base_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let is_nobodys = url.username().is_empty() && url.password().is_none();
    let fits = matches!(url.scheme(), "ws" | "wss") && url.has_host() && is_bare && is_nobodys;
    fits.then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_the_same_everywhere() {
        for dialect in Dialect::ALL {
            assert_eq!(serde_json::to_value(dialect).unwrap(), json!(dialect.as_str()));
            assert_eq!(dialect.as_str().parse(), Ok(dialect));
            assert!(DialectError.to_string().contains(dialect.as_str()), "{dialect} is not told");
        }
        for word in ["", "Twilio", "sip"] {
            assert_eq!(word.parse::<Dialect>(), Err(DialectError), "{word:?}");
        }
        for access in [Access::Key, Access::Allowlist, Access::Open] {
            assert_eq!(serde_json::to_value(access).unwrap(), json!(access.as_str()));
        }
    }

    #[test]
    fn ports_are_reached_under_a_url_without_a_path() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(base_url(text).as_deref(), expect, "{text:?}");
        check("wss://calls.example.com", Some("wss://calls.example.com"));
        check("ws://10.0.0.7:8091/", Some("ws://10.0.0.7:8091"));
        check("wss://[2001:db8::1]:8091", Some("wss://[2001:db8::1]:8091"));
        for bad in
            ["", "calls.example.com", "10.0.0.7:8091", "https://h", "wss://", "wss://h/x", "wss://h?x", "wss://u@h"]
        {
            check(bad, None);
        }
        assert_eq!(path_of(&BotId::parse("my-bot").unwrap()), "/ws/my-bot");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let read = |value| serde_json::from_value::<WebSocket>(value).unwrap();
        assert_eq!(read(json!({})), WebSocket::default());
        let told = read(json!({"access": "allowlist", "cidrs": ["203.0.113.0/24"], "dialect": "vobiz", "chunk_ms": 40,
            "tokens_after": "2026-05-01T00:00:00Z"}));
        assert_eq!((told.access, told.cidrs.len(), told.dialect), (Access::Allowlist, 1, Some(Dialect::Vobiz)));
        assert_eq!(read(serde_json::to_value(&told).unwrap()), told);
    }
}
