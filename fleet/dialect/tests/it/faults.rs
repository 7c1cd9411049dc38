//! What a broken or hostile dialler gets: the close code with a reason that says what would be right, or a counted drop.

use std::time::Duration;

use dialect::{Command, Ending, Event, Frame, MAX_MESSAGE, Name, Out, Session, Settings, Violation};

use crate::play::{at, fixture, settings};

const JSON: [Name; 5] = [Name::Native, Name::Twilio, Name::Exotel, Name::Plivo, Name::Telnyx];

/// A session with its call begun.
fn open(name: Name) -> (Session, Out) {
    let (mut session, mut out) = (Session::new(Settings { dialect: Some(name), ..settings() }), Out::new());
    let first = match name {
        Name::Native => "in-01-connected-guide.json",
        Name::Plivo => "in-01-start.json",
        _ => "in-02-start.json",
    };
    session.receive(at(Duration::ZERO), fixture(name.as_str(), first), &mut out).unwrap();
    assert!(matches!(out.events.pop_front(), Some(Event::Opened(_))));
    out = Out::new();
    (session, out)
}

fn refused(name: Name, message: &str) -> Violation {
    let (mut session, mut out) = open(name);
    let violation = session.receive(at(Duration::ZERO), Frame::Text(message.to_owned()), &mut out).expect_err(message);
    assert!(violation.reason.len() <= 123, "{violation}");
    assert!(out.events.is_empty(), "{message}: {:?}", out.events);
    // Nothing is taken from a peer that was cut off.
    session.receive(at(Duration::ZERO), fixture("native", "in-04-media.json"), &mut out).unwrap();
    assert_eq!((out.events.len(), out.dropped.after_end), (0, 1));
    violation
}

#[test]
fn broken_messages_are_refused_by_every_dialect() {
    for name in JSON {
        let check = |message: &str, why: &str| {
            let violation = refused(name, message);
            assert_eq!(violation.code, 1008, "{name} {message}");
            assert!(violation.reason.contains(why), "{name} {message}: {violation}");
        };
        check("", "one JSON object");
        check("[1]", "one JSON object");
        check("hello", "one JSON object");
        check(r#"{"event":"media""#, "ends in the middle");
        check(r#"{"event":"media","event":"stop"}"#, "same key twice");
        check(r#"{"event":"media","x":{"a":1,"\u0061":1}}"#, "same key twice");
        check(&format!(r#"{{"event":"media","x":{}{}}}"#, "[".repeat(40), "]".repeat(40)), "deeper than 16");
        check(r#"{"event":"media"}"#, "payload");
        check(r#"{"event":"media","payload":{},"media":{"payload":{}}}"#, "payload");
        check(r#"{"event":"media","payload":"%%%%","media":{"payload":"%%%%"}}"#, "base64");
        let big = format!(r#"{{"event":"x","x":"{}"}}"#, "x".repeat(MAX_MESSAGE));
        assert_eq!(refused(name, &big).code, 1009);
    }
}

#[test]
fn half_a_sample_is_refused_where_samples_have_two_bytes() {
    for name in [Name::Native, Name::Exotel] {
        let violation = refused(name, r#"{"event":"media","payload":"AQID","media":{"payload":"AQID"}}"#);
        assert!(violation.reason.contains("odd number"), "{violation}");
    }
    let (mut session, mut out) = open(Name::Twilio);
    let odd = Frame::Text(r#"{"event":"media","media":{"payload":"AQID"}}"#.to_owned());
    session.receive(at(Duration::ZERO), odd, &mut out).unwrap();
    assert_eq!(out.events, [Event::Audio(vec![1, 2, 3].into())]);
}

#[test]
fn binary_where_there_is_only_text_is_refused() {
    for name in JSON {
        let (mut session, mut out) = open(name);
        let violation = session.receive(at(Duration::ZERO), Frame::Binary(vec![0; 320].into()), &mut out).unwrap_err();
        assert_eq!(violation.code, 1003, "{name}");
    }
}

#[test]
fn one_socket_carries_one_call() {
    for name in JSON {
        let (file, id) = match name {
            Name::Native => ("in-02-start.json", "stream-123"),
            Name::Twilio => ("in-02-start.json", "MZ0123456789abcdef0123456789abcdef"),
            Name::Exotel => ("in-02-start.json", "4f1a3c7de8b94c2aa0d1e2f3a4b5c6d7"),
            Name::Plivo => ("in-01-start.json", "20170ada-f610-433b-8758-c02a2aab3662"),
            _ => ("in-02-start.json", "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"),
        };
        let Frame::Text(start) = fixture(name.as_str(), file) else { panic!("text") };
        let start = start.replace("\"sequence_number\":\"1\"", "\"sequence_number\":\"2\"");
        let (mut session, mut out) = open(name);
        let again = session.receive(at(Duration::ZERO), Frame::Text(start.clone()), &mut out);
        assert_eq!(again, Ok(()), "{name}");
        if name != Name::Native {
            assert_eq!((out.events.len(), out.dropped.duplicate), (0, 1), "{name}");
        }
        let other = start.replace(id, "another").replace("\"sequence_number\":\"2\"", "\"sequence_number\":\"3\"");
        let violation = session.receive(at(Duration::ZERO), Frame::Text(other), &mut out).unwrap_err();
        assert!(violation.reason.contains("one socket carries one call"), "{name}: {violation}");
        assert!(!violation.reason.contains("another\""), "{name}: a peer's words in a reason");
    }
}

#[test]
fn media_out_of_place_is_dropped_and_counted() {
    let dropped = |name: Name, message: &str| {
        let (mut session, mut out) = open(name);
        session.receive(at(Duration::ZERO), Frame::Text(message.to_owned()), &mut out).unwrap();
        assert!(out.events.is_empty(), "{name} {message}: {:?}", out.events);
        out.dropped
    };
    let foreign = r#"{"event":"media","streamSid":"x","stream_sid":"x","streamId":"x","stream_id":"x","media":{"payload":"AAAA"}}"#;
    for name in [Name::Twilio, Name::Exotel, Name::Plivo, Name::Telnyx] {
        assert_eq!(dropped(name, foreign).foreign, 1, "{name}");
        assert_eq!(dropped(name, r#"{"event":"news"}"#).unknown, 1, "{name}");
        assert_eq!(dropped(name, r#"{"event":"dtmf","dtmf":{"digit":"12"}}"#).unknown, 1, "{name}");
        let (mut session, mut out) = (Session::new(Settings { dialect: Some(name), ..settings() }), Out::new());
        let media = Frame::Text(r#"{"event":"media","media":{"payload":"AAAA"}}"#.to_owned());
        session.receive(at(Duration::ZERO), media, &mut out).unwrap();
        assert_eq!((out.events.len(), out.dropped.early), (0, 1), "{name}");
    }
    assert_eq!(dropped(Name::Native, r#"{"event":"news"}"#).unknown, 1);
}

#[test]
fn native_media_before_anybody_is_introduced_is_refused() {
    let (mut session, mut out) = (Session::new(Settings { dialect: Some(Name::Native), ..settings() }), Out::new());
    let violation = session.receive(at(Duration::ZERO), fixture("native", "in-04-media.json"), &mut out).unwrap_err();
    assert!(violation.reason.contains("connected"), "{violation}");
}

#[test]
fn native_says_what_it_can_carry() {
    for format in [
        r#"{"encoding":"MULAW","sampleRate":8000}"#,
        r#"{"encoding":"LINEAR","sampleRate":16000}"#,
        r#"{"encoding":"LINEAR","sampleRate":8000,"channels":2}"#,
        r#"{"encoding":"LINEAR","sampleRate":8000,"bitsPerSample":8}"#,
    ] {
        let violation = refused(Name::Native, &format!(r#"{{"event":"start","mediaFormat":{format}}}"#));
        assert!(violation.reason.contains("LINEAR"), "{format}: {violation}");
    }
}

#[test]
fn nothing_can_be_asked_before_the_call_and_hanging_up_always_can() {
    let (mut session, mut out) = (Session::new(settings()), Out::new());
    assert!(session.command(at(Duration::ZERO), Command::Audio(&[0; 320]), &mut out).is_err());
    assert!(session.command(at(Duration::ZERO), Command::HangUp { reason: Ending::Failed }, &mut out).is_ok());
    assert!(out.frames.is_empty());
}

#[test]
fn nothing_personal_is_in_a_debug_print() {
    let (mut session, mut out) = (Session::new(settings()), Out::new());
    session.receive(at(Duration::ZERO), fixture("native", "in-01-connected-guide.json"), &mut out).unwrap();
    let command = Command::Transfer { to: "+911800123456" };
    let printed = format!("{session:?} {out:?} {command:?} {:?}", Event::Dtmf('7'));
    for canary in ["9876543210", "Rahul", "LN123456", "1800123456", "'7'"] {
        assert!(!printed.contains(canary), "{canary} in {printed}");
    }
}
