//! Session descriptions (RFC 8866) in the offer/answer model (RFC 3264) for one G.711 audio stream with DTMF.
//!
//! It must never keep state between offers, and never trust a count, a length or an address that the peer wrote.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::net::SocketAddr;

use bytes::Bytes;

use read::Stream;

/// Longest description that is looked at, in bytes.
pub const MAX_LEN: usize = 16 * 1024;
/// Most `m=` lines that are looked at.
pub const MAX_STREAMS: usize = 8;
/// The payload type we offer for `telephone-event` (RFC 4733).
pub const DTMF_PAYLOAD_TYPE: u8 = 101;
/// The packet time we offer and assume, in milliseconds.
pub const DEFAULT_PTIME_MS: u32 = 20;

/// An audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }
}

/// Which way audio flows, as the side that says it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The same flow as the other side sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::SendRecv | Direction::Inactive => self,
        }
    }

    /// Whether the side that says it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the side that says it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    const fn without_sending(self) -> Self {
        match self {
            Direction::SendRecv | Direction::RecvOnly => Direction::RecvOnly,
            Direction::SendOnly | Direction::Inactive => Direction::Inactive,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// What was agreed for the audio stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioParams {
    /// Where to send RTP. Unspecified (`0.0.0.0`) on the old form of hold: then [`AudioParams::direction`] says not to.
    pub remote: SocketAddr,
    pub codec: Codec,
    /// The payload type to send the codec with.
    pub payload_type: u8,
    /// The payload type to send `telephone-event` with, where the peer takes it.
    pub dtmf_payload_type: Option<u8>,
    /// The packet time the peer prefers, in milliseconds.
    pub ptime_ms: u32,
    /// As seen from us: [`Direction::RecvOnly`] means that the peer has put us on hold.
    pub direction: Direction,
}

/// Why a description can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not a session description.
    #[error("malformed session description")]
    Malformed,
    /// Longer than [`MAX_LEN`].
    #[error("session description too long")]
    TooLong,
    /// More streams than [`MAX_STREAMS`].
    #[error("too many media streams")]
    TooManyStreams,
    /// No audio stream over plain RTP with a port.
    #[error("no usable audio stream")]
    NoAudio,
    /// An audio stream, but no codec in common.
    #[error("no common codec")]
    NoCommonCodec,
    /// The connection address is missing, a name, multicast or broadcast.
    #[error("unusable media address")]
    BadAddress,
}

impl SdpError {
    /// The SIP status that refuses such an offer.
    pub const fn status(self) -> u16 {
        match self {
            SdpError::Malformed => 400,
            SdpError::TooLong
            | SdpError::TooManyStreams
            | SdpError::NoAudio
            | SdpError::NoCommonCodec
            | SdpError::BadAddress => 488,
        }
    }
}

/// Writes an offer of `codecs` in order of preference, with `telephone-event`, to be received at `local`.
///
/// `session_id` stays the same within a call; `version` rises with each different description.
pub fn offer(local: SocketAddr, session_id: u64, version: u64, codecs: &[Codec]) -> Bytes {
    let formats = codecs.iter().map(|codec| (codec.payload_type(), *codec)).collect::<Vec<_>>();
    let mut out = write::session(local, session_id, version);
    write::audio(&mut out, local.port(), &formats, Some(DTMF_PAYLOAD_TYPE), DEFAULT_PTIME_MS, Direction::SendRecv);
    Bytes::from(out)
}

/// Reads the answer to an offer of `offered`.
///
/// # Errors
/// [`SdpError`] when nothing that was offered was accepted or the description can't be used.
pub fn parse_answer(offered: &[Codec], sdp: &[u8]) -> Result<AudioParams, SdpError> {
    let streams = read::streams(sdp)?;
    // Our offer has one stream, so its answer is the first one (RFC 3264 §6).
    let stream = streams.first().ok_or(SdpError::NoAudio)?;
    if !stream.usable() {
        return Err(SdpError::NoAudio);
    }
    // The answerer's own order counts: the first of its codecs that we offered.
    let (payload_type, codec) =
        stream.codecs.iter().copied().find(|(_, codec)| offered.contains(codec)).ok_or(SdpError::NoCommonCodec)?;
    params(stream, payload_type, codec)
}

/// Answers `offer` with the first of `codecs` (our preference) that it has; every other stream is refused by port 0.
///
/// # Errors
/// [`SdpError`] when the offer can't be answered; [`SdpError::status`] is the response to give.
pub fn answer(
    local: SocketAddr,
    session_id: u64,
    version: u64,
    codecs: &[Codec],
    offer: &[u8],
) -> Result<(Bytes, AudioParams), SdpError> {
    let streams = read::streams(offer)?;
    let mut refusal = SdpError::NoAudio;
    let mut chosen = None;
    for (index, stream) in streams.iter().enumerate().filter(|(_, s)| s.usable()) {
        match choose(stream, codecs) {
            Ok(params) => {
                chosen = Some((index, params));
                break;
            }
            Err(error) => refusal = error,
        }
    }
    let (chosen, params) = chosen.ok_or(refusal)?;
    let mut out = write::session(local, session_id, version);
    for (index, stream) in streams.iter().enumerate() {
        if index == chosen {
            write::audio(
                &mut out,
                local.port(),
                &[(params.payload_type, params.codec)],
                params.dtmf_payload_type,
                params.ptime_ms,
                params.direction,
            );
        } else {
            write::refused(&mut out, stream);
        }
    }
    Ok((Bytes::from(out), params))
}

fn choose(stream: &Stream, codecs: &[Codec]) -> Result<AudioParams, SdpError> {
    let (payload_type, codec) = codecs
        .iter()
        .find_map(|wanted| stream.codecs.iter().find(|(_, c)| c == wanted))
        .copied()
        .ok_or(SdpError::NoCommonCodec)?;
    params(stream, payload_type, codec)
}

fn params(stream: &Stream, payload_type: u8, codec: Codec) -> Result<AudioParams, SdpError> {
    let address = stream.address.ok_or(SdpError::BadAddress)?;
    let mut direction = stream.direction.reversed();
    if address.is_unspecified() {
        // The hold of RFC 2543: nowhere to send to, whatever the attribute says.
        direction = direction.without_sending();
    }
    Ok(AudioParams {
        remote: SocketAddr::new(address, stream.port),
        codec,
        payload_type,
        dtmf_payload_type: stream.dtmf,
        ptime_ms: stream.ptime_ms,
        direction,
    })
}
