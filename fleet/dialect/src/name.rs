//! The words for the protocols, as `?dialect=` and a bot's setting spell them.

use std::fmt;
use std::str::FromStr;

use domain::websocket::Dialect;
use thiserror::Error;

/// A protocol that diallers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    Native,
    Twilio,
    Exotel,
    /// Vobiz speaks it too.
    Plivo,
    Telnyx,
    Vonage,
    Genesys,
    Jambonz,
    Asterisk,
    Freeswitch,
    /// Audio in binary frames and nothing else.
    Raw,
}

impl Name {
    /// Every dialect.
    pub const ALL: &[Self] = &[
        Self::Native,
        Self::Twilio,
        Self::Exotel,
        Self::Plivo,
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

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a bot's setting means.
impl From<Dialect> for Name {
    fn from(setting: Dialect) -> Self {
        match setting {
            Dialect::Native => Self::Native,
            Dialect::Twilio => Self::Twilio,
            Dialect::Exotel => Self::Exotel,
            Dialect::Plivo | Dialect::Vobiz => Self::Plivo,
            Dialect::Telnyx => Self::Telnyx,
            Dialect::Vonage => Self::Vonage,
            Dialect::Genesys => Self::Genesys,
            Dialect::Jambonz => Self::Jambonz,
            Dialect::Asterisk => Self::Asterisk,
            Dialect::Freeswitch => Self::Freeswitch,
            Dialect::Raw => Self::Raw,
        }
    }
}

/// A word that names no dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "no such dialect: it is one of native, twilio, exotel, plivo (also vobiz), telnyx, vonage, genesys, jambonz, asterisk, freeswitch, raw"
)]
pub struct UnknownDialect;

impl FromStr for Name {
    type Err = UnknownDialect;

    /// Reads the word in any case.
    fn from_str(word: &str) -> Result<Self, UnknownDialect> {
        if word.eq_ignore_ascii_case("vobiz") {
            return Ok(Self::Plivo);
        }
        Self::ALL.iter().copied().find(|name| name.as_str().eq_ignore_ascii_case(word)).ok_or(UnknownDialect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_as_it_is_written() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
            assert_eq!(name.as_str().to_uppercase().parse(), Ok(*name));
            assert!(UnknownDialect.to_string().contains(name.as_str()), "{name} is missing in the refusal");
        }
        for setting in Dialect::ALL {
            assert_eq!(setting.as_str().parse(), Ok(Name::from(setting)), "setting and ?dialect= mean the same");
        }
        assert_eq!("Vobiz".parse(), Ok(Name::Plivo));
        assert_eq!("".parse::<Name>(), Err(UnknownDialect));
        assert_eq!("twillio".parse::<Name>(), Err(UnknownDialect));
    }
}
