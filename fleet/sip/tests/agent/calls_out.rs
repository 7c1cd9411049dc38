//! Calls of ours up to the answer: what is sent when, and which event follows.

use std::time::Duration;

use bytes::Bytes;
use sip::{AnswerFault, Endpoint, Event, Failure, InviteError, InviteRequest, Reason};

use crate::harness::*;

#[test]
fn the_invite_line_by_line() {
    let mut agent = Agent::new();
    let (_, invite) = agent.invite(InviteRequest {
        from_display: Some("Ali \"ce\"".into()),
        headers: vec![("P-Asserted-Identity".into(), "<sip:+15551@example.com>".into())],
        ..invite_request()
    });
    let (tag, branch) = (from_tag(&invite), branch(&invite));
    assert!(branch.starts_with("z9hG4bK") && branch.len() > 30 && tag.len() > 15);
    let expect = format!(
        "INVITE sip:bob@192.0.2.99 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Ali \\\"ce\\\"\" <sip:alice@example.com>;tag={tag}\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: call-1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.1:5060>\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO\r\nAccept: application/sdp\r\nUser-Agent: test\r\n\
         P-Asserted-Identity: <sip:+15551@example.com>\r\nContent-Type: application/sdp\r\nContent-Length: 11\r\n\r\n\
         v=0\r\nours\r\n"
    );
    assert_eq!(invite, expect);
    assert_eq!(agent.last_remote, Some(PEER.parse().unwrap()));
}

#[test]
fn ring_answer_talk_hang_up() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    agent.receive(&response(&invite, "100 Trying", "", "", None));
    agent.quiet();
    agent.receive(&response(&invite, "180 Ringing", "b1", "", None));
    assert_eq!(agent.event(), Event::Provisional { call, code: 180, sdp: None });
    agent.pass(Duration::from_secs(100));
    agent.quiet();
    let answer = response(&invite, "200 OK", "b1", &format!("{CONTACT}X-Trunk: 7\n"), Some(ANSWER));
    agent.receive(&answer);
    assert_eq!(
        agent.event(),
        Event::Answered {
            call,
            sdp: Some(Bytes::from(ANSWER.replace("\r\n", "\n").replace('\n', "\r\n"))),
            headers: vec![("X-Trunk".into(), "7".into())],
        }
    );
    let ack = agent.expect("ACK sip:bob@192.0.2.99:5060 SIP/2.0\r\n");
    assert_eq!((header(&ack, "CSeq"), to_tag(&ack).as_str()), ("1 ACK", "b1"));
    assert_ne!(branch(&ack), branch(&invite));
    // The 2xx again: the same ACK again.
    agent.receive(&answer);
    assert_eq!(agent.one(), ack);
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    let bye = agent.expect("BYE sip:bob@192.0.2.99:5060 SIP/2.0\r\n");
    assert_eq!(header(&bye, "CSeq"), "2 BYE");
    assert_eq!(agent.endpoint.hang_up(agent.now, call, None), Ok(()));
    agent.quiet();
    agent.receive(&response(&bye, "200 OK", "", "", None));
    let ended = Event::Ended { call, by: sip::EndedBy::Local, reason: None };
    assert_eq!(agent.event(), ended);
    // A straggler of the answer is still acknowledged.
    agent.receive(&answer);
    assert_eq!(agent.one(), ack);
    assert_eq!(agent.events(), vec![]);
    assert!(agent.endpoint.hang_up(agent.now, call, None).is_err());
    agent.assert_clean();
    agent.receive(&answer);
    agent.quiet();
}

#[test]
fn nobody_there() {
    let mut agent = Agent::new();
    let (call, _) = agent.invite(invite_request());
    let sent: Vec<u64> = agent.pass(LONG).into_iter().map(|(at, _)| at).collect();
    assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Timeout });
    agent.assert_clean();
}

#[test]
fn the_socket_can_not_reach_the_peer() {
    let mut agent = Agent::new();
    let call = agent.endpoint.invite(agent.now, invite_request()).unwrap();
    let transmit = agent.endpoint.poll_transmit().unwrap();
    agent.endpoint.handle_send_error(agent.now, &transmit);
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Unreachable });
    agent.endpoint.handle_send_error(agent.now, &transmit);
    agent.quiet();
    agent.assert_clean();
}

/// Answers the INVITE with a failure and checks the cause, the ACK and its repetition.
#[track_caller]
fn fails(status: &str, extra: &str, expect: Failure) {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    let failure = response(&invite, status, "b1", extra, None);
    agent.receive(&failure);
    assert_eq!(agent.event(), Event::Failed { call, cause: expect });
    let ack = agent.expect("ACK sip:bob@192.0.2.99 SIP/2.0\r\n");
    assert_eq!((branch(&ack), header(&ack, "CSeq")), (branch(&invite), "1 ACK"));
    assert_eq!((to_tag(&ack).as_str(), header(&ack, "From")), ("b1", header(&invite, "From")));
    agent.receive(&failure);
    assert_eq!(agent.one(), ack);
    assert_eq!(agent.events(), vec![]);
    agent.assert_clean();
}

#[test]
fn failures_and_what_they_say() {
    let status = |code, phrase: &str| Failure::Status { code, phrase: phrase.into(), reason: None, retry_after: None };
    fails("486 Busy Here", "", status(486, "Busy Here"));
    fails("302 Moved", "Contact: <sip:x@y>\n", status(302, "Moved"));
    fails("487 Request Terminated", "", status(487, "Request Terminated"));
    fails("404 ", "", status(404, ""));
    fails("401 Unauthorized", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\n", Failure::AuthRejected);
    fails(
        "503 Full",
        "Retry-After: 30\nReason: Q.850;cause=34;text=\"No circuit\"\n",
        Failure::Status {
            code: 503,
            phrase: "Full".into(),
            reason: Some(Reason { protocol: "Q.850".into(), cause: Some(34), text: Some("No circuit".into()) }),
            retry_after: Some(Duration::from_secs(30)),
        },
    );
}

#[test]
fn early_media_is_the_answer_where_the_200_has_none() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    agent.receive(&response(&invite, "183 Progress", "b1", "", Some("v=0\nearly\n")));
    let Event::Provisional { code: 183, sdp: Some(sdp), .. } = agent.event() else { panic!() };
    agent.receive(&response(&invite, "180 Ringing", "b1", "", None));
    assert!(matches!(agent.event(), Event::Provisional { code: 180, sdp: None, .. }));
    agent.receive(&response(&invite, "200 OK", "b1", CONTACT, None));
    agent.expect("ACK ");
    let Event::Answered { call: answered, sdp: answer, .. } = agent.event() else { panic!() };
    assert_eq!((answered, answer), (call, Some(sdp)));
}

#[track_caller]
fn bad_answer(answer: impl Fn(&str) -> String, expect: AnswerFault) {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    agent.receive(&answer(&invite));
    let sent: Vec<String> = agent.sent().iter().map(|m| m[..4].to_owned()).collect();
    assert_eq!(sent, ["ACK ", "BYE "]);
    let cause = Failure::BadAnswer(expect);
    assert_eq!(agent.event(), Event::Failed { call, cause });
    agent.assert_clean();
}

#[test]
fn a_200_that_is_no_answer() {
    bad_answer(|invite| response(invite, "200 OK", "b1", CONTACT, None), AnswerFault::NoSdp);
    bad_answer(
        |invite| response(invite, "200 OK", "b1", CONTACT, Some(ANSWER)).replace("application/sdp", "text/plain"),
        AnswerFault::ContentType,
    );
    bad_answer(|invite| response(invite, "200 OK", "b1", "Contact: <tel:+1>\n", Some(ANSWER)), AnswerFault::NoDialog);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    let reason = Reason { protocol: "SIP".into(), cause: Some(200), text: Some("Call completed elsewhere".into()) };
    agent.endpoint.hang_up(agent.now, call, Some(reason)).unwrap();
    agent.quiet();
    agent.receive(&response(&invite, "100 Trying", "", "", None));
    let cancel = agent.expect("CANCEL sip:bob@192.0.2.99 SIP/2.0\r\n");
    assert_eq!(header(&cancel, "Via"), header(&invite, "Via"));
    assert_eq!((header(&cancel, "CSeq"), header(&cancel, "To")), ("1 CANCEL", header(&invite, "To")));
    assert_eq!(header(&cancel, "Reason"), "SIP;cause=200;text=\"Call completed elsewhere\"");
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.receive(&response(&invite, "180 Ringing", "b1", "", None));
    agent.receive(&response(&cancel, "200 OK", "b1", "", None));
    agent.quiet();
    agent.receive(&response(&invite, "487 Request Terminated", "b1", "", None));
    agent.expect("ACK ");
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Cancelled });
    agent.assert_clean();
}

#[test]
fn the_answer_crosses_our_cancel() {
    for provisional in [true, false] {
        let mut agent = Agent::new();
        let (call, invite) = agent.invite(invite_request());
        if provisional {
            agent.receive(&response(&invite, "180 Ringing", "b1", "", None));
            agent.event();
        }
        agent.endpoint.hang_up(agent.now, call, None).unwrap();
        assert_eq!(agent.sent().len(), usize::from(provisional));
        let answer = response(&invite, "200 OK", "b1", CONTACT, Some(ANSWER));
        agent.receive(&answer);
        let sent = agent.sent();
        assert_eq!(sent.len(), 2, "{sent:#?}");
        assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "), "{sent:#?}");
        assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Cancelled });
        agent.receive(&answer);
        assert_eq!(agent.one(), sent[0]);
        agent.assert_clean();
    }
}

#[test]
fn a_cancelled_call_that_is_never_answered() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    agent.receive(&response(&invite, "180 Ringing", "b1", "", None));
    agent.event();
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.expect("CANCEL ");
    let cancels = agent.pass(LONG).len();
    assert_eq!(cancels, 10, "E fires at 0.5, 1.5, 3.5, 7.5 and then every 4 s");
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Cancelled });
    agent.assert_clean();
}

#[test]
fn a_second_fork_that_answers_is_ended() {
    let mut agent = Agent::new();
    let (call, invite) = agent.established(invite_request());
    let other = "Contact: <sip:bob@192.0.2.50:5062>\n";
    let second = response(&invite, "200 OK", "b2", other, Some(ANSWER));
    agent.receive(&second);
    let sent = agent.sent();
    assert_eq!(start_line(&sent[0]), "ACK sip:bob@192.0.2.50:5062 SIP/2.0");
    assert_eq!(start_line(&sent[1]), "BYE sip:bob@192.0.2.50:5062 SIP/2.0");
    assert_eq!((to_tag(&sent[0]).as_str(), to_tag(&sent[1]).as_str()), ("b2", "b2"));
    assert_eq!(agent.last_remote, Some("192.0.2.50:5062".parse().unwrap()));
    agent.receive(&response(&sent[1], "200 OK", "", "", None));
    // Its 2xx again: acknowledged again, but not ended twice.
    agent.receive(&second);
    assert_eq!(agent.one(), sent[0]);
    assert_eq!(agent.events(), vec![]);
    // The first one is still a call.
    agent.receive(&callee_request(&invite, "BYE", 1, "", None));
    agent.expect("SIP/2.0 200 ");
    assert!(matches!(agent.event(), Event::Ended { call: ended, .. } if ended == call));
    agent.assert_clean();
}

#[test]
fn record_routes_are_followed_backwards() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    let routes = format!(
        "{CONTACT}Record-Route: <sip:192.0.2.11;lr>, <sip:192.0.2.12:5070;lr>\nRecord-Route: <sip:p3.example.com;lr>\n"
    );
    agent.receive(&response(&invite, "200 OK", "b1", &routes, Some(ANSWER)));
    let ack = agent.expect("ACK sip:bob@192.0.2.99:5060 ");
    let expect = ["<sip:p3.example.com;lr>", "<sip:192.0.2.12:5070;lr>", "<sip:192.0.2.11;lr>"];
    assert_eq!(headers(&ack, "Route"), expect);
    // A name stands for the hop that the INVITE took.
    assert_eq!(agent.last_remote, Some(PEER.parse().unwrap()));
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    assert_eq!(headers(&agent.expect("BYE "), "Route"), expect);

    let mut agent = Agent::new();
    let (_, invite) = agent.invite(invite_request());
    let strict = format!("{CONTACT}Record-Route: <sip:192.0.2.11;lr>, <sip:192.0.2.12:5070>\n");
    agent.receive(&response(&invite, "200 OK", "b1", &strict, Some(ANSWER)));
    let ack = agent.expect("ACK sip:192.0.2.12:5070 SIP/2.0\r\n");
    assert_eq!(headers(&ack, "Route"), ["<sip:192.0.2.11;lr>", "<sip:bob@192.0.2.99:5060>"]);
    assert_eq!(agent.last_remote, Some("192.0.2.12:5070".parse().unwrap()));
}

#[test]
fn a_private_contact_of_a_public_peer_is_not_followed() {
    let mut agent = Agent::new();
    let (_, invite) = agent.invite(invite_request());
    agent.receive(&response(&invite, "200 OK", "b1", "Contact: <sip:bob@10.0.0.5:5066>\n", Some(ANSWER)));
    agent.expect("ACK sip:bob@10.0.0.5:5066 ");
    assert_eq!(agent.last_remote, Some(PEER.parse().unwrap()));
}

#[test]
fn what_can_not_be_sent() {
    let header =
        |name: &str, value: &str| InviteRequest { headers: vec![(name.into(), value.into())], ..invite_request() };
    let cases = [
        (InviteRequest { target: "bob".into(), ..invite_request() }, InviteError::Target),
        (InviteRequest { target: "sips:bob@h".into(), ..invite_request() }, InviteError::Target),
        (InviteRequest { target: "sip:b@h\r\nX: y".into(), ..invite_request() }, InviteError::Target),
        (InviteRequest { target: "sip:b@h?Route=x".into(), ..invite_request() }, InviteError::Target),
        (InviteRequest { from_uri: "alice".into(), ..invite_request() }, InviteError::From),
        (InviteRequest { to_uri: "sip:a>b@h".into(), ..invite_request() }, InviteError::To),
        (InviteRequest { call_id: Some("a b".into()), ..invite_request() }, InviteError::CallId),
        (header("via", "x"), InviteError::Header("via".into())),
        (header("X Y", "x"), InviteError::Header("X Y".into())),
        (header("X-A", "x\r\nVia: y"), InviteError::Header("X-A".into())),
    ];
    let mut agent = Agent::new();
    for (request, expect) in cases {
        assert_eq!(agent.endpoint.invite(agent.now, request), Err(expect));
    }
    let mut full = Endpoint::new(config(LOCAL, 0), 1);
    assert_eq!(full.invite(agent.now, invite_request()), Err(InviteError::TooManyCalls));
    agent.quiet();
}
