//! Samples as diallers send them: bytes either way, other rates, A-law. It must never use the product's own codecs.

use anyhow::{Result, ensure};

/// 20 ms at 8 kHz.
pub const FRAME: usize = 160;

/// PCM of 16 bits, little-endian.
pub fn to_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The reverse of [`to_bytes`].
///
/// # Errors
/// Half a sample.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<i16>> {
    ensure!(bytes.len().is_multiple_of(2), "{} bytes are no samples of 16 bits", bytes.len());
    Ok(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// From 8 to 16 kHz, by straight lines.
pub fn doubled(samples: &[i16]) -> Vec<i16> {
    let between = |a: i16, b: i16| ((i32::from(a) + i32::from(b)) / 2) as i16;
    let next = samples.iter().skip(1).chain(samples.last());
    samples.iter().zip(next).flat_map(|(&a, &b)| [a, between(a, b)]).collect()
}

/// From 16 to 8 kHz, by means.
pub fn halved(samples: &[i16]) -> Vec<i16> {
    samples.chunks_exact(2).map(|pair| ((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16).collect()
}

/// ITU-T G.711 A-law, written from the Recommendation for the peers' side.
pub fn to_alaw(sample: i16) -> u8 {
    let (mask, magnitude) = if sample >= 0 { (0xd5, i32::from(sample)) } else { (0x55, -i32::from(sample) - 1) };
    let magnitude = magnitude >> 3;
    let exponent = (32 - magnitude.leading_zeros()).saturating_sub(5);
    let mantissa = if exponent == 0 { magnitude >> 1 } else { magnitude >> exponent } & 15;
    ((exponent << 4) as u8 | mantissa as u8) ^ mask
}

/// The reverse of [`to_alaw`].
pub fn from_alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = u32::from(byte >> 4 & 7);
    let mantissa = i16::from(byte & 15) << 4;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_the_usual_one() {
        for (sample, byte) in [(0, 0xd5), (-1, 0x55), (32_767, 0xaa), (-32_768, 0x2a), (1000, 0xfa), (-1000, 0x7a)] {
            assert_eq!(to_alaw(sample), byte, "{sample}");
        }
        for byte in 0..=255_u8 {
            assert_eq!(to_alaw(from_alaw(byte)), byte, "{byte}");
        }
    }

    #[test]
    fn rates_and_bytes_come_back() {
        let samples: Vec<i16> = (0..160).map(|i| ((f64::from(i) * 0.1).sin() * 9000.0) as i16).collect();
        assert_eq!(from_bytes(&to_bytes(&samples)).unwrap(), samples);
        let back = halved(&doubled(&samples));
        assert!(samples.iter().zip(&back).all(|(a, b)| (a - b).abs() < 500));
        assert!(from_bytes(&[1, 2, 3]).is_err());
    }
}
