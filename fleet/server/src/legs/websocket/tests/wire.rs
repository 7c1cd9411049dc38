//! A network that does not take what is sent, and diallers that send too much.

use call::io::{LegEnd, LegEvent};
use futures_util::SinkExt;
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

use super::stage::{Setup, Stage, settle};
use crate::audio::Said;

#[tokio::test(start_paused = true)]
async fn a_dialler_that_reads_nothing_costs_frames_and_no_memory() {
    let mut setup = Setup::default();
    setup.limits.outbox_audio = 10;
    let (mut stage, mut call) = Stage::talking(&setup).await;
    for _ in 0..200 {
        stage.say(Said::Frame([1; 160])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.say(Said::SpurtEnd).await;
    settle().await;
    // What the network holds, and no more than ten frames that wait for it; control messages are never dropped.
    stage.send(r#"{"event":"hangup-call"}"#).await;
    assert_eq!(call.event().await, LegEvent::Ended { by_remote: true, cause: LegEnd::Normal });
    drop(call);
    let rest = stage.rest().await;
    let frames = rest.iter().filter(|words| *words == "reverse-media").count();
    assert!((10..60).contains(&frames), "{frames} frames");
    assert_eq!(rest.last().unwrap(), "close 1000 the call is over");
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_never_reads_is_lost_after_ten_seconds() {
    let (stage, mut call) = Stage::talking(&Setup::default()).await;
    let begun = Instant::now();
    let media = async {
        loop {
            stage.say(Said::Frame([1; 160])).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let event = tokio::select! {
        () = media => unreachable!(),
        event = call.event() => event,
    };
    assert_eq!(event, LegEvent::Ended { by_remote: true, cause: LegEnd::SocketLost });
    // The network took the first half a second.
    assert!((10_000..12_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_cut_off() {
    let check = async |message: Message, count: usize| {
        let (mut stage, mut call) = Stage::talking(&Setup::default()).await;
        for _ in 0..count {
            if stage.dialler.feed(message.clone()).await.is_err() || stage.dialler.flush().await.is_err() {
                break;
            }
        }
        let LegEvent::Remark(remark) = call.event().await else { panic!("no remark") };
        assert!(remark.contains("1008"), "{remark}");
        assert_eq!(call.event().await, LegEvent::Ended { by_remote: true, cause: LegEnd::SocketLost });
        drop(call);
        let rest = stage.rest().await;
        assert!(rest.last().is_some_and(|words| words.starts_with("close 1008 more than ")), "{rest:?}");
    };
    check(Message::text(r#"{"event":"noise"}"#), 6000).await;
    check(Message::Ping("x".into()), 6000).await;
    let large = format!(r#"{{"event":"noise","x":"{}"}}"#, "x".repeat(200_000));
    check(Message::text(large), 60).await;
}
