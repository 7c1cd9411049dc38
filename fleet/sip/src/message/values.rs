//! Single headers and bodies, read when a call needs them: Reason, Retry-After, option tags, SDP, DTMF.

use std::time::Duration;

use bytes::Bytes;

use super::frame::Message;
use super::header::{HeaderName, Headers};
use super::scan::{is_token, number, param, quote, trim, unquote};
use crate::Reason;

/// The Reason header (RFC 3326): the Q.850 value where there are several, else the first.
pub(crate) fn reason(headers: &Headers) -> Option<Reason> {
    let mut first = None;
    for value in headers.values(&HeaderName::Reason) {
        let (protocol, params) = value.split_once(';').unwrap_or((value, ""));
        let protocol = trim(protocol);
        if !is_token(protocol) {
            continue;
        }
        let reason = Reason {
            protocol: protocol.to_owned(),
            cause: param(params, "cause").and_then(number),
            text: param(params, "text").map(unquote),
        };
        if protocol.eq_ignore_ascii_case("Q.850") {
            return Some(reason);
        }
        first.get_or_insert(reason);
    }
    first
}

/// Writes a Reason header's value.
pub(crate) fn reason_value(reason: &Reason) -> Option<String> {
    if !is_token(&reason.protocol) {
        return None;
    }
    let mut out = reason.protocol.clone();
    if let Some(cause) = reason.cause {
        out.push_str(&format!(";cause={cause}"));
    }
    if let Some(text) = &reason.text {
        out.push_str(&format!(";text={}", quote(text)));
    }
    Some(out)
}

/// The Retry-After header: seconds, before any comment or parameter.
pub(crate) fn retry_after(headers: &Headers) -> Option<Duration> {
    let value = headers.first(&HeaderName::RetryAfter)?;
    let digits = value.split([' ', '\t', ';', '(']).next()?;
    number::<u32>(digits).map(|seconds| Duration::from_secs(seconds.into()))
}

/// The option tags of a Require, Supported or the like.
pub(crate) fn option_tags<'a>(headers: &'a Headers, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    headers.values(name).filter(|tag| !tag.is_empty())
}

/// Whether a request's Accept allows an SDP answer; without one it does (RFC 3261 §20.1).
pub(crate) fn accepts_sdp(headers: &Headers) -> bool {
    let mut any = false;
    for value in headers.values(&HeaderName::Accept) {
        any = true;
        let range = trim(value.split(';').next().unwrap_or_default());
        if ["application/sdp", "application/*", "*/*"].iter().any(|known| range.eq_ignore_ascii_case(known)) {
            return true;
        }
    }
    !any
}

/// What the body of a message is to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SdpBody {
    None,
    Sdp(Bytes),
    /// A body in which there is no SDP.
    Other,
}

/// Finds the session description of a message, also inside a multipart body (RFC 5621, SIP-I).
pub(crate) fn sdp_body(message: &Message) -> SdpBody {
    if message.body.is_empty() {
        return SdpBody::None;
    }
    let encoded =
        message.header(&HeaderName::ContentEncoding).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    let Some(content_type) = message.header(&HeaderName::ContentType).filter(|_| !encoded) else {
        return SdpBody::Other;
    };
    let (kind, params) = content_type.split_once(';').unwrap_or((content_type.as_str(), ""));
    if trim(kind).eq_ignore_ascii_case("application/sdp") {
        return SdpBody::Sdp(message.body.clone());
    }
    let multipart = trim(kind).get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    let boundary = param(params, "boundary").map(unquote);
    match boundary.filter(|_| multipart) {
        Some(boundary) => sdp_part(&message.body, &boundary).map_or(SdpBody::Other, SdpBody::Sdp),
        None => SdpBody::Other,
    }
}

fn sdp_part(body: &Bytes, boundary: &str) -> Option<Bytes> {
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut starts = positions(body, delimiter.as_bytes());
    let mut at = starts.next()?;
    for next in starts {
        let start = (at + delimiter.len()).min(next);
        let part = body.slice(start..next);
        at = next;
        let Some(blank) = positions(&part, b"\r\n\r\n").next() else {
            continue;
        };
        let head = String::from_utf8_lossy(&part[..blank]).to_ascii_lowercase();
        let is_sdp = head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                matches!(trim(name), "content-type" | "c") && trim(value).starts_with("application/sdp")
            })
        });
        if is_sdp {
            // The line break before the next delimiter belongs to the delimiter (RFC 2046 §5.1.1).
            return Some(part.slice(blank + 4..part.len().saturating_sub(2).max(blank + 4)));
        }
    }
    None
}

fn positions<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    haystack.windows(needle.len()).enumerate().filter(move |(_, window)| *window == needle).map(|(at, _)| at)
}

/// The digit and its length in milliseconds of an INFO (`application/dtmf-relay` or `application/dtmf`).
pub(crate) fn dtmf_body(message: &Message) -> Option<(char, u32)> {
    const DEFAULT_MS: u32 = 160;
    let content_type = message.header(&HeaderName::ContentType)?;
    let kind = trim(content_type.split(';').next()?).to_ascii_lowercase();
    let body = std::str::from_utf8(&message.body).ok()?;
    if kind == "application/dtmf" {
        return Some((dtmf_digit(body.trim())?, DEFAULT_MS));
    }
    if kind != "application/dtmf-relay" {
        return None;
    }
    let (mut digit, mut duration) = (None, DEFAULT_MS);
    for line in body.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "signal" => digit = dtmf_digit(value.trim()),
            "duration" => duration = number(value.trim()).unwrap_or(DEFAULT_MS),
            _ => {}
        }
    }
    digit.map(|digit| (digit, duration.clamp(1, 10_000)))
}

/// Writes the body of a DTMF INFO.
pub(crate) fn dtmf_relay(digit: char, duration_ms: u32) -> Option<String> {
    let digit = dtmf_digit(digit.encode_utf8(&mut [0; 4]))?;
    Some(format!("Signal={digit}\r\nDuration={duration_ms}\r\n"))
}

fn dtmf_digit(text: &str) -> Option<char> {
    // Some send the event number of RFC 4733 for the keys that are no digits.
    let key = match text {
        "10" => '*',
        "11" => '#',
        _ => {
            let mut chars = text.chars();
            let key = chars.next()?.to_ascii_uppercase();
            if chars.next().is_some() {
                return None;
            }
            key
        }
    };
    matches!(key, '0'..='9' | '*' | '#' | 'A'..='D').then_some(key)
}
