//! Which protocol the first messages are taken for: every rule of the design, in its order.

use std::time::Duration;

use dialect::{Event, Frame, Name, OPENING_TIMEOUT, Out, Session, Settings, Violation};
use domain::variables::stringify;

use crate::play::{at, fixture, settings};

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

fn binary() -> Frame {
    Frame::Binary(vec![0; 320].into())
}

/// Feeds the frames, and tells what the session thinks it hears.
fn heard(settings: Settings, frames: impl IntoIterator<Item = Frame>) -> Result<Option<Name>, Violation> {
    let (mut session, mut out) = (Session::new(settings), Out::new());
    for frame in frames {
        session.receive(at(Duration::ZERO), frame, &mut out)?;
    }
    Ok(session.dialect())
}

#[track_caller]
fn check(texts: &[&str], expect: Option<Name>) {
    let spoken = heard(settings(), texts.iter().map(|message| text(message)));
    // What is not spoken here yet has been recognised all the same.
    match (spoken, expect) {
        (Ok(spoken), expect) => assert_eq!(spoken, expect, "{texts:?}"),
        (Err(violation), Some(name)) => {
            assert!(violation.reason.starts_with(name.as_str()), "{texts:?}: {violation}");
        }
        (Err(violation), None) => panic!("{texts:?}: {violation}"),
    }
}

#[test]
fn the_first_message_decides_where_it_can() {
    check(&["MEDIA_START connection_id:1 channel:x format:ulaw"], Some(Name::Asterisk));
    check(&["hello, this is metadata"], Some(Name::Freeswitch));
    check(&[r#"{"version":"2","type":"open","seq":1,"id":"x","parameters":{}}"#], Some(Name::Genesys));
    check(&[r#"{"event":"MEDIA_START","connection_id":"1"}"#], Some(Name::Asterisk));
    check(&[r#"{"event":"websocket:connected","content-type":"audio/l16;rate=16000"}"#], Some(Name::Vonage));
    check(&[r#"{"callSid":"c","sampleRate":8000,"mixType":"mono"}"#], Some(Name::Jambonz));
    check(&[r#"{"event":"connected","callerId":"+91"}"#], Some(Name::Native));
    check(&[r#"{"event":"connected","did":"+91","version":"1"}"#], Some(Name::Native));
    check(&[r#"{"event":"connected","callDirection":"incoming","protocol":"Call"}"#], Some(Name::Native));
    check(&[r#"{"event":"connected","streamId":"s"}"#], Some(Name::Native));
    check(&[r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#], Some(Name::Twilio));
    check(&[r#"{"event":"connected","version":"1.0.0"}"#], Some(Name::Telnyx));
}

#[test]
fn what_is_bare_waits_for_what_follows() {
    let bare = r#"{"event":"connected"}"#;
    let custom = r#"{"event":"connected","lead":"7","version":"2"}"#;
    check(&[bare], None);
    check(&[custom], None);
    check(&[r#"{"hello":"metadata perhaps"}"#], None);
    check(
        &[bare, r#"{"event":"start","start":{"call_control_id":"c","stream_sid":"s"},"stream_id":"s"}"#],
        Some(Name::Telnyx),
    );
    check(&[bare, r#"{"event":"start","start":{"stream_sid":"s","streamSid":"s"}}"#], Some(Name::Exotel));
    check(&[bare, r#"{"event":"start","start":{"streamSid":"s","callId":"c","streamId":"s"}}"#], Some(Name::Twilio));
    check(&[r#"{"event":"start","start":{"callId":"c","streamId":"s"}}"#], Some(Name::Plivo));
    check(&[custom, r#"{"event":"start","mediaFormat":{"encoding":"LINEAR"}}"#], Some(Name::Native));
    check(&[custom, r#"{"event":"answer"}"#], Some(Name::Native));
    check(&[custom, r#"{"event":"media","payload":"AAA="}"#], Some(Name::Native));
    check(&[bare, r#"{"event":"media","media":{"payload":"AAA="}}"#], None);
}

#[test]
fn no_field_of_a_message_that_waited_is_lost() {
    let frames = [
        text(r#"{"event":"connected","lead":"7"}"#),
        text(r#"{"event":"start","start":{"stream_sid":"s","custom_parameters":{"branch":"Pune"}}}"#),
    ];
    let (mut session, mut out) = (Session::new(settings()), Out::new());
    for frame in frames {
        session.receive(at(Duration::ZERO), frame, &mut out).unwrap();
    }
    let Some(Event::Opened(opening)) = out.events.pop_front() else { panic!("not open") };
    assert_eq!(opening.dialect, Name::Exotel);
    for (name, value) in [("lead", "7"), ("branch", "Pune")] {
        assert_eq!(opening.fields.get(name).map(stringify).as_deref(), Some(value));
    }
}

#[test]
fn binary_first_is_raw_and_after_metadata_freeswitch() {
    let named = |result: Result<Option<Name>, Violation>| match result {
        Ok(name) => name.map(Name::as_str).unwrap_or_default().to_owned(),
        Err(violation) => violation.reason.split(' ').next().unwrap_or_default().to_owned(),
    };
    assert_eq!(named(heard(settings(), [binary()])), "raw");
    assert_eq!(named(heard(settings(), [text(r#"{"lead":7}"#), binary()])), "freeswitch");
    let violation = heard(settings(), [text(r#"{"event":"connected"}"#), binary()]).unwrap_err();
    assert_eq!(violation.code, 1003);
}

#[test]
fn what_was_asked_for_wins_unless_the_peer_says_otherwise() {
    let asked = |name: Name| Settings { dialect: Some(name), ..settings() };
    for name in [Name::Native, Name::Twilio, Name::Exotel, Name::Plivo, Name::Telnyx] {
        assert_eq!(heard(asked(name), [text(r#"{"event":"connected"}"#)]), Ok(Some(name)), "{name}");
        let violation = heard(asked(name), [binary()]).unwrap_err();
        assert_eq!(violation.code, 1003, "{name}: {violation}");
    }
    // A native dialler's own fields may be called anything.
    let custom = r#"{"event":"connected","protocol":"Call","version":"1"}"#;
    assert_eq!(heard(asked(Name::Native), [text(custom)]), Ok(Some(Name::Native)));
    let start = fixture("twilio", "in-02-start.json");
    for name in [Name::Native, Name::Exotel, Name::Plivo, Name::Telnyx] {
        let violation = heard(asked(name), [text(r#"{"event":"connected"}"#), start.clone()]).unwrap_err();
        assert_eq!(violation.code, 1008);
        assert!(violation.reason.contains(name.as_str()) && violation.reason.contains("twilio"), "{violation}");
    }
    let violation = heard(asked(Name::Twilio), [fixture("native", "in-01-connected-guide.json")]).unwrap_err();
    assert!(violation.reason.contains("how native begins"), "{violation}");
    let jambonz = Settings { subprotocol: Some("audio.jambonz.org".to_owned()), ..settings() };
    assert_eq!(Session::new(jambonz).dialect(), Some(Name::Jambonz));
    let media = Settings { subprotocol: Some("media".to_owned()), ..settings() };
    assert_eq!(Session::new(media).dialect(), None);
}

#[test]
fn who_says_nothing_in_ten_seconds_is_cut_off() {
    let silent = |settings: Settings, frames: &[&str]| {
        let (mut session, mut out) = (Session::new(settings), Out::new());
        for frame in frames {
            session.receive(at(Duration::ZERO), text(frame), &mut out).unwrap();
        }
        assert_eq!(session.poll_timeout(), Some(OPENING_TIMEOUT));
        assert_eq!(session.handle_timeout(at(Duration::from_millis(9_999)), &mut out), Ok(()));
        let violation = session.handle_timeout(at(OPENING_TIMEOUT), &mut out).unwrap_err();
        assert_eq!(session.poll_timeout(), None);
        session.receive(at(OPENING_TIMEOUT), fixture("native", "in-01-connected-guide.json"), &mut out).unwrap();
        assert!(out.events.is_empty(), "it is over");
        assert_eq!(violation.code, 1008);
        violation.reason.into_owned()
    };
    assert!(silent(settings(), &[]).contains("?dialect="));
    assert!(silent(settings(), &[r#"{"event":"connected"}"#]).contains("?dialect="));
    let twilio = Settings { dialect: Some(Name::Twilio), ..settings() };
    assert!(silent(twilio, &[r#"{"event":"connected"}"#]).contains("twilio"));
}

#[test]
fn what_never_decides_is_not_kept_for_ever() {
    let frames = |n: usize, message: String| std::iter::repeat_n(message, n).map(Frame::Text);
    let unknown = r#"{"event":"what"}"#.to_owned();
    assert_eq!(heard(settings(), frames(15, unknown.clone())), Ok(None));
    assert_eq!(heard(settings(), frames(16, unknown)).unwrap_err().code, 1008);
    let big = format!(r#"{{"event":"what","x":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(heard(settings(), frames(2, big)).unwrap_err().code, 1008);
}
