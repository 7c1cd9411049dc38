//! Between a dialler's coding and rate and our 8 kHz samples, both ways, as a stream: the borders of messages leave no
//! trace. It must never guess a format, and never read past what came.

use std::fmt;

use audio_codec::Encoder as _;
use audio_codec::g722::{G722Decoder, G722Encoder};
use dialect::Encoding;
use media::resample::Resampler;
use media::{Codec, SAMPLE_RATE};
use thiserror::Error;

/// Rates that are spoken: below there is no voice, and above there is nothing to be had for the filter's length.
const RATES: std::ops::RangeInclusive<u32> = SAMPLE_RATE..=48_000;
/// What G.722 samples at, though a rate of 8000 is written beside it (RFC 3551 §4.5.2).
const G722_RATE: u32 = 16_000;

/// A coding that can't be read or written here. Short enough for the reason of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{} at {rate} Hz is not spoken here: use l16, mulaw, alaw (8000 to 48000 Hz) or g722", encoding.as_str())]
pub struct Unsupported {
    pub encoding: Encoding,
    pub rate: u32,
}

/// One dialler's coding, with the state of both directions.
pub struct Transcoder {
    coder: Coder,
    /// From and to 8 kHz; none where that is the dialler's rate.
    rates: Option<Rates>,
    /// Samples at the dialler's rate, between the steps; kept for their memory, and what an encoder did not take yet.
    wide: Vec<i16>,
}

struct Rates {
    down: Resampler,
    up: Resampler,
}

enum Coder {
    /// With the first byte of a sample whose second is in the next message.
    L16 {
        odd: Option<u8>,
    },
    G711(Codec),
    G722 {
        decoder: Box<G722Decoder>,
        encoder: Box<G722Encoder>,
    },
}

impl fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coder = match &self.coder {
            Coder::L16 { .. } => "l16",
            Coder::G711(Codec::Pcmu) => "mulaw",
            Coder::G711(Codec::Pcma) => "alaw",
            Coder::G722 { .. } => "g722",
        };
        f.debug_struct("Transcoder").field("coder", &coder).finish_non_exhaustive()
    }
}

impl Transcoder {
    /// Makes one for a coding at a rate in Hz, mono.
    ///
    /// # Errors
    /// When the coding or the rate is not spoken here.
    pub fn new(encoding: Encoding, rate: u32) -> Result<Self, Unsupported> {
        let unsupported = Unsupported { encoding, rate };
        if !RATES.contains(&rate) {
            return Err(unsupported);
        }
        let (coder, rate) = match encoding {
            Encoding::L16 => (Coder::L16 { odd: None }, rate),
            Encoding::Mulaw => (Coder::G711(Codec::Pcmu), rate),
            Encoding::Alaw => (Coder::G711(Codec::Pcma), rate),
            Encoding::G722 if rate == SAMPLE_RATE || rate == G722_RATE => {
                let (decoder, encoder) = (Box::new(G722Decoder::new()), Box::new(G722Encoder::new()));
                (Coder::G722 { decoder, encoder }, G722_RATE)
            }
            Encoding::G722 | Encoding::Opus => return Err(unsupported),
        };
        let filter = |from, to| Resampler::new(from, to).map_err(|_| unsupported);
        let rates = match rate {
            SAMPLE_RATE => None,
            _ => Some(Rates { down: filter(rate, SAMPLE_RATE)?, up: filter(SAMPLE_RATE, rate)? }),
        };
        Ok(Self { coder, rates, wide: Vec::new() })
    }

    /// Appends what the bytes mean to `out`, at 8 kHz. A sample cut in two is kept until its rest comes.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        let Some(rates) = &mut self.rates else {
            return self.coder.decode(bytes, out);
        };
        let mut wide = Vec::with_capacity(bytes.len() * 2);
        self.coder.decode(bytes, &mut wide);
        rates.down.push_i16(&wide, out);
    }

    /// Appends 8 kHz samples in the dialler's coding to `out`. Resampling holds 3 ms back.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let Some(rates) = &mut self.rates else {
            self.coder.encode(samples, out);
            return;
        };
        rates.up.push_i16(samples, &mut self.wide);
        let taken = self.coder.encode(&self.wide, out);
        self.wide.drain(..taken);
    }

    /// The end of a spurt: appends what resampling held back, so that it does not open the next one.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(rates) = &mut self.rates {
            rates.up.flush_i16(&mut self.wide);
            self.coder.encode(&self.wide, out);
            self.wide.clear();
        }
    }
}

impl Coder {
    fn decode(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        let before = out.len();
        match self {
            Self::L16 { odd } => {
                let bytes = match (odd.take(), bytes.split_first()) {
                    (Some(low), Some((high, rest))) => {
                        out.push(i16::from_le_bytes([low, *high]));
                        rest
                    }
                    (kept, _) => {
                        *odd = kept;
                        bytes
                    }
                };
                let (pairs, rest) = bytes.as_chunks::<2>();
                out.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
                *odd = rest.first().copied().or(*odd);
            }
            Self::G711(codec) => {
                out.resize(before + bytes.len(), 0);
                codec.decode(bytes, &mut out[before..]);
            }
            Self::G722 { decoder, .. } => {
                out.resize(before + bytes.len() * 2, 0);
                // Two samples a byte, always: the buffer is neither short nor long.
                let written = decoder.decode_frame_into(bytes, &mut out[before..]).unwrap_or(0);
                out.truncate(before + written);
            }
        }
    }

    /// Answers how many samples were taken: G.722 wants them in pairs.
    fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> usize {
        let before = out.len();
        match self {
            Self::L16 { .. } => out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
            Self::G711(codec) => {
                out.resize(before + samples.len(), 0);
                codec.encode(samples, &mut out[before..]);
            }
            Self::G722 { encoder, .. } => {
                let whole = samples.len() / 2 * 2;
                out.resize(before + encoder.max_encode_bytes(whole), 0);
                let written = encoder.encode_into(&samples[..whole], &mut out[before..]).unwrap_or(0);
                out.truncate(before + written);
                return whole;
            }
        }
        samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: f64, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (8000.0 * (std::f64::consts::TAU * hz * n as f64 / rate).sin()) as i16).collect()
    }

    /// How much of a signal is a tone, and how much is anything else, as powers.
    fn spectrum(samples: &[i16], hz: f64) -> (f64, f64) {
        let (mut re, mut im, mut whole) = (0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let (value, turn) = (f64::from(*sample), std::f64::consts::TAU * hz * n as f64 / 8000.0);
            (re, im, whole) = (re + value * turn.cos(), im + value * turn.sin(), whole + value * value);
        }
        let count = samples.len() as f64;
        let tone = 2.0 * (re * re + im * im) / (count * count);
        (tone, whole / count - tone)
    }

    /// There and back in uneven messages: a dialler that sends back what it gets.
    fn echoed(encoding: Encoding, rate: u32, samples: &[i16], message: usize) -> Vec<i16> {
        let (mut ours, mut theirs) =
            (Transcoder::new(encoding, rate).unwrap(), Transcoder::new(encoding, rate).unwrap());
        let (mut bytes, mut heard) = (Vec::new(), Vec::new());
        samples.chunks(160).for_each(|frame| ours.encode(frame, &mut bytes));
        ours.flush(&mut bytes);
        bytes.chunks(message).for_each(|message| theirs.decode(message, &mut heard));
        heard
    }

    #[test]
    fn a_voice_comes_back_as_it_was_however_it_is_cut() {
        // Signal to noise in dB: exact, by 8 bits of G.711, by the filters, by the sub-band coder.
        for (encoding, rate, least_db) in [
            (Encoding::L16, 8000, 80.0),
            (Encoding::L16, 16_000, 60.0),
            (Encoding::L16, 24_000, 60.0),
            (Encoding::L16, 44_100, 60.0),
            (Encoding::L16, 48_000, 60.0),
            (Encoding::Mulaw, 8000, 35.0),
            (Encoding::Alaw, 8000, 35.0),
            (Encoding::Mulaw, 16_000, 35.0),
            (Encoding::G722, 8000, 30.0),
            (Encoding::G722, 16_000, 30.0),
        ] {
            for hz in [300.0, 1000.0, 3000.0] {
                let said = tone(hz, 8000.0, 8000);
                let whole = echoed(encoding, rate, &said, 1_000_000);
                for message in [1, 7, 320, 641] {
                    assert_eq!(echoed(encoding, rate, &said, message), whole, "{encoding:?} {rate} by {message}");
                }
                assert!(whole.len().abs_diff(said.len()) <= 64, "{encoding:?} {rate}: {}", whole.len());
                let (tone, noise) = spectrum(&whole[800..7200], hz);
                let db = 10.0 * (tone / noise.max(1e-3)).log10();
                assert!(db >= least_db, "{encoding:?} {rate}, {hz} Hz: {db:.1} dB");
                assert!((0.97..1.03).contains(&(tone / 32e6)), "{encoding:?} {rate}, {hz} Hz: level {tone}");
            }
        }
    }

    #[test]
    fn what_8_khz_cannot_hold_is_gone_and_nothing_new_comes() {
        for rate in [16_000, 24_000, 48_000] {
            for hz in [4100.0, 5000.0, 7000.0] {
                let bytes: Vec<u8> =
                    tone(hz, f64::from(rate), rate as usize).into_iter().flat_map(i16::to_le_bytes).collect();
                let mut heard = Vec::new();
                let mut transcoder = Transcoder::new(Encoding::L16, rate).unwrap();
                bytes.chunks(rate as usize / 25).for_each(|message| transcoder.decode(message, &mut heard));
                let left: f64 = heard[400..].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / heard.len() as f64;
                let db = 10.0 * (left.max(1e-3) / 32e6).log10();
                assert!(db < if hz < 4200.0 { -50.0 } else { -60.0 }, "{hz} Hz at {rate}: {db:.1} dB alias");
            }
            // Up: all the power that comes out is the tone's, at its level; images would be beside it.
            let mut bytes = Vec::new();
            let mut transcoder = Transcoder::new(Encoding::L16, rate).unwrap();
            tone(3000.0, 8000.0, 8000).chunks(160).for_each(|frame| transcoder.encode(frame, &mut bytes));
            let sent: Vec<i16> = bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            let (tone, rest) = spectrum(&sent[800..rate as usize - 800], 3000.0 * 8000.0 / f64::from(rate));
            let db = 10.0 * (rest / tone).log10();
            assert!(db < -60.0, "to {rate}: {db:.1} dB of images");
        }
    }

    #[test]
    fn a_spurt_leaves_nothing_for_the_next() {
        let mut transcoder = Transcoder::new(Encoding::L16, 16_000).unwrap();
        let mut bytes = Vec::new();
        transcoder.encode(&tone(1000.0, 8000.0, 160), &mut bytes);
        assert!(bytes.len() < 640);
        transcoder.flush(&mut bytes);
        assert_eq!(bytes.len(), 640);
        bytes.clear();
        transcoder.encode(&[0; 160], &mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn formats_that_are_not_spoken_are_refused_in_a_close_frame_s_room() {
        let check = |encoding, rate, spoken: bool| {
            let made = Transcoder::new(encoding, rate);
            assert_eq!(made.is_ok(), spoken, "{encoding:?} {rate}");
            if let Err(error) = made {
                assert_eq!(error, Unsupported { encoding, rate });
                assert!(error.to_string().len() <= 123, "{error}");
            }
        };
        check(Encoding::L16, 0, false);
        check(Encoding::L16, 7999, false);
        check(Encoding::L16, 11_025, true);
        check(Encoding::L16, 32_000, true);
        check(Encoding::L16, 48_001, false);
        check(Encoding::Alaw, u32::MAX, false);
        check(Encoding::L16, 9001, false);
        check(Encoding::G722, 24_000, false);
        check(Encoding::Opus, 48_000, false);
    }

    #[test]
    fn a_sample_cut_in_two_waits_for_its_rest() {
        let mut transcoder = Transcoder::new(Encoding::L16, 8000).unwrap();
        let mut heard = Vec::new();
        for message in [&[1][..], &[], &[2, 3], &[4], &[5], &[6, 7, 8]] {
            transcoder.decode(message, &mut heard);
        }
        assert_eq!(heard, [0x0201, 0x0403, 0x0605, 0x0807]);
    }

    /// What libg722 made is read as it reads it, and what we make too, but for the first step of the adaptation, which
    /// starts elsewhere and fades.
    #[test]
    fn g722_is_that_of_an_independent_program() {
        let samples = |bytes: &[u8]| -> Vec<i16> {
            bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
        };
        let voice = samples(include_bytes!("fixtures/voice_16k.pcm"));
        let theirs = include_bytes!("fixtures/voice.g722");
        let decoded = samples(include_bytes!("fixtures/voice_decoded_16k.pcm"));
        let coder = || Transcoder::new(Encoding::G722, 16_000).unwrap().coder;
        // Of what was decoded, the power of the difference to libg722's, in dB; the first three quarters left out: it fades by 1/256 a step.
        let off_db = |bytes: &[u8]| {
            let mut heard = Vec::new();
            coder().decode(bytes, &mut heard);
            assert_eq!(heard.len(), decoded.len());
            let pairs = heard.iter().zip(&decoded).skip(2400).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            let (off, whole) = pairs.fold((0.0, 0.0), |sum, (a, b)| (sum.0 + (a - b).powi(2), sum.1 + b * b));
            10.0 * (off / whole).log10()
        };
        let mut ours = Vec::new();
        assert_eq!(coder().encode(&voice, &mut ours), voice.len());
        let (theirs_db, ours_db) = (off_db(theirs), off_db(&ours));
        assert!(theirs_db < -30.0 && ours_db < -30.0, "{theirs_db:.1} dB, {ours_db:.1} dB");
    }
}
