//! Framing of one datagram: start line, header lines, body (RFC 3261 §7, §18.3).
//!
//! The caps are checked before anything is typed. It must never read a body longer than its Content-Length says, and
//! never choose between two lengths.

use bytes::Bytes;

use super::header::{Header, HeaderName, Headers};
use super::scan::{is_token, number, trim};
use super::{Method, ParseError, Text};
use crate::Limits;

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    Request { method: Method, uri: Text },
    Response { code: u16, phrase: Text },
}

/// A framed message; its headers are still text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub start: StartLine,
    pub headers: Headers,
    pub body: Bytes,
    /// The first fault that still allows an answer: a request with one gets [`ParseError::status`], a response is dropped.
    pub fault: Option<ParseError>,
}

/// Frames one datagram.
///
/// # Errors
/// Only for what can't even be answered; a lesser fault is [`Message::fault`].
pub fn parse(bytes: &Bytes, limits: &Limits) -> Result<Message, ParseError> {
    if bytes.len() > limits.max_message {
        return Err(ParseError::TooLong);
    }
    // Line breaks before the start line are to be ignored (§7.5).
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(ParseError::Empty)?;
    let end = find(&bytes[start..], b"\r\n\r\n").ok_or(ParseError::Unterminated)? + start;
    let first_end = find(&bytes[start..end + 2], b"\r\n").ok_or(ParseError::Unterminated)? + start;
    let (start_line, mut fault) = start_line(&bytes.slice(start..first_end), limits)?;
    let mut headers = Vec::new();
    let mut at = first_end + 2;
    while at < end {
        let line_end = field_end(bytes, at, end);
        if headers.len() == limits.max_headers {
            return Err(ParseError::TooManyHeaders);
        }
        match header(bytes, at, line_end, limits) {
            Ok(header) => headers.push(header),
            Err(error) => fault = fault.or(Some(error)),
        }
        at = line_end + 2;
    }
    let headers = Headers(headers);
    let rest = bytes.slice(end + 4..);
    let body = match content_length(&headers) {
        // Over UDP a missing length means the rest of the datagram (§18.3).
        Ok(None) => rest,
        Ok(Some(length)) if length <= rest.len() => rest.slice(..length),
        Ok(Some(_)) => {
            fault = fault.or(Some(ParseError::Truncated));
            Bytes::new()
        }
        Err(error) => {
            fault = fault.or(Some(error));
            Bytes::new()
        }
    };
    Ok(Message { start: start_line, headers, body, fault })
}

impl Message {
    /// The method of a request.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&Text> {
        self.headers.first(name)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Where the field that starts at `at` ends, with its folded lines; `end` is where the last field ends.
fn field_end(bytes: &[u8], at: usize, end: usize) -> usize {
    let mut from = at;
    loop {
        let line_end = find(&bytes[from..end + 2], b"\r\n").map_or(end, |found| from + found);
        if line_end >= end || !matches!(bytes[line_end + 2], b' ' | b'\t') {
            return line_end;
        }
        from = line_end + 2;
    }
}

fn start_line(line: &Bytes, limits: &Limits) -> Result<(StartLine, Option<ParseError>), ParseError> {
    if line.get(..4).is_some_and(|four| four.eq_ignore_ascii_case(b"SIP/")) {
        return response_line(line);
    }
    let text = Text::from_wire(line.clone());
    let (method, rest) = text.split_once(' ').ok_or(ParseError::NotSip)?;
    if !is_token(method) || method.len() > 64 {
        return Err(ParseError::NotSip);
    }
    let mut fault = None;
    // The last word is the version; whatever white space is left in the URI makes it a bad one.
    let (uri, version) = match rest.rsplit_once(' ') {
        Some((uri, version)) if version_like(version) => (uri, version),
        _ if rest.to_ascii_uppercase().contains("SIP/") => {
            fault = Some(ParseError::StartLine);
            (rest, "SIP/2.0")
        }
        _ => return Err(ParseError::NotSip),
    };
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        fault = fault.or(Some(ParseError::Version));
    }
    if uri.len() > limits.max_header {
        fault = fault.or(Some(ParseError::HeaderTooLong));
    }
    let start = StartLine::Request { method: Method::parse(method), uri: text.slice(uri) };
    Ok((start, fault))
}

fn version_like(text: &str) -> bool {
    text.get(..4).is_some_and(|four| four.eq_ignore_ascii_case("SIP/"))
}

fn response_line(line: &Bytes) -> Result<(StartLine, Option<ParseError>), ParseError> {
    let text = Text::from_wire(line.clone());
    let (version, rest) = text.split_once(' ').ok_or(ParseError::StartLine)?;
    // An empty phrase may have lost its space as well.
    let (code, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
    let code: u16 = number(code).ok_or(ParseError::StartLine)?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseError::Version);
    }
    if !(100..700).contains(&code) {
        return Err(ParseError::StartLine);
    }
    let start = StartLine::Response { code, phrase: text.slice(phrase) };
    Ok((start, None))
}

fn header(bytes: &Bytes, at: usize, end: usize, limits: &Limits) -> Result<Header, ParseError> {
    if end - at > limits.max_header {
        return Err(ParseError::HeaderTooLong);
    }
    let field = &bytes[at..end];
    let colon = field.iter().position(|byte| *byte == b':').ok_or(ParseError::HeaderLine)?;
    let name = std::str::from_utf8(&field[..colon]).map_err(|_| ParseError::HeaderLine)?;
    let name = name.trim_end_matches([' ', '\t']);
    if !is_token(name) {
        return Err(ParseError::HeaderLine);
    }
    let raw = bytes.slice(at + colon + 1..end);
    let value = Text::from_wire(unfold(raw));
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(ParseError::HeaderLine);
    }
    Ok(Header { name: HeaderName::parse(name), value: value.slice(trim(&value)) })
}

/// Makes one line of a folded field: each line break with the white space after it becomes one space (§7.3.1).
fn unfold(raw: Bytes) -> Bytes {
    if find(&raw, b"\r\n").is_none() {
        return raw;
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at..].starts_with(b"\r\n") {
            at += 2;
            while matches!(raw.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            out.push(b' ');
        } else {
            out.push(raw[at]);
            at += 1;
        }
    }
    Bytes::from(out)
}

fn content_length(headers: &Headers) -> Result<Option<usize>, ParseError> {
    let mut lengths = headers.all(&HeaderName::ContentLength);
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    if lengths.next().is_some() {
        return Err(ParseError::ContentLength);
    }
    number(length).map(Some).ok_or(ParseError::ContentLength)
}
