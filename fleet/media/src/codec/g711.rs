//! ITU-T G.711 both laws by lookup tables made at compile time. Never branches on a sample.
//!
//! Mu-law depends on the upper 14 bits of a sample and A-law on the upper 12 (the scaling of the
//! ITU-T G.191 software tools), so the encoding tables have 16384 and 4096 entries and stay in
//! the cache of a thread that serves a thousand calls.

/// Linear value of each mu-law byte.
pub static ULAW_DECODE: [i16; 256] = ulaw_decode_table();
/// Linear value of each A-law byte.
pub static ALAW_DECODE: [i16; 256] = alaw_decode_table();

static ULAW_ENCODE: [u8; 1 << 14] = ulaw_encode_table();
static ALAW_ENCODE: [u8; 1 << 12] = alaw_encode_table();

/// Encodes one sample by mu-law.
#[inline]
pub fn ulaw_encode(sample: i16) -> u8 {
    ULAW_ENCODE[usize::from((sample as u16) >> 2)]
}

/// Encodes one sample by A-law.
#[inline]
pub fn alaw_encode(sample: i16) -> u8 {
    ALAW_ENCODE[usize::from((sample as u16) >> 4)]
}

const fn ulaw_encode_table() -> [u8; 1 << 14] {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        // The index is the upper 14 bits, two's complement.
        let negative = index >= 1 << 13;
        let magnitude = if negative { (1 << 14) - 1 - index } else { index };
        let biased = if magnitude + 33 > 0x1FFF { 0x1FFF } else { magnitude + 33 };
        // Segment 0 starts at 33, so bit 5 is the lowest leading bit.
        let segment = (usize::BITS - 1 - biased.leading_zeros()) as usize - 5;
        let step = (biased >> (segment + 1)) & 0x0F;
        let sign = if negative { 0 } else { 0x80 };
        table[index] = (sign | ((7 - segment) << 4) | (0x0F - step)) as u8;
        index += 1;
    }
    table
}

const fn alaw_encode_table() -> [u8; 1 << 12] {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        let negative = index >= 1 << 11;
        let magnitude = if negative { (1 << 12) - 1 - index } else { index };
        let code = if magnitude < 32 {
            magnitude
        } else {
            let top = (usize::BITS - 1 - magnitude.leading_zeros()) as usize;
            let segment = top - 3;
            (segment << 4) | ((magnitude >> (top - 4)) & 0x0F)
        };
        let sign = if negative { 0 } else { 0x80 };
        table[index] = ((sign | code) ^ 0x55) as u8;
        index += 1;
    }
    table
}

const fn ulaw_decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let inverted = !code & 0xFF;
        let segment = (inverted >> 4) & 7;
        let step = inverted & 0x0F;
        let magnitude = (((step << 3) + 0x84) << segment) - 0x84;
        table[code] = if inverted & 0x80 != 0 { -(magnitude as i16) } else { magnitude as i16 };
        code += 1;
    }
    table
}

const fn alaw_decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let plain = code ^ 0x55;
        let segment = (plain >> 4) & 7;
        let step = (plain & 0x0F) << 4;
        let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
        table[code] = if plain & 0x80 != 0 { magnitude as i16 } else { -(magnitude as i16) };
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The step-by-step procedures of ITU-T G.191, to hold the tables against.
    mod reference {
        pub(super) fn ulaw_compress(sample: i16) -> u8 {
            let sample = i32::from(sample);
            let mut magnitude = if sample < 0 { (!sample) >> 2 } else { sample >> 2 } + 33;
            magnitude = magnitude.min(0x1FFF);
            let mut rest = magnitude >> 6;
            let mut segment = 1;
            while rest != 0 {
                segment += 1;
                rest >>= 1;
            }
            let high = 8 - segment;
            let low = 0x0F - ((magnitude >> segment) & 0x0F);
            let code = (high << 4) | low;
            (if sample >= 0 { code | 0x80 } else { code }) as u8
        }

        pub(super) fn ulaw_expand(code: u8) -> i16 {
            let sign = if code < 0x80 { -1 } else { 1 };
            let inverted = !i32::from(code);
            let exponent = (inverted >> 4) & 7;
            let mantissa = inverted & 0x0F;
            let step = 4 << (exponent + 1);
            (sign * ((0x80 << exponent) + step * mantissa + step / 2 - 4 * 33)) as i16
        }

        pub(super) fn alaw_compress(sample: i16) -> u8 {
            let sample = i32::from(sample);
            let mut code = if sample < 0 { (!sample) >> 4 } else { sample >> 4 };
            if code > 15 {
                let mut exponent = 1;
                while code > 16 + 15 {
                    code >>= 1;
                    exponent += 1;
                }
                code -= 16;
                code += exponent << 4;
            }
            if sample >= 0 {
                code |= 0x80;
            }
            (code ^ 0x55) as u8
        }

        pub(super) fn alaw_expand(code: u8) -> i16 {
            let plain = i32::from(code ^ 0x55) & 0x7F;
            let exponent = plain >> 4;
            let mut mantissa = plain & 0x0F;
            if exponent > 0 {
                mantissa += 16;
            }
            mantissa = (mantissa << 4) + 8;
            if exponent > 1 {
                mantissa <<= exponent - 1;
            }
            (if code > 127 { mantissa } else { -mantissa }) as i16
        }
    }

    #[test]
    fn encode_matches_the_reference_on_all_inputs() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(ulaw_encode(sample), reference::ulaw_compress(sample), "mu {sample}");
            assert_eq!(alaw_encode(sample), reference::alaw_compress(sample), "A {sample}");
        }
    }

    #[test]
    fn decode_matches_the_reference_on_all_inputs() {
        for code in 0..=255u8 {
            assert_eq!(ULAW_DECODE[usize::from(code)], reference::ulaw_expand(code), "mu {code}");
            assert_eq!(ALAW_DECODE[usize::from(code)], reference::alaw_expand(code), "A {code}");
        }
    }

    #[test]
    fn known_values() {
        for (code, mu, a) in [
            (0x00, -32124, -5504),
            (0x80, 32124, 5504),
            (0xFF, 0, 848),
            (0x7F, 0, -848),
            (0x2A, -5372, -32256),
            (0xAA, 5372, 32256),
            (0xD5, 716, 8),
            (0x55, -716, -8),
        ] {
            assert_eq!(ULAW_DECODE[code], mu, "mu {code:#x}");
            assert_eq!(ALAW_DECODE[code], a, "A {code:#x}");
        }
    }

    #[test]
    fn every_byte_survives_a_round_trip() {
        for code in 0..=255u8 {
            let again = ulaw_encode(ULAW_DECODE[usize::from(code)]);
            // Mu-law has two zeros; the positive one is canonical.
            assert_eq!(again, if code == 0x7F { 0xFF } else { code });
            assert_eq!(alaw_encode(ALAW_DECODE[usize::from(code)]), code);
        }
    }
}
