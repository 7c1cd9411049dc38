//! One good call, and every way in which it may have gone wrong.

use std::time::Duration;

use media::wav::{CALL_RECORDING, HEADER};
use serde_json::json;

use super::*;
use crate::phone::{Ending, Heard};

const TALK: [(&str, &str); 4] = [
    ("bot", "Hello, am I speaking with Rahul Sharma?"),
    ("customer", "Yes, this is Rahul."),
    ("bot", "When can you pay?"),
    ("customer", "Tomorrow evening."),
];

fn event(at: u64, what: Happening) -> PhoneEvent {
    PhoneEvent { call: 1, at: Duration::from_secs(at), what }
}

fn heard(text: &str) -> Happening {
    Happening::Heard(Heard { text: text.to_owned(), from: Duration::ZERO, to: Duration::ZERO })
}

fn recording(customer: bool, bot: bool) -> Vec<u8> {
    let mut bytes = CALL_RECORDING.header(0).to_vec();
    assert_eq!(bytes.len(), HEADER);
    for n in 0..10 * 8000 {
        let tone = if n / 8 % 2 == 0 { 4000_i16 } else { -4000 };
        for voice in [customer, bot] {
            bytes.extend(if voice { tone } else { 3 }.to_le_bytes());
        }
    }
    let length = (bytes.len() - HEADER) as u64;
    for (at, patch) in media::wav::patches(length) {
        bytes[at as usize..at as usize + 4].copy_from_slice(&patch);
    }
    bytes
}

fn good() -> Evidence {
    let talk = [TALK, TALK].concat();
    let mut story = vec![event(0, Happening::Challenged), event(0, Happening::Answered)];
    story.push(event(0, Happening::Says { text: "Hello?".to_owned() }));
    for (speaker, text) in &talk {
        let what = if *speaker == "bot" { heard(text) } else { Happening::Says { text: (*text).to_owned() } };
        story.push(event(1, what));
    }
    story.push(event(9, Happening::Ended(Ending::Caller)));
    let transcript: Vec<Value> =
        talk.iter().map(|(speaker, text)| json!({"speaker": speaker, "text": text, "timestamp": 1.0})).collect();
    let variables =
        json!({"customer_id": "C-1", "customer_name": "Rahul Sharma", "loan_number": 90071992547409931_u64});
    let result = json!({
        "disconnected_by": "bot", "end_reason": "bot_hangup", "call_duration_seconds": 10.2,
        "answered_at": "2026-11-22T10:00:00Z", "ended_at": "2026-11-22T10:01:00Z",
        "recording_url": "http://x/y.wav?token=1", "transcript": transcript,
    });
    let body = json!({
        "customer": {"id": "C-1", "name": "Rahul Sharma", "phone": TO}, "loan": "90071992547409931",
        "disposition": PROMISED, "promise_date": "2026-11-23", "payment_method": METHOD, "reminder": "yes",
        "call": {"id": "id-1", "seconds": "10.2", "ended_by": "bot", "recording": "http://x/y.wav?token=1"},
        "source": "ringfleet",
    });
    Evidence {
        call_id: "id-1".to_owned(),
        customer: "Rahul Sharma".to_owned(),
        variables,
        story,
        result,
        push: Some(Pushed { status: 200, headers: serde_json::Map::new(), body, fault: None }),
        wav: Some("/tmp/x.wav".into()),
        recording: Ok(recording(true, true)),
    }
}

/// Spoils a good call and tells which faults are found, by parts of their words.
fn check(spoil: impl FnOnce(&mut Evidence), expect: &[&str]) {
    let mut evidence = good();
    spoil(&mut evidence);
    let faults: Vec<String> = judge(&evidence).into_iter().filter_map(|check| check.fault).collect();
    assert_eq!(faults.len(), expect.len(), "{faults:?}, not {expect:?}");
    for (fault, part) in faults.iter().zip(expect) {
        assert!(fault.contains(part), "{fault:?} lacks {part:?}");
    }
}

#[test]
fn a_good_call_has_no_faults() {
    check(|_| {}, &[]);
}

#[test]
fn sip_faults() {
    check(|e| e.story.retain(|event| event.what != Happening::Challenged), &["no INVITE reached the phone"]);
    check(|e| e.story.insert(1, event(0, Happening::WrongPassword)), &["a wrong password"]);
    check(|e| e.story.retain(|event| event.what != Happening::Answered), &["never answered"]);
    check(|e| e.result["end_reason"] = json!("idle_silence"), &["idle_silence"]);
    check(|e| e.result["disconnected_by"] = json!("customer"), &["\"customer\"", "/call/ended_by"]);
}

#[test]
fn conversation_faults() {
    let entry = |n: usize, text: &'static str| move |e: &mut Evidence| e.result["transcript"][n]["text"] = json!(text);
    check(entry(1, "Yes, this is Raul."), &[]);
    check(entry(1, "I want a big pizza with everything on it."), &["of the words were wrong"]);
    check(entry(0, "Good morning to you all, what a lovely day it is."), &["of the words were wrong"]);
    let name = |e: &mut Evidence| {
        let first = e.story.iter_mut().find(|event| matches!(event.what, Happening::Heard(_))).unwrap();
        first.what = heard("Hello, am I speaking with the right one?");
    };
    check(name, &["it heard \"Hello, am I"]);
    let short = |e: &mut Evidence| {
        e.result["transcript"].as_array_mut().unwrap().truncate(4);
        e.story.drain(7..11);
    };
    check(short, &["the bot took 2, the customer 2"]);
}

#[test]
fn recording_faults() {
    check(|e| e.recording = Err("there is no recording".into()), &["there is no recording"]);
    check(|e| e.recording = Ok(b"nonsense".to_vec()), &["not a WAV"]);
    check(|e| e.recording = Ok(recording(false, true)), &["the customer's side has 0.0 s"]);
    check(|e| e.recording = Ok(recording(true, false)), &["the bot's side has 0.0 s"]);
    check(|e| e.result["call_duration_seconds"] = json!(30.0), &["10.0 s long, the call 30.0 s"]);
}

#[test]
fn push_faults() {
    fn edit(e: &mut Evidence) -> &mut Pushed {
        e.push.as_mut().unwrap()
    }
    check(|e| e.push = None, &["no push came", "no push came"]);
    check(|e| edit(e).fault = Some("the signature does not verify".into()), &["does not verify"]);
    check(|e| edit(e).status = 401, &["answered 401"]);
    let body = |pointer: &'static str, value: &'static str| {
        move |e: &mut Evidence| *edit(e).body.pointer_mut(pointer).unwrap() = json!(value)
    };
    check(body("/loan", "9.007e16"), &["/loan is \"9.007e16\""]);
    check(body("/customer/name", ""), &["/customer/name is \"\""]);
    check(body("/disposition", "COMPLETED"), &["/disposition"]);
    check(body("/call/id", "other"), &["/call/id"]);
    check(body("/call/seconds", "0"), &["/call/seconds"]);
    check(body("/promise_date", "2026-11-24"), &["not the day after the call"]);
    check(body("/promise_date", ""), &["not the day after the call"]);
}
