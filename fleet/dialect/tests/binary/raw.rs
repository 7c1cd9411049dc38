use dialect::{Command, Encoding, Ending, Event, Format, Frame, Name, Settings};

use crate::talk::{Talk, samples};

#[test]
fn the_first_binary_message_starts_the_call() {
    let mut talk = Talk::new("raw");
    let opening = talk.open(&["in-01-l16.bin"], &["answered", "audio 320"]);
    let format = Format::new(Encoding::L16, 8_000);
    assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Raw, format, format));
    talk.hears("in-01-l16.bin", &["audio 320"]);
    talk.says(Command::HangUp { reason: Ending::Completed }, &[]);
}

#[test]
fn the_address_says_how_it_is_coded() {
    let check = |codec: Option<Encoding>, rate: Option<u32>, expect: Format, packet: usize| {
        let mut talk = Talk::with("raw", Settings { codec, rate, chunk_ms: 40, ..Settings::default() });
        let opening = talk.open(&["in-01-mulaw.bin"], &["answered", "audio 160"]);
        assert_eq!(opening.hears, expect);
        talk.command(Command::Audio(&samples(4_000))).unwrap();
        assert_eq!(talk.audio()[0].len(), packet, "{expect:?}");
    };
    check(None, None, Format::new(Encoding::L16, 8_000), 640);
    check(None, Some(16_000), Format::new(Encoding::L16, 16_000), 1_280);
    check(Some(Encoding::Mulaw), None, Format::new(Encoding::Mulaw, 8_000), 320);
    check(Some(Encoding::Alaw), None, Format::new(Encoding::Alaw, 8_000), 320);
    check(Some(Encoding::G722), None, Format::new(Encoding::G722, 16_000), 320);
    check(Some(Encoding::Opus), None, Format::new(Encoding::Opus, 48_000), 8_000);
}

#[test]
fn audio_may_be_split_anywhere() {
    let mut talk = Talk::new("raw");
    let all = samples(500);
    let mut heard = Vec::new();
    for part in all.chunks(77) {
        talk.receive(Frame::Binary(part.to_vec().into())).unwrap();
        for event in talk.out.events.drain(..) {
            if let Event::Audio(audio) = event {
                assert!(audio.len().is_multiple_of(2));
                heard.extend_from_slice(&audio);
            }
        }
    }
    assert_eq!(heard, all);
}

#[test]
fn the_last_packet_goes_as_short_as_it_is_and_nothing_else_is_known() {
    let mut talk = Talk::new("raw");
    talk.open(&["in-01-l16.bin"], &["answered", "audio 320"]);
    talk.command(Command::Audio(&samples(170))).unwrap();
    talk.command(Command::SpurtEnd).unwrap();
    assert_eq!(talk.audio().iter().map(|packet| packet.len()).collect::<Vec<_>>(), [320, 20]);
    for command in [Command::Mark(1), Command::Clear, Command::Dtmf('1'), Command::Transfer { to: "+1" }] {
        assert!(talk.command(command).is_err());
    }
}

#[test]
fn no_speech_travels_at_such_a_rate() {
    for rate in [0, 1, 7_999, 64_001, u32::MAX] {
        let mut talk = Talk::with("raw", Settings { rate: Some(rate), ..Settings::default() });
        assert!(talk.receive(talk.file("in-01-l16.bin")).unwrap_err().reason.contains("?rate="));
    }
}

#[test]
fn a_text_is_refused() {
    let mut talk = Talk::new("raw");
    talk.open(&["in-01-l16.bin"], &["answered", "audio 320"]);
    assert_eq!(talk.receive(Frame::Text("{}".to_owned())).unwrap_err().code, 1003);
}
