//! What customers say: spoken by a program of others, as G.711 for peers that play it.
//! It must never be made by the product's own voice or codec.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Speech, 8 kHz.
#[derive(Debug, Clone, Default)]
pub struct Speech {
    pub samples: Vec<i16>,
}

impl Speech {
    /// Lets `espeak-ng` say something.
    ///
    /// # Errors
    /// It is not there, or says nothing.
    pub fn espeak(text: &str) -> Result<Self> {
        Self::said_by(Command::new("espeak-ng").args(["-v", "en-us", "-s", "140", "--stdout", text]))
    }

    /// Lets `flite` say something: a voice that recognisers understand well.
    ///
    /// # Errors
    /// It is not there, or says nothing.
    pub fn flite(text: &str) -> Result<Self> {
        Self::said_by(Command::new("flite").args(["-voice", "slt", "-t", text, "-o", "/dev/stdout"]))
    }

    fn said_by(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let output = output.with_context(|| format!("{command:?}"))?;
        ensure!(output.status.success(), "{command:?} ended with {}", output.status);
        let (rate, samples) = wav(&output.stdout)?;
        ensure!(samples.len() > 1000, "{command:?} said nothing");
        Ok(Self { samples: resample(&samples, rate) })
    }

    /// Silence.
    pub fn silence(seconds: f64) -> Self {
        Self { samples: vec![0; (seconds * 8000.0) as usize] }
    }

    /// One after the other.
    #[must_use]
    pub fn then(mut self, next: &Self) -> Self {
        self.samples.extend(&next.samples);
        self
    }

    /// Silent until `seconds` from the start.
    #[must_use]
    pub fn until(self, seconds: f64) -> Self {
        let left = seconds - self.seconds();
        self.then(&Self::silence(left.max(0.0)))
    }

    /// Length, seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / 8000.0
    }

    /// Writes raw mu-law, as SIPp streams it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_ulaw(&self, path: &Path) -> Result<PathBuf> {
        let bytes: Vec<u8> = self.samples.iter().map(|sample| to_ulaw(*sample)).collect();
        std::fs::write(path, bytes)?;
        Ok(path.to_owned())
    }

    /// Writes a mono WAV, as baresip plays it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_wav(&self, path: &Path) -> Result<PathBuf> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec)?;
        for sample in &self.samples {
            writer.write_sample(*sample)?;
        }
        writer.finalize()?;
        Ok(path.to_owned())
    }
}

/// The samples of a mono WAV of 16 bits whose header may lie about its length: it came through a pipe.
fn wav(bytes: &[u8]) -> Result<(u32, Vec<i16>)> {
    ensure!(bytes.len() > 44 && &bytes[..4] == b"RIFF", "no WAV");
    let rate = u32::from_le_bytes(bytes[24..28].try_into()?);
    let data = bytes.windows(4).position(|word| word == b"data").context("a WAV without data")? + 8;
    let samples = bytes[data..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Ok((rate, samples))
}

/// To 8 kHz: a mean over what each new sample stands for, which also keeps aliases down.
fn resample(samples: &[i16], rate: u32) -> Vec<i16> {
    let step = f64::from(rate) / 8000.0;
    let reach = (step / 2.0).max(0.5);
    let count = (samples.len() as f64 / step) as usize;
    let mean = |index: usize| {
        let middle = index as f64 * step;
        let from = (middle - reach).max(0.0).ceil() as usize;
        let to = ((middle + reach).floor() as usize).min(samples.len().saturating_sub(1));
        let part = &samples[from.min(to)..=to];
        (part.iter().map(|sample| f64::from(*sample)).sum::<f64>() / part.len() as f64) as i16
    };
    (0..count).map(mean).collect()
}

/// ITU-T G.711 mu-law, written from the Recommendation for the peers' side.
pub fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = u32::from(sample.unsigned_abs()).min(32_635) + 132;
    let exponent = (31 - magnitude.leading_zeros()).saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// The reverse of [`to_ulaw`].
pub fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = u32::from(byte >> 4 & 7);
    let magnitude = (((u32::from(byte & 15) << 3) + 132) << exponent) - 132;
    let magnitude = i16::try_from(magnitude).unwrap_or(i16::MAX);
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_is_the_usual_one() {
        for (sample, byte) in [(0, 0xff), (32_124, 0x80), (-32_124, 0x00), (8, 0xfe), (132, 0xef)] {
            assert_eq!(to_ulaw(sample), byte, "{sample}");
        }
        for byte in 0..=255_u8 {
            // There are two zeros.
            assert!(to_ulaw(from_ulaw(byte)) == byte || byte == 0x7f, "{byte}");
        }
    }

    #[test]
    fn a_tone_survives_resampling() {
        let tone: Vec<i16> = (0..22_050).map(|i| ((f64::from(i) * 0.125).sin() * 9000.0) as i16).collect();
        let low = resample(&tone, 22_050);
        assert_eq!(low.len(), 8000);
        let peak = low.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
        assert!((8000..=9000).contains(&peak), "{peak}");
    }
}
