//! Moonshine tiny-en: 16 kHz audio to English text, by the ONNX Runtime that came with the model.
//! It must never be called on a tokio worker: one second of audio costs a tenth of a second of CPU.

use std::borrow::Cow;
use std::sync::Arc;

use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use super::pool::{Recogniser, Transcript};
use super::tokenizer::Tokenizer;
use super::voicing::has_voice;
use crate::provider::error::ProviderError;
use crate::provider::models::MoonshineFiles;
use crate::provider::onnx;

/// Vendor word.
pub const VENDOR: &str = "moonshine";

/// Samples a second that the model hears.
pub const RATE: u32 = 16_000;

const START_TOKEN: i64 = 1;
const END_TOKEN: usize = 2;
const HEADS: usize = 8;
const HEAD_SIZE: usize = 36;

/// More tokens than this for a second of audio are the model talking to itself.
const TOKENS_PER_SECOND: f32 = 6.5;

/// Shorter audio is padded with silence: on less the model invents words.
const SHORTEST: usize = RATE as usize / 2;

/// Loads one recogniser for each thread that will own one.
///
/// # Errors
/// If the runtime or a model file can't be loaded.
pub fn load(files: &MoonshineFiles, count: usize) -> Result<Vec<Box<dyn Recogniser>>, ProviderError> {
    let bytes =
        std::fs::read(&files.tokenizer).map_err(|e| ProviderError::engine(VENDOR, "reading its tokenizer", e))?;
    let tokenizer = Tokenizer::parse(&bytes).map_err(|e| ProviderError::engine(VENDOR, "reading its tokenizer", e))?;
    let tokenizer = Arc::new(tokenizer);
    let one = || Moonshine::load(files, Arc::clone(&tokenizer)).map(|m| Box::new(m) as Box<dyn Recogniser>);
    (0..count).map(|_| one()).collect()
}

/// One thread's model.
#[derive(Debug)]
pub struct Moonshine {
    encoder: Session,
    decoder: Session,
    decoder_inputs: Vec<DecoderInput>,
    tokenizer: Arc<Tokenizer>,
}

/// What the decoder wants at one of its inputs, in its order.
#[derive(Debug)]
enum DecoderInput {
    EncoderMask,
    InputIds,
    EncoderStates,
    UseCache,
    /// Keys or values of the steps before; `output` is where the next ones come from.
    Past {
        name: String,
        output: String,
        of_encoder: bool,
    },
}

impl Moonshine {
    fn load(files: &MoonshineFiles, tokenizer: Arc<Tokenizer>) -> Result<Self, ProviderError> {
        let encoder = onnx::load(VENDOR, &files.runtime, &files.encoder)?;
        let decoder = onnx::load(VENDOR, &files.runtime, &files.decoder)?;
        let decoder_inputs =
            decoder.inputs().iter().map(|input| DecoderInput::parse(input.name())).collect::<Result<_, _>>()?;
        let mut moonshine = Self { encoder, decoder, decoder_inputs, tokenizer };
        // So that the first call does not wait for the first run.
        moonshine.listen(&[0.0; SHORTEST], &|| true)?;
        Ok(moonshine)
    }

    /// Tokens of `audio` and the mean logarithm of their probabilities; `None` if told to stop.
    fn listen(&mut self, audio: &[f32], go_on: &dyn Fn() -> bool) -> Result<Option<(Vec<usize>, f32)>, ProviderError> {
        let seconds = audio.len() as f32 / RATE as f32;
        let limit = (seconds * TOKENS_PER_SECOND) as usize + 4;
        let states = self.encode(audio).map_err(|e| ProviderError::engine(VENDOR, "encoding", e))?;
        self.decode(&states, limit, go_on).map_err(|e| ProviderError::engine(VENDOR, "decoding", e))
    }

    fn encode(&mut self, audio: &[f32]) -> ort::Result<DynValue> {
        let mut padded;
        let audio = if audio.len() < SHORTEST {
            padded = audio.to_vec();
            padded.resize(SHORTEST, 0.0);
            padded
        } else {
            audio.to_vec()
        };
        let length = audio.len();
        let mask = Tensor::from_array(([1, length], vec![1i64; length]))?;
        let audio = Tensor::from_array(([1, length], audio))?;
        let mut outputs = self.encoder.run(ort::inputs!["input_values" => audio, "attention_mask" => mask])?;
        let name = outputs.keys().next().map(str::to_owned).unwrap_or_default();
        outputs.remove(&name).ok_or_else(|| ort::Error::new("the encoder gave nothing"))
    }

    /// Greedy decoding: tokens and the mean logarithm of their probabilities; `None` if told to stop.
    fn decode(
        &mut self,
        states: &DynValue,
        limit: usize,
        go_on: &dyn Fn() -> bool,
    ) -> ort::Result<Option<(Vec<usize>, f32)>> {
        let frames = states.shape().get(1).copied().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let mask = Tensor::from_array(([1, frames], vec![1i64; frames]))?.into_dyn();
        let mut past = self.empty_past()?;
        let (mut tokens, mut last, mut log_sum) = (Vec::new(), START_TOKEN, 0.0);
        for step in 0..limit {
            if !go_on() {
                return Ok(None);
            }
            let ids = Tensor::from_array(([1usize, 1], vec![last]))?.into_dyn();
            let use_cache = Tensor::from_array(([1usize], vec![step > 0]))?.into_dyn();
            let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(self.decoder_inputs.len());
            let mut cached = past.iter();
            for input in &self.decoder_inputs {
                let value: &DynValue = match input {
                    DecoderInput::EncoderMask => &mask,
                    DecoderInput::InputIds => &ids,
                    DecoderInput::EncoderStates => states,
                    DecoderInput::UseCache => &use_cache,
                    DecoderInput::Past { .. } => {
                        cached.next().ok_or_else(|| ort::Error::new("a cache entry is missing"))?
                    }
                };
                inputs.push((Cow::Borrowed(input.name()), SessionInputValue::from(value)));
            }
            let mut outputs = self.decoder.run(inputs)?;
            let (token, log_probability) =
                likeliest(outputs["logits"].try_extract_tensor::<f32>()?.1, self.tokenizer.len());
            log_sum += log_probability;
            if token == END_TOKEN {
                return Ok(Some((tokens, log_sum / (step + 1) as f32)));
            }
            tokens.push(token);
            last = token as i64;
            let caches = self.decoder_inputs.iter().filter_map(DecoderInput::as_past);
            for (slot, (output, of_encoder)) in past.iter_mut().zip(caches) {
                // The encoder's keys and values are computed at the first step only.
                if step == 0 || !of_encoder {
                    *slot = outputs.remove(output).ok_or_else(|| ort::Error::new("the decoder gave no cache"))?;
                }
            }
        }
        let steps = tokens.len().max(1) as f32;
        Ok(Some((tokens, log_sum / steps)))
    }

    fn empty_past(&self) -> ort::Result<Vec<DynValue>> {
        let empty = || Tensor::<f32>::new(&Allocator::default(), [1usize, HEADS, 0, HEAD_SIZE]).map(|t| t.into_dyn());
        self.decoder_inputs.iter().filter_map(DecoderInput::as_past).map(|_| empty()).collect()
    }
}

impl Recogniser for Moonshine {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn transcribe(&mut self, audio: &[f32], go_on: &dyn Fn() -> bool) -> Result<Option<Transcript>, ProviderError> {
        if !has_voice(audio) {
            return Ok(Some(Transcript { text: String::new(), confidence: 0.0 }));
        }
        let heard = self.listen(audio, go_on)?;
        Ok(heard.map(|(tokens, mean_log)| Transcript {
            text: self.tokenizer.decode(&tokens),
            confidence: mean_log.exp().clamp(0.0, 1.0),
        }))
    }
}

impl DecoderInput {
    fn parse(name: &str) -> Result<Self, ProviderError> {
        Ok(match name {
            "encoder_attention_mask" => Self::EncoderMask,
            "input_ids" => Self::InputIds,
            "encoder_hidden_states" => Self::EncoderStates,
            "use_cache_branch" => Self::UseCache,
            past => {
                let Some(rest) = past.strip_prefix("past_key_values") else {
                    return Err(ProviderError::engine(VENDOR, "reading its decoder", format!("unknown input {past}")));
                };
                Self::Past {
                    name: past.to_owned(),
                    output: format!("present{rest}"),
                    of_encoder: rest.contains("encoder"),
                }
            }
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::EncoderMask => "encoder_attention_mask",
            Self::InputIds => "input_ids",
            Self::EncoderStates => "encoder_hidden_states",
            Self::UseCache => "use_cache_branch",
            Self::Past { name, .. } => name,
        }
    }

    fn as_past(&self) -> Option<(&str, bool)> {
        match self {
            Self::Past { output, of_encoder, .. } => Some((output, *of_encoder)),
            Self::EncoderMask | Self::InputIds | Self::EncoderStates | Self::UseCache => None,
        }
    }
}

/// The likeliest token of the last position and the logarithm of its probability.
fn likeliest(logits: &[f32], vocabulary: usize) -> (usize, f32) {
    let logits = &logits[logits.len().saturating_sub(vocabulary)..];
    let (mut best, mut highest) = (END_TOKEN, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > highest {
            (best, highest) = (token, logit);
        }
    }
    let sum: f32 = logits.iter().map(|&logit| (logit - highest).exp()).sum();
    (best, -sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_token_and_its_probability() {
        let (token, log) = likeliest(&[9.0, 9.0, 0.0, 0.0, f32::ln(2.0), 0.0], 4);
        assert_eq!(token, 2);
        assert!((log.exp() - 0.4).abs() < 1e-5, "{}", log.exp());
        assert_eq!(likeliest(&[], 4).0, END_TOKEN);
    }

    #[test]
    fn decoder_inputs() {
        let past = DecoderInput::parse("past_key_values.3.encoder.key").unwrap();
        assert_eq!(past.as_past(), Some(("present.3.encoder.key", true)));
        assert_eq!(past.name(), "past_key_values.3.encoder.key");
        let past = DecoderInput::parse("past_key_values.0.decoder.value").unwrap();
        assert_eq!(past.as_past(), Some(("present.0.decoder.value", false)));
        for name in ["encoder_attention_mask", "input_ids", "encoder_hidden_states", "use_cache_branch"] {
            assert_eq!(DecoderInput::parse(name).unwrap().name(), name);
        }
        assert!(DecoderInput::parse("surprise").is_err());
    }
}
