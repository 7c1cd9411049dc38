//! Piper voices: VITS models run by the ONNX Runtime, on phonemes from an espeak-ng child process.
//! It must never be called on a tokio worker: a second of speech costs a good tenth of a second of CPU.

use std::fmt;

use ort::session::Session;
use ort::value::Tensor;

use super::espeak::Phonemizer;
use super::phonemes::{VoiceConfig, parts};
use super::pool::Synthesiser;
use super::shape::Waveform;
use crate::provider::config::{Engine, VoiceSpec};
use crate::provider::error::ProviderError;
use crate::provider::models::PiperFiles;
use crate::provider::onnx;
use crate::provider::timing::{self, Kind};

/// Vendor word.
pub const VENDOR: &str = "piper";

/// One thread's voice.
pub struct Piper {
    name: String,
    model: Session,
    config: VoiceConfig,
    phonemizer: Phonemizer,
}

impl fmt::Debug for Piper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piper").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Piper {
    /// Loads the voice called `name` and lets it say a word, so that the first call does not wait for its first run.
    ///
    /// # Errors
    /// If a file can't be read, is not a single-speaker Piper voice, or the voice does not speak.
    pub fn load(name: &str, files: &PiperFiles) -> Result<Self, ProviderError> {
        let unreadable = |e: &dyn fmt::Display| ProviderError::engine(VENDOR, "reading its settings", e);
        let config = std::fs::read(&files.config).map_err(|e| unreadable(&e))?;
        let config: VoiceConfig = serde_json::from_slice(&config).map_err(|e| unreadable(&e))?;
        let model = onnx::load(VENDOR, &files.runtime, &files.model)?;
        let phonemizer = Phonemizer::new(&config.espeak.voice);
        let mut piper = Self { name: name.to_owned(), model, config, phonemizer };
        piper.synthesise(&VoiceSpec::new(Engine::Piper, name), "Hello.")?;
        Ok(piper)
    }

    fn run(&mut self, ids: Vec<i64>, length_scale: f32) -> ort::Result<Vec<f32>> {
        let count = ids.len();
        let inference = &self.config.inference;
        let scales = vec![inference.noise_scale, inference.length_scale * length_scale, inference.noise_w];
        let outputs = self.model.run(ort::inputs![
            "input" => Tensor::from_array(([1, count], ids))?,
            "input_lengths" => Tensor::from_array(([1usize], vec![count as i64]))?,
            "scales" => Tensor::from_array(([3usize], scales))?,
        ])?;
        let (_, output) = outputs.iter().next().ok_or_else(|| ort::Error::new("the model gave nothing"))?;
        Ok(output.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

impl Synthesiser for Piper {
    fn engine(&self) -> Engine {
        Engine::Piper
    }

    fn synthesise(&mut self, spec: &VoiceSpec, text: &str) -> Result<Waveform, ProviderError> {
        if spec.name != self.name {
            return Err(ProviderError::Unsupported { vendor: VENDOR, what: "voice" });
        }
        let parts = parts(text);
        let phonemes = self.phonemizer.phonemes(parts.iter().map(|part| part.text.as_str()))?;
        let spoken: Vec<(String, char)> =
            phonemes.into_iter().zip(parts).map(|(phonemes, part)| (phonemes, part.mark)).collect();
        let (ids, unknown) = self.config.ids(&spoken);
        if unknown > 0 {
            timing::count_failure(Kind::Tts, VENDOR, "unknown_phoneme");
        }
        let samples = self.run(ids, spec.pitch() / spec.speed());
        let samples = samples.map_err(|e| ProviderError::engine(VENDOR, "speaking", e))?;
        Ok(Waveform { samples, rate: self.config.audio.sample_rate })
    }
}

/// Whether the program that Piper gets its phonemes from is installed.
pub fn has_phonemizer() -> bool {
    Phonemizer::is_available()
}
