//! The latching rule as rows: who sends what when, and what becomes of the packet.

use super::Decision::{Accept, Drop, Latched};
use super::*;
use crate::test_support::epoch;

const SDP: &str = "192.0.2.1:4000";
const NAT: &str = "198.51.100.7:31000";
const EVIL: &str = "203.0.113.66:666";
const EDGE: &str = "10.8.0.5:20000";

enum Step {
    /// From, SSRC, sequence number, expected.
    Rtp(&'static str, u32, u16, Decision),
    Cn(&'static str, u16, Decision),
    Wait(u64),
    Hold(bool),
    NewSdp(&'static str),
    SendsTo(&'static str),
}
use Step::{Cn, Hold, NewSdp, Rtp, SendsTo, Wait};

#[track_caller]
fn check(steps: &[Step]) {
    let mut latch = Latch::new(SDP.parse().unwrap(), vec!["10.8.0.0/16".parse().unwrap()]);
    let mut now = epoch();
    let mut sdp: SocketAddr = SDP.parse().unwrap();
    let mut hold = false;
    for (n, step) in steps.iter().enumerate() {
        let mut see = |source: &str, ssrc, sequence, kind| {
            let source = source.parse().unwrap();
            latch.observe(now, Sighting { source, ssrc, sequence, kind })
        };
        match step {
            Rtp(source, ssrc, sequence, expect) => {
                assert_eq!(see(source, *ssrc, *sequence, Kind::Negotiated), *expect, "step {n}");
            }
            Cn(source, sequence, expect) => {
                assert_eq!(see(source, 1, *sequence, Kind::ComfortNoise), *expect, "step {n}");
            }
            Wait(ms) => now += Duration::from_millis(*ms),
            Hold(on) => {
                hold = *on;
                latch.update(now, sdp, hold);
            }
            NewSdp(address) => {
                sdp = address.parse().unwrap();
                latch.update(now, sdp, hold);
            }
            SendsTo(address) => {
                assert_eq!(latch.destination(), address.parse().unwrap(), "step {n}");
            }
        }
    }
}

/// Packets `from..from + 5` of one stranger, all dropped but the last.
fn five(source: &'static str, ssrc: u32, from: u16, last: Decision) -> Vec<Step> {
    (0..5).map(|n| Rtp(source, ssrc, from.wrapping_add(n), if n == 4 { last } else { Drop })).collect()
}

#[test]
fn sends_to_the_sdp_address_before_anything_came() {
    check(&[SendsTo(SDP)]);
}

#[test]
fn the_sdp_address_is_taken_at_its_first_packet() {
    check(&[Rtp(SDP, 1, 7, Latched), Rtp(SDP, 1, 8, Accept), SendsTo(SDP)]);
}

#[test]
fn another_source_is_taken_at_its_fifth_packet_in_sequence() {
    let mut steps = five(NAT, 1, 65_533, Latched);
    steps.extend([SendsTo(NAT), Rtp(NAT, 1, 2, Accept)]);
    check(&steps);
}

#[test]
fn a_gap_a_repeat_or_another_ssrc_starts_the_count_again() {
    for (sequence, ssrc) in [(15, 1), (13, 1), (14, 2)] {
        let mut steps: Vec<Step> = (10..14).map(|n| Rtp(NAT, 1, n, Drop)).collect();
        steps.push(Rtp(NAT, ssrc, sequence, Drop));
        steps.extend((1..4).map(|n| Rtp(NAT, ssrc, sequence + n, Drop)));
        steps.push(Rtp(NAT, ssrc, sequence + 4, Latched));
        check(&steps);
    }
}

#[test]
fn a_packet_from_the_sdp_address_ends_the_count() {
    let mut steps: Vec<Step> = (10..14).map(|n| Rtp(EVIL, 9, n, Drop)).collect();
    steps.extend([Rtp(SDP, 1, 1, Latched), Rtp(EVIL, 9, 14, Drop)]);
    steps.extend((15..40).map(|n| Rtp(EVIL, 9, n, Drop)));
    steps.push(SendsTo(SDP));
    check(&steps);
}

#[test]
fn a_packet_from_the_media_cidrs_ends_the_count_of_a_stranger() {
    let mut steps: Vec<Step> = (10..14).map(|n| Rtp(EVIL, 9, n, Drop)).collect();
    steps.push(Rtp(EDGE, 1, 1, Drop));
    steps.extend((14..20).map(|n| Rtp(EVIL, 9, n, Drop)));
    steps.extend((2..5).map(|n| Rtp(EDGE, 1, n, Drop)));
    steps.extend([Rtp(EDGE, 1, 5, Latched), SendsTo(EDGE)]);
    check(&steps);
}

#[test]
fn the_sdp_address_preempts_for_two_seconds() {
    let mut steps = five(EVIL, 9, 0, Latched);
    steps.extend([Wait(1999), Rtp(EVIL, 9, 5, Accept), Rtp(SDP, 1, 1, Latched), SendsTo(SDP)]);
    steps.extend((6..30).map(|n| Rtp(EVIL, 9, n, Drop)));
    check(&steps);
}

#[test]
fn after_two_seconds_the_sdp_address_is_a_stranger_too() {
    let mut steps = five(NAT, 9, 0, Latched);
    steps.extend([Wait(2000), Rtp(NAT, 9, 5, Accept), Rtp(SDP, 1, 1, Drop), SendsTo(NAT)]);
    check(&steps);
}

#[test]
fn moves_again_only_after_two_seconds_of_silence() {
    let mut steps = vec![Rtp(SDP, 1, 1, Latched), Wait(1900)];
    steps.extend(five(NAT, 9, 0, Drop));
    steps.extend([Wait(99), Rtp(NAT, 9, 5, Drop), Wait(1), Rtp(NAT, 9, 6, Latched), SendsTo(NAT)]);
    check(&steps);
}

#[test]
fn silence_in_comfort_noise_is_no_silence() {
    let mut steps = vec![Rtp(SDP, 1, 1, Latched), Cn(SDP, 2, Accept), Wait(60_000)];
    steps.extend(five(EVIL, 9, 0, Drop));
    steps.extend([Rtp(SDP, 1, 3, Accept), Wait(2000)]);
    steps.extend(five(NAT, 9, 0, Latched));
    check(&steps);
}

#[test]
fn comfort_noise_of_a_stranger_proves_nothing() {
    let steps: Vec<Step> = (0..20).map(|n| Cn(EVIL, n, Drop)).collect();
    check(&steps);
}

#[test]
fn silence_in_hold_is_no_silence() {
    let mut steps = vec![Rtp(SDP, 1, 1, Latched), Hold(true), Wait(60_000)];
    steps.extend(five(EVIL, 9, 0, Drop));
    steps.extend([Hold(false), Wait(1999)]);
    steps.extend(five(EVIL, 9, 50, Drop));
    steps.extend([Wait(1)]);
    steps.extend([Rtp(EVIL, 9, 55, Latched)]);
    check(&steps);
}

#[test]
fn a_new_sdp_address_starts_afresh_and_the_same_one_keeps_the_latch() {
    let mut steps = five(NAT, 9, 0, Latched);
    steps.extend([NewSdp(SDP), SendsTo(NAT), Rtp(NAT, 9, 5, Accept)]);
    steps.extend([NewSdp(EDGE), SendsTo(EDGE), Rtp(NAT, 9, 6, Drop), Rtp(EDGE, 3, 1, Latched)]);
    check(&steps);
}

#[test]
fn a_mapped_address_is_the_same_address() {
    check(&[Rtp("[::ffff:192.0.2.1]:4000", 1, 1, Latched), SendsTo(SDP), Rtp(SDP, 1, 2, Accept)]);
}
