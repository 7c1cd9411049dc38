use dialect::{Command, Encoding, Ending, Event, Format, Frame, Name, Settings};
use domain::call::Direction;

use crate::talk::{Talk, field, samples};

const L16_8K: Format = Format::new(Encoding::L16, 8_000);

fn open() -> Talk {
    let mut talk = Talk::new("jambonz");
    talk.open(&["in-01-attributes.json"], &["answered"]);
    talk
}

#[test]
fn a_call_from_its_attributes_to_its_end() {
    let mut talk = Talk::new("jambonz");
    let opening = talk.open(&["in-01-attributes.json"], &["answered"]);
    assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Jambonz, L16_8K, L16_8K));
    assert_eq!(opening.stream_id.as_deref(), Some("5f3e0d5f-ba6f-4b18-8d80-0b8a6f2d9d11"));
    assert_eq!((opening.caller.as_deref(), opening.did.as_deref()), (Some("+447777777777"), Some("+441234567890")));
    assert_eq!(opening.direction, Direction::Inbound);
    assert_eq!(field(&opening, "customer_name").as_deref(), Some("Rahul Sharma"));
    assert_eq!(field(&opening, "sipStatus").as_deref(), Some("200"));
    talk.hears("in-02-audio.bin", &["audio 320"]);
    talk.hears("in-03-dtmf.json", &["key 5"]);
    talk.says(Command::HangUp { reason: Ending::Completed }, &["out-03-disconnect.json"]);
    assert!(talk.session.can().in_band_hangup);
}

#[test]
fn the_subprotocol_is_enough() {
    let by = |name: &str| {
        let settings = Settings { subprotocol: Some(name.to_owned()), ..Settings::default() };
        Talk::with("jambonz", settings)
    };
    for name in ["audio.jambonz.org", "audiostream.drachtio.org", "audio.drachtio.org"] {
        assert_eq!(by(name).session.dialect(), Some(Name::Jambonz), "{name}");
        assert!(dialect::SUBPROTOCOLS.contains(&name));
    }
    let mut talk = by("audio.jambonz.org");
    talk.hears("in-02-audio.bin", &[]);
    let opening = talk.open(&["in-11-attributes-stereo.json"], &["answered"]);
    assert_eq!(opening.direction, Direction::Outbound);
    assert_eq!((opening.caller.as_deref(), opening.did.as_deref()), (Some("+447777777777"), Some("+441234567890")));
    assert_eq!(opening.plays.rate, 16_000);
    assert!(!opening.confirms_marks && !talk.session.can().marks, "where the module resamples, marks are lost");
    talk.receive(Frame::Binary(vec![1, 2, 9, 9, 3, 4, 9, 9].into())).unwrap();
    assert_eq!(talk.out.events.pop_front(), Some(Event::Audio(vec![1, 2, 3, 4].into())), "the caller's channel");
}

#[test]
fn another_rate_towards_the_caller_is_set_in_the_address() {
    let mut talk = Talk::with("jambonz", Settings { rate: Some(8_000), ..Settings::default() });
    let opening = talk.open(&["in-11-attributes-stereo.json"], &["answered"]);
    assert_eq!((opening.hears.rate, opening.plays.rate), (16_000, 8_000));
}

#[test]
fn the_end_of_a_spurt_is_pushed_out_of_the_modules_buffer_once() {
    let mut talk = open();
    let sent = samples(200);
    talk.command(Command::Audio(&sent)).unwrap();
    talk.command(Command::SpurtEnd).unwrap();
    let audio = talk.audio();
    assert_eq!(audio.iter().map(|packet| packet.len()).collect::<Vec<_>>(), [320, 80, 1_280]);
    assert_eq!(audio[..2].concat(), sent);
    assert!(audio[2].iter().all(|byte| *byte == 0));
    talk.says(Command::SpurtEnd, &[]);
}

#[test]
fn the_marker_of_the_modules_queue_is_never_sent() {
    let mut talk = open();
    let wanted: Vec<u8> = [-1_i16, 5, -256, 255, -1].into_iter().flat_map(i16::to_le_bytes).collect();
    talk.command(Command::Audio(&wanted)).unwrap();
    talk.command(Command::SpurtEnd).unwrap();
    let expect: Vec<u8> = [0_i16, 5, -256, 255, 0].into_iter().flat_map(i16::to_le_bytes).collect();
    assert_eq!(talk.audio()[0], expect);
}

#[test]
fn marks_are_told_or_given_up() {
    let mut talk = open();
    talk.says(Command::Mark(7), &["out-01-mark.json"]);
    talk.hears("in-04-mark-played.json", &["played 7"]);
    talk.hears("in-04-mark-played.json", &[]);
    talk.says(Command::Mark(7), &["out-01-mark.json"]);
    talk.says(Command::Clear, &["out-02-kill-audio.json"]);
    talk.hears("in-05-mark-cleared.json", &["cleared 7"]);
    talk.later(500);
    talk.command(Command::Mark(8)).unwrap();
    assert_eq!(talk.session.poll_timeout().unwrap().as_millis(), 2_500);
    talk.later(1_999);
    talk.timeout();
    talk.told(&[]);
    talk.later(1);
    talk.timeout();
    talk.told(&["played 8"]);
    assert_eq!(talk.session.poll_timeout(), None);
}

#[test]
fn impossible_rates_are_refused() {
    for rate in ["0", "7999", "\"64001\"", "99999999999999999999"] {
        let text = format!(r#"{{"callSid":"x","sampleRate":{rate}}}"#);
        let got = Talk::asked(Name::Jambonz).receive(Frame::Text(text));
        match rate {
            // No number at all is as if nothing was said.
            "99999999999999999999" => got.unwrap(),
            _ => assert!(got.unwrap_err().reason.contains("sampleRate"), "{rate}"),
        }
    }
}
