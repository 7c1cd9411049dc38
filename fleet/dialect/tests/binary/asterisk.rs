use dialect::{Command, Encoding, Ending, Format, Frame, Name, Settings};

use crate::talk::{Talk, field};

const ULAW: Format = Format::new(Encoding::Mulaw, 8_000);

/// Both styles of control messages are one protocol.
fn in_both_styles(check: impl Fn(Talk, &dyn Fn(&str) -> String)) {
    for style in ["json", "txt"] {
        check(Talk::new("asterisk"), &|name: &str| format!("{name}.{style}"));
    }
}

#[test]
fn a_call_is_answered_when_its_audio_flows() {
    in_both_styles(|mut talk, file| {
        let opening = talk.open(&[&file("in-01-media-start")], &[]);
        talk.sent(&[&file("out-01-answer")]);
        assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Asterisk, ULAW, ULAW));
        assert_eq!(opening.stream_id.as_deref(), Some("1761245643.1"));
        assert_eq!(field(&opening, "channel").as_deref(), Some("WebSocket/media_connection1/0x5140001a0040"));
        assert_eq!(field(&opening, "connection_id").as_deref(), Some("media_connection1"));
        talk.hears("in-02-audio.bin", &["answered", "audio 160"]);
        talk.hears("in-02-audio.bin", &["audio 160"]);
        talk.hears(&file("in-03-dtmf-end"), &["key 5"]);
        talk.hears(&file("in-04-media-xoff"), &["flow false"]);
        talk.hears(&file("in-05-media-xon"), &["flow true"]);
        talk.hears(&file("in-07-queue-drained"), &[]);
        talk.hears(&file("in-08-error"), &[]);
        talk.hears(&file("in-01-media-start"), &[]);
        assert_eq!((talk.out.dropped.complaint, talk.out.dropped.duplicate), (1, 1));
        talk.says(Command::HangUp { reason: Ending::Completed }, &[&file("out-04-hangup")]);
    });
}

#[test]
fn marks_come_back_and_a_flush_takes_them_along() {
    in_both_styles(|mut talk, file| {
        talk.open(&[&file("in-01-media-start"), "in-02-audio.bin"], &["answered", "audio 160"]);
        talk.out.frames.clear();
        talk.says(Command::Mark(7), &[&file("out-02-mark")]);
        talk.hears(&file("in-06-media-mark-processed"), &["played 7"]);
        talk.says(Command::Mark(7), &[&file("out-02-mark")]);
        talk.command(Command::Audio(&[1; 10])).unwrap();
        talk.says(Command::Mark(8), &[]);
        talk.says(Command::Clear, &[&file("out-03-flush")]);
        talk.told(&["cleared 8", "cleared 7"]);
        talk.hears(&file("in-06-media-mark-processed"), &[]);
        assert_eq!(talk.out.dropped.foreign, 1);
    });
}

#[test]
fn frames_have_the_announced_size_and_the_last_may_be_short() {
    let mut talk = Talk::new("asterisk");
    talk.open(&["in-01-media-start.json", "in-02-audio.bin"], &["answered", "audio 160"]);
    talk.out.frames.clear();
    talk.command(Command::Audio(&[1; 330])).unwrap();
    talk.command(Command::SpurtEnd).unwrap();
    assert_eq!(talk.audio().iter().map(|packet| packet.len()).collect::<Vec<_>>(), [160, 160, 10]);
}

#[test]
fn no_text_is_longer_than_asterisk_reads() {
    let mut talk = Talk::new("asterisk");
    talk.open(&["in-01-media-start.json"], &[]);
    talk.command(Command::Mark(u64::MAX)).unwrap();
    talk.command(Command::Clear).unwrap();
    assert!(talk.out.frames.iter().all(|frame| frame.len() <= 128), "{:?}", talk.out.frames);
}

#[test]
fn formats_are_asterisks() {
    let check = |format: &str, expect: Option<(Encoding, u32)>| {
        let mut talk = Talk::new("asterisk");
        let got = talk.receive(Frame::Text(format!("MEDIA_START channel_id:1.1 format:{format} ptime:20")));
        let Some((encoding, rate)) = expect else {
            assert!(got.unwrap_err().reason.contains("format"), "{format}");
            assert_eq!(talk.out.frames, [Frame::Text("HANGUP".to_owned())]);
            return;
        };
        got.unwrap();
        let Some(dialect::Event::Opened(opening)) = talk.out.events.pop_front() else { panic!("{format}") };
        assert_eq!(opening.plays, Format::new(encoding, rate));
    };
    check("ulaw", Some((Encoding::Mulaw, 8_000)));
    check("alaw", Some((Encoding::Alaw, 8_000)));
    check("slin", Some((Encoding::L16, 8_000)));
    check("slin16", Some((Encoding::L16, 16_000)));
    check("slin44", Some((Encoding::L16, 44_100)));
    check("slin48", Some((Encoding::L16, 48_000)));
    check("g722", Some((Encoding::G722, 16_000)));
    check("opus", Some((Encoding::Opus, 48_000)));
    check("g729", None);
    check("gsm", None);
}

#[test]
fn the_first_releases_do_not_say_the_format() {
    let start = || Frame::Text("MEDIA_START connection_id:c channel:x optimal_frame_size:320".to_owned());
    for (settings, expect) in [
        (Settings::default(), ULAW),
        (Settings { codec: Some(Encoding::L16), ..Settings::default() }, Format::new(Encoding::L16, 8_000)),
        (
            Settings { codec: Some(Encoding::L16), rate: Some(16_000), ..Settings::default() },
            Format::new(Encoding::L16, 16_000),
        ),
    ] {
        let mut talk = Talk::with("asterisk", settings);
        talk.receive(start()).unwrap();
        let Some(dialect::Event::Opened(opening)) = talk.out.events.pop_front() else { panic!() };
        assert_eq!(opening.plays, expect);
    }
}

#[test]
fn packets_of_a_codec_are_passed_on_whole() {
    let mut talk = Talk::new("asterisk");
    talk.receive(Frame::Text("MEDIA_START channel_id:1.1 format:opus optimal_frame_size:0".to_owned())).unwrap();
    talk.out.frames.clear();
    talk.command(Command::Audio(&[1; 33])).unwrap();
    assert_eq!(talk.audio().iter().map(|packet| packet.len()).collect::<Vec<_>>(), [33]);
    assert!(!talk.session.can().marks && !talk.session.can().clear);
    assert!(talk.command(Command::Mark(1)).is_err());
}

#[test]
fn variables_of_the_channel_become_fields() {
    let mut talk = Talk::new("asterisk");
    let start = r#"{"event":"MEDIA_START","connection_id":"c","channel_id":"1.1","format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{"caller_id":"+919876543210","did":"+911234567890","loan_number":"LN123456"}}"#;
    talk.receive(Frame::Text(start.to_owned())).unwrap();
    let Some(dialect::Event::Opened(opening)) = talk.out.events.pop_front() else { panic!() };
    assert_eq!((opening.caller.as_deref(), opening.did.as_deref()), (Some("+919876543210"), Some("+911234567890")));
    assert_eq!(field(&opening, "loan_number").as_deref(), Some("LN123456"));
}

#[test]
fn frame_sizes_that_would_kill_the_call_are_refused() {
    for size in ["0", "65501", "4294967296"] {
        let start = format!("MEDIA_START channel_id:1.1 format:ulaw optimal_frame_size:{size}");
        assert!(Talk::new("asterisk").receive(Frame::Text(start)).unwrap_err().reason.contains("optimal_frame_size"));
    }
}
