//! Piper voices: VITS models run by `rten`, on phonemes from an espeak-ng child process.
//! It must never be called on a tokio worker: a second of speech costs a good tenth of a second of CPU.

use std::fmt;
use std::sync::Arc;

use rten::{Model, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use super::espeak::Phonemizer;
use super::phonemes::{VoiceConfig, parts};
use super::pool::Synthesiser;
use super::shape::Waveform;
use crate::provider::config::{Engine, VoiceSpec};
use crate::provider::error::ProviderError;
use crate::provider::models::PiperFiles;
use crate::provider::timing::{self, Kind};

/// Vendor word.
pub const VENDOR: &str = "piper";

/// A loaded voice; its weights are shared by all threads.
pub struct PiperVoice {
    name: String,
    model: Model,
    input: NodeId,
    input_lengths: NodeId,
    scales: NodeId,
    output: NodeId,
    config: VoiceConfig,
}

impl fmt::Debug for PiperVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PiperVoice").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PiperVoice {
    /// Loads the voice called `name`.
    ///
    /// # Errors
    /// If a file can't be read or is not a single-speaker Piper voice.
    pub fn load(name: &str, files: &PiperFiles) -> Result<Self, ProviderError> {
        let config =
            std::fs::read(&files.config).map_err(|e| ProviderError::engine(VENDOR, "reading its settings", e))?;
        let config: VoiceConfig =
            serde_json::from_slice(&config).map_err(|e| ProviderError::engine(VENDOR, "reading its settings", e))?;
        let model =
            Model::load_file(&files.model).map_err(|e| ProviderError::engine(VENDOR, "loading its model", e))?;
        let node = |name| model.node_id(name).map_err(|e| ProviderError::engine(VENDOR, "loading its model", e));
        let (input, input_lengths, scales) = (node("input")?, node("input_lengths")?, node("scales")?);
        let output = *model
            .output_ids()
            .first()
            .ok_or_else(|| ProviderError::engine(VENDOR, "loading its model", "no output"))?;
        Ok(Self { name: name.to_owned(), model, input, input_lengths, scales, output, config })
    }

    fn speak(&self, ids: Vec<i32>, length_scale: f32, threads: &Arc<ThreadPool>) -> Result<Waveform, ProviderError> {
        let failed = |e: &dyn fmt::Display| ProviderError::engine(VENDOR, "speaking", e);
        let count = ids.len();
        let length = i32::try_from(count).map_err(|e| failed(&e))?;
        let inference = &self.config.inference;
        let scales = vec![inference.noise_scale, inference.length_scale * length_scale, inference.noise_w];
        let inputs: Vec<(NodeId, ValueOrView<'_>)> = vec![
            (self.input, NdTensor::from_data([1, count], ids).into()),
            (self.input_lengths, NdTensor::from_data([1], vec![length]).into()),
            (self.scales, NdTensor::from_data([3], scales).into()),
        ];
        let mut options = RunOptions::default();
        options.thread_pool = Some(Arc::clone(threads));
        let [output] = self.model.run_n(inputs, [self.output], Some(options)).map_err(|e| failed(&e))?;
        let output: Tensor<f32> = output.try_into().map_err(|_| failed(&"the output is no audio"))?;
        Ok(Waveform { samples: output.to_vec(), rate: self.config.audio.sample_rate })
    }
}

/// One thread's Piper.
#[derive(Debug)]
pub struct Piper {
    voice: Arc<PiperVoice>,
    phonemizer: Phonemizer,
    threads: Arc<ThreadPool>,
}

impl Piper {
    /// Speaks with `voice`, each clause on `threads`.
    pub fn new(voice: Arc<PiperVoice>, threads: Arc<ThreadPool>) -> Self {
        let phonemizer = Phonemizer::new(&voice.config.espeak.voice);
        Self { voice, phonemizer, threads }
    }
}

impl Synthesiser for Piper {
    fn engine(&self) -> Engine {
        Engine::Piper
    }

    fn synthesise(&mut self, spec: &VoiceSpec, text: &str) -> Result<Waveform, ProviderError> {
        if spec.name != self.voice.name {
            return Err(ProviderError::Unsupported { vendor: VENDOR, what: "voice" });
        }
        let parts = parts(text);
        let phonemes = self.phonemizer.phonemes(parts.iter().map(|part| part.text.as_str()))?;
        let spoken: Vec<(String, char)> =
            phonemes.into_iter().zip(parts).map(|(phonemes, part)| (phonemes, part.mark)).collect();
        let (ids, unknown) = self.voice.config.ids(&spoken);
        if unknown > 0 {
            timing::count_failure(Kind::Tts, VENDOR, "unknown_phoneme");
        }
        self.voice.speak(ids, spec.pitch() / spec.speed(), &self.threads)
    }
}

/// Whether the program that Piper gets its phonemes from is installed.
pub fn has_phonemizer() -> bool {
    Phonemizer::is_available()
}
