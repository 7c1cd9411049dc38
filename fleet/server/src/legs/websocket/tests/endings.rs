//! Every way in which a socket ends: what its call hears of it, and how the dialler is told.

use call::io::{LegCommand, LegEnd, LegEvent};
use domain::fleet::Refusal;
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use super::stage::{Setup, Stage, settle, speaking};

const HUNG_UP: LegEvent = LegEvent::Ended { by_remote: true, cause: LegEnd::Normal };
const LOST: LegEvent = LegEvent::Ended { by_remote: true, cause: LegEnd::SocketLost };

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() }))
}

fn text(text: &str) -> Message {
    Message::text(text)
}

/// A dialler does this in mid-call: the call's last event, whether it has a remark, and how the socket is closed.
async fn check(does: Message, last: LegEvent, remarked: bool, closed: &str) {
    let said = format!("{does:?}").chars().take(60).collect::<String>();
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    stage.give(does).await;
    if remarked {
        let LegEvent::Remark(remark) = call.event().await else { panic!("{said}: no remark") };
        assert!(remark.contains("the dialler"), "{said}: {remark}");
    }
    assert_eq!(call.event().await, last, "{said}");
    drop(call);
    let rest = stage.rest().await;
    assert!(rest.last().is_some_and(|words| words.starts_with(closed)), "{said}: {rest:?}");
    stage.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_dialler_ends_a_call_in_many_ways() {
    check(text(r#"{"event":"hangup-call","disconnectedBy":"customer"}"#), HUNG_UP, false, "close 1000").await;
    for code in [1000, 1001, 4000] {
        check(close(code), HUNG_UP, false, &format!("close {code}")).await;
    }
    check(Message::Close(None), HUNG_UP, false, "Close(None)").await;
    check(close(1011), LOST, true, "close 1011").await;
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_breaks_the_rules_is_cut_off_and_told_why() {
    check(text("{"), LOST, true, "close 1008 ").await;
    check(text("[]"), LOST, true, "close 1008 ").await;
    check(text(r#"{"event":"media"}"#), LOST, true, "close 1008 ").await;
    check(text(r#"{"event":"dtmf","event":"dtmf"}"#), LOST, true, "close 1008 ").await;
    check(Message::binary(vec![0; 320]), LOST, true, "close 1003 ").await;
    check(Message::text("x".repeat(256 * 1024 + 1)), LOST, true, "close 1009 ").await;
    let broken = Frame::message(vec![0xc3, 0x28], OpCode::Data(Data::Text), true);
    check(Message::Frame(broken), LOST, true, "close 1007 ").await;
    let reserved = Frame::message(vec![0], OpCode::Data(Data::Reserved(3)), true);
    check(Message::Frame(reserved), LOST, true, "close 1002 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_breaks_is_lost() {
    let (stage, mut call) = Stage::talking(&Setup::default()).await;
    drop(stage.dialler);
    assert_eq!(call.event().await, LOST);
}

#[tokio::test(start_paused = true)]
async fn a_dialler_without_a_sign_of_life_is_found_within_half_a_minute() {
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    let begun = Instant::now();
    assert_eq!(call.event().await, LOST);
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    drop(call);
    assert_eq!(stage.rest().await, ["close 1008 no sign of life"]);
    // One that answers pings may be silent for as long as it likes.
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    let quiet = tokio::time::timeout(Duration::from_secs(200), stage.message());
    assert!(quiet.await.is_err());
    assert!(call.leg.events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_no_call() {
    let check = async |says: &[&str], after: u64, closed: &str| {
        let mut stage = Stage::new(&Setup::default()).await;
        let begun = Instant::now();
        for text in says {
            stage.send(text).await;
        }
        let rest = stage.rest().await;
        assert!(rest.last().unwrap().starts_with(closed), "{says:?}: {rest:?}");
        assert_eq!(begun.elapsed().as_secs(), after, "{says:?}");
        stage.no_call();
        stage.ended().await;
    };
    check(&[], 10, "close 1008 ").await;
    check(&[r#"{"event":"connected"}"#], 10, "close 1008 ").await;
    check(&["{\"event\":"], 0, "close 1008 ").await;
}

#[tokio::test(start_paused = true)]
async fn audio_that_is_not_spoken_here_is_no_call() {
    let mut setup = speaking("raw");
    setup.settings.codec = Some(dialect::Encoding::Opus);
    let mut stage = Stage::new(&setup).await;
    stage.give(Message::binary(vec![0; 160])).await;
    let rest = stage.rest().await;
    assert!(rest[0].starts_with("close 1003 opus at "), "{rest:?}");
    stage.no_call();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_says_so() {
    let mut stage = Stage::new(&Setup::default()).await;
    stage.going.cancel();
    assert_eq!(stage.rest().await, ["close 1001 the server ends; connect again"]);
    stage.no_call();
    // A call goes on until it is told to end.
    let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
    stage.going.cancel();
    settle().await;
    assert!(call.leg.events.try_recv().is_err());
    call.command(LegCommand::HangUp).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: false, cause: LegEnd::Normal });
    drop(call);
    let rest = stage.rest().await;
    assert_eq!(rest.last().unwrap(), "close 1001 the server ends; connect again");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_is_called_one() {
    // The call's task fails.
    let (mut stage, call) = Stage::talking(&Setup::default()).await;
    drop(call);
    let rest = stage.rest().await;
    assert_eq!(rest, ["reverse-media-stop", "reverse-hangup-call", "close 1011 the call ended by a fault"]);
    stage.ended().await;
    // Its row could not be written.
    let setup = Setup { refuse: Some(Refusal::Unsettled), ..Setup::default() };
    let mut stage = Stage::new(&setup).await;
    stage.send(r#"{"event":"connected","callerId":"1","streamId":"s"}"#).await;
    let rest = stage.rest().await;
    assert_eq!(rest, ["mark connected-received", "close 1011 the call could not be started; connect again"]);
    // It was taken and then nobody held it.
    let mut stage = Stage::new(&Setup::default()).await;
    stage.send(r#"{"event":"connected","callerId":"1","streamId":"s"}"#).await;
    drop(stage.call().await);
    let rest = stage.rest().await;
    assert!(rest.last().unwrap().starts_with("close 1011 "), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_comes_again_ends_the_older_call_first() {
    let setup = Setup::default();
    let (mut first, mut old) = Stage::talking(&setup).await;
    let mut second = Stage::new(&setup).await;
    second.send(r#"{"event":"connected","callerId":"+919876543210","streamId":"s-1"}"#).await;
    let LegEvent::Remark(remark) = old.event().await else { panic!("no remark") };
    assert!(remark.contains("same stream"), "{remark}");
    assert_eq!(old.event().await, LOST);
    // The older call has not let go of its leg: the new one is none yet.
    settle().await;
    second.no_call();
    drop(old);
    let mut new = second.call().await;
    new.take();
    assert_eq!(first.rest().await, ["close 1000 this stream has connected again"]);
    first.ended().await;
    second.send(r#"{"event":"answer"}"#).await;
    assert_eq!(new.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
}
