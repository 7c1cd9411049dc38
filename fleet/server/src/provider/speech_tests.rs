//! With the real models where they are installed: what is spoken is understood, over 8 kHz.

use std::sync::OnceLock;

use super::*;
use crate::provider::test_support::{models, next, skip};
use crate::provider::{SttEvent, TtsEvent, UtteranceId};

/// Words wrong among the words that were said: substitutions, insertions and deletions.
fn word_error_rate(said: &str, heard: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let kept: String = text
            .to_lowercase()
            .replace('-', " ")
            .chars()
            .filter(|c| c.is_alphanumeric() || c.is_whitespace() || *c == '\'')
            .collect();
        kept.split_whitespace().map(str::to_owned).collect()
    };
    let (said, heard) = (words(said), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in said.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in heard.iter().enumerate() {
            let best = (diagonal + usize::from(word != other)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[heard.len()] as f64 / said.len().max(1) as f64
}

fn speak(speech: &Speech, voice: &VoiceSpec, text: &str) -> Vec<i16> {
    let mut session = speech.tts().open(voice).unwrap();
    session.say(UtteranceId(1), text, true).unwrap();
    let mut audio = Vec::new();
    let mut carried = Vec::new();
    loop {
        match next(&mut session.events).expect("the session lives") {
            TtsEvent::Audio { samples, text, .. } => {
                audio.extend_from_slice(&samples);
                carried.push(text);
            }
            TtsEvent::Done { .. } => break,
            TtsEvent::Failed { error, .. } => panic!("{error}"),
        }
    }
    assert_eq!(carried.join(" "), text, "chunks carry the text, all of it, in order");
    audio
}

/// What is heard of `audio`, and every event on the way.
fn hear(speech: &Speech, audio: &[i16]) -> (String, Vec<SttEvent>) {
    let mut session = speech.stt().open(8_000, "en-IN").unwrap();
    let silence = vec![0; 8_000];
    for frame in [&silence[..], audio, &silence[..]].concat().chunks(160) {
        session.push(frame);
    }
    session.endpoint();
    let mut events = Vec::new();
    // Its input dropped, the session ends after the last final.
    let mut receiver = session.events;
    drop(session.input);
    while let Some(event) = next(&mut receiver) {
        events.push(event);
    }
    let finals =
        events.iter().filter_map(|e| if let SttEvent::Final { text, .. } = e { Some(text.as_str()) } else { None });
    (finals.collect::<Vec<_>>().join(" "), events)
}

const SENTENCES: &[&str] = &[
    "Hello, am I speaking with Priya Sharma?",
    "Yes, this is she. Who is calling, please?",
    "I am calling about your appointment on Monday morning.",
    "That works for me, thank you very much.",
    "Could you please repeat that once more?",
    "No, I would rather come next week.",
];

fn check_understood(speech: &Speech, voice: &str, bound: f64) {
    let voice: VoiceSpec = voice.parse().unwrap();
    let mut wrong = 0.0;
    for said in SENTENCES {
        let (heard, events) = hear(speech, &speak(speech, &voice, said));
        let rate = word_error_rate(said, &heard);
        eprintln!("{}:{} {rate:.2} said {said:?}, heard {heard:?}", voice.engine.word(), voice.name);
        wrong += rate;
        let count = |wanted: fn(&SttEvent) -> bool| events.iter().filter(|e| wanted(e)).count();
        let started = count(|e| matches!(e, SttEvent::SpeechStarted { .. }));
        assert!(started >= 1 && started == count(|e| matches!(e, SttEvent::SpeechEnded { .. })), "{events:?}");
        assert_eq!(count(|e| matches!(e, SttEvent::Failed { .. })), 0, "{events:?}");
    }
    let rate = wrong / SENTENCES.len() as f64;
    assert!(rate <= bound, "{}: word error rate {rate:.2}", voice.name);
}

/// The models are loaded once for all tests.
fn speech() -> Option<&'static Speech> {
    static SPEECH: OnceLock<Option<Speech>> = OnceLock::new();
    SPEECH.get_or_init(load).as_ref()
}

fn load() -> Option<Speech> {
    let models = models()?;
    if !piper::has_phonemizer() {
        skip("espeak-ng is not installed");
        return None;
    }
    let speech = Speech::load(&models, SpeechConfig::default());
    assert_eq!(speech.status().stt, Some("moonshine"), "{}", speech.status());
    assert!(speech.status().tts.contains(&"piper"), "{}", speech.status());
    Some(speech)
}

#[test]
fn the_bots_voice_is_understood() {
    let Some(speech) = speech() else { return };
    check_understood(speech, "piper:joe", 0.15);
}

#[test]
fn the_virtual_customers_voices_are_understood() {
    let Some(speech) = speech() else { return };
    check_understood(speech, "piper:joe?pitch=1.18&speed=0.95", 0.2);
    if Flite::is_available() {
        check_understood(speech, "flite:slt", 0.35);
    } else {
        skip("flite is not installed");
    }
}

#[test]
fn silence_and_noise_say_nothing() {
    let Some(speech) = speech() else { return };
    let noise = |shift: u32| {
        let mut seed = 1u32;
        let sample = move |_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) as i16) >> shift
        };
        (0..24_000).map(sample).collect::<Vec<i16>>()
    };
    assert_eq!(hear(speech, &vec![0; 24_000]), (String::new(), Vec::new()));
    for shift in [2, 7, 10] {
        let (heard, events) = hear(speech, &noise(shift));
        assert_eq!(heard, "", "{events:?}");
        assert!(!events.iter().any(|e| matches!(e, SttEvent::Partial { .. })), "{events:?}");
    }
}

#[test]
fn without_models_it_starts_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (models, missing) = ModelSet::scan(dir.path());
    assert!(missing.is_some());
    let speech = Speech::load(&models, SpeechConfig::default());
    let status = speech.status();
    assert_eq!(status.stt, None);
    assert!(!status.is_complete());
    assert!(status.to_string().contains("NOBODY LISTENS"), "{status}");
    assert!(matches!(speech.stt().open(8_000, "en"), Err(ProviderError::Unavailable { .. })));
    let opened = speech.tts().open(&speech.default_voice());
    if Flite::is_available() {
        assert_eq!(status.tts, ["flite"]);
        drop(opened.unwrap());
        assert!(!speak(&speech, &speech.default_voice(), "Hello there.").is_empty());
    } else {
        assert!(status.to_string().contains("NOBODY SPEAKS"), "{status}");
        assert!(matches!(opened, Err(ProviderError::Unavailable { .. })));
    }
}

#[test]
fn broken_models_are_a_warning_not_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, b"not a model").unwrap();
        path
    };
    let models = ModelSet {
        piper_joe: Some(PiperFiles { runtime: file("lib.so"), model: file("m.onnx"), config: file("m.json") }),
        moonshine: None,
    };
    let status = Speech::load(&models, SpeechConfig::default()).status().clone();
    if piper::has_phonemizer() {
        assert!(status.to_string().contains("the Piper voice can't be used"), "{status}");
    }
    assert!(!status.tts.contains(&"piper"));
}

#[test]
fn error_rates() {
    for (said, heard, expect) in [
        ("a b c d", "a b c d", 0.0),
        ("a b c d", "A, b. C d!", 0.0),
        ("a b c d", "a c d", 0.25),
        ("a b c d", "a b x c d", 0.25),
        ("a b c d", "a x c y", 0.5),
        ("a b", "", 1.0),
    ] {
        assert!((word_error_rate(said, heard) - expect).abs() < 1e-9, "{said} / {heard}");
    }
}
