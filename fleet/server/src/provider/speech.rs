//! The speech of this server: its recogniser, its voices and their threads, shared by all calls.
//! It must never keep a server from starting: what is missing is said, and calls go on without it.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, available_parallelism};

use super::config::{Engine, VoiceSpec};
use super::error::ProviderError;
use super::models::{ModelSet, PiperFiles};
use super::stt::segmenter::SegmentConfig;
use super::stt::{LocalStt, NoStt, RecogniserPool, Stt, moonshine};
use super::tts::flite::{self, Flite};
use super::tts::piper::{self, Piper};
use super::tts::{LocalTts, NoTts, SynthesiserPool, SynthesiserSet, Tts};

/// Languages that Moonshine tiny-en knows.
const LANGUAGES: &[&str] = &["en"];

/// How much of the machine speech may take.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechConfig {
    /// Threads that recognise; each holds its own model of about 100 MB.
    pub stt_threads: usize,
    /// Threads that synthesise; each holds its own voice of about 150 MB.
    pub tts_threads: usize,
    /// Bytes of audio kept of what was said before.
    pub cache_bytes: usize,
    pub segments: SegmentConfig,
    /// The voice of bots that name none.
    pub default_voice: VoiceSpec,
}

impl Default for SpeechConfig {
    /// Half the cores to each side, as one of a call's two ends is silent while the other speaks.
    fn default() -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        let half = cores.div_ceil(2);
        Self {
            stt_threads: half.max(2),
            tts_threads: half,
            cache_bytes: 32 << 20,
            segments: SegmentConfig::default(),
            default_voice: VoiceSpec::new(Engine::Piper, "joe"),
        }
    }
}

/// What speech this server has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpeechStatus {
    /// Who recognises; `None`: nobody, calls go by silence and DTMF.
    pub stt: Option<&'static str>,
    /// Who speaks, best first; empty: nobody.
    pub tts: Vec<&'static str>,
    /// What is missing or broken, and what to do about it; one line each.
    pub warnings: Vec<String>,
}

impl SpeechStatus {
    /// Whether it is all there, with nothing to say.
    pub fn is_complete(&self) -> bool {
        self.warnings.is_empty()
    }
}

impl fmt::Display for SpeechStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voices = if self.tts.is_empty() { "none".to_owned() } else { self.tts.join(", ") };
        write!(f, "speech recognition: {}; voices: {voices}", self.stt.unwrap_or("none"))?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

/// The pools, shared by all calls. Dropping it lets their threads end.
pub struct Speech {
    stt: Arc<dyn Stt>,
    tts: Arc<dyn Tts>,
    default_voice: VoiceSpec,
    status: SpeechStatus,
}

impl fmt::Debug for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speech").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Speech {
    /// Loads what `models` has and starts the threads; takes a second or two and blocks.
    ///
    /// Never fails: what can't be had is in [`Speech::status`].
    pub fn load(models: &ModelSet, config: SpeechConfig) -> Self {
        let ((stt, heard), (tts, spoken)) = thread::scope(|scope| {
            let stt = scope.spawn(|| load_stt(models, &config));
            let tts = load_tts(models, &config);
            (stt.join().unwrap_or_else(|panic| resume_unwind(panic)), tts)
        });
        let status =
            SpeechStatus { stt: heard.stt, tts: spoken.tts, warnings: [heard.warnings, spoken.warnings].concat() };
        Self { stt, tts, default_voice: config.default_voice, status }
    }

    /// Looks into the models folder and loads what is there; warns about what is not.
    pub fn load_from_default_dir(config: SpeechConfig) -> Self {
        let (models, missing) = ModelSet::scan(&ModelSet::default_dir());
        let mut speech = Self::load(&models, config);
        if let Some(missing) = missing {
            speech.status.warnings.insert(0, missing.to_string());
        }
        speech
    }

    /// Speech by others than the models of this process: fakes, or services.
    pub fn of(stt: Arc<dyn Stt>, tts: Arc<dyn Tts>, default_voice: VoiceSpec) -> Self {
        let status =
            SpeechStatus { stt: Some(stt.vendor()), tts: vec![default_voice.engine.word()], warnings: Vec::new() };
        Self { stt, tts, default_voice, status }
    }

    /// The recogniser; one that refuses every session where there is none.
    pub fn stt(&self) -> &Arc<dyn Stt> {
        &self.stt
    }

    /// The synthesiser; one that refuses every session where there is none.
    pub fn tts(&self) -> &Arc<dyn Tts> {
        &self.tts
    }

    /// The voice of bots that name none.
    pub fn default_voice(&self) -> VoiceSpec {
        self.default_voice.clone()
    }

    /// What there is and what is missing, for whoever starts the server to print.
    pub fn status(&self) -> &SpeechStatus {
        &self.status
    }
}

fn load_stt(models: &ModelSet, config: &SpeechConfig) -> (Arc<dyn Stt>, SpeechStatus) {
    let mut status = SpeechStatus::default();
    let loaded = match &models.moonshine {
        Some(files) => moonshine::load(files, config.stt_threads.max(1)).and_then(RecogniserPool::start),
        None => Err(ProviderError::Unavailable { what: "the speech recognition model" }),
    };
    match loaded {
        Ok(pool) => {
            status.stt = Some(pool.vendor());
            (Arc::new(LocalStt::new(pool, config.segments, LANGUAGES)), status)
        }
        Err(error) => {
            let why = described(&error);
            status.warnings.push(format!("NOBODY LISTENS on this server: {why}; bots hear silence and keys only"));
            (Arc::new(NoStt), status)
        }
    }
}

fn load_tts(models: &ModelSet, config: &SpeechConfig) -> (Arc<dyn Tts>, SpeechStatus) {
    let mut status = SpeechStatus::default();
    let threads = config.tts_threads.max(1);
    let mut voices = load_piper(models.piper_joe.as_ref(), threads, &mut status);
    let flite = Flite::is_available();
    if !flite && voices.is_empty() {
        let advice = "neither the Piper voice nor flite is there; on Debian: apt-get install flite";
        status.warnings.push(format!("NOBODY SPEAKS on this server: {advice}"));
        return (Arc::new(NoTts), status);
    }
    if voices.is_empty() {
        status.warnings.push("flite speaks for all voices: it sounds robotic".to_owned());
    } else {
        status.tts.push(piper::VENDOR);
    }
    let set = |_| -> Result<SynthesiserSet, ProviderError> {
        let piper = voices.pop().map(|voice| Box::new(voice) as _);
        let flite = if flite { Some(Box::new(Flite::new()?) as _) } else { None };
        Ok(SynthesiserSet { piper, flite })
    };
    let sets: Result<Vec<SynthesiserSet>, ProviderError> = (0..threads).map(set).collect();
    match sets.and_then(|sets| SynthesiserPool::start(sets, config.cache_bytes)) {
        Ok(pool) => {
            status.tts.extend(flite.then_some(flite::VENDOR));
            (Arc::new(LocalTts::new(pool)), status)
        }
        Err(error) => {
            status.tts.clear();
            status.warnings.push(format!("NOBODY SPEAKS on this server: {}", described(&error)));
            (Arc::new(NoTts), status)
        }
    }
}

/// A voice for each thread; none where the voice can't be had, with a warning unless it is just not there.
fn load_piper(files: Option<&PiperFiles>, threads: usize, status: &mut SpeechStatus) -> Vec<Piper> {
    let Some(files) = files else { return Vec::new() };
    if !piper::has_phonemizer() {
        let advice = "the Piper voice needs espeak-ng for its phonemes; on Debian: apt-get install espeak-ng";
        status.warnings.push(advice.to_owned());
        return Vec::new();
    }
    let voices: Result<Vec<Piper>, ProviderError> = (0..threads).map(|_| Piper::load("joe", files)).collect();
    voices.unwrap_or_else(|error| {
        status.warnings.push(format!("the Piper voice can't be used: {}", described(&error)));
        Vec::new()
    })
}

/// With the engine's own words: at start-up nobody has said anything yet.
fn described(error: &ProviderError) -> String {
    match error {
        ProviderError::Engine { detail, .. } => format!("{error}: {}", detail.as_str()),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "speech_tests.rs"]
mod tests;
