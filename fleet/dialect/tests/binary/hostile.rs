//! Whatever comes, in whatever order: no panic, the order of events holds, and nothing kept grows without end.

use std::time::Duration;

use dialect::{Command, Encoding, Ending, Event, Frame, Moment, Name, Out, Session, Settings};
use proptest::prelude::*;

const NAMES: &[Name] = &[Name::Vonage, Name::Genesys, Name::Jambonz, Name::Asterisk, Name::Freeswitch, Name::Raw];

/// What is wrong in every dialect that has JSON: the close code is the same everywhere.
#[test]
fn broken_messages_have_the_right_close_code() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(dialect::MAX_MESSAGE));
    for name in [Name::Vonage, Name::Genesys, Name::Jambonz] {
        for (text, code) in [
            ("{", 1008),
            ("", 1008),
            ("[]", 1008),
            ("nonsense", 1008),
            (r#"{"event":"a","event":"b"}"#, 1008),
            (deep.as_str(), 1008),
            (huge.as_str(), 1009),
        ] {
            let mut session = Session::new(Settings { dialect: Some(name), ..Settings::default() });
            let got = session.receive(at(0), Frame::Text(text.to_owned()), &mut Out::new());
            let violation = got.expect_err(name.as_str());
            assert_eq!(violation.code, code, "{name}: {:.40}", text);
            assert!(violation.reason.len() <= 123);
        }
    }
}

/// Audio before the first word is no violation: sockets of real diallers are that early.
#[test]
fn early_audio_is_dropped() {
    for name in [Name::Vonage, Name::Genesys, Name::Jambonz, Name::Asterisk] {
        let (mut session, mut out) =
            (Session::new(Settings { dialect: Some(name), ..Settings::default() }), Out::new());
        session.receive(at(0), Frame::Binary(vec![0; 320].into()), &mut out).unwrap();
        assert!(out.events.is_empty());
        assert_eq!(out.dropped.early, 1, "{name}");
    }
}

fn at(ms: u64) -> Moment {
    Moment { since_open: Duration::from_millis(ms), wall: jiff::Timestamp::UNIX_EPOCH }
}

#[derive(Debug, Clone)]
enum Step {
    Receive(Frame),
    Audio(usize),
    SpurtEnd,
    Mark(u64),
    Clear,
    Transfer,
    HangUp,
    Wait(u64),
}

/// Messages of all of these protocols, whole or cut off, and arbitrary ones.
fn frames() -> impl Strategy<Value = Frame> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut known = Vec::new();
    for name in NAMES {
        for entry in std::fs::read_dir(format!("{folder}/{name}")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "json" || ending == "txt") {
                known.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    known.sort();
    let whole = prop::sample::select(known.clone()).prop_map(Frame::Text);
    let cut = (prop::sample::select(known), 0_usize..200)
        .prop_map(|(text, end)| Frame::Text(text.chars().take(end).collect()));
    prop_oneof![
        6 => whole,
        1 => cut,
        1 => ".{0,60}".prop_map(Frame::Text),
        3 => prop::collection::vec(any::<u8>(), 0..700).prop_map(|bytes| Frame::Binary(bytes.into())),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => frames().prop_map(Step::Receive),
        3 => (0_usize..4_000).prop_map(|samples| Step::Audio(samples * 2)),
        1 => Just(Step::SpurtEnd),
        2 => (0_u64..20).prop_map(Step::Mark),
        1 => Just(Step::Clear),
        1 => Just(Step::Transfer),
        1 => Just(Step::HangUp),
        1 => (0_u64..3_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

fn settings() -> impl Strategy<Value = Settings> {
    let codecs = prop::sample::select(vec![
        None,
        Some(Encoding::L16),
        Some(Encoding::Mulaw),
        Some(Encoding::Alaw),
        Some(Encoding::G722),
        Some(Encoding::Opus),
    ]);
    (prop::option::of(prop::sample::select(NAMES)), codecs, prop::option::of(8_000_u32..48_001), 20_u32..=100)
        .prop_map(|(dialect, codec, rate, chunk_ms)| Settings { dialect, codec, rate, chunk_ms, ..Settings::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_dialler_and_any_leg(settings in settings(), steps in steps()) {
        let mut session = Session::new(settings);
        let mut out = Out::new();
        let (mut now, mut opened, mut over) = (0, false, false);
        let mut in_the_air = Vec::new();
        for step in steps {
            let violated = match step {
                Step::Receive(frame) => session.receive(at(now), frame, &mut out).is_err(),
                Step::Wait(ms) => {
                    now += ms;
                    session.handle_timeout(at(now), &mut out).is_err()
                }
                Step::Audio(bytes) => {
                    let _ = session.command(at(now), Command::Audio(&vec![7; bytes]), &mut out);
                    false
                }
                Step::SpurtEnd => { let _ = session.command(at(now), Command::SpurtEnd, &mut out); false }
                Step::Mark(id) => {
                    if session.command(at(now), Command::Mark(id), &mut out).is_ok() {
                        in_the_air.push(id);
                    }
                    false
                }
                Step::Clear => { let _ = session.command(at(now), Command::Clear, &mut out); false }
                Step::Transfer => { let _ = session.command(at(now), Command::Transfer { to: "+1" }, &mut out); false }
                Step::HangUp => {
                    let _ = session.command(at(now), Command::HangUp { reason: Ending::Completed }, &mut out);
                    false
                }
            };
            for event in out.events.drain(..) {
                prop_assert!(!over, "{event:?} after the end");
                match &event {
                    Event::Opened(_) => prop_assert!(!std::mem::replace(&mut opened, true), "opened twice"),
                    Event::HungUp(_) => over = true,
                    _ => prop_assert!(opened, "{event:?} before the opening"),
                }
                if let Event::MarkPlayed(id) | Event::MarkCleared(id) = event {
                    let asked = in_the_air.iter().position(|asked| *asked == id);
                    prop_assert!(asked.map(|at| in_the_air.remove(at)).is_some(), "mark {id} told more often than asked");
                }
            }
            for frame in out.frames.drain(..) {
                prop_assert!(frame.len() <= 65_500, "{frame:?}");
            }
            if violated {
                break;
            }
        }
    }
}
