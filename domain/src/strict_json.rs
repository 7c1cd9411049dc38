//! The JSON that the platform accepts: RFC 8259 to the letter, without duplicate keys and without depth.
//! It must never build a document: it only judges bytes, so that every reader behind it sees the same thing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use thiserror::Error;

/// Arrays and objects inside one another; one more is an error.
pub const MAX_DEPTH: usize = 64;

/// Why bytes are not acceptable JSON, and where (byte offset from 0).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{fault} at byte {at}")]
pub struct StrictJsonError {
    pub at: usize,
    pub fault: Fault,
}

/// What is wrong with the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("a byte order mark is not part of JSON")]
    ByteOrderMark,
    #[error("invalid UTF-8")]
    NotUtf8,
    #[error("the document ends too early")]
    Truncated,
    #[error("unexpected character")]
    Unexpected,
    #[error("text after the end of the document")]
    Trailing,
    #[error("the same key twice in one object")]
    DuplicateKey,
    #[error("nested deeper than 64 levels")]
    TooDeep,
    #[error("a control character in a string must be escaped")]
    ControlCharacter,
    #[error("unknown escape in a string")]
    BadEscape,
    #[error("half of a surrogate pair stands alone")]
    LoneSurrogate,
    #[error("malformed number")]
    BadNumber,
}

/// Judges `bytes`, and gives them back as text.
///
/// # Errors
/// The first fault, with its place.
pub fn check(bytes: &[u8]) -> Result<&str, StrictJsonError> {
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return Err(StrictJsonError { at: 0, fault: Fault::ByteOrderMark });
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| StrictJsonError { at: e.valid_up_to(), fault: Fault::NotUtf8 })?;
    let mut scan = Scan { text, at: 0 };
    scan.space();
    scan.value(0)?;
    scan.space();
    if scan.at < text.len() {
        return Err(scan.fault(Fault::Trailing));
    }
    Ok(text)
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn fault(&self, fault: Fault) -> StrictJsonError {
        StrictJsonError { at: self.at, fault }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The fault for whatever stands here where something else was needed.
    fn surprise(&self) -> StrictJsonError {
        self.fault(if self.peek().is_none() { Fault::Truncated } else { Fault::Unexpected })
    }

    fn expect(&mut self, byte: u8) -> Result<(), StrictJsonError> {
        if self.peek() != Some(byte) {
            return Err(self.surprise());
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), StrictJsonError> {
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(self.fault(Fault::TooDeep)),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.surprise()),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), StrictJsonError> {
        word.bytes().try_for_each(|byte| self.expect(byte))
    }

    fn object(&mut self, depth: usize) -> Result<(), StrictJsonError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.surprise());
            }
            let key = self.string()?;
            if !keys.insert(key) {
                return Err(StrictJsonError { at: start, fault: Fault::DuplicateKey });
            }
            self.space();
            self.expect(b':')?;
            self.space();
            self.value(depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break self.at += 1,
                _ => return Err(self.surprise()),
            }
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), StrictJsonError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break self.at += 1,
                _ => return Err(self.surprise()),
            }
        }
        Ok(())
    }

    /// Reads a string and gives its decoded text, so that keys compare by meaning and not by spelling.
    fn string(&mut self) -> Result<Cow<'a, str>, StrictJsonError> {
        self.at += 1;
        let start = self.at;
        let mut decoded: Option<String> = None;
        let mut copied = start;
        loop {
            match self.peek() {
                None => return Err(self.fault(Fault::Truncated)),
                Some(b'"') => break,
                Some(b'\\') => {
                    let plain = &self.text[copied..self.at];
                    let escaped = self.escape()?;
                    let text = decoded.get_or_insert_default();
                    text.push_str(plain);
                    text.push(escaped);
                    copied = self.at;
                }
                Some(0..=0x1F) => return Err(self.fault(Fault::ControlCharacter)),
                Some(_) => self.at += 1,
            }
        }
        let rest = &self.text[copied..self.at];
        self.at += 1;
        Ok(match decoded {
            None => Cow::Borrowed(rest),
            Some(mut text) => {
                text.push_str(rest);
                Cow::Owned(text)
            }
        })
    }

    fn escape(&mut self) -> Result<char, StrictJsonError> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            None => return Err(self.fault(Fault::Truncated)),
            Some(b'u') => return self.unicode_escape(start),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(_) => {
                return Err(StrictJsonError { at: start, fault: Fault::BadEscape });
            }
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, StrictJsonError> {
        let lone = StrictJsonError { at: start, fault: Fault::LoneSurrogate };
        self.at += 1;
        let first = self.hex4(start)?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.hex4(start)?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(lone);
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self, start: usize) -> Result<u32, StrictJsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.peek().ok_or_else(|| self.fault(Fault::Truncated))?;
            let digit = char::from(byte).to_digit(16).ok_or(StrictJsonError { at: start, fault: Fault::BadEscape })?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<(), StrictJsonError> {
        let start = self.at;
        let bad = |scan: &Self| match scan.peek() {
            None => scan.fault(Fault::Truncated),
            Some(_) => StrictJsonError { at: start, fault: Fault::BadNumber },
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 {
            return Err(bad(self));
        }
        if leading_zero && whole > 1 {
            return Err(StrictJsonError { at: start, fault: Fault::BadNumber });
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(bad(self));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(bad(self));
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests;
