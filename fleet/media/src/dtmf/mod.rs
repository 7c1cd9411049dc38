//! Telephone events: received and sent by RFC 4733, and heard in the band.
//! Never logs or stores digits: they may be a caller's PIN.

mod inband;
mod receive;
mod send;

pub use inband::InbandDetector;
pub use receive::{Event, EventReceiver, Pressed};
pub use send::{EventSender, MAX_DIGITS, Outgoing};

/// A key of the pad.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digit(u8);

impl std::fmt::Debug for Digit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit(_)")
    }
}

const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

impl Digit {
    /// The key of an event code of RFC 4733 section 3.2; none for flash and tones.
    pub fn from_event(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }

    /// The key written so; letters in either case.
    pub fn from_char(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        KEYS.iter().position(|k| *k == key).map(|code| Self(code as u8))
    }

    /// How the key is written.
    pub fn as_char(self) -> char {
        KEYS[usize::from(self.0)]
    }

    /// Its event code.
    pub fn event(self) -> u8 {
        self.0
    }

    /// Its two frequencies in hertz (ITU-T Q.23).
    pub fn frequencies(self) -> (f32, f32) {
        let (row, column) = match self.0 {
            0 => (3, 1),
            10 => (3, 0),
            11 => (3, 2),
            12..=15 => (usize::from(self.0) - 12, 3),
            digit => ((usize::from(digit) - 1) / 3, (usize::from(digit) - 1) % 3),
        };
        (ROWS[row], COLUMNS[column])
    }
}

/// Low group of Q.23.
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// High group of Q.23.
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (key, code, low, high) in [
            ('1', 1, 697.0, 1209.0),
            ('5', 5, 770.0, 1336.0),
            ('9', 9, 852.0, 1477.0),
            ('0', 0, 941.0, 1336.0),
            ('*', 10, 941.0, 1209.0),
            ('#', 11, 941.0, 1477.0),
            ('a', 12, 697.0, 1633.0),
            ('D', 15, 941.0, 1633.0),
        ] {
            let digit = Digit::from_char(key).unwrap();
            assert_eq!(digit.event(), code);
            assert_eq!(digit.frequencies(), (low, high));
            assert_eq!(Digit::from_event(code).unwrap().as_char(), key.to_ascii_uppercase());
        }
        assert_eq!(Digit::from_char('E'), None);
        assert_eq!(Digit::from_event(16), None);
        assert!(!format!("{:?}", Digit::from_char('7')).contains('7'));
    }
}
