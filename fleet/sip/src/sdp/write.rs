//! Writes session descriptions; it must never write a line break that came from outside.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::read::Stream;
use super::{Codec, Direction};

pub(super) fn session(local: SocketAddr, session_id: u64, version: u64) -> String {
    let ip = local.ip();
    let family = match ip {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    };
    format!("v=0\r\no=- {session_id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n")
}

pub(super) fn audio(
    out: &mut String,
    port: u16,
    formats: &[(u8, Codec)],
    dtmf: Option<u8>,
    ptime_ms: u32,
    direction: Direction,
) {
    let _ = write!(out, "m=audio {port} RTP/AVP");
    for payload_type in formats.iter().map(|(number, _)| *number).chain(dtmf) {
        let _ = write!(out, " {payload_type}");
    }
    out.push_str("\r\n");
    for (payload_type, codec) in formats {
        let _ = write!(out, "a=rtpmap:{payload_type} {}/8000\r\n", codec.name());
    }
    if let Some(payload_type) = dtmf {
        let _ = write!(out, "a=rtpmap:{payload_type} telephone-event/8000\r\na=fmtp:{payload_type} 0-15\r\n");
    }
    let _ = write!(out, "a=ptime:{ptime_ms}\r\na={}\r\n", direction.name());
}

/// A stream answered with port 0 (RFC 3264 §6).
pub(super) fn refused(out: &mut String, stream: &Stream) {
    let _ = write!(out, "m={} 0 {} {}\r\n", stream.media, stream.proto, stream.first_format);
}
