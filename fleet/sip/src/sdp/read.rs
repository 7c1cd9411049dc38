//! Reads the parts of a session description that audio needs; it must never fail on what it doesn't need.

use std::net::IpAddr;

use sdp_types::{Connection, Media, Session};

use super::{Codec, DEFAULT_PTIME_MS, Direction, MAX_LEN, MAX_STREAMS, SdpError};

/// Most formats of one stream that are looked at.
const MAX_FORMATS: usize = 64;
/// Packet times that we take from a peer, in milliseconds.
const PTIME_MS: std::ops::RangeInclusive<u32> = 10..=60;

/// One `m=` line with what belongs to it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) media: String,
    pub(super) proto: String,
    pub(super) first_format: String,
    pub(super) port: u16,
    /// `None`: absent, a name, multicast or broadcast.
    pub(super) address: Option<IpAddr>,
    /// In the order of the `m=` line.
    pub(super) codecs: Vec<(u8, Codec)>,
    pub(super) dtmf: Option<u8>,
    pub(super) ptime_ms: u32,
    /// As the writer sees it.
    pub(super) direction: Direction,
}

impl Stream {
    /// Audio over plain RTP that has not been refused.
    pub(super) fn usable(&self) -> bool {
        self.port != 0 && self.media == "audio" && self.proto == "RTP/AVP"
    }
}

pub(super) fn streams(sdp: &[u8]) -> Result<Vec<Stream>, SdpError> {
    if sdp.len() > MAX_LEN {
        return Err(SdpError::TooLong);
    }
    // A bare CR ends no line (RFC 8866 §5): what it separates must not be read as one.
    if sdp.iter().enumerate().any(|(at, byte)| *byte == b'\r' && sdp.get(at + 1) != Some(&b'\n')) {
        return Err(SdpError::Malformed);
    }
    let media_lines = sdp.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count();
    if media_lines > MAX_STREAMS {
        return Err(SdpError::TooManyStreams);
    }
    let session = Session::parse(sdp).map_err(|_| SdpError::Malformed)?;
    let default = direction(|name| session.get_first_attribute_value(name).is_some());
    Ok(session.medias.iter().map(|media| stream(&session, media, default)).collect())
}

fn stream(session: &Session, media: &Media, default: Option<Direction>) -> Stream {
    let connection = media.connections.first().or(session.connection.as_ref());
    let formats: Vec<&str> = media.fmt.split_whitespace().take(MAX_FORMATS).collect();
    let mut codecs = Vec::new();
    let mut dtmf = None;
    for payload_type in formats.iter().filter_map(|format| format.parse::<u8>().ok()) {
        match encoding(media, payload_type) {
            Encoding::Audio(codec) => codecs.push((payload_type, codec)),
            Encoding::TelephoneEvent => dtmf = dtmf.or(Some(payload_type)),
            Encoding::Unknown => {}
        }
    }
    Stream {
        media: media.media.clone(),
        proto: media.proto.clone(),
        first_format: formats.first().copied().unwrap_or("0").to_owned(),
        port: media.port,
        address: connection.and_then(address),
        codecs,
        dtmf,
        ptime_ms: ptime(session, media),
        direction: direction(|name| media.get_first_attribute_value(name).is_some())
            .or(default)
            .unwrap_or(Direction::SendRecv),
    }
}

enum Encoding {
    Audio(Codec),
    TelephoneEvent,
    Unknown,
}

fn encoding(media: &Media, payload_type: u8) -> Encoding {
    let mapped = media.get_attribute_values("rtpmap").flatten().take(MAX_FORMATS).find_map(|value| {
        let (number, encoding) = value.trim().split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(encoding.trim())
    });
    let Some(mapped) = mapped else {
        // Static payload types need no rtpmap (RFC 3551 §6).
        return match payload_type {
            0 => Encoding::Audio(Codec::Pcmu),
            8 => Encoding::Audio(Codec::Pcma),
            _ => Encoding::Unknown,
        };
    };
    let mut parts = mapped.split('/');
    let name = parts.next().unwrap_or_default();
    let rate = parts.next().unwrap_or_default();
    let channels = parts.next().unwrap_or("1");
    if rate != "8000" || channels != "1" {
        return Encoding::Unknown;
    }
    for codec in [Codec::Pcmu, Codec::Pcma] {
        if name.eq_ignore_ascii_case(codec.name()) {
            return Encoding::Audio(codec);
        }
    }
    if name.eq_ignore_ascii_case("telephone-event") { Encoding::TelephoneEvent } else { Encoding::Unknown }
}

fn address(connection: &Connection) -> Option<IpAddr> {
    // A TTL or a count after a slash belongs to multicast, which we refuse.
    let address: IpAddr = connection.connection_address.parse().ok()?;
    let refused = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_broadcast() || v4.is_multicast())
        }
    };
    (!refused).then_some(address)
}

fn direction(has: impl Fn(&str) -> bool) -> Option<Direction> {
    [Direction::Inactive, Direction::SendOnly, Direction::RecvOnly, Direction::SendRecv]
        .into_iter()
        .find(|direction| has(direction.name()))
}

fn ptime(session: &Session, media: &Media) -> u32 {
    media
        .get_first_attribute_value("ptime")
        .or_else(|| session.get_first_attribute_value("ptime"))
        .flatten()
        .and_then(|value| value.trim().parse::<u32>().ok())
        .filter(|ms| PTIME_MS.contains(ms) && ms.is_multiple_of(10))
        .unwrap_or(DEFAULT_PTIME_MS)
}
