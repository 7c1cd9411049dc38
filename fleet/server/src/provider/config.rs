//! A bot's provider settings, parsed once into closed types.
//! It must never read the environment or open a secret: keys arrive opened, addresses come as text.

use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::error::ProviderError;
use super::timing::Kind;

/// One provider as a bot names it, its key already opened.
#[derive(Debug, Clone, Default)]
pub struct ProviderSettings {
    /// Vendor word: `moonshine`, `piper`, `flite`, `openai` or `script`.
    pub vendor: String,
    pub model: Option<String>,
    pub voice: Option<String>,
    pub base_url: Option<String>,
    pub api_key: Option<SecretString>,
}

/// A provider this server can build.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// Speech recognition in this process.
    Moonshine,
    /// Speech synthesis in this process or by a child process.
    Voice(VoiceSpec),
    /// An OpenAI-compatible chat service.
    OpenAi(LlmConfig),
    /// The script brain; nothing to build here.
    Script,
}

impl ProviderConfig {
    /// Reads one entry of a bot's `stt`, `llm` or `tts` list.
    ///
    /// # Errors
    /// If the vendor is not one of this kind, or a setting of it is missing or wrong.
    pub fn parse(kind: Kind, settings: ProviderSettings) -> Result<Self, ProviderError> {
        match (kind, settings.vendor.as_str()) {
            (Kind::Stt, "moonshine") => Ok(Self::Moonshine),
            (Kind::Tts, "piper") => voice(Engine::Piper, settings.voice.as_deref().unwrap_or("joe")),
            (Kind::Tts, "flite") => voice(Engine::Flite, settings.voice.as_deref().unwrap_or("slt")),
            (Kind::Llm, "openai") => LlmConfig::parse(settings).map(Self::OpenAi),
            (Kind::Llm, "script") => Ok(Self::Script),
            _ => Err(ProviderError::Settings { field: "vendor" }),
        }
    }
}

fn voice(engine: Engine, text: &str) -> Result<ProviderConfig, ProviderError> {
    let spec: VoiceSpec = if text.contains(':') { text.parse()? } else { VoiceSpec::parse_as(engine, text)? };
    Ok(ProviderConfig::Voice(spec))
}

/// Who synthesises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    Piper,
    Flite,
}

impl Engine {
    /// Vendor word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Piper => "piper",
            Self::Flite => "flite",
        }
    }
}

/// A voice and how it speaks: `piper:joe`, `flite:slt`, `piper:joe?pitch=1.15&speed=0.95`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VoiceSpec {
    pub engine: Engine,
    /// The engine's name of the voice: ASCII letters, digits, `_` and `-`.
    pub name: String,
    /// Thousandths of the voice's own speed, 500–2000.
    pub speed_permille: u16,
    /// Thousandths of the voice's own pitch, 700–1400.
    pub pitch_permille: u16,
}

impl VoiceSpec {
    /// A voice as it is.
    pub fn new(engine: Engine, name: &str) -> Self {
        Self { engine, name: name.to_owned(), speed_permille: 1000, pitch_permille: 1000 }
    }

    /// Factor on the voice's own speed.
    pub fn speed(&self) -> f32 {
        f32::from(self.speed_permille) / 1000.0
    }

    /// Factor on the voice's own pitch.
    pub fn pitch(&self) -> f32 {
        f32::from(self.pitch_permille) / 1000.0
    }

    fn parse_as(engine: Engine, text: &str) -> Result<Self, ProviderError> {
        let wrong = ProviderError::Settings { field: "voice" };
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        if name.is_empty()
            || name.len() > 64
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return Err(wrong);
        }
        let mut spec = Self::new(engine, name);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong.clone())?;
            let (slot, range) = match key {
                "speed" => (&mut spec.speed_permille, 0.5..=2.0),
                "pitch" => (&mut spec.pitch_permille, 0.7..=1.4),
                _ => return Err(wrong),
            };
            let factor: f32 = value.parse().map_err(|_| wrong.clone())?;
            if !range.contains(&factor) {
                return Err(wrong);
            }
            *slot = (factor * 1000.0).round() as u16;
        }
        Ok(spec)
    }
}

impl FromStr for VoiceSpec {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Self, ProviderError> {
        match text.split_once(':') {
            Some(("piper", rest)) => Self::parse_as(Engine::Piper, rest),
            Some(("flite", rest)) => Self::parse_as(Engine::Flite, rest),
            _ => Err(ProviderError::Settings { field: "voice" }),
        }
    }
}

/// An OpenAI-compatible service.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    /// Up to and without `/chat/completions`.
    pub base_url: Url,
    pub api_key: Option<SecretString>,
    pub model: String,
    pub deadlines: LlmDeadlines,
}

/// How long a turn may wait for a language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlmDeadlines {
    /// From the request to the answer's headers; some servers hold them back until the first token.
    pub connect: Duration,
    /// From the request to the first token or tool call.
    pub first_token: Duration,
    /// From one piece of the stream to the next.
    pub between_tokens: Duration,
}

impl Default for LlmDeadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(5),
            between_tokens: Duration::from_secs(4),
        }
    }
}

impl LlmConfig {
    fn parse(settings: ProviderSettings) -> Result<Self, ProviderError> {
        let base_url = settings.base_url.as_deref().unwrap_or("https://api.openai.com/v1");
        let base_url = Url::parse(base_url).map_err(|_| ProviderError::Settings { field: "base_url" })?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host_str().is_none() {
            return Err(ProviderError::Settings { field: "base_url" });
        }
        let model =
            settings.model.filter(|model| !model.is_empty()).ok_or(ProviderError::Settings { field: "model" })?;
        Ok(Self { base_url, api_key: settings.api_key, model, deadlines: LlmDeadlines::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_voice(text: &str, expect: Option<(Engine, &str, u16, u16)>) {
        let got = text.parse::<VoiceSpec>().ok();
        let got = got.as_ref().map(|v| (v.engine, v.name.as_str(), v.speed_permille, v.pitch_permille));
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn voices() {
        check_voice("piper:joe", Some((Engine::Piper, "joe", 1000, 1000)));
        check_voice("flite:slt", Some((Engine::Flite, "slt", 1000, 1000)));
        check_voice("piper:joe?pitch=1.15&speed=0.9", Some((Engine::Piper, "joe", 900, 1150)));
        check_voice("piper:joe?speed=2", Some((Engine::Piper, "joe", 2000, 1000)));
        for wrong in [
            "",
            "joe",
            "piper:",
            "festival:x",
            "piper:../x",
            "piper:a b",
            "piper:joe?speed=9",
            "piper:joe?speed=NaN",
            "piper:joe?volume=1",
            "piper:joe?speed",
            "flite:slt;rm",
            "piper:joe?pitch=0.1",
        ] {
            check_voice(wrong, None);
        }
    }

    fn check(kind: Kind, vendor: &str, edit: impl FnOnce(&mut ProviderSettings), expect: Result<&str, &str>) {
        let mut settings = ProviderSettings { vendor: vendor.into(), ..ProviderSettings::default() };
        edit(&mut settings);
        let got = ProviderConfig::parse(kind, settings);
        let got = match &got {
            Ok(ProviderConfig::Moonshine) => Ok("moonshine".to_owned()),
            Ok(ProviderConfig::Voice(v)) => Ok(format!("{}:{}", v.engine.word(), v.name)),
            Ok(ProviderConfig::OpenAi(c)) => Ok(format!("{} {}", c.base_url, c.model)),
            Ok(ProviderConfig::Script) => Ok("script".to_owned()),
            Err(ProviderError::Settings { field }) => Err(*field),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expect.map(str::to_owned), "{vendor}");
    }

    #[test]
    fn providers() {
        let nothing = |_: &mut ProviderSettings| ();
        check(Kind::Stt, "moonshine", nothing, Ok("moonshine"));
        check(Kind::Tts, "moonshine", nothing, Err("vendor"));
        check(Kind::Tts, "piper", nothing, Ok("piper:joe"));
        check(Kind::Tts, "flite", |s| s.voice = Some("rms".into()), Ok("flite:rms"));
        check(Kind::Tts, "piper", |s| s.voice = Some("flite:rms".into()), Ok("flite:rms"));
        check(Kind::Llm, "script", nothing, Ok("script"));
        check(Kind::Llm, "openai", nothing, Err("model"));
        check(Kind::Llm, "openai", |s| s.model = Some("m".into()), Ok("https://api.openai.com/v1 m"));
        let local = |s: &mut ProviderSettings| {
            s.model = Some("m".into());
            s.base_url = Some("http://127.0.0.1:1/v1".into());
        };
        check(Kind::Llm, "openai", local, Ok("http://127.0.0.1:1/v1 m"));
        check(
            Kind::Llm,
            "openai",
            |s| {
                s.model = Some("m".into());
                s.base_url = Some("ftp://x".into());
            },
            Err("base_url"),
        );
    }
}
