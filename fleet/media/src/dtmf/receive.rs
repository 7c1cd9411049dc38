//! RFC 4733 events received. Told apart by their RTP timestamp alone: marker bits get lost, end
//! packets come three times or not at all. Never reports a key twice, never waits for ever.

use super::Digit;
use std::time::{Duration, Instant};

/// An event without a packet for this long is over: its end packets were lost.
const OVER: Duration = Duration::from_millis(200);
/// Events reported lately, by whose timestamps repeats are known.
const REMEMBERED: usize = 8;

/// A telephone-event payload (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Event code.
    pub code: u8,
    /// Whether the event has ended.
    pub end: bool,
    /// Power below 0 dBm0.
    pub volume: u8,
    /// Duration so far in timestamp units.
    pub duration: u16,
}

impl Event {
    /// Reads a payload; `None` when it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<4>()?;
        Some(Self {
            code: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3F,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    /// The payload.
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, (u8::from(self.end) << 7) | (self.volume & 0x3F), high, low]
    }
}

/// A key that was pressed and released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// Which.
    pub digit: Digit,
    /// How long, in milliseconds.
    pub duration_ms: u32,
}

/// Collects the packets of events into keys.
#[derive(Debug, Clone, Default)]
pub struct EventReceiver {
    current: Option<Current>,
    done: [Option<u32>; REMEMBERED],
    next_done: usize,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    timestamp: u32,
    code: u8,
    /// Timestamp units of earlier segments of a long event (RFC 4733 section 2.5.1.3).
    before: u32,
    duration: u16,
    last: Instant,
}

impl EventReceiver {
    /// Takes one packet. Up to two keys may be complete with it: one whose end was lost, and this.
    pub fn handle(&mut self, now: Instant, timestamp: u32, event: Event) -> [Option<Pressed>; 2] {
        if self.done.contains(&Some(timestamp)) {
            return [None, None];
        }
        let mut lost_end = None;
        match &mut self.current {
            Some(current) if current.timestamp == timestamp => {
                current.duration = current.duration.max(event.duration);
                current.last = now;
            }
            Some(current) if is_next_segment(current, timestamp, event) => {
                current.before += u32::from(current.duration);
                let old = current.timestamp;
                *current = Current { timestamp, duration: event.duration, last: now, ..*current };
                self.remember(old);
            }
            Some(current) if (timestamp.wrapping_sub(current.timestamp) as i32) < 0 => {
                // An event before the current one, of which nothing has come yet: reordered.
                self.remember(timestamp);
                return [pressed(event.code, u32::from(event.duration)), None];
            }
            _ => {
                lost_end = self.complete();
                self.current =
                    Some(Current { timestamp, code: event.code, before: 0, duration: event.duration, last: now });
            }
        }
        let this = if event.end { self.complete() } else { None };
        [lost_end, this]
    }

    /// Completes an event whose end packets never came.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Pressed> {
        let current = self.current.as_ref()?;
        if now.saturating_duration_since(current.last) < OVER {
            return None;
        }
        self.complete()
    }

    fn complete(&mut self) -> Option<Pressed> {
        let current = self.current.take()?;
        self.remember(current.timestamp);
        pressed(current.code, current.before + u32::from(current.duration))
    }

    fn remember(&mut self, timestamp: u32) {
        self.done[self.next_done] = Some(timestamp);
        self.next_done = (self.next_done + 1) % REMEMBERED;
    }
}

fn pressed(code: u8, duration: u32) -> Option<Pressed> {
    Some(Pressed { digit: Digit::from_event(code)?, duration_ms: duration / 8 })
}

/// A segment goes on where the one before reached the greatest duration.
fn is_next_segment(current: &Current, timestamp: u32, event: Event) -> bool {
    let apart = timestamp.wrapping_sub(current.timestamp);
    current.code == event.code && current.duration >= 0xFF00 && apart.abs_diff(0xFFFF) <= 480
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Seeded, epoch};

    /// Rows: milliseconds, timestamp, key, end, duration. Expected: key and its milliseconds.
    #[track_caller]
    fn check(packets: &[(u64, u32, char, bool, u16)], expect: &[(char, u32)]) {
        let start = epoch();
        let mut receiver = EventReceiver::default();
        let mut got = Vec::new();
        for (at, timestamp, key, end, duration) in packets {
            let now = start + Duration::from_millis(*at);
            got.extend(receiver.handle_timeout(now));
            let code = Digit::from_char(*key).map_or(16, Digit::event);
            let event = Event { code, end: *end, volume: 10, duration: *duration };
            let event = Event::parse(&event.to_bytes()).unwrap();
            got.extend(receiver.handle(now, *timestamp, event).into_iter().flatten());
        }
        got.extend(receiver.handle_timeout(start + Duration::from_secs(3600)));
        let got: Vec<(char, u32)> = got.iter().map(|p| (p.digit.as_char(), p.duration_ms)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn an_event_is_one_key() {
        check(
            &[
                (0, 100, '5', false, 160),
                (20, 100, '5', false, 320),
                (40, 100, '5', true, 480),
                (60, 100, '5', true, 480),
                (80, 100, '5', true, 480),
            ],
            &[('5', 60)],
        );
    }

    #[test]
    fn only_the_end_came() {
        check(&[(0, 100, '#', true, 800)], &[('#', 100)]);
        check(&[(0, 100, '#', true, 800), (40, 100, '#', true, 800)], &[('#', 100)]);
    }

    #[test]
    fn the_end_never_came() {
        check(&[(0, 100, '1', false, 160), (20, 100, '1', false, 320)], &[('1', 40)]);
        check(
            &[(0, 100, '1', false, 160), (60, 2000, '1', false, 160), (80, 2000, '1', true, 320)],
            &[('1', 20), ('1', 40)],
        );
        check(&[(0, 100, '1', false, 160), (500, 9000, '2', true, 160)], &[('1', 20), ('2', 20)]);
    }

    #[test]
    fn the_same_key_twice_is_two_events() {
        check(&[(0, 100, '7', true, 400), (100, 1000, '7', true, 400)], &[('7', 50), ('7', 50)]);
    }

    #[test]
    fn packets_of_the_last_event_after_the_next_began() {
        check(
            &[
                (0, 100, '7', true, 400),
                (100, 1000, '8', false, 160),
                (101, 100, '7', true, 400),
                (120, 1000, '8', true, 320),
            ],
            &[('7', 50), ('8', 40)],
        );
    }

    #[test]
    fn a_whole_event_reordered_behind_the_next() {
        check(
            &[
                (0, 1000, '8', false, 160),
                (10, 100, '7', true, 400),
                (12, 100, '7', true, 400),
                (20, 1000, '8', true, 320),
            ],
            &[('7', 50), ('8', 40)],
        );
    }

    #[test]
    fn timestamps_wrap() {
        check(&[(0, u32::MAX - 100, '3', true, 400), (100, 900, '4', true, 400)], &[('3', 50), ('4', 50)]);
    }

    #[test]
    fn a_long_event_goes_on_in_segments() {
        check(
            &[
                (0, 0, '9', false, 0xFFFF),
                (20, 0xFFFF, '9', false, 160),
                (40, 0xFFFF, '9', true, 320),
                (60, 0xFFFF, '9', true, 320),
            ],
            &[('9', (0xFFFF + 320) / 8)],
        );
    }

    #[test]
    fn a_flash_is_no_key() {
        check(&[(0, 100, '!', true, 400)], &[]);
    }

    #[test]
    fn each_digit_once_under_loss() {
        for seed in 0..200 {
            let mut seeded = Seeded(seed);
            let start = epoch();
            let mut receiver = EventReceiver::default();
            let mut got = String::new();
            let keys: Vec<char> = (0..30).map(|_| KEYS_UNDER_TEST[seeded.below(12) as usize]).collect();
            for (n, key) in keys.iter().enumerate() {
                let timestamp = n as u32 * 1600;
                // Five packets and three ends; of each event at least one gets through.
                let sure = seeded.below(8);
                for packet in 0..8u64 {
                    let now = start + Duration::from_millis(n as u64 * 200 + packet * 20);
                    got.extend(receiver.handle_timeout(now).map(|p| p.digit.as_char()));
                    if packet != sure && seeded.chance(0.4) {
                        continue;
                    }
                    let event = Event {
                        code: Digit::from_char(*key).unwrap().event(),
                        end: packet >= 5,
                        volume: 10,
                        duration: 160 * (packet.min(5) as u16 + 1),
                    };
                    for _ in 0..=seeded.below(2) {
                        let pressed = receiver.handle(now, timestamp, event);
                        got.extend(pressed.into_iter().flatten().map(|p| p.digit.as_char()));
                    }
                }
            }
            got.extend(receiver.handle_timeout(start + Duration::from_secs(60)).map(|p| p.digit.as_char()));
            assert_eq!(got, keys.iter().collect::<String>(), "seed {seed}");
        }
    }

    const KEYS_UNDER_TEST: [char; 12] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#'];
}
