//! What a dialler's URL says of how it speaks: `?dialect=`, `?codec=`, `?rate=` (or `?sample-rate=`).
//! It must never look at a credential: that is the door's.

use dialect::{Encoding, Name};
use thiserror::Error;
use url::form_urlencoded;

/// Rates that audio may have.
const RATES: [u32; 9] = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    pub dialect: Option<Name>,
    pub codec: Option<Encoding>,
    /// Hz.
    pub rate: Option<u32>,
}

/// A parameter that can't be used; says which, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum QueryError {
    #[error("?{0}= stands there more than once")]
    Twice(&'static str),
    #[error("?dialect={value}: {cause}")]
    Dialect { value: String, cause: dialect::UnknownDialect },
    #[error("?codec={0}: it is one of l16, mulaw, alaw and g722")]
    Codec(String),
    #[error("?{name}={value}: it is one of 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 and 48000")]
    Rate { name: &'static str, value: String },
    #[error("?rate= and ?sample-rate= say different things: one of them is enough")]
    TwoRates,
}

impl Spoken {
    /// Reads the query of a request's target; parameters of others are passed over.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub(super) fn read(query: Option<&str>) -> Result<Self, QueryError> {
        let query = query.unwrap_or_default().as_bytes();
        let one = |name: &'static str| {
            let mut found = form_urlencoded::parse(query).filter(|(known, _)| known == name).map(|(_, value)| value);
            let value = found.next();
            if found.next().is_some() { Err(QueryError::Twice(name)) } else { Ok(value) }
        };
        let dialect = one("dialect")?
            .map(|value| value.parse().map_err(|cause| QueryError::Dialect { value: quoted(&value), cause }));
        let codec = one("codec")?.map(|value| {
            let known = Encoding::parse(&value).filter(|encoding| *encoding != Encoding::Opus);
            known.ok_or_else(|| QueryError::Codec(quoted(&value)))
        });
        let rate = |name| {
            let read = |value: &str| value.parse().ok().filter(|rate| RATES.contains(rate));
            let value = one(name)?;
            value.map(|value| read(&value).ok_or_else(|| QueryError::Rate { name, value: quoted(&value) })).transpose()
        };
        let rate = match (rate("rate")?, rate("sample-rate")?) {
            (Some(a), Some(b)) if a != b => return Err(QueryError::TwoRates),
            (a, b) => a.or(b),
        };
        Ok(Self { dialect: dialect.transpose()?, codec: codec.transpose()?, rate })
    }
}

/// The start of a value, for whoever wrote it.
fn quoted(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_its_dialler_speaks() {
        let check = |query: &str, dialect: Option<Name>, codec: Option<Encoding>, rate: Option<u32>| {
            assert_eq!(Spoken::read(Some(query)), Ok(Spoken { dialect, codec, rate }), "{query}");
        };
        assert_eq!(Spoken::read(None), Ok(Spoken::default()));
        check("", None, None, None);
        check("key=abc&x=y", None, None, None);
        check("dialect=exotel&sample-rate=16000", Some(Name::Exotel), None, Some(16_000));
        check("dialect=Vobiz", Some(Name::Plivo), None, None);
        check("codec=pcmu&rate=8000&sample-rate=8000", None, Some(Encoding::Mulaw), Some(8000));
        check("codec=audio%2Fl16", None, Some(Encoding::L16), None);
    }

    #[test]
    fn what_can_not_be_used_is_named_with_what_would_be_right() {
        let check = |query: &str, parts: &[&str]| {
            let said = Spoken::read(Some(query)).unwrap_err().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{query}: {said}");
        };
        check("dialect=twillio", &["?dialect=twillio", "native, twilio"]);
        check("dialect=", &["?dialect=", "native"]);
        check("dialect=twilio&dialect=exotel", &["?dialect=", "more than once"]);
        check("codec=mp3", &["?codec=mp3", "mulaw"]);
        check("codec=opus", &["?codec=opus", "l16"]);
        check("rate=9000", &["?rate=9000", "8000"]);
        check("sample-rate=fast", &["?sample-rate=fast", "16000"]);
        check("rate=8000&sample-rate=16000", &["different"]);
        let long = format!("dialect={}", "x".repeat(5000));
        assert!(Spoken::read(Some(&long)).unwrap_err().to_string().len() < 300);
    }
}
