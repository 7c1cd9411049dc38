//! Sequence numbers of one source (RFC 3550 appendix A.1 and A.3): extension over the wrap,
//! duplicates, probation of a new SSRC, resynchronisation after a jump. Never looks at payloads.

/// A jump forward of more than this many packets needs proof (RFC 3550 A.1).
pub const MAX_DROPOUT: u16 = 3000;
/// A packet older than this many is not merely reordered (RFC 3550 A.1).
pub const MAX_MISORDER: u16 = 100;

/// What a packet's sequence number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Next, or after a gap, or reordered but not seen before.
    Accept,
    /// The first packet of a stream that has just proven itself: all state about timestamps of
    /// the earlier stream is void.
    Restart,
    /// Seen before.
    Duplicate,
    /// From an SSRC or a sequence position that has yet to show a second packet in sequence.
    Probation,
}

/// Follows one stream.
#[derive(Debug, Clone, Default)]
pub struct SequenceTracker {
    current: Option<Current>,
    probation: Option<(u32, u16)>,
    expected_before: u64,
    received: u64,
}

#[derive(Debug, Clone)]
struct Current {
    ssrc: u32,
    first: u64,
    highest: u64,
    /// Bit n: `highest - n` was received.
    seen: u128,
}

impl SequenceTracker {
    /// Judges one packet. The very first stream is taken at its first packet.
    pub fn observe(&mut self, ssrc: u32, sequence: u16) -> Verdict {
        let Some(current) = &mut self.current else {
            self.start(ssrc, sequence);
            return Verdict::Restart;
        };
        if current.ssrc != ssrc {
            return self.unproven(ssrc, sequence);
        }
        let ahead = sequence.wrapping_sub(current.highest as u16);
        if ahead == 0 {
            return Verdict::Duplicate;
        }
        if ahead <= MAX_DROPOUT {
            current.highest += u64::from(ahead);
            current.seen = current.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.accepted();
            return Verdict::Accept;
        }
        let behind = ahead.wrapping_neg();
        if behind > MAX_MISORDER {
            return self.unproven(ssrc, sequence);
        }
        let bit = 1u128 << behind;
        if current.seen & bit != 0 {
            return Verdict::Duplicate;
        }
        current.seen |= bit;
        current.first = current.first.min(current.highest - u64::from(behind));
        self.accepted();
        Verdict::Accept
    }

    /// Takes a stream without probation: the latching rule has already seen it in sequence.
    pub fn adopt(&mut self, ssrc: u32, sequence: u16) {
        self.start(ssrc, sequence);
    }

    /// Packets accepted so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that were sent to us by their numbers and never came (RFC 3550 A.3).
    pub fn lost(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |c| c.highest - c.first + 1);
        (self.expected_before + current).saturating_sub(self.received)
    }

    fn unproven(&mut self, ssrc: u32, sequence: u16) -> Verdict {
        if self.probation == Some((ssrc, sequence)) {
            self.start(ssrc, sequence);
            return Verdict::Restart;
        }
        self.probation = Some((ssrc, sequence.wrapping_add(1)));
        Verdict::Probation
    }

    fn start(&mut self, ssrc: u32, sequence: u16) {
        if let Some(old) = &self.current {
            self.expected_before += old.highest - old.first + 1;
        }
        // A base away from zero lets earlier, reordered packets have a number too.
        let first = (1 << 16) + u64::from(sequence);
        self.current = Some(Current { ssrc, first, highest: first, seen: 1 });
        self.accepted();
    }

    fn accepted(&mut self) {
        self.probation = None;
        self.received += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Accept, Duplicate, Probation, Restart};
    use super::*;

    fn check(packets: &[(u32, u16, Verdict)], lost: u64) {
        let mut tracker = SequenceTracker::default();
        for (n, (ssrc, sequence, expect)) in packets.iter().enumerate() {
            assert_eq!(tracker.observe(*ssrc, *sequence), *expect, "packet {n} of {packets:?}");
        }
        assert_eq!(tracker.lost(), lost, "{packets:?}");
    }

    #[test]
    fn in_order_gap_and_reorder() {
        check(&[(1, 10, Restart), (1, 11, Accept), (1, 12, Accept)], 0);
        check(&[(1, 10, Restart), (1, 13, Accept)], 2);
        check(&[(1, 10, Restart), (1, 13, Accept), (1, 12, Accept), (1, 11, Accept)], 0);
        check(&[(1, 10, Restart), (1, 9, Accept)], 0);
        check(&[(1, 10, Restart), (1, 8, Accept)], 1);
    }

    #[test]
    fn duplicates() {
        check(&[(1, 10, Restart), (1, 10, Duplicate)], 0);
        check(&[(1, 10, Restart), (1, 11, Accept), (1, 10, Duplicate), (1, 11, Duplicate)], 0);
        check(&[(1, 10, Restart), (1, 12, Accept), (1, 11, Accept), (1, 11, Duplicate)], 0);
    }

    #[test]
    fn wrap() {
        check(&[(1, 65_535, Restart), (1, 0, Accept), (1, 1, Accept)], 0);
        check(&[(1, 65_534, Restart), (1, 1, Accept), (1, 65_535, Accept), (1, 65_535, Duplicate)], 1);
        check(&[(1, 0, Restart), (1, 65_535, Accept)], 0);
    }

    #[test]
    fn a_new_ssrc_needs_two_in_sequence() {
        check(&[(1, 10, Restart), (2, 500, Probation), (1, 11, Accept), (2, 501, Probation), (2, 502, Restart)], 0);
        check(&[(1, 10, Restart), (2, 500, Probation), (2, 502, Probation), (2, 503, Restart), (2, 504, Accept)], 0);
        check(&[(1, 10, Restart), (2, 500, Probation), (3, 501, Probation)], 0);
    }

    #[test]
    fn a_jump_needs_two_in_sequence() {
        check(&[(1, 10, Restart), (1, 40_000, Probation), (1, 11, Accept)], 0);
        check(&[(1, 10, Restart), (1, 40_000, Probation), (1, 40_001, Restart), (1, 40_002, Accept)], 0);
        check(&[(1, 10, Restart), (1, 3010, Accept)], 2999);
        check(&[(1, 10, Restart), (1, 3011, Probation)], 0);
        check(&[(1, 500, Restart), (1, 400, Accept), (1, 399, Probation)], 99);
    }
}
