//! `name-addr` and `addr-spec` with header parameters, as in From, To, Contact and Route (RFC 3261 §20.10).

use super::scan::{is_token_byte, param, quoted_len, trim, unquote};
use super::{ParseError, Uri};

/// An address that borrows its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// As it is written, quotes included; empty where there is none.
    pub display: &'a str,
    pub uri: Uri<'a>,
    /// The header's parameters, without the first semicolon.
    pub params: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Parses one value.
    ///
    /// # Errors
    /// [`ParseError::Address`] or the fault of the URI.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let text = trim(text);
        let (display, rest) = if text.starts_with('"') {
            let len = quoted_len(text).ok_or(ParseError::Address)?;
            let (display, rest) = text.split_at(len);
            let rest = trim(rest);
            if !rest.starts_with('<') {
                return Err(ParseError::Address);
            }
            (display, rest)
        } else if let Some(angle) = text.find('<') {
            let (display, rest) = text.split_at(angle);
            let display = trim(display);
            let words = |b: u8| is_token_byte(b) || matches!(b, b' ' | b'\t') || b >= 0x80;
            if !display.bytes().all(words) {
                return Err(ParseError::Address);
            }
            (display, rest)
        } else {
            // Without brackets every parameter is the header's (§20.10).
            let (uri, params) = text.split_once(';').unwrap_or((text, ""));
            return Self::with("", trim(uri), params);
        };
        let inner = rest.strip_prefix('<').ok_or(ParseError::Address)?;
        let (uri, after) = inner.split_once('>').ok_or(ParseError::Address)?;
        let after = trim(after);
        let params = match after.strip_prefix(';') {
            Some(params) => params,
            None if after.is_empty() => "",
            None => return Err(ParseError::Address),
        };
        Self::with(display, uri, params)
    }

    fn with(display: &'a str, uri: &'a str, params: &'a str) -> Result<Self, ParseError> {
        Ok(NameAddr { display, uri: Uri::parse(uri)?, params })
    }

    /// The tag of a From or To.
    pub fn tag(&self) -> Option<&'a str> {
        param(self.params, "tag").filter(|tag| !tag.is_empty())
    }

    /// The display name without quotes and escapes.
    pub fn display_name(&self) -> Option<String> {
        (!self.display.is_empty()).then(|| unquote(self.display))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, display: Option<&str>, uri: &str, tag: Option<&str>) {
        let parsed = NameAddr::parse(text).unwrap();
        assert_eq!((parsed.display_name().as_deref(), parsed.uri.text, parsed.tag()), (display, uri, tag));
    }

    #[test]
    fn forms() {
        check("<sip:a@h>", None, "sip:a@h", None);
        check("sip:a@h;tag=1", None, "sip:a@h", Some("1"));
        check("<sip:a@h;x=y>;tag=1", None, "sip:a@h;x=y", Some("1"));
        check("caller<sip:a@h>", Some("caller"), "sip:a@h", None);
        check("Bob Smith  <sip:a@h> ; tag = z", Some("Bob Smith"), "sip:a@h", Some("z"));
        check(r#""J \\\"" <sip:a@h>"#, Some(r#"J \""#), "sip:a@h", None);
        check("\"<sip:evil@h>\" <sip:a@h>", Some("<sip:evil@h>"), "sip:a@h", None);
        check("<tel:+1201>;tag=q", None, "tel:+1201", Some("q"));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "\"open <sip:a@h>",
            "\"x\" sip:a@h",
            "<sip:a@h",
            "<sip:a@h>x",
            "Bell, A <sip:a@h>",
            "< sip:a@h >",
            "Bob sip:a@h",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text} was accepted");
        }
    }
}
