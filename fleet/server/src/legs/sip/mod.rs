//! SIP legs: INVITE, offer/answer and media of one call over a trunk.
//! It must never hold up the SIP task, and never open media before an offer was answered.

mod address;
mod inbound;
mod outbound;
mod talk;

use std::net::{IpAddr, SocketAddr};

use domain::trunk::{Trunk, TrunkCodec};
use sip::sdp::{AudioParams, Codec, Direction};

pub(crate) use inbound::{Inbound, Unfit};
pub(crate) use outbound::Outbound;

use crate::audio::{AudioEngine, MediaHandle};
use crate::signalling::Signalling;

/// Makes SIP legs.
#[derive(Debug, Clone)]
pub(crate) struct SipLegs {
    signalling: Signalling,
    rtp: AudioEngine,
    /// The address written into SDP where it differs from the bound one (NAT, Elastic IP).
    advertised: Option<IpAddr>,
}

impl SipLegs {
    pub(crate) fn new(signalling: Signalling, rtp: AudioEngine, advertised: Option<IpAddr>) -> Self {
        Self { signalling, rtp, advertised }
    }

    pub(crate) fn signalling(&self) -> &Signalling {
        &self.signalling
    }

    pub(crate) fn rtp(&self) -> &AudioEngine {
        &self.rtp
    }

    fn media_address(&self, local: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.advertised.unwrap_or(local.ip()), local.port())
    }
}

fn codecs(trunk: &Trunk) -> Vec<Codec> {
    let codec = |codec: &TrunkCodec| match codec {
        TrunkCodec::Pcmu => Codec::Pcmu,
        TrunkCodec::Pcma => Codec::Pcma,
    };
    trunk.codecs.iter().map(codec).collect()
}

/// What the negotiated SDP means for a stream.
pub fn negotiated(params: &AudioParams) -> media::Remote {
    media::Remote {
        address: params.remote,
        codec: match params.codec {
            Codec::Pcmu => media::Codec::Pcmu,
            Codec::Pcma => media::Codec::Pcma,
        },
        payload_type: params.payload_type,
        alternate: None,
        dtmf_payload_type: params.dtmf_payload_type,
        ptime_ms: params.ptime_ms,
        direction: match params.direction {
            Direction::SendRecv => media::Direction::SendRecv,
            Direction::SendOnly => media::Direction::SendOnly,
            Direction::RecvOnly => media::Direction::RecvOnly,
            Direction::Inactive => media::Direction::Inactive,
        },
    }
}

/// Whether the far side put us on hold: it does not want to hear us.
fn on_hold(direction: Direction) -> bool {
    !direction.sends()
}

/// Answers an offer inside a call (RFC 3264 §8) with what our side can do; the media follows at once.
fn answer_offer(
    media: &MediaHandle,
    address: SocketAddr,
    session: Session,
    codecs: &[Codec],
    offer: &[u8],
) -> Result<(bytes::Bytes, AudioParams), sip::sdp::SdpError> {
    let (answer, params) = sip::sdp::answer(address, session.id, session.version, codecs, offer)?;
    media.update(negotiated(&params));
    Ok((answer, params))
}

/// The `o=` line's numbers: the version rises with each description that we send (RFC 3264 §8).
#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    version: u64,
}

impl Session {
    fn next(&mut self) -> Self {
        self.version += 1;
        *self
    }
}
