//! The inbound leg between a caller's user agent and its call, over loopback.

use std::time::Duration;

use bytes::Bytes;
use call::io::LegEnd;
use domain::ids::CallId;
use serde_json::json;
use sip::sdp::Codec;
use sip::{Failure, InviteRequest};

use super::*;
use crate::audio::AudioEngine;
use crate::recording::Recordings;
use crate::signalling::Signalling;

const SOON: Duration = Duration::from_secs(60);
const TAKEN: Taken = Taken { call_id: CallId::NIL, recording: None };

/// A caller and a leg that its INVITE came to.
struct World {
    caller: Signalling,
    call: CallHandle,
    heard: mpsc::Receiver<Event>,
    leg: Leg,
}

fn trunk() -> Trunk {
    let wire = json!({"trunk_id": "t", "name": "t", "host": "127.0.0.1", "default_number": "+911140001234"});
    serde_json::from_value(wire).unwrap()
}

fn offer(codec: &str) -> Bytes {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP {codec}\r\n")
        .into()
}

/// Calls with this offer; the leg, or why there is none.
async fn call(answer: InboundAnswer, sdp: Bytes) -> Result<World, Unfit> {
    let here = "127.0.0.1:0".parse().unwrap();
    let (nobody, _) = mpsc::channel(1);
    let caller = Signalling::start(here, None, 4, 1, nobody, None).unwrap();
    let (incoming, mut inbox) = mpsc::channel(4);
    let callee = Signalling::start(here, None, 4, 2, incoming, None).unwrap();
    let rtp = AudioEngine::start(here.ip(), &(42_000..=42_999), 1, &Recordings::start().unwrap()).unwrap();
    let legs = SipLegs::new(callee.clone(), rtp, None);
    let request = InviteRequest {
        target: format!("sip:1@{}", callee.local),
        remote: callee.local,
        from_uri: "sip:caller@127.0.0.1".into(),
        from_display: None,
        to_uri: format!("sip:1@{}", callee.local),
        call_id: None,
        headers: Vec::new(),
        sdp,
        credentials: None,
    };
    let (handle, heard) = caller.invite(request).await.unwrap();
    let incoming = soon(inbox.recv()).await.unwrap();
    let leg = legs.take(Inbound { incoming, trunk: &trunk(), answer, session_id: 7 })?;
    Ok(World { caller, call: handle, heard, leg })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

impl World {
    fn taken(&mut self) {
        self.leg.taken.take().unwrap().send(TAKEN).unwrap();
    }

    async fn command(&self, command: LegCommand) {
        self.leg.commands.send(command).await.unwrap();
    }

    async fn told(&mut self) -> LegEvent {
        soon(self.leg.events.recv()).await.unwrap()
    }

    /// What the caller hears next, in short.
    async fn hears(&mut self) -> String {
        match soon(self.heard.recv()).await.unwrap() {
            Event::Provisional { code, .. } => code.to_string(),
            Event::Answered { sdp, .. } => {
                let params = sip::sdp::parse_answer(&[Codec::Pcmu, Codec::Pcma], &sdp.unwrap()).unwrap();
                format!("200 {:?}", params.codec)
            }
            Event::Failed { cause: Failure::Status { code, retry_after, .. }, .. } => {
                format!("{code}{}", if retry_after.is_some() { " retry" } else { "" })
            }
            Event::Failed { cause, .. } => format!("{cause:?}"),
            Event::Ended { by, .. } => format!("ended {by:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn it_answers_when_its_call_says_so() {
    let mut world = call(InboundAnswer::Immediate, offer("8")).await.unwrap();
    world.taken();
    world.command(LegCommand::Answer).await;
    assert_eq!(world.told().await, LegEvent::Answered);
    assert_eq!(world.hears().await, "200 Pcma");
    world.caller.act(world.call, Act::HangUp { reason: None }).await.unwrap();
    assert_eq!(world.told().await, LegEvent::Ended { by_remote: true, cause: LegEnd::Normal });
    assert_eq!(world.hears().await, "ended Local");
}

#[tokio::test]
async fn it_rings_where_the_bot_wants_it() {
    let mut world = call(InboundAnswer::Ring, offer("0")).await.unwrap();
    world.taken();
    assert_eq!((world.told().await, world.hears().await.as_str()), (LegEvent::Ringing, "180"));
    world.command(LegCommand::Answer).await;
    assert_eq!((world.told().await, world.hears().await.as_str()), (LegEvent::Answered, "200 Pcmu"));
    world.command(LegCommand::HangUp).await;
    assert_eq!(world.told().await, LegEvent::Ended { by_remote: false, cause: LegEnd::Normal });
    assert_eq!(world.hears().await, "ended Remote");
}

#[tokio::test]
async fn a_caller_on_hold_from_the_start_is_on_hold() {
    let held = [&offer("0")[..], b"a=sendonly\r\n"].concat();
    let mut world = call(InboundAnswer::Immediate, held.into()).await.unwrap();
    world.taken();
    world.command(LegCommand::Answer).await;
    assert_eq!((world.told().await, world.told().await), (LegEvent::Answered, LegEvent::Hold(true)));
}

#[tokio::test]
async fn a_call_that_is_not_taken_is_refused() {
    let mut world = call(InboundAnswer::Ring, offer("0")).await.unwrap();
    drop(world.leg.taken.take());
    assert_eq!(world.hears().await, "503 retry");
}

#[tokio::test]
async fn a_call_that_ends_before_its_answer_is_refused() {
    let mut world = call(InboundAnswer::Ring, offer("0")).await.unwrap();
    world.taken();
    assert_eq!(world.told().await, LegEvent::Ringing);
    world.command(LegCommand::HangUp).await;
    assert_eq!(world.told().await, LegEvent::Failed(LegFailure::Status { code: UNAVAILABLE, q850: None }));
    assert_eq!((world.hears().await, world.hears().await), ("180".to_owned(), "480".to_owned()));
}

#[tokio::test]
async fn a_call_task_that_is_gone_leaves_no_caller_waiting() {
    for answered in [false, true] {
        let World { mut heard, mut leg, caller: _caller, .. } =
            call(InboundAnswer::Immediate, offer("0")).await.unwrap();
        leg.taken.take().unwrap().send(TAKEN).unwrap();
        if answered {
            leg.commands.send(LegCommand::Answer).await.unwrap();
            assert_eq!(soon(leg.events.recv()).await, Some(LegEvent::Answered));
        }
        drop(leg);
        let last = async {
            loop {
                match heard.recv().await {
                    Some(event) if event.is_terminal() => return event,
                    Some(_) => {}
                    None => panic!("no last event"),
                }
            }
        };
        let is_over = match soon(last).await {
            Event::Failed { cause: Failure::Status { code, .. }, .. } => !answered && code == UNAVAILABLE,
            Event::Ended { by: EndedBy::Remote, .. } => answered,
            _ => false,
        };
        assert!(is_over, "answered: {answered}");
    }
}

#[tokio::test]
async fn a_caller_who_gives_up_is_told_of_at_any_stage() {
    for taken in [false, true] {
        let mut world = call(InboundAnswer::Ring, offer("0")).await.unwrap();
        if taken {
            world.taken();
            assert_eq!(world.told().await, LegEvent::Ringing);
        }
        world.caller.act(world.call, Act::HangUp { reason: None }).await.unwrap();
        assert_eq!(world.told().await, LegEvent::Failed(LegFailure::Cancelled), "taken: {taken}");
    }
}

#[tokio::test]
async fn an_offer_that_can_not_be_answered_has_no_leg() {
    let check = async |sdp: Bytes, expect: Unfit| {
        assert_eq!(call(InboundAnswer::Immediate, sdp).await.err(), Some(expect));
    };
    check(offer("18"), Unfit::Offer(488)).await;
    check(Bytes::from_static(b"nonsense"), Unfit::Offer(400)).await;
}
