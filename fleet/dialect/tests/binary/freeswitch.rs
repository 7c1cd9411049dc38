use dialect::{Command, Encoding, Ending, Format, Frame, Name, Settings};

use crate::talk::{Talk, field, samples};

const L16_8K: Format = Format::new(Encoding::L16, 8_000);

#[test]
fn metadata_is_json_or_text_or_nothing() {
    let mut talk = Talk::asked(Name::Freeswitch);
    let opening = talk.open(&["in-01-metadata.json"], &["answered"]);
    assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Freeswitch, L16_8K, L16_8K));
    assert_eq!((opening.caller.as_deref(), opening.did.as_deref()), (Some("+919876543210"), Some("+911234567890")));
    assert_eq!(field(&opening, "customer_name").as_deref(), Some("Rahul Sharma"));
    let opening = Talk::new("freeswitch").open(&["in-01-metadata.txt"], &["answered"]);
    assert_eq!(opening.dialect, Name::Freeswitch);
    assert_eq!(field(&opening, "metadata").as_deref(), Some("loan LN123456, please be kind"));
    let opening = Talk::asked(Name::Freeswitch).open(&["in-02-audio.bin"], &["answered", "audio 320"]);
    assert_eq!(opening.caller, None);
    let opening = Talk::new("freeswitch").open(&["in-01-metadata.json", "in-02-audio.bin"], &["answered", "audio 320"]);
    assert_eq!(opening.dialect, Name::Freeswitch, "JSON that is no protocol's, then audio");
}

#[test]
fn the_rate_is_that_of_the_address_or_of_the_metadata() {
    let check = |rate: Option<u32>, metadata: &str, expect: u32| {
        let settings = Settings { dialect: Some(Name::Freeswitch), rate, ..Settings::default() };
        let mut talk = Talk::with("freeswitch", settings);
        talk.receive(Frame::Text(metadata.to_owned())).unwrap();
        let Some(dialect::Event::Opened(opening)) = talk.out.events.pop_front() else { panic!("{metadata}") };
        assert_eq!(opening.plays.rate, expect, "{metadata}");
    };
    check(None, "hello", 8_000);
    check(Some(16_000), "hello", 16_000);
    check(None, r#"{"sampleRate":16000}"#, 16_000);
    check(None, r#"{"rate":"16000"}"#, 16_000);
    check(Some(8_000), r#"{"sampleRate":16000}"#, 8_000);
    for rate in ["0", "1", "99999999999"] {
        let got = Talk::asked(Name::Freeswitch).receive(Frame::Text(format!("{{\"rate\":{rate}}}")));
        assert!(got.unwrap_err().reason.contains("8000 to 64000"), "{rate}");
    }
}

#[test]
fn what_the_bot_says_goes_as_base64_and_is_killed() {
    let mut talk = Talk::asked(Name::Freeswitch);
    talk.open(&["in-01-metadata.json"], &["answered"]);
    let Frame::Text(stream) = talk.file("out-01-stream-audio.json") else { panic!() };
    let audio = audio_of(&stream);
    assert_eq!(audio.len(), 1_600);
    talk.says(Command::Audio(&audio), &["out-01-stream-audio.json"]);
    talk.says(Command::Audio(&audio[..100]), &[]);
    talk.says(Command::Clear, &["out-02-kill-audio.json"]);
    talk.says(Command::SpurtEnd, &[]);
    talk.command(Command::Audio(&audio[..100])).unwrap();
    talk.command(Command::SpurtEnd).unwrap();
    let Some(Frame::Text(last)) = talk.out.frames.pop_front() else { panic!() };
    assert_eq!(audio_of(&last), audio[..100]);
    talk.says(Command::HangUp { reason: Ending::Completed }, &[]);
}

#[test]
fn no_message_is_over_8_kb() {
    for rate in [8_000, 16_000, 24_000, 48_000] {
        let settings = Settings { dialect: Some(Name::Freeswitch), rate: Some(rate), ..Settings::default() };
        let mut talk = Talk::with("freeswitch", settings);
        talk.open(&["in-01-metadata.txt"], &["answered"]);
        let sent = samples(rate as usize);
        talk.command(Command::Audio(&sent)).unwrap();
        talk.command(Command::SpurtEnd).unwrap();
        let frames: Vec<Frame> = talk.out.frames.drain(..).collect();
        assert!(frames.iter().all(|frame| frame.len() <= 8_000), "{rate}: {frames:?}");
        let heard: Vec<u8> = frames
            .iter()
            .flat_map(|frame| if let Frame::Text(text) = frame { audio_of(text) } else { panic!() })
            .collect();
        assert_eq!(heard, sent);
    }
}

fn audio_of(message: &str) -> Vec<u8> {
    use base64::Engine;
    let message: serde_json::Value = serde_json::from_str(message).unwrap();
    base64::engine::general_purpose::STANDARD.decode(message["data"]["audioData"].as_str().unwrap()).unwrap()
}

#[test]
fn texts_of_the_dialplan_are_keys_or_nothing() {
    let mut talk = Talk::asked(Name::Freeswitch);
    talk.open(&["in-01-metadata.json"], &["answered"]);
    talk.hears("in-03-send-text-dtmf.json", &["key 5"]);
    talk.hears("in-01-metadata.txt", &[]);
    talk.hears_text(r#"{"event":"other","digit":"5"}"#, &[]);
    assert_eq!(talk.out.dropped.unknown, 2);
    assert_eq!(talk.receive(Frame::Text("{".to_owned())).unwrap_err().code, 1008);
}

#[test]
fn there_are_no_marks() {
    let mut talk = Talk::asked(Name::Freeswitch);
    let opening = talk.open(&["in-01-metadata.json"], &["answered"]);
    assert!(!opening.confirms_marks && !talk.session.can().marks);
    assert!(talk.command(Command::Mark(1)).is_err());
}
