//! RTP packets (RFC 3550 section 5.1): read in place, written into the caller's buffer.
//! Never allocates and never trusts a length field.

/// Bytes of the fixed header.
pub const HEADER: usize = 12;

/// The largest packet this crate sends: 60 ms of G.711 behind a fixed header.
pub const MAX_PACKET: usize = HEADER + 480;

/// The largest payload accepted, in bytes: 120 ms of G.711, twice what any ptime of ours allows.
pub const MAX_PAYLOAD: usize = 960;

/// A received packet. Padding and extension are checked and left out of `payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The marker bit: first of a talk spurt, or of a telephone event.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number on the wire.
    pub sequence: u16,
    /// Timestamp on the wire, in samples.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is no RTP packet of ours. Each is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its header, CSRC list or extension says.
    #[error("truncated RTP packet")]
    Truncated,
    /// Another version than 2; what STUN (RFC 5764 section 5.1.2) and junk look like.
    #[error("not RTP version 2")]
    Version,
    /// STUN, DTLS or ZRTP by its first byte: nothing that was negotiated, and never answered.
    #[error("another protocol on the RTP port")]
    OtherProtocol,
    /// RTCP on the RTP port without `rtcp-mux` (RFC 5761 section 4).
    #[error("RTCP on the RTP port")]
    Rtcp,
    /// Padding count of 0 or longer than what follows the header.
    #[error("bad RTP padding")]
    Padding,
    /// Longer than any ptime allows.
    #[error("oversized RTP payload")]
    Oversized,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// One variant for each kind of malformed or foreign datagram.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let Some((head, mut rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(RtpError::Truncated);
        };
        match head[0] >> 6 {
            2 => {}
            // RFC 7983: 0..=3 STUN, 16..=19 ZRTP, 20..=63 DTLS.
            0 => return Err(RtpError::OtherProtocol),
            _ => return Err(RtpError::Version),
        }
        if (192..=223).contains(&head[1]) {
            return Err(RtpError::Rtcp);
        }
        let csrcs = usize::from(head[0] & 0x0F) * 4;
        rest = rest.get(csrcs..).ok_or(RtpError::Truncated)?;
        if head[0] & 0x10 != 0 {
            let (extension, after) = rest.split_first_chunk::<4>().ok_or(RtpError::Truncated)?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            rest = after.get(words * 4..).ok_or(RtpError::Truncated)?;
        }
        if head[0] & 0x20 != 0 {
            let count = usize::from(*rest.last().ok_or(RtpError::Padding)?);
            if count == 0 || count > rest.len() {
                return Err(RtpError::Padding);
            }
            rest = &rest[..rest.len() - count];
        }
        if rest.len() > MAX_PAYLOAD {
            return Err(RtpError::Oversized);
        }
        Ok(Self {
            marker: head[1] & 0x80 != 0,
            payload_type: head[1] & 0x7F,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: rest,
        })
    }
}

/// The header fields of a packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// Payload type; the upper bit is ignored.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in samples.
    pub timestamp: u32,
    /// Our synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Writes the fixed header to the front of the packet; the payload follows at [`HEADER`].
    pub fn write(&self, packet: &mut [u8; MAX_PACKET]) {
        packet[0] = 0x80;
        packet[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7F);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_the_independent_parser_reads() {
        let mut packet = [0u8; MAX_PACKET];
        let header =
            Header { marker: true, payload_type: 101, sequence: 65_535, timestamp: 0xFFFF_FF60, ssrc: 0xDEAD_BEEF };
        header.write(&mut packet);
        packet[HEADER..HEADER + 4].copy_from_slice(&[5, 0x8A, 0, 160]);
        let theirs = rtp_types::RtpPacket::parse(&packet[..HEADER + 4]).unwrap();
        assert!(theirs.marker_bit());
        assert_eq!(theirs.payload_type(), 101);
        assert_eq!(theirs.sequence_number(), 65_535);
        assert_eq!(theirs.timestamp(), 0xFFFF_FF60);
        assert_eq!(theirs.ssrc(), 0xDEAD_BEEF);
        assert_eq!(theirs.payload(), [5, 0x8A, 0, 160]);
    }

    /// Flips of every bit of the first 20 bytes, at every length: we accept a subset of what the
    /// independent parser accepts, and read the same fields out of it.
    #[test]
    fn agrees_with_the_independent_parser() {
        let mut base = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
        base.extend((0..40).map(|n| n as u8));
        let mut accepted = 0;
        for bit in 0..160 {
            let mut bytes = base.clone();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            for length in 0..=bytes.len() {
                let bytes = &bytes[..length];
                let theirs = rtp_types::RtpPacket::parse(bytes);
                let Ok(ours) = Packet::parse(bytes) else {
                    continue;
                };
                let theirs = theirs.unwrap();
                accepted += 1;
                assert_eq!(ours.marker, theirs.marker_bit());
                assert_eq!(ours.payload_type, theirs.payload_type());
                assert_eq!(ours.sequence, theirs.sequence_number());
                assert_eq!(ours.timestamp, theirs.timestamp());
                assert_eq!(ours.ssrc, theirs.ssrc());
                let padding = usize::from(theirs.padding().unwrap_or(0));
                let payload = theirs.payload();
                let end = if ours.payload.len() == payload.len() { payload.len() } else { payload.len() - padding };
                assert_eq!(ours.payload, &payload[..end]);
            }
        }
        assert!(accepted > 1000, "{accepted}");
    }
}
