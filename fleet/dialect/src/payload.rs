//! Base64 payloads, both ways, and whether bytes are whole samples.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::format::{Encoding, Format};
use crate::violation::Violation;

/// Reads with or without padding, writes with it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The audio of a base64 payload, whole samples of `format`.
pub(crate) fn decode(payload: &str, format: Format) -> Result<Bytes, Violation> {
    let bytes = BASE64.decode(payload).map_err(|_| Violation::protocol("the payload is not standard base64"))?;
    whole(&bytes, format)?;
    Ok(Bytes::from(bytes))
}

/// Refuses half a sample.
pub(crate) fn whole(bytes: &[u8], format: Format) -> Result<(), Violation> {
    if format.encoding == Encoding::L16 && !bytes.len().is_multiple_of(2) {
        return Err(Violation::protocol("an odd number of bytes: linear audio has two a sample"));
    }
    Ok(())
}

/// Appends `audio` as base64.
pub(crate) fn encode(audio: &[u8], to: &mut String) {
    BASE64.encode_string(audio, to);
}

/// Bytes that `encode` appends for so many.
pub(crate) fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// The key that a word names, if it is one.
pub(crate) fn key(digit: &str) -> Option<char> {
    let mut chars = digit.trim().chars();
    let key = chars.next()?.to_ascii_uppercase();
    (chars.next().is_none() && matches!(key, '0'..='9' | '*' | '#' | 'A'..='D')).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const L16: Format = Format::new(Encoding::L16, 8000);
    const MULAW: Format = Format::new(Encoding::Mulaw, 8000);

    #[test]
    fn payloads_are_read_with_and_without_padding() {
        let check = |payload, expect: &[u8]| assert_eq!(decode(payload, MULAW).unwrap(), expect);
        check("", b"");
        check("AQI=", b"\x01\x02");
        check("AQI", b"\x01\x02");
        check("AQID", b"\x01\x02\x03");
    }

    #[test]
    fn what_is_no_audio_is_refused() {
        for payload in ["A", "A===", "AQ I=", "AQI=\n", "AQ-_", "data:audio/wav;base64,AQI="] {
            assert_eq!(decode(payload, MULAW).unwrap_err().code, 1008, "{payload}");
        }
        assert!(decode("AQID", L16).unwrap_err().reason.contains("odd number"));
        assert_eq!(decode("AQIDBA==", L16).unwrap(), &b"\x01\x02\x03\x04"[..]);
    }

    #[test]
    fn what_is_written_reads_back() {
        for n in 0..10 {
            let audio: Vec<u8> = (0..n).collect();
            let mut text = String::new();
            encode(&audio, &mut text);
            assert_eq!(text.len(), encoded_len(audio.len()));
            assert_eq!(decode(&text, MULAW).unwrap(), audio);
        }
    }

    #[test]
    fn keys_are_single_characters() {
        for (word, expect) in [("5", Some('5')), ("#", Some('#')), ("a", Some('A')), (" 1 ", Some('1'))] {
            assert_eq!(key(word), expect);
        }
        for word in ["", "12", "E", "five", "１"] {
            assert_eq!(key(word), None, "{word}");
        }
    }
}
