//! From the introduction to the last word, while everybody keeps to the rules.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use call::io::{LegCommand, LegEnd, LegEvent};
use domain::call::Direction;
use media::StreamEvent;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

use super::stage::{Setup, Stage, settle, speaking};
use crate::audio::Said;

/// The integration guide's own example, byte for byte.
const GUIDE: &str = r#"{
  "event": "connected",
  "callerId": "+919876543210",
  "streamId": "stream-123",
  "customer_name": "Rahul Sharma",
  "loan_number": "LN123456"
}"#;

#[tokio::test(start_paused = true)]
async fn the_guides_example_starts_a_call_and_the_bot_speaks_without_being_told() {
    let mut stage = Stage::new(&Setup::default()).await;
    let begun = Instant::now();
    stage.send(GUIDE).await;
    let mut call = stage.call().await;
    let opening = &call.opening;
    assert_eq!((opening.caller.as_deref(), opening.stream_id.as_deref()), (Some("+919876543210"), Some("stream-123")));
    assert_eq!(opening.direction, Direction::Inbound);
    for (name, value) in
        [("customer_name", "Rahul Sharma"), ("loan_number", "LN123456"), ("caller_id", "+919876543210")]
    {
        assert_eq!(opening.fields.stringified()[name], value);
    }
    call.take();
    assert_eq!(call.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn the_answer_waits_for_the_calls_row() {
    let mut stage = Stage::new(&Setup::default()).await;
    stage.send(GUIDE).await;
    stage.send(r#"{"event":"answer"}"#).await;
    let mut call = stage.call().await;
    settle().await;
    assert!(call.leg.events.try_recv().is_err());
    call.take();
    assert_eq!(call.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_called_the_customer_says_so() {
    let mut stage = Stage::new(&Setup::default()).await;
    stage
        .send(r#"{"event":"connected","callerId":"+91987","did":"+9111","callDirection":"outgoing","streamId":"s"}"#)
        .await;
    let mut call = stage.call().await;
    call.take();
    assert_eq!((call.opening.direction, call.event().await), (Direction::Outbound, LegEvent::Dialing));
}

fn media(samples: &[i16]) -> String {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    json!({"event": "media", "payload": STANDARD.encode(bytes)}).to_string()
}

#[tokio::test(start_paused = true)]
async fn audio_goes_both_ways_and_keys_come_in() {
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    let samples: Vec<i16> = (0..160).map(|n| n * 100 - 8000).collect();
    stage.send(&media(&samples)).await;
    assert_eq!(stage.audio.heard.recv().await.unwrap().samples, samples);
    stage.send(r#"{"event":"dtmf","digit":"5"}"#).await;
    assert_eq!(call.event().await, LegEvent::Dtmf('5'));

    let frame: [i16; 160] = std::array::from_fn(|n| n as i16 * 7);
    stage.say(Said::Frame(frame)).await;
    let Some(Message::Text(text)) = stage.message().await else { panic!("no text") };
    let sent: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&sent["event"], &sent["chunk_durn_ms"]), (&json!("reverse-media"), &json!(20)));
    let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(STANDARD.decode(sent["payload"].as_str().unwrap()).unwrap(), bytes);
    // A dialler that does not say what it plays: marks count at once.
    stage.say(Said::Mark { id: 1, at_sample: 160 }).await;
    assert_eq!(stage.reported().await, StreamEvent::MarkPlayed { id: 1, at_sample: 160 });
}

#[tokio::test(start_paused = true)]
async fn at_barge_in_the_dialler_throws_away_what_it_has() {
    let (mut stage, _call) = Stage::talking(&Setup::default()).await;
    stage.say(Said::Frame([1; 160])).await;
    assert_eq!(stage.words().await, "reverse-media");
    stage.say(Said::Cut { at_sample: 160 }).await;
    assert_eq!(stage.words().await, "reverse-media-stop");
    stage.say(Said::Cleared { id: 1, at_sample: 160 }).await;
    assert_eq!(stage.reported().await, StreamEvent::MarkCleared { id: 1, at_sample: 160 });
}

/// Everything that is sent of a spurt of one frame.
async fn spurt(stage: &mut Stage, sample: i16) -> Vec<u8> {
    stage.say(Said::Frame([sample; 160])).await;
    stage.say(Said::SpurtEnd).await;
    let mut sent = Vec::new();
    while sent.len() < 640 {
        let Some(Message::Binary(bytes)) = stage.message().await else { panic!("no audio") };
        sent.extend_from_slice(&bytes);
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn what_a_spurt_ends_with_does_not_open_the_next() {
    let mut stage = Stage::new(&speaking("vonage")).await;
    stage.send(r#"{"event":"websocket:connected","content-type":"audio/l16;rate=16000"}"#).await;
    let mut call = stage.call().await;
    call.take();
    assert_eq!(call.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
    assert!(spurt(&mut stage, 8000).await.iter().any(|byte| *byte != 0));
    assert!(spurt(&mut stage, 0).await.iter().all(|byte| *byte == 0), "the old spurt is heard again");
}

/// A Twilio call, whose marks come back.
async fn twilio() -> (Stage, super::stage::Call) {
    let mut stage = Stage::new(&speaking("twilio")).await;
    stage.send(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#).await;
    stage
        .send(
            r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{"a":"b"}}}"#,
        )
        .await;
    let mut call = stage.call().await;
    assert!(call.opening.confirms_marks);
    call.take();
    assert_eq!(call.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
    (stage, call)
}

/// The name of the mark that comes next.
async fn mark(stage: &mut Stage) -> String {
    loop {
        let words = stage.words().await;
        if let Some(name) = words.strip_prefix("mark ") {
            return name.to_owned();
        }
        assert_eq!(words, "media");
    }
}

fn came_back(name: &str) -> String {
    json!({"event": "mark", "sequenceNumber": "9", "streamSid": "MZ1", "mark": {"name": name}}).to_string()
}

#[tokio::test(start_paused = true)]
async fn marks_count_when_the_dialler_has_played_them() {
    let (mut stage, _call) = twilio().await;
    stage.say(Said::Frame([1; 160])).await;
    stage.say(Said::Mark { id: 1, at_sample: 160 }).await;
    let name = mark(&mut stage).await;
    settle().await;
    assert!(stage.audio.events.try_recv().is_err());
    stage.send(&came_back(&name)).await;
    assert_eq!(stage.reported().await, StreamEvent::MarkPlayed { id: 1, at_sample: 160 });
    // One that does not come back counts two seconds after it should have.
    stage.say(Said::Frame([1; 160])).await;
    stage.say(Said::Mark { id: 2, at_sample: 320 }).await;
    let sent = Instant::now();
    assert_eq!(stage.reported().await, StreamEvent::MarkPlayed { id: 2, at_sample: 320 });
    assert_eq!(sent.elapsed(), Duration::from_millis(2020));
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_with_what_the_dialler_had_played() {
    let (mut stage, _call) = twilio().await;
    for id in 1..=2 {
        stage.say(Said::Frame([1; 160])).await;
        stage.say(Said::Mark { id, at_sample: 160 * id }).await;
    }
    let first = mark(&mut stage).await;
    stage.send(&came_back(&first)).await;
    assert_eq!(stage.reported().await, StreamEvent::MarkPlayed { id: 1, at_sample: 160 });
    let _second = mark(&mut stage).await;
    stage.say(Said::Cut { at_sample: 330 }).await;
    stage.say(Said::Cleared { id: 3, at_sample: 330 }).await;
    assert_eq!(stage.words().await, "clear");
    // The second mark was not played: what is before it was heard at most.
    assert_eq!(stage.reported().await, StreamEvent::MarkCleared { id: 2, at_sample: 320 });
    assert_eq!(stage.reported().await, StreamEvent::MarkCleared { id: 3, at_sample: 320 });
}

#[tokio::test(start_paused = true)]
async fn the_bot_hangs_up_in_the_diallers_words_once_its_own_were_heard() {
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    stage.say(Said::Frame([1; 160])).await;
    assert_eq!(stage.words().await, "reverse-media");
    let said = Instant::now();
    call.command(LegCommand::HangUp).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: false, cause: LegEnd::Normal });
    assert_eq!(said.elapsed(), Duration::from_millis(220));
    drop(call);
    assert_eq!(stage.rest().await, ["reverse-media-stop", "reverse-hangup-call", "close 1000 the call is over"]);
    // The dialler had a second to close the socket itself.
    assert_eq!(said.elapsed(), Duration::from_millis(1220));
    stage.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_word_that_was_cut_is_not_waited_for() {
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    stage.say(Said::Frame([1; 160])).await;
    assert_eq!(stage.words().await, "reverse-media");
    let said = Instant::now();
    call.command(LegCommand::HangUp).await;
    stage.say(Said::Cut { at_sample: 160 }).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: false, cause: LegEnd::Normal });
    assert_eq!(said.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_a_hang_up_ends_with_the_socket() {
    let (mut stage, mut call) = twilio().await;
    call.command(LegCommand::HangUp).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: false, cause: LegEnd::Normal });
    drop(call);
    assert_eq!(stage.rest().await, ["close 1000 the call is over"]);
    stage.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_handed_over_where_the_protocol_has_a_word_for_it() {
    let to = domain::phone::E164::parse("+919876500000").unwrap();
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    call.command(LegCommand::Transfer { to: to.clone() }).await;
    assert_eq!(stage.words().await, "reverse-call-transfer");
    stage.send(r#"{"event":"hangup-call","disconnectedBy":"transfer"}"#).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: true, cause: LegEnd::Normal });

    let (mut stage, mut call) = twilio().await;
    call.command(LegCommand::Transfer { to }).await;
    assert_eq!(call.event().await, LegEvent::TransferRefused);
    // The call goes on.
    stage.say(Said::Frame([1; 160])).await;
    assert_eq!(stage.words().await, "media");
}
