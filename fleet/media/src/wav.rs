//! WAV headers for a file that grows, and a reader for small WAVs held in memory.
//! Never opens a file and never trusts a length in one.

use crate::codec::g711;

/// Bytes of a header made here.
pub const HEADER: usize = 44;

/// The shape of a 16-bit PCM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavFormat {
    /// Channels, 1 or 2 for us.
    pub channels: u16,
    /// Frames a second.
    pub sample_rate: u32,
}

/// A stereo recording of a narrowband call.
pub const CALL_RECORDING: WavFormat = WavFormat { channels: 2, sample_rate: crate::SAMPLE_RATE };

impl WavFormat {
    /// The header of a file with this many bytes of samples. Lengths over 4 GiB are capped.
    pub fn header(&self, data_bytes: u64) -> [u8; HEADER] {
        let frame = self.channels * 2;
        let (riff, data) = lengths(data_bytes);
        let mut header = [0; HEADER];
        header[0..4].copy_from_slice(b"RIFF");
        header[4..8].copy_from_slice(&riff);
        header[8..16].copy_from_slice(b"WAVEfmt ");
        header[16..20].copy_from_slice(&16u32.to_le_bytes());
        header[20..22].copy_from_slice(&1u16.to_le_bytes());
        header[22..24].copy_from_slice(&self.channels.to_le_bytes());
        header[24..28].copy_from_slice(&self.sample_rate.to_le_bytes());
        header[28..32].copy_from_slice(&(self.sample_rate * u32::from(frame)).to_le_bytes());
        header[32..34].copy_from_slice(&frame.to_le_bytes());
        header[34..36].copy_from_slice(&16u16.to_le_bytes());
        header[36..40].copy_from_slice(b"data");
        header[40..44].copy_from_slice(&data);
        header
    }
}

/// What to write where when the length of a file made with [`WavFormat::header`] is known.
pub fn patches(data_bytes: u64) -> [(u64, [u8; 4]); 2] {
    let (riff, data) = lengths(data_bytes);
    [(4, riff), (40, data)]
}

fn lengths(data_bytes: u64) -> ([u8; 4], [u8; 4]) {
    let data = data_bytes.min(u64::from(u32::MAX) - 36) as u32;
    ((data + 36).to_le_bytes(), data.to_le_bytes())
}

/// Decoded audio of a WAV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Channels.
    pub channels: u16,
    /// Frames a second.
    pub sample_rate: u32,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

/// Why bytes are no WAV that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// No RIFF/WAVE header.
    #[error("not a WAV file")]
    NotWav,
    /// No `fmt ` chunk before the samples, or one that makes no sense.
    #[error("bad format chunk")]
    Format,
    /// An encoding other than PCM of 8 or 16 bits, float of 32 bits, mu-law and A-law.
    #[error("unsupported encoding (tag {tag}, {bits} bits)")]
    Unsupported {
        /// Format tag.
        tag: u16,
        /// Bits a sample.
        bits: u16,
    },
    /// No samples.
    #[error("no data chunk")]
    NoData,
}

impl Wav {
    /// Reads a file held in memory. A data length beyond the end (a file still being written) means
    /// all that is there.
    ///
    /// # Errors
    /// [`WavError`] says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, WavError> {
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
            return Err(WavError::NotWav);
        }
        let mut rest = &bytes[12..];
        let mut format = None;
        while let Some((head, body)) = rest.split_first_chunk::<8>() {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let chunk = &body[..length.min(body.len())];
            match &head[..4] {
                b"fmt " => format = Some(Format::parse(chunk)?),
                b"data" => return format.ok_or(WavError::Format)?.decode(chunk),
                _ => {}
            }
            // Chunks are padded to an even length.
            rest = body.get(length.saturating_add(length & 1)..).unwrap_or_default();
        }
        Err(if format.is_some() { WavError::NoData } else { WavError::Format })
    }

    /// The samples of one channel; all of them of a mono file.
    pub fn channel(&self, index: u16) -> Vec<i16> {
        let step = usize::from(self.channels.max(1));
        self.samples.iter().skip(usize::from(index)).step_by(step).copied().collect()
    }
}

struct Format {
    tag: u16,
    channels: u16,
    sample_rate: u32,
    bits: u16,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Self, WavError> {
        let (head, more) = chunk.split_first_chunk::<16>().ok_or(WavError::Format)?;
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let mut tag = word(0);
        if tag == 0xFFFE {
            // WAVE_FORMAT_EXTENSIBLE: the tag starts the sub-format.
            tag = more.get(8..10).map_or(tag, |t| u16::from_le_bytes([t[0], t[1]]));
        }
        let format = Self {
            tag,
            channels: word(2),
            sample_rate: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            bits: word(14),
        };
        if format.channels == 0 || format.sample_rate == 0 {
            return Err(WavError::Format);
        }
        Ok(format)
    }

    fn decode(&self, data: &[u8]) -> Result<Wav, WavError> {
        let samples = match (self.tag, self.bits) {
            (1, 8) => data.iter().map(|b| (i16::from(*b) - 128) << 8).collect(),
            (1, 16) => data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(),
            (3, 32) => {
                data.chunks_exact(4).map(|b| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]) * 32768.0) as i16).collect()
            }
            (6, 8) => data.iter().map(|b| g711::ALAW_DECODE[usize::from(*b)]).collect(),
            (7, 8) => data.iter().map(|b| g711::ULAW_DECODE[usize::from(*b)]).collect(),
            (tag, bits) => return Err(WavError::Unsupported { tag, bits }),
        };
        Ok(Wav { channels: self.channels, sample_rate: self.sample_rate, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(samples: &[i16]) -> Vec<u8> {
        let mut bytes = CALL_RECORDING.header(samples.len() as u64 * 2).to_vec();
        bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        bytes
    }

    #[test]
    fn hound_reads_what_we_write() {
        let samples: Vec<i16> = (-200..200).map(|n| n * 80).collect();
        let mut reader = hound::WavReader::new(Cursor::new(file(&samples))).unwrap();
        assert_eq!(reader.spec().channels, 2);
        assert_eq!(reader.spec().sample_rate, 8000);
        assert_eq!(reader.spec().bits_per_sample, 16);
        assert_eq!(reader.duration(), 200);
        assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), samples);
    }

    #[test]
    fn a_patched_header_is_the_header_of_the_whole() {
        let mut header = CALL_RECORDING.header(0);
        for (at, bytes) in patches(123_456) {
            header[at as usize..at as usize + 4].copy_from_slice(&bytes);
        }
        assert_eq!(header, CALL_RECORDING.header(123_456));
        assert_eq!(CALL_RECORDING.header(u64::MAX)[4..8], [0xFF; 4]);
    }

    #[test]
    fn we_read_what_hound_writes() {
        for bits in [8, 16, 32] {
            let mut bytes = Cursor::new(Vec::new());
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate: 22_050,
                bits_per_sample: bits,
                sample_format: if bits == 32 { hound::SampleFormat::Float } else { hound::SampleFormat::Int },
            };
            let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
            for n in [-64, 0, 63] {
                match bits {
                    8 => writer.write_sample(n as i8).unwrap(),
                    16 => writer.write_sample((n << 8) as i16).unwrap(),
                    _ => writer.write_sample(n as f32 / 128.0).unwrap(),
                }
            }
            writer.finalize().unwrap();
            let wav = Wav::read(bytes.get_ref()).unwrap();
            assert_eq!(wav.samples, [-64 << 8, 0, 63 << 8], "{bits} bits");
            assert_eq!((wav.channels, wav.sample_rate), (1, 22_050));
        }
    }

    #[test]
    fn channels_come_apart() {
        let wav = Wav::read(&file(&[1, -1, 2, -2, 3, -3])).unwrap();
        assert_eq!((wav.channel(0), wav.channel(1)), (vec![1, 2, 3], vec![-1, -2, -3]));
    }

    #[test]
    fn a_file_still_being_written_is_read_to_its_end() {
        let mut bytes = file(&[7; 100]);
        bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Wav::read(&bytes).unwrap().samples, [7; 100]);
    }

    #[test]
    fn refuses_or_reads_every_prefix_without_panic() {
        let bytes = file(&[7; 4]);
        for length in 0..bytes.len() {
            let read = Wav::read(&bytes[..length]);
            match length {
                0..12 => assert_eq!(read, Err(WavError::NotWav)),
                12..36 => assert_eq!(read, Err(WavError::Format)),
                36..44 => assert_eq!(read, Err(WavError::NoData)),
                _ => assert!(read.is_ok()),
            }
        }
        let mut odd = bytes.clone();
        odd[34] = 24;
        assert_eq!(Wav::read(&odd), Err(WavError::Unsupported { tag: 1, bits: 24 }));
    }
}
