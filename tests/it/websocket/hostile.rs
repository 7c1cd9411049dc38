//! Messages that no dialler should send, over the real socket: each ends in the right close code with a reason, the call
//! that had begun still has its result, and nothing of it is left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::SinkExt;
use futures_util::future::join_all;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::platform::Setup;
use ringfleet_tests::wait::until;
use ringfleet_tests::ws::carrier::Native;
use ringfleet_tests::ws::socket::{self, Socket};
use ringfleet_tests::{gate, ports, tools};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{ANSWER, PUSH, World, talks};

/// Nothing decisive is waited for as long as this, and a busy machine's while.
const UNDECIDED: Duration = Duration::from_secs(75);

/// What is sent.
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    /// A text message with any bytes.
    Bytes(Vec<u8>),
    Nothing,
}

/// When it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// As the first message.
    First,
    /// In a call that has begun.
    InCall,
}

struct Case {
    what: &'static str,
    at: At,
    sent: Sent,
    code: u16,
}

fn cases() -> Vec<Case> {
    let deep = |levels: usize| {
        format!("{{\"event\":\"connected\",\"callerId\":\"1\",\"x\":{}1{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    let text = |what, at, text: &str, code| Case { what, at, sent: Sent::Text(text.to_owned()), code };
    let media = r#"{"event":"media","payload":"AAAA"}"#;
    vec![
        Case { what: "nothing at all", at: At::First, sent: Sent::Nothing, code: 1008 },
        text("JSON of nobody", At::First, r#"{"hello":"world"}"#, 1008),
        text("a list", At::First, "[1,2,3]", 1008),
        text("truncated JSON", At::First, r#"{"event":"connected","callerId":"+9198"#, 1008),
        text("a key twice", At::First, r#"{"event":"connected","callerId":"1","callerId":"2"}"#, 1008),
        text("a key twice, within", At::First, r#"{"event":"connected","callerId":"1","x":{"a":1,"a":2}}"#, 1008),
        text("nested deeply", At::First, &deep(64), 1008),
        text("nested very deeply", At::First, &deep(100_000), 1008),
        text("audio before the call", At::First, media, 1008),
        text("a protocol that is none", At::First, r#"{"event":"answer"}"#, 1008),
        Case { what: "no UTF-8", at: At::First, sent: Sent::Bytes(b"{\"event\":\"\xff\xfe\"}".to_vec()), code: 1007 },
        Case { what: "half a mebibyte", at: At::First, sent: Sent::Text("x".repeat(512 * 1024)), code: 1009 },
        Case { what: "binary for text", at: At::InCall, sent: Sent::Binary(vec![0; 320]), code: 1003 },
        Case {
            what: "no UTF-8 in a call",
            at: At::InCall,
            sent: Sent::Bytes(vec![0x7b, 0xc0, 0x80, 0x7d]),
            code: 1007,
        },
        Case {
            what: "huge in a call",
            at: At::InCall,
            sent: Sent::Text(format!("{{\"event\":\"media\",\"payload\":\"{}\"}}", "A".repeat(300_000))),
            code: 1009,
        },
        text("no JSON in a call", At::InCall, "hello", 1008),
        text("a list in a call", At::InCall, "[]", 1008),
        text("no event", At::InCall, "{}", 1008),
        text("half a sample", At::InCall, r#"{"event":"media","payload":"AAAA"}"#, 1008),
        text("no base64", At::InCall, r#"{"event":"media","payload":"!!!!"}"#, 1008),
        text("a payload that is a number", At::InCall, r#"{"event":"media","payload":7}"#, 1008),
        text("a key twice in a call", At::InCall, r#"{"event":"media","payload":"AAA=","payload":"AAA="}"#, 1008),
        text("connected twice", At::InCall, r#"{"event":"connected","callerId":"+1","streamId":"other"}"#, 1008),
        text(
            "another format",
            At::InCall,
            r#"{"event":"start","mediaFormat":{"encoding":"OPUS","sampleRate":48000,"channels":2}}"#,
            1008,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_dialler_should_send_ends_with_a_reason_and_leaves_nothing() {
    if !tools::can_run("hostile", &["flite"]) {
        return;
    }
    let _turn = gate::part().await;
    thrown_out().await.unwrap();
}

async fn thrown_out() -> Result<()> {
    let world = World::start(Setup { deaf: true, ..Setup::default() }, &[talks("hostile")]).await?;
    let cases = cases();
    let all = cases.iter().map(async |case| {
        let ended = one(&world, case).await;
        ended.err().map(|failure| format!("{}: {failure:#}", case.what))
    });
    let mut failures: Vec<String> = join_all(all).await.into_iter().flatten().collect();
    failures.extend(truncated(&world).await.err().map(|failure| format!("cut in a frame: {failure:#}")));
    let begun = 1 + cases.iter().filter(|case| case.at == At::InCall).count();
    ensure!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    world.busy_with(0).await?;
    told(&world.crm, begun).await?;
    let port = socket::address(&world.ws)?.rsplit(':').next().context("no port")?.parse()?;
    until("no socket is left open", ANSWER, || async { Ok((ports::held_at(port)? == 0).then_some(())) }).await?;
    // It still takes calls.
    orderly(&world, "after-all").await?;
    world.stop().await
}

async fn orderly(world: &World, stream: &str) -> Result<()> {
    let mut socket = world.answered("hostile", stream).await?;
    first_audio(&mut socket).await?;
    socket::send(&mut socket, &json!({"event": "hangup-call", "disconnectedBy": "customer"})).await?;
    let closing = socket::closing(&mut socket, ANSWER).await?;
    ensure!(closing.code == 1000, "closed with {closing:?}");
    Ok(())
}

async fn one(world: &World, case: &Case) -> Result<()> {
    let mut socket = match case.at {
        At::First => world.open("hostile").await?,
        At::InCall => {
            let mut socket = world.answered("hostile", case.what).await?;
            first_audio(&mut socket).await?;
            socket
        }
    };
    match &case.sent {
        Sent::Text(text) => socket.send(Message::text(text.clone())).await?,
        Sent::Binary(bytes) => socket.send(Message::binary(bytes.clone())).await?,
        Sent::Bytes(bytes) => {
            let frame = Frame::message(bytes.clone(), OpCode::Data(Data::Text), true);
            socket.send(Message::Frame(frame)).await?;
        }
        Sent::Nothing => {}
    }
    socket::closing(&mut socket, UNDECIDED).await?.must_be(case.code)
}

/// A frame that says it is longer than what comes, and then nothing comes any more.
async fn truncated(world: &World) -> Result<()> {
    let mut socket = world.answered("hostile", "truncated").await?;
    first_audio(&mut socket).await?;
    // Final, text, masked, 200 bytes; four bytes of a mask, and three of the 200.
    let bytes = [0x81, 0x80 | 126, 0, 200, 1, 2, 3, 4, b'{' ^ 1, b'"' ^ 2, b'e' ^ 3];
    socket.get_mut().write_all(&bytes).await?;
    socket.get_mut().shutdown().await.context("the socket can't be shut down")
}

async fn first_audio(socket: &mut Socket) -> Result<()> {
    let audio = |message: &serde_json::Value| (message["event"] == "reverse-media").then_some(());
    socket::send(socket, &Native::media(&[0; 160])).await?;
    socket::find(socket, "the bot's first words", ANSWER, audio).await
}

/// Every call that had begun has one push, and all have different ids.
async fn told(crm: &Crm, calls: usize) -> Result<()> {
    let path = "/hostile";
    until(format!("{calls} pushes"), PUSH, || async { Ok((crm.pushes(path).len() >= calls).then_some(())) }).await?;
    let pushes = crm.pushes(path);
    let mut sessions = Vec::new();
    for push in &pushes {
        let body = push.json()?;
        ensure!(body["name"] == "Peter" && body["ended_by"] != "", "the CRM got {body}");
        sessions.push(body["session"].to_string());
    }
    sessions.sort();
    sessions.dedup();
    ensure!(sessions.len() == calls && pushes.len() == calls, "{} pushes of {} calls", pushes.len(), calls);
    Ok(())
}
