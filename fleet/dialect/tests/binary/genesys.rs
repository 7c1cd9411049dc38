use dialect::{Command, Encoding, Ending, Format, Frame, Name};

use crate::talk::{Talk, field};

const PCMU: Format = Format::new(Encoding::Mulaw, 8_000);

fn open() -> Talk {
    let mut talk = Talk::new("genesys");
    talk.open(&["in-01-open.json"], &["answered"]);
    talk.sent(&["out-01-opened.json"]);
    talk
}

#[test]
fn a_whole_session() {
    let mut talk = Talk::new("genesys");
    let opening = talk.open(&["in-01-open.json"], &["answered"]);
    assert_eq!((opening.dialect, opening.hears, opening.plays), (Name::Genesys, PCMU, PCMU));
    assert_eq!(opening.stream_id.as_deref(), Some("e160e428-53e2-487c-977d-96989bf5c99d"));
    assert_eq!(opening.call_ref.as_deref(), Some("090eaa2f-72fa-480a-83e0-8667ff89c0ec"));
    assert_eq!(opening.caller.as_deref(), Some("+1-555-555-1234"));
    assert_eq!(opening.did.as_deref(), Some("+1-800-555-6789"));
    for (name, expect) in
        [("customer_name", "Rahul Sharma"), ("loan_number", "LN123456"), ("aniName", "John Doe"), ("language", "en-US")]
    {
        assert_eq!(field(&opening, name).as_deref(), Some(expect), "{name}");
    }
    talk.sent(&["out-01-opened.json"]);
    talk.hears("in-02-audio.bin", &["audio 1600"]);
    talk.hears("in-03-ping.json", &[]);
    talk.sent(&["out-02-pong.json"]);
    talk.hears("in-04-dtmf.json", &["key 5"]);
    talk.hears("in-05-update.json", &[]);
    talk.sent(&["out-03-updated.json"]);
    talk.hears("in-06-paused.json", &["hold true"]);
    talk.hears("in-07-resumed.json", &["hold false"]);
    talk.hears("in-08-playback-started.json", &[]);
    talk.hears("in-09-playback-completed.json", &[]);
    talk.hears("in-10-error-429.json", &["flow false"]);
    talk.says(Command::Clear, &["out-04-barge-in.json"]);
    talk.hears("in-11-close.json", &["customer hung up"]);
    talk.sent(&["out-05-closed.json"]);
    assert_eq!(talk.out.dropped.complaint, 1);
}

#[test]
fn too_much_is_answered_by_being_quiet_for_as_long_as_it_says() {
    let mut talk = open();
    let error = |seq: u64, after: &str| {
        format!(
            r#"{{"version":"2","type":"error","seq":{seq},"serverseq":1,"id":"e160e428-53e2-487c-977d-96989bf5c99d","position":"PT1S","parameters":{{"code":429,"message":"","retryAfter":"{after}"}}}}"#
        )
    };
    talk.hears_text(&error(2, "PT1.5S"), &["flow false"]);
    talk.later(1_499);
    talk.timeout();
    talk.told(&[]);
    talk.later(1);
    assert_eq!(talk.session.poll_timeout().unwrap().as_millis(), 1_500);
    talk.timeout();
    talk.told(&["flow true"]);
    assert_eq!(talk.session.poll_timeout(), None);
    talk.hears_text(&error(3, "PT9999S"), &["flow false"]);
    talk.hears_text(&error(4, "soon"), &[]);
    assert_eq!(talk.session.poll_timeout().unwrap().as_millis(), 2_500, "the last word counts");
}

#[test]
fn packets_have_at_least_1600_bytes() {
    let mut talk = open();
    talk.command(Command::Audio(&[1; 1_599])).unwrap();
    assert!(talk.audio().is_empty());
    talk.command(Command::Audio(&[2; 2])).unwrap();
    assert_eq!(talk.audio().iter().map(|packet| packet.len()).collect::<Vec<_>>(), [1_600]);
    talk.command(Command::SpurtEnd).unwrap();
    let last = talk.audio().concat();
    assert_eq!((last.len(), last[0], last[1], last[1_599]), (1_600, 2, 0xFF, 0xFF));
    talk.command(Command::Audio(&[3; 100])).unwrap();
    talk.says(Command::Clear, &["out-14-barge-in-early.json"]);
    talk.command(Command::SpurtEnd).unwrap();
    assert!(talk.audio().is_empty(), "what was collected is thrown away");
}

#[test]
fn nothing_is_said_into_a_hold() {
    let mut talk = open();
    talk.hears_text(r#"{"version":"2","type":"paused","seq":2,"serverseq":1,"id":"e160e428-53e2-487c-977d-96989bf5c99d","position":"PT0S","parameters":{}}"#, &["hold true"]);
    talk.command(Command::Audio(&[1; 3_200])).unwrap();
    assert!(talk.audio().is_empty());
}

#[test]
fn the_bot_ends_the_call_or_hands_it_over() {
    let close = r#"{"version":"2","type":"close","seq":2,"serverseq":2,"id":"e160e428-53e2-487c-977d-96989bf5c99d","position":"PT9S","parameters":{"reason":"disconnect"}}"#;
    for (command, file, action) in [
        (Command::HangUp { reason: Ending::Completed }, "out-11-disconnect.json", "finished"),
        (Command::Transfer { to: "+442079460123" }, "out-12-disconnect-transfer.json", "transfer"),
        (Command::HangUp { reason: Ending::Failed }, "out-13-disconnect-error.json", "finished"),
    ] {
        let mut talk = open();
        talk.says(command, &[file]);
        talk.says(Command::HangUp { reason: Ending::Completed }, &[]);
        talk.hears_text(close, &["disconnect hung up"]);
        let Some(Frame::Text(closed)) = talk.out.frames.pop_front() else { panic!("not closed") };
        let closed: serde_json::Value = serde_json::from_str(&closed).unwrap();
        assert_eq!((&closed["type"], &closed["seq"]), (&"closed".into(), &3.into()));
        assert_eq!(closed["parameters"]["outputVariables"]["action"], action);
    }
}

#[test]
fn the_customer_is_found_among_two_channels() {
    let mut talk = Talk::new("genesys");
    let opening = talk.open(&["in-21-open-stereo.json"], &["answered"]);
    assert_eq!((opening.caller.as_deref(), opening.did.as_deref()), (Some("+15555551234"), Some("+18005556789")));
    talk.sent(&["out-21-opened-stereo.json"]);
    talk.receive(Frame::Binary(vec![1, 9, 2, 9, 3, 9].into())).unwrap();
    assert_eq!(talk.out.events.pop_front(), Some(dialect::Event::Audio(vec![1, 2, 3].into())));
}

#[test]
fn a_probe_is_no_call() {
    let mut talk = Talk::new("genesys");
    talk.hears("in-31-open-probe.json", &[]);
    talk.sent(&["out-01-opened.json"]);
    talk.receive(Frame::Binary(vec![0; 1_600].into())).unwrap();
    talk.hears("in-32-close-probe.json", &[]);
    talk.sent(&["out-32-closed-probe.json"]);
}

#[test]
fn a_bad_message_is_told_to_genesys_and_refused() {
    let message = |kind: &str, seq: &str, serverseq: &str, id: &str, version: &str| {
        format!(
            r#"{{"version":"{version}","type":"{kind}","seq":{seq},"serverseq":{serverseq},"id":"{id}","position":"PT1S","parameters":{{}}}}"#
        )
    };
    let ours = "e160e428-53e2-487c-977d-96989bf5c99d";
    for (text, why) in [
        (message("ping", "1", "1", ours, "2"), "seq must be one more"),
        (message("ping", "4", "1", ours, "2"), "seq must be one more"),
        (message("ping", "2", "7", ours, "2"), "serverseq"),
        (message("ping", "2", "1", "another", "2"), "id must be"),
        (message("ping", "2", "1", ours, "1"), "version"),
        ("{".to_owned(), "ends in the middle"),
        ("no JSON".to_owned(), "JSON object"),
        (r#"{"version":"2","version":"2"}"#.to_owned(), "same key"),
    ] {
        let mut talk = open();
        let violation = talk.receive(Frame::Text(text.clone())).unwrap_err();
        assert_eq!(violation.code, 1008, "{text}");
        assert!(violation.reason.contains(why), "{text}: {violation}");
        let Some(Frame::Text(said)) = talk.out.frames.pop_front() else { panic!("Genesys was not told of {text}") };
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["type"], &said["parameters"]["reason"]), (&"disconnect".into(), &"error".into()));
        assert_eq!(said["parameters"]["info"], violation.reason.as_ref());
    }
}

#[test]
fn only_media_with_the_customer_is_taken() {
    let check = |media: &str, expect: Option<(Encoding, &str)>| {
        let mut talk = Talk::new("genesys");
        let open = format!(
            r#"{{"version":"2","type":"open","seq":1,"serverseq":0,"id":"x","position":"PT0S","parameters":{{"conversationId":"c","media":{media}}}}}"#
        );
        let got = talk.receive(Frame::Text(open));
        let Some((encoding, channels)) = expect else {
            assert!(got.unwrap_err().reason.contains("external"), "{media}");
            return;
        };
        got.unwrap();
        let Some(dialect::Event::Opened(opening)) = talk.out.events.pop_front() else { panic!("{media}") };
        assert_eq!(opening.hears.encoding, encoding, "{media}");
        let Some(Frame::Text(opened)) = talk.out.frames.pop_front() else { panic!("{media}") };
        assert!(opened.contains(channels), "{media}: {opened}");
    };
    let offer = |format: &str, channels: &str, rate: &str| {
        format!(r#"{{"type":"audio","format":"{format}","channels":{channels},"rate":{rate}}}"#)
    };
    let both = r#"["external","internal"]"#;
    let one = r#"["external"]"#;
    check(&format!("[{}]", offer("PCMU", one, "8000")), Some((Encoding::Mulaw, one)));
    check(&format!("[{}]", offer("PCMU", one, "\"8000\"")), Some((Encoding::Mulaw, one)));
    check(&format!("[{},{}]", offer("PCMU", both, "8000"), offer("PCMU", one, "8000")), Some((Encoding::Mulaw, one)));
    check(&format!("[{},{}]", offer("L16", one, "8000"), offer("PCMU", one, "8000")), Some((Encoding::Mulaw, one)));
    check(&format!("[{}]", offer("L16", one, "8000")), Some((Encoding::L16, one)));
    check(&format!("[{}]", offer("PCMU", r#"["internal"]"#, "8000")), None);
    check(&format!("[{}]", offer("PCMU", one, "16000")), None);
    check(&format!("[{}]", offer("OPUS", one, "8000")), None);
    check(&format!("[{}]", offer("PCMU", r#"["external","external","external"]"#, "8000")), None);
    check("[]", None);
    check("7", None);
    check("[7,[],null]", None);
}
