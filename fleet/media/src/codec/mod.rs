//! The voice codecs of a narrowband leg. Never holds state across packets: G.711 has none.

pub mod g711;

/// A codec of RFC 3551 with 8 kHz samples and one byte a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
}

impl Codec {
    /// The static payload type of RFC 3551 table 4.
    pub const fn static_payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The byte that decodes to the sample nearest to zero.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xFF,
            Self::Pcma => 0xD5,
        }
    }

    /// Encodes as many samples as both slices hold.
    pub fn encode(self, samples: &[i16], payload: &mut [u8]) {
        match self {
            Self::Pcmu => {
                for (byte, sample) in payload.iter_mut().zip(samples) {
                    *byte = g711::ulaw_encode(*sample);
                }
            }
            Self::Pcma => {
                for (byte, sample) in payload.iter_mut().zip(samples) {
                    *byte = g711::alaw_encode(*sample);
                }
            }
        }
    }

    /// Decodes as many samples as both slices hold.
    pub fn decode(self, payload: &[u8], samples: &mut [i16]) {
        let table = match self {
            Self::Pcmu => &g711::ULAW_DECODE,
            Self::Pcma => &g711::ALAW_DECODE,
        };
        for (sample, byte) in samples.iter_mut().zip(payload) {
            *sample = table[usize::from(*byte)];
        }
    }
}
