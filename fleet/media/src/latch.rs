//! Which source address a call's media is taken from and sent to.
//!
//! The rule: media goes to the SDP address at once. Another source is taken only after
//! [`CANDIDATE_PACKETS`] in-sequence packets of one SSRC and a negotiated payload type, with none
//! meanwhile from the SDP address or from the trunk's `media_cidrs`. The SDP address pre-empts it
//! for [`PREEMPTION`]. After that the source changes again only when it has been silent for
//! [`SILENCE`], outside hold and comfort noise.
//!
//! Never moves outbound media on one packet from a stranger (RTP bleed).

use crate::cidr::{Cidr, canonical};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// In-sequence packets that a source other than the SDP address must show.
pub const CANDIDATE_PACKETS: u32 = 5;
/// How long the SDP address may take media back from another source.
pub const PREEMPTION: Duration = Duration::from_secs(2);
/// How long the taken source must have been silent before another may follow.
pub const SILENCE: Duration = Duration::from_secs(2);

/// What a packet is, as far as latching cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Audio or an event of a negotiated payload type.
    Negotiated,
    /// Comfort noise (RFC 3389): proves that the taken source lives, and that its silence is meant.
    ComfortNoise,
}

/// Where a packet came from and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Source address of the datagram.
    pub source: SocketAddr,
    /// SSRC of the packet.
    pub ssrc: u32,
    /// Sequence number of the packet.
    pub sequence: u16,
    /// What it carries.
    pub kind: Kind,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// From the taken source.
    Accept,
    /// From a source that has just been taken.
    Latched,
    /// From anywhere else: drop it and count it.
    Drop,
}

/// The latching state of one call.
#[derive(Debug, Clone)]
pub struct Latch {
    sdp: SocketAddr,
    media_cidrs: Vec<Cidr>,
    taken: Option<Taken>,
    candidate: Option<Candidate>,
    hold: bool,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    source: SocketAddr,
    since: Instant,
    heard: Instant,
    comfort_noise: bool,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u32,
    preferred: bool,
}

impl Latch {
    /// Starts at the address of the SDP.
    pub fn new(sdp: SocketAddr, media_cidrs: Vec<Cidr>) -> Self {
        Self { sdp: canonical(sdp), media_cidrs, taken: None, candidate: None, hold: false }
    }

    /// Judges one well-formed packet.
    pub fn observe(&mut self, now: Instant, sighting: Sighting) -> Decision {
        let source = canonical(sighting.source);
        let sighting = Sighting { source, ..sighting };
        match &mut self.taken {
            Some(taken) if taken.source == source => {
                taken.heard = now;
                taken.comfort_noise = sighting.kind == Kind::ComfortNoise;
                self.candidate = None;
                return Decision::Accept;
            }
            Some(taken) if source == self.sdp && now.saturating_duration_since(taken.since) < PREEMPTION => {
                return self.take(now, sighting);
            }
            None if source == self.sdp => return self.take(now, sighting),
            _ => {}
        }
        if self.advance_candidate(sighting) && self.may_move(now) {
            return self.take(now, sighting);
        }
        Decision::Drop
    }

    /// Where to send media now.
    pub fn destination(&self) -> SocketAddr {
        self.taken.map_or(self.sdp, |taken| taken.source)
    }

    /// A new SDP from the far side: a new address starts afresh, the same one changes nothing.
    pub fn update(&mut self, now: Instant, sdp: SocketAddr, hold: bool) {
        let sdp = canonical(sdp);
        if sdp != self.sdp {
            self.sdp = sdp;
            self.taken = None;
            self.candidate = None;
        }
        if self.hold != hold {
            self.hold = hold;
            // Silence during hold is no evidence: the count starts at its end.
            if let Some(taken) = &mut self.taken {
                taken.heard = now;
            }
        }
    }

    fn may_move(&self, now: Instant) -> bool {
        match self.taken {
            None => !self.hold,
            Some(taken) => !self.hold && !taken.comfort_noise && now.saturating_duration_since(taken.heard) >= SILENCE,
        }
    }

    /// Counts a packet of a stranger; true when the stranger has shown enough.
    fn advance_candidate(&mut self, sighting: Sighting) -> bool {
        if sighting.kind != Kind::Negotiated {
            return false;
        }
        let preferred =
            sighting.source == self.sdp || self.media_cidrs.iter().any(|c| c.contains(sighting.source.ip()));
        match &mut self.candidate {
            Some(c) if c.source == sighting.source && c.ssrc == sighting.ssrc && c.next == sighting.sequence => {
                c.next = c.next.wrapping_add(1);
                c.count += 1;
                return c.count >= CANDIDATE_PACKETS;
            }
            // A stranger doesn't interrupt the count of an address that the trunk or the SDP names.
            Some(c) if c.preferred && !preferred => {}
            _ => {
                self.candidate = Some(Candidate {
                    source: sighting.source,
                    ssrc: sighting.ssrc,
                    next: sighting.sequence.wrapping_add(1),
                    count: 1,
                    preferred,
                });
            }
        }
        false
    }

    fn take(&mut self, now: Instant, sighting: Sighting) -> Decision {
        self.taken = Some(Taken {
            source: sighting.source,
            since: now,
            heard: now,
            comfort_noise: sighting.kind == Kind::ComfortNoise,
        });
        self.candidate = None;
        Decision::Latched
    }
}

#[cfg(test)]
mod tests;
