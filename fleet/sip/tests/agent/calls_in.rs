//! Calls for us up to the ACK: what is sent when, and which event follows.

use std::time::Duration;

use bytes::Bytes;
use sip::{CommandError, EndedBy, Event, Reason};

use crate::harness::*;

fn sdp() -> Bytes {
    Bytes::from_static(OFFER)
}

fn ended(call: sip::CallHandle, by: EndedBy) -> Event {
    Event::Ended { call, by, reason: None }
}

#[test]
fn ring_accept_confirm() {
    let mut agent = Agent::new();
    let invite = incoming_with(
        "INVITE",
        "inv",
        "X-Campaign: 7\nRecord-Route: <sip:192.0.2.11;lr>\nSupported: 100rel\n",
        Some(ANSWER),
    );
    let (call, request) = agent.incoming(&invite);
    assert_eq!((request.request_uri.as_str(), request.call_id.as_str()), ("sip:bot@192.0.2.1", "in-1"));
    assert_eq!((request.from.display.as_deref(), request.from.user().as_deref()), (Some("Carol"), Some("carol")));
    assert_eq!(request.to.uri, "sip:bot@192.0.2.1");
    assert_eq!(request.headers, [("X-Campaign".into(), "7".into())]);
    assert!(request.sdp.is_some());
    agent.endpoint.ring(agent.now, call, 180, None).unwrap();
    let ringing = agent.expect("SIP/2.0 180 Ringing\r\n");
    assert_eq!(header(&ringing, "Contact"), "<sip:bot@192.0.2.1:5060>");
    assert!(headers(&ringing, "Require").is_empty());
    // A repeated INVITE gets the latest provisional response.
    agent.receive(&invite);
    assert_eq!(agent.one(), ringing);
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    let answer = agent.expect("SIP/2.0 200 OK\r\n");
    assert_eq!(to_tag(&answer), to_tag(&ringing));
    assert_eq!(header(&answer, "Record-Route"), "<sip:192.0.2.11;lr>");
    assert_eq!(header(&answer, "Allow"), "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO");
    assert!(answer.ends_with("\r\n\r\nv=0\r\nours\r\n"));
    // A repeated INVITE is absorbed, the 200 repeats itself.
    agent.receive(&invite);
    agent.quiet();
    let repeated: Vec<u64> = agent.pass(Duration::from_secs(16)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(repeated, [500, 1500, 3500, 7500, 11500, 15500]);
    let ack = peer_request("ACK", 1, &to_tag(&answer), "ack", "", None);
    agent.receive(&ack);
    assert_eq!(agent.event(), Event::Confirmed { call, sdp: None });
    agent.receive(&ack);
    agent.pass(LONG);
    agent.quiet();
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    let bye = agent.expect("BYE sip:carol@192.0.2.99:5060 SIP/2.0\r\n");
    assert_eq!(header(&bye, "Route"), "<sip:192.0.2.11;lr>");
    assert_eq!(agent.last_remote, Some("192.0.2.11:5060".parse().unwrap()));
    assert_eq!((header(&bye, "CSeq"), to_tag(&bye).as_str()), ("1 BYE", "c1"));
    agent.receive(&response(&bye, "200 OK", "", "", None));
    assert_eq!(agent.event(), ended(call, EndedBy::Local));
    agent.assert_clean();
}

#[test]
fn an_answer_that_nobody_acknowledges() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    agent.one();
    let sent = agent.pass(LONG);
    let byes: Vec<_> = sent.iter().filter(|(_, line)| line.starts_with("BYE")).collect();
    assert_eq!(byes, [&(32_000, "BYE sip:carol@192.0.2.99:5060 SIP/2.0".to_owned())]);
    assert_eq!(sent.len(), 11);
    assert_eq!(agent.event(), ended(call, EndedBy::Timeout));
    agent.assert_clean();
}

#[test]
fn hang_up_before_the_ack_waits_for_it() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    let tag = to_tag(&agent.one());
    let reason = Reason { protocol: "Q.850".into(), cause: Some(16), text: None };
    agent.endpoint.hang_up(agent.now, call, Some(reason)).unwrap();
    agent.quiet();
    agent.receive(&peer_request("ACK", 1, &tag, "ack", "", None));
    let bye = agent.expect("BYE ");
    assert_eq!(header(&bye, "Reason"), "Q.850;cause=16");
    assert_eq!(agent.events(), vec![]);
    agent.pass(LONG);
    assert_eq!(agent.event(), ended(call, EndedBy::Timeout));
    agent.assert_clean();
}

#[test]
fn the_caller_gives_up() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    let cancel = incoming_with("CANCEL", "inv", "", None);
    agent.receive(&cancel);
    let sent = agent.sent();
    assert_eq!(start_line(&sent[0]), "SIP/2.0 200 OK");
    assert_eq!(header(&sent[0], "CSeq"), "1 CANCEL");
    assert_eq!(start_line(&sent[1]), "SIP/2.0 487 Request Terminated");
    assert_eq!(to_tag(&sent[0]), to_tag(&sent[1]));
    assert_eq!(agent.event(), Event::Cancelled { call });
    assert_eq!(agent.endpoint.accept(agent.now, call, sdp()), Err(CommandError::UnknownCall));
    // The 487 repeats until its ACK.
    assert_eq!(agent.pass(Duration::from_secs(1)).len(), 1);
    let ack = peer_request("ACK", 1, &to_tag(&sent[1]), "inv", "", None);
    agent.receive(&ack);
    agent.receive(&ack);
    agent.quiet();
    agent.assert_clean();
}

#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    let tag = to_tag(&agent.one());
    agent.receive(&incoming_with("CANCEL", "inv", "", None));
    agent.expect("SIP/2.0 200 OK");
    agent.receive(&peer_request("ACK", 1, &tag, "ack", "", None));
    assert_eq!(agent.event(), Event::Confirmed { call, sdp: None });
}

#[test]
fn a_bye_before_the_answer_is_a_cancel() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.ring(agent.now, call, 180, None).unwrap();
    let tag = to_tag(&agent.one());
    agent.receive(&peer_request("BYE", 2, &tag, "bye", "", None));
    let lines: Vec<_> = agent.sent().iter().map(|m| start_line(m)).collect();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert_eq!(agent.event(), Event::Cancelled { call });
    agent.assert_clean();
}

#[test]
fn refusal_with_headers() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    let header_pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let now = agent.now;
    assert_eq!(agent.endpoint.reject(now, call, 200, vec![]), Err(CommandError::Code));
    assert_eq!(agent.endpoint.reject(now, call, 486, header_pair("To", "x")), Err(CommandError::Header));
    assert_eq!(agent.endpoint.ring(now, call, 200, None), Err(CommandError::Code));
    assert_eq!(agent.endpoint.answer_reinvite(now, call, sdp()), Err(CommandError::InvalidState));
    agent.quiet();
    agent.endpoint.reject(now, call, 486, header_pair("Retry-After", "9")).unwrap();
    assert_eq!(header(&agent.expect("SIP/2.0 486 Busy Here\r\n"), "Retry-After"), "9");
    assert_eq!(agent.event(), ended(call, EndedBy::Local));
    // Repeated until Timer H, since no ACK comes: at 0.5, 1.5, 3.5, 7.5 and then every 4 s.
    assert_eq!(agent.pass(LONG).len(), 10);
    agent.assert_clean();
}

#[test]
fn hang_up_while_it_rings_is_a_refusal() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.expect("SIP/2.0 480 ");
    assert_eq!(agent.event(), ended(call, EndedBy::Local));
}

#[test]
fn early_media_and_long_ringing() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.ring(agent.now, call, 183, Some(sdp())).unwrap();
    let progress = agent.expect("SIP/2.0 183 ");
    assert!(progress.ends_with("v=0\r\nours\r\n"));
    let repeated: Vec<u64> = agent.pass(Duration::from_secs(150)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(repeated, [60_000, 120_000]);
}

#[test]
fn an_invite_without_an_offer() {
    let mut agent = Agent::new();
    let (call, request) = agent.incoming(&incoming_invite(None));
    assert_eq!(request.sdp, None);
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    let tag = to_tag(&agent.one());
    agent.receive(&peer_request("ACK", 1, &tag, "ack", "", Some("v=0\r\nlate\r\n")));
    let Event::Confirmed { sdp: Some(answer), .. } = agent.event() else { panic!("no answer") };
    assert!(answer.starts_with(b"v=0\r\nlate"));
}

#[test]
fn an_ack_of_the_invites_own_branch_is_taken() {
    let mut agent = Agent::new();
    let (call, _) = agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.endpoint.accept(agent.now, call, sdp()).unwrap();
    let tag = to_tag(&agent.one());
    agent.receive(&peer_request("ACK", 1, &tag, "inv", "", None));
    assert_eq!(agent.event(), Event::Confirmed { call, sdp: None });
}

#[test]
fn answers_follow_the_packet_where_rport_is_asked_for() {
    let mut agent = Agent::new();
    let invite = incoming_invite(Some(ANSWER)).replace("192.0.2.99;branch", "10.0.0.1:5066;rport;branch");
    agent.receive_from("192.0.2.99:31000", &invite);
    let trying = agent.expect("SIP/2.0 100 ");
    assert_eq!(header(&trying, "Via"), "SIP/2.0/UDP 10.0.0.1:5066;branch=z9hG4bKinv;received=192.0.2.99;rport=31000");
    assert_eq!(agent.last_remote, Some("192.0.2.99:31000".parse().unwrap()));

    let mut agent = Agent::new();
    agent.receive_from(
        "192.0.2.99:31000",
        &incoming_invite(Some(ANSWER)).replace("192.0.2.99;branch", "10.0.0.1:5066;branch"),
    );
    agent.one();
    assert_eq!(agent.last_remote, Some("192.0.2.99:5066".parse().unwrap()));
}
