//! Writes messages; it must never let a value end a header line.

use std::fmt::{Display, Write as _};

use bytes::Bytes;

use super::scan::is_token;

/// A message in the making.
#[derive(Debug)]
pub(crate) struct MessageWriter {
    out: String,
}

impl MessageWriter {
    pub(crate) fn request(method: &str, uri: &str) -> Self {
        Self::start(format_args!("{method} {uri} SIP/2.0"))
    }

    pub(crate) fn response(code: u16, phrase: &str) -> Self {
        Self::start(format_args!("SIP/2.0 {code} {phrase}"))
    }

    fn start(line: impl Display) -> Self {
        let mut writer = MessageWriter { out: String::with_capacity(1024) };
        let _ = write!(writer.out, "{line}");
        writer.end_line(0);
        writer
    }

    /// Adds a header; a line break in it becomes a space, so that no value can start a header of its own.
    pub(crate) fn header(&mut self, name: &str, value: impl Display) -> &mut Self {
        let from = self.out.len();
        let _ = write!(self.out, "{name}: {value}");
        self.end_line(from);
        self
    }

    fn end_line(&mut self, from: usize) {
        if self.out.as_bytes()[from..].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            let clean = self.out.split_off(from).replace(['\r', '\n'], " ");
            self.out.push_str(&clean);
        }
        self.out.push_str("\r\n");
    }

    /// Ends the message without a body.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.header("Content-Length", 0);
        self.out.push_str("\r\n");
        Bytes::from(std::mem::take(&mut self.out))
    }

    /// Ends the message with a body.
    pub(crate) fn finish_with(&mut self, content_type: &str, body: &[u8]) -> Bytes {
        self.header("Content-Type", content_type);
        self.header("Content-Length", body.len());
        self.out.push_str("\r\n");
        let mut out = std::mem::take(&mut self.out).into_bytes();
        out.extend_from_slice(body);
        Bytes::from(out)
    }

    /// Ends the message with SDP, if there is some.
    pub(crate) fn finish_sdp(&mut self, sdp: Option<&Bytes>) -> Bytes {
        match sdp {
            Some(sdp) => self.finish_with("application/sdp", sdp),
            None => self.finish(),
        }
    }
}

/// Whether a header of this name can be written.
pub(crate) fn is_header_name(name: &str) -> bool {
    is_token(name)
}

/// Whether a header value can be written as it is.
pub(crate) fn is_header_value(value: &str) -> bool {
    !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// The usual phrase of a status code (RFC 3261 §21).
pub(crate) fn phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => class_phrase(code),
    }
}

fn class_phrase(code: u16) -> &'static str {
    match code {
        0..200 => "Progress",
        200..300 => "OK",
        300..400 => "Redirection",
        400..500 => "Request Failure",
        500..600 => "Server Failure",
        600.. => "Global Failure",
    }
}
