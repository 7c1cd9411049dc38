//! Requests inside established dialogs.

use bytes::Bytes;
use sip::{CommandError, EndedBy, Event, Reason};

use crate::harness::*;

fn sdp() -> Bytes {
    Bytes::from_static(OFFER)
}

#[test]
fn the_peer_hangs_up() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    let bye = callee_request(&invite, "BYE", 7, "Reason: Q.850;cause=16\n", None);
    agent.receive(&bye);
    let answer = agent.expect("SIP/2.0 200 ");
    let reason = Some(Reason { protocol: "Q.850".into(), cause: Some(16), text: None });
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Remote, reason });
    agent.receive(&bye);
    assert_eq!(agent.one(), answer, "the repeated BYE gets the same answer");
    assert_eq!(agent.events(), vec![]);
    agent.assert_clean();
}

#[test]
fn byes_that_cross() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    let ours = agent.expect("BYE ");
    agent.receive(&callee_request(&invite, "BYE", 1, "", None));
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Local, reason: None });
    agent.receive(&response(&ours, "481 Gone", "", "", None));
    agent.quiet();
    agent.assert_clean();
}

#[test]
fn a_bye_that_nobody_answers() {
    let mut agent = Agent::new();
    let (call, _) = agent.established(invite_request());
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.expect("BYE ");
    let sent: Vec<u64> = agent.pass(LONG).into_iter().map(|(at, _)| at).collect();
    assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Timeout, reason: None });
    agent.assert_clean();
}

#[test]
fn a_reinvite_is_answered_and_moves_the_target() {
    let mut agent = Agent::new();
    let (call, tag) = agent.accepted();
    let moved = "Contact: <sip:carol@192.0.2.77:5064>\n";
    let reinvite = peer_request("INVITE", 2, &tag, "re", moved, Some(ANSWER));
    agent.receive(&reinvite);
    agent.expect("SIP/2.0 100 ");
    assert!(matches!(agent.event(), Event::Reinvite { call: c, sdp: Some(_) } if c == call));
    // Another one before this one is answered (RFC 3261 §14.2).
    agent.receive(&peer_request("INVITE", 3, &tag, "re3", moved, Some(ANSWER)));
    let busy = agent.expect("SIP/2.0 500 ");
    assert!(header(&busy, "Retry-After").parse::<u32>().unwrap() <= 10);
    agent.receive(&peer_request("ACK", 3, &tag, "re3", "", None));
    agent.endpoint.answer_reinvite(agent.now, call, sdp()).unwrap();
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.pass(std::time::Duration::from_millis(600)).len(), 1, "repeated until the ACK");
    agent.receive(&peer_request("ACK", 2, &tag, "reack", "", None));
    agent.quiet();
    agent.pass(LONG);
    agent.quiet();
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.expect("BYE sip:carol@192.0.2.77:5064 ");
    assert_eq!(agent.last_remote, Some("192.0.2.77:5064".parse().unwrap()));
}

#[test]
fn a_reinvite_without_an_offer_gets_ours() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    agent.receive(&callee_request(&invite, "INVITE", 1, CONTACT, None));
    agent.expect("SIP/2.0 100 ");
    assert_eq!(agent.event(), Event::Reinvite { call, sdp: None });
    agent.endpoint.answer_reinvite(agent.now, call, sdp()).unwrap();
    agent.expect("SIP/2.0 200 ");
    let ack = callee_request(&invite, "ACK", 1, "", Some(ANSWER));
    agent.receive(&ack);
    assert!(matches!(agent.event(), Event::Confirmed { sdp: Some(_), .. }));
}

#[test]
fn a_reinvite_that_is_refused_withdrawn_or_never_acknowledged() {
    let mut agent = Agent::new();
    let (call, tag) = agent.accepted();
    let reinvite = |cseq: u32| peer_request("INVITE", cseq, &tag, &format!("re{cseq}"), "", Some(ANSWER));
    agent.receive(&reinvite(2));
    agent.one();
    agent.event();
    assert_eq!(agent.endpoint.reject_reinvite(agent.now, call, 200), Err(CommandError::Code));
    agent.endpoint.reject_reinvite(agent.now, call, 488).unwrap();
    agent.expect("SIP/2.0 488 ");
    agent.receive(&peer_request("ACK", 2, &tag, "re2", "", None));
    agent.receive(&reinvite(3));
    agent.one();
    agent.event();
    agent.receive(&peer_request("CANCEL", 3, &tag, "re3", "", None));
    let lines: Vec<_> = agent.sent().iter().map(|m| start_line(m)).collect();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    agent.receive(&peer_request("ACK", 3, &tag, "re3", "", None));
    assert_eq!(agent.endpoint.answer_reinvite(agent.now, call, sdp()), Err(CommandError::InvalidState));
    agent.receive(&reinvite(4));
    agent.one();
    agent.event();
    agent.endpoint.answer_reinvite(agent.now, call, sdp()).unwrap();
    let byes = agent.pass(LONG).into_iter().filter(|(_, line)| line.starts_with("BYE")).count();
    assert_eq!(byes, 1);
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Timeout, reason: None });
    agent.assert_clean();
}

#[test]
fn a_bye_ends_a_pending_reinvite() {
    let mut agent = Agent::new();
    let (_, tag) = agent.accepted();
    agent.receive(&peer_request("INVITE", 2, &tag, "re", "", Some(ANSWER)));
    agent.one();
    agent.event();
    agent.receive(&peer_request("BYE", 3, &tag, "bye", "", None));
    let lines: Vec<_> = agent.sent().iter().map(|m| start_line(m)).collect();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert!(matches!(agent.event(), Event::Ended { by: EndedBy::Remote, .. }));
    agent.assert_clean();
}

#[test]
fn digits_both_ways() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    let body = "Signal=5\r\nDuration=200\r\n";
    let info = callee_request(&invite, "INFO", 1, "", Some(body)).replace("application/sdp", "application/dtmf-relay");
    agent.receive(&info);
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.event(), Event::Dtmf { call, digit: '5', duration_ms: 200 });
    agent.receive(&info);
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.events(), vec![], "a repeated INFO is no second digit");
    agent.receive(&callee_request(&invite, "INFO", 2, "", None));
    agent.expect("SIP/2.0 200 ");
    agent.quiet();

    assert_eq!(agent.endpoint.info_dtmf(agent.now, call, 'x', 100), Err(CommandError::Digit));
    agent.endpoint.info_dtmf(agent.now, call, '#', 100).unwrap();
    let ours = agent.expect("INFO sip:bob@192.0.2.99:5060 ");
    assert!(
        ours.ends_with(
            "Content-Type: application/dtmf-relay\r\nContent-Length: 24\r\n\r\nSignal=#\r\nDuration=100\r\n"
        )
    );
    agent.receive(&response(&ours, "200 OK", "", "", None));
    agent.quiet();
    agent.endpoint.info_dtmf(agent.now, call, '1', 100).unwrap();
    let ours = agent.one();
    agent.receive(&response(&ours, "481 Gone", "", "", None));
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Remote, reason: None });
}

#[test]
fn other_requests() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    let mut cseq = 10;
    let mut check = |agent: &mut Agent, method: &str, extra: &str, expect: &str| {
        cseq += 1;
        agent.receive(&callee_request(&invite, method, cseq, extra, None));
        let answer = agent.expect(&format!("SIP/2.0 {expect} "));
        assert_eq!(agent.events(), vec![]);
        answer
    };
    let options = check(&mut agent, "OPTIONS", "", "200");
    assert_eq!(header(&options, "Accept"), "application/sdp");
    let update = check(&mut agent, "UPDATE", "", "405");
    assert_eq!(header(&update, "Allow"), "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO");
    check(&mut agent, "REFER", "", "405");
    check(&mut agent, "NOTIFY", "", "405");
    check(&mut agent, "DANCE", "", "501");
    let needs = check(&mut agent, "INVITE", "Require: timer, x\n", "420");
    assert_eq!(header(&needs, "Unsupported"), "timer, x");
    // Out of order (§12.2.2).
    agent.receive(&callee_request(&invite, "INFO", 3, "", None));
    agent.expect("SIP/2.0 500 ");
    // The right tags but another Call-ID, or another tag.
    agent.receive(&callee_request(&invite, "BYE", 50, "", None).replace("Call-ID: call-1", "Call-ID: other"));
    agent.expect("SIP/2.0 481 ");
    agent.receive(&callee_request(&invite, "BYE", 51, "", None).replace("tag=b1", "tag=zz"));
    agent.expect("SIP/2.0 481 ");
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
}
