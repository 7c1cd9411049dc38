//! Keys to send, a frame at a time: RFC 4733 events, or tones where none were negotiated.
//! Never sends two keys without a pause between.

use super::{Digit, Event};
use crate::FRAME_SAMPLES;
use std::collections::VecDeque;

/// Frames that a key sounds: 100 ms.
const TONE_FRAMES: u32 = 5;
/// Packets that say that the key is released (RFC 4733 section 2.5.1.4).
const END_PACKETS: u32 = 3;
/// Frames between two keys: 80 ms.
const PAUSE_FRAMES: u32 = 4;
/// Most keys that wait.
pub const MAX_DIGITS: usize = 64;
/// Power of an event, below 0 dBm0.
const VOLUME: u8 = 10;
/// Peak of each of the two tones: about -10 dBm0 together.
const AMPLITUDE: f32 = 5000.0;

/// What goes out in a frame instead of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// A telephone-event packet.
    Event {
        /// The payload.
        event: Event,
        /// True for the first packet of an event: it carries the marker bit, and its timestamp is
        /// that of all packets of the event.
        first: bool,
    },
    /// The two tones of a key, in `frame`.
    Tone,
    /// Silence between two keys.
    Pause,
}

/// The keys of one call that wait to be sent.
#[derive(Debug, Clone, Default)]
pub struct EventSender {
    waiting: VecDeque<Digit>,
    sending: Option<(Digit, u32)>,
}

impl EventSender {
    /// Queues the keys of a text, skipping what is none; returns how many found room.
    pub fn send(&mut self, digits: &str) -> usize {
        let before = self.waiting.len();
        let room = MAX_DIGITS - before;
        self.waiting.extend(digits.chars().filter_map(Digit::from_char).take(room));
        self.waiting.len() - before
    }

    /// Whether a frame now would be ours.
    pub fn is_active(&self) -> bool {
        self.sending.is_some() || !self.waiting.is_empty()
    }

    /// The next frame: as an event packet, or as a tone into `frame`.
    pub fn next_frame(&mut self, as_events: bool, frame: &mut [i16; FRAME_SAMPLES]) -> Option<Outgoing> {
        if self.sending.is_none() {
            self.sending = self.waiting.pop_front().map(|digit| (digit, 0));
        }
        let (digit, step) = self.sending?;
        let sounding = if as_events { TONE_FRAMES + END_PACKETS - 1 } else { TONE_FRAMES };
        self.sending = (step + 1 < sounding + PAUSE_FRAMES).then_some((digit, step + 1));
        if step >= sounding {
            return Some(Outgoing::Pause);
        }
        if !as_events {
            tone(digit, step as usize * FRAME_SAMPLES, frame);
            return Some(Outgoing::Tone);
        }
        let frames = (step + 1).min(TONE_FRAMES);
        Some(Outgoing::Event {
            event: Event {
                code: digit.event(),
                end: step + 1 >= TONE_FRAMES,
                volume: VOLUME,
                duration: frames as u16 * FRAME_SAMPLES as u16,
            },
            first: step == 0,
        })
    }
}

fn tone(digit: Digit, from: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    let (low, high) = digit.frequencies();
    let turn = |hz: f32, n: usize| (std::f32::consts::TAU * hz * n as f32 / 8000.0).sin();
    for (n, sample) in frame.iter_mut().enumerate() {
        *sample = (AMPLITUDE * (turn(low, from + n) + turn(high, from + n))) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(digits: &str, as_events: bool) -> Vec<Outgoing> {
        let mut sender = EventSender::default();
        sender.send(digits);
        let mut frame = [0; FRAME_SAMPLES];
        std::iter::from_fn(|| sender.next_frame(as_events, &mut frame)).collect()
    }

    #[test]
    fn one_key_grows_ends_three_times_and_pauses() {
        let got: Vec<(u16, bool, bool)> = frames("5", true)
            .iter()
            .filter_map(|o| match o {
                Outgoing::Event { event, first } => Some((event.duration, event.end, *first)),
                _ => None,
            })
            .collect();
        let expect = [
            (160, false, true),
            (320, false, false),
            (480, false, false),
            (640, false, false),
            (800, true, false),
            (800, true, false),
            (800, true, false),
        ];
        assert_eq!(got, expect);
        assert_eq!(frames("5", true).len(), 11);
    }

    #[test]
    fn every_key_begins_once() {
        let firsts: Vec<u8> = frames("1a*x#", true)
            .iter()
            .filter_map(|o| match o {
                Outgoing::Event { event, first: true } => Some(event.code),
                _ => None,
            })
            .collect();
        assert_eq!(firsts, [1, 12, 10, 11]);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut sender = EventSender::default();
        assert_eq!(sender.send(&"1".repeat(100)), MAX_DIGITS);
        assert_eq!(sender.send("2"), 0);
    }

    #[test]
    fn our_detector_hears_our_tones() {
        let mut sender = EventSender::default();
        sender.send("159D*0#");
        let mut detector = super::super::InbandDetector::default();
        let mut heard = String::new();
        let mut frame = [0; FRAME_SAMPLES];
        while let Some(what) = sender.next_frame(false, &mut frame) {
            if what == Outgoing::Pause {
                frame.fill(0);
            }
            heard.extend(detector.push(&frame).map(|d| d.as_char()));
        }
        assert_eq!(heard, "159D*0#");
    }
}
