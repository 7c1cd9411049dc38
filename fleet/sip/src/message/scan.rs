//! The lexical ground of SIP (RFC 3261 §25): tokens, quoted strings, comments, escapes, lists and parameters.
//!
//! Every function here is linear in its input and must never look at a byte twice for each list element.

/// Whether `text` is a non-empty token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Trims linear white space.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The length of the quoted string at the start of `text`, quotes included; `None` if it never closes.
pub(crate) fn quoted_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// A quoted string without its quotes and escapes; other text as it is.
pub(crate) fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// Writes `text` as a quoted string; line breaks and NUL become spaces.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\r' | '\n' | '\0' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Undoes `%HH` once; a `%` that starts no escape stays.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped =
            (bytes[at] == b'%').then(|| Some(hex(*bytes.get(at + 1)?)? * 16 + hex(*bytes.get(at + 2)?)?)).flatten();
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Cuts `text` at each `separator` outside quotes, angle brackets and comments; the parts are trimmed.
pub(crate) fn split(text: &str, separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.take()?;
        let bytes = text.as_bytes();
        let (mut at, mut angle, mut comment) = (0, false, 0_u32);
        while at < bytes.len() {
            match bytes[at] {
                b'"' if comment == 0 => match quoted_len(&text[at..]) {
                    Some(len) => {
                        at += len;
                        continue;
                    }
                    // Never closed: the rest is one part, and whoever reads it finds the fault.
                    None => break,
                },
                b'\\' if comment > 0 => at += 1,
                b'(' if !angle => comment += 1,
                b')' if comment > 0 => comment -= 1,
                b'<' if comment == 0 => angle = true,
                b'>' if comment == 0 => angle = false,
                byte if byte == self.separator && !angle && comment == 0 => {
                    self.rest = Some(&text[at + 1..]);
                    return Some(trim(&text[..at]));
                }
                _ => {}
            }
            at += 1;
        }
        Some(trim(text))
    }
}

/// The value of a parameter in `a=b;c;d="e"`, as it is written; `Some("")` for one without a value.
pub(crate) fn param<'a>(params: &'a str, name: &str) -> Option<&'a str> {
    split(params, b';').find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        trim(key).eq_ignore_ascii_case(name).then(|| trim(value))
    })
}

/// A decimal number that fits, and nothing else: no sign, no space, no hex.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_split(text: &str, expect: &[&str]) {
        assert_eq!(split(text, b',').collect::<Vec<_>>(), expect);
    }

    #[test]
    fn lists() {
        check_split("a, b ,c", &["a", "b", "c"]);
        check_split("", &[""]);
        check_split(r#""a,\"b" <sip:x,y@z>, c"#, &[r#""a,\"b" <sip:x,y@z>"#, "c"]);
        check_split("x (a, (b), \\) c), y", &["x (a, (b), \\) c)", "y"]);
        check_split("\"open, a, b", &["\"open, a, b"]);
        check_split(",,", &["", "", ""]);
    }

    #[test]
    fn quoting() {
        assert_eq!(unquote(r#""a\"b\\c""#), r#"a"b\c"#);
        assert_eq!(unquote("plain"), "plain");
        assert_eq!(quote("a\"b\\c\r\nX: y"), "\"a\\\"b\\\\c  X: y\"");
        assert_eq!(quoted_len(r#""a\"" rest"#), Some(5));
        assert_eq!(quoted_len(r#""a\""#), None);
        assert_eq!(quoted_len("\"\\"), None);
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(unescape("a%2541%4"), "a%41%4");
        assert_eq!(unescape("%"), "%");
        assert_eq!(unescape("%zz%C3%A9"), "%zzé");
    }

    #[test]
    fn parameters() {
        assert_eq!(param("a;b=c;D = \"e;f\"", "d"), Some("\"e;f\""));
        assert_eq!(param("a;b=c", "A"), Some(""));
        assert_eq!(param("a;b=c", "z"), None);
    }

    #[test]
    fn numbers_are_decimal_only() {
        assert_eq!(number::<u32>("0009"), Some(9));
        for text in ["", "-1", "+1", "0x1", "1 ", "4294967296"] {
            assert_eq!(number::<u32>(text), None, "{text}");
        }
    }
}
