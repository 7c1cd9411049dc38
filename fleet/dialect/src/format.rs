//! How bytes of audio are to be read. It must never read them: coding is the leg's, with `media`.

/// A coding of mono audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 16-bit signed linear, little-endian.
    L16,
    /// G.711 μ-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
    /// 64 kbit/s; its rate is 16 kHz, whatever clock its packets go by.
    G722,
    /// One packet a message.
    Opus,
}

impl Encoding {
    /// Reads the many words for a coding, in any case; parameters after `;` are passed over.
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let bare = word.rsplit('/').next().unwrap_or_default();
        Some(match bare {
            "l16" | "x-l16" | "linear" | "linear16" | "pcm" | "pcm16" | "pcm_s16le" | "slin" | "slin16" | "slin24"
            | "x-raw" | "raw" | "base64" => Self::L16,
            "mulaw" | "x-mulaw" | "ulaw" | "x-ulaw" | "pcmu" => Self::Mulaw,
            "alaw" | "x-alaw" | "pcma" => Self::Alaw,
            "g722" | "x-g722" => Self::G722,
            "opus" | "x-opus" => Self::Opus,
            _ => return None,
        })
    }

    /// The rate in Hz where none is said.
    pub(crate) fn usual_rate(self) -> u32 {
        match self {
            Self::L16 | Self::Mulaw | Self::Alaw => 8_000,
            Self::G722 => 16_000,
            Self::Opus => 48_000,
        }
    }

    /// The usual word, as in `?codec=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L16 => "l16",
            Self::Mulaw => "mulaw",
            Self::Alaw => "alaw",
            Self::G722 => "g722",
            Self::Opus => "opus",
        }
    }
}

/// A coding and its rate in Hz; always mono.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    pub encoding: Encoding,
    pub rate: u32,
}

impl Format {
    pub const fn new(encoding: Encoding, rate: u32) -> Self {
        Self { encoding, rate }
    }

    /// Whether it is a rate that speech travels at: 8 to 64 kHz.
    pub(crate) fn is_telephony(self) -> bool {
        (8_000..=64_000).contains(&self.rate)
    }

    /// Bytes of so many milliseconds; `None` where that varies.
    pub fn bytes(self, ms: u32) -> Option<usize> {
        let samples = self.rate as usize * ms as usize / 1000;
        match self.encoding {
            Encoding::L16 => Some(samples * 2),
            Encoding::Mulaw | Encoding::Alaw => Some(samples),
            Encoding::G722 => Some(8 * ms as usize),
            Encoding::Opus => None,
        }
    }

    /// The byte that, repeated, is silence; `None` where there is no such byte.
    pub fn silence(self) -> Option<u8> {
        match self.encoding {
            Encoding::L16 => Some(0),
            Encoding::Mulaw => Some(0xFF),
            Encoding::Alaw => Some(0xD5),
            Encoding::G722 | Encoding::Opus => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_vendors_are_read() {
        let check = |word: &str, expect: Option<Encoding>| assert_eq!(Encoding::parse(word), expect, "{word}");
        for word in
            ["LINEAR", "linear16", "PCM", "audio/x-l16", "audio/l16;rate=16000", "raw/slin", "audio/x-raw", "l16"]
        {
            check(word, Some(Encoding::L16));
        }
        for word in ["audio/x-mulaw", "PCMU", "ulaw", "mulaw", "audio/x-mulaw;rate=8000"] {
            check(word, Some(Encoding::Mulaw));
        }
        check("PCMA", Some(Encoding::Alaw));
        check("G722", Some(Encoding::G722));
        check("OPUS", Some(Encoding::Opus));
        check("", None);
        check("mp3", None);
    }

    #[test]
    fn a_length_is_a_number_of_bytes() {
        let check = |encoding, rate, ms, expect| assert_eq!(Format::new(encoding, rate).bytes(ms), expect);
        check(Encoding::L16, 8000, 20, Some(320));
        check(Encoding::L16, 24000, 100, Some(4800));
        check(Encoding::Mulaw, 8000, 20, Some(160));
        check(Encoding::G722, 16000, 20, Some(160));
        check(Encoding::G722, 8000, 20, Some(160));
        check(Encoding::Opus, 48000, 20, None);
    }
}
