use dialect::{Command, Encoding, Ending, Format, Name};

use crate::talk::{Talk, field, samples};

const L16_16K: Format = Format::new(Encoding::L16, 16_000);

#[test]
fn a_call_from_its_first_word_to_its_keys() {
    let mut talk = Talk::new("vonage");
    let opening = talk.open(&["in-01-connected.json"], &["answered"]);
    assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Vonage, L16_16K, L16_16K));
    assert_eq!(opening.caller.as_deref(), Some("447700900123"));
    assert!(opening.confirms_marks);
    assert_eq!(field(&opening, "language").as_deref(), Some("en-GB"));
    assert_eq!(field(&opening, "callerID").as_deref(), Some("447700900123"));
    assert_eq!(field(&opening, "caller_id").as_deref(), Some("447700900123"));
    talk.hears("in-02-audio.bin", &["audio 640"]);
    talk.hears("in-03-dtmf.json", &["key 5"]);
    talk.hears("in-01-connected.json", &[]);
    talk.hears("in-04-notify.json", &[]);
    talk.hears("in-05-cleared.json", &[]);
    assert_eq!((talk.out.dropped.duplicate, talk.out.dropped.foreign), (1, 1));
    talk.says(Command::HangUp { reason: Ending::Completed }, &[]);
    assert!(!talk.session.can().in_band_hangup);
}

#[test]
fn what_the_ncco_says_is_kept_as_it_was_written() {
    let opening = Talk::new("vonage").open(&["in-11-connected-8k.json"], &["answered"]);
    assert_eq!(opening.plays, Format::new(Encoding::L16, 8_000));
    assert_eq!(field(&opening, "age").as_deref(), Some("40"));
    assert_eq!(field(&opening, "enable_auditing").as_deref(), Some("false"));
    assert!(field(&opening, "address").unwrap().starts_with(r#"{"line_1":"Apartment 14","#));
}

#[test]
fn every_message_is_20_ms() {
    for (file, size) in [("in-01-connected.json", 640), ("in-11-connected-8k.json", 320)] {
        let mut talk = Talk::new("vonage");
        talk.open(&[file], &["answered"]);
        let sent = samples(size);
        talk.command(Command::Audio(&sent)).unwrap();
        talk.command(Command::SpurtEnd).unwrap();
        let audio = talk.audio();
        assert_eq!(audio.iter().map(|packet| packet.len()).collect::<Vec<_>>(), [size, size]);
        assert_eq!(audio.concat(), sent);
        talk.command(Command::Audio(&sent[..10])).unwrap();
        assert!(talk.audio().is_empty(), "a part of a packet waits");
        talk.command(Command::SpurtEnd).unwrap();
        let audio = talk.audio().concat();
        assert_eq!((&audio[..10], audio[10..].iter().any(|byte| *byte != 0)), (&sent[..10], false));
    }
}

#[test]
fn marks_are_notified_and_cleared() {
    let mut talk = Talk::new("vonage");
    talk.open(&["in-01-connected.json"], &["answered"]);
    talk.says(Command::Mark(7), &["out-01-notify.json"]);
    talk.hears("in-04-notify.json", &["played 7"]);
    talk.says(Command::Mark(7), &["out-01-notify.json"]);
    talk.command(Command::Audio(&samples(100))).unwrap();
    talk.says(Command::Mark(8), &[]);
    talk.says(Command::Clear, &["out-02-clear.json"]);
    talk.told(&["cleared 8"]);
    talk.command(Command::Mark(9)).unwrap();
    talk.hears("in-05-cleared.json", &["cleared 7"]);
    talk.hears_text(r#"{"event":"websocket:notify","payload":{"mark":9}}"#, &["played 9"]);
}

#[test]
fn other_content_types_are_refused() {
    for wrong in ["audio/opus", "audio/l16;rate=11025", "audio/l16;rate=", "", "audio/l16;rate=16000000000000"] {
        let mut talk = Talk::new("vonage");
        let text = format!(r#"{{"event":"websocket:connected","content-type":"{wrong}"}}"#);
        let violation = talk.receive(dialect::Frame::Text(text)).unwrap_err();
        assert_eq!(violation.code, 1008, "{wrong}");
        assert!(violation.reason.contains("content-type"), "{violation}");
    }
}

#[test]
fn there_is_no_transfer_and_no_key_towards_the_caller() {
    let mut talk = Talk::new("vonage");
    talk.open(&["in-01-connected.json"], &["answered"]);
    for command in [Command::Transfer { to: "+1" }, Command::Dtmf('1')] {
        assert_eq!(talk.command(command).unwrap_err().dialect, Name::Vonage);
    }
}
