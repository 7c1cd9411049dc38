//! Requests that start nothing.

use sip::{Endpoint, Event};

use crate::harness::*;

/// Sends one request and gives the one answer, which must leave no call behind.
#[track_caller]
fn refused(request: &str, status: &str) -> String {
    let mut agent = Agent::new();
    agent.receive(request);
    let answer = agent.expect(&format!("SIP/2.0 {status} "));
    assert_eq!(agent.events(), vec![]);
    let stats = agent.endpoint.stats();
    assert_eq!((stats.calls_live, stats.transactions_live), (0, 0), "answered without state");
    answer
}

#[test]
fn one_answer_each() {
    let invite = incoming_invite(Some(ANSWER));
    let with = |extra: &str| incoming_with("INVITE", "inv", extra, Some(ANSWER));
    assert_eq!(header(&refused(&with("Require: 100rel\n"), "420"), "Unsupported"), "100rel");
    assert_eq!(
        header(&refused(&invite.replace("application/sdp", "application/x"), "415"), "Accept"),
        "application/sdp"
    );
    refused(&with("Accept: text/nobodyKnowsThis\n"), "406");
    refused(&invite.replace("INVITE sip:bot@192.0.2.1", "INVITE nobody:knows"), "416");
    refused(&invite.replace("INVITE sip:bot@192.0.2.1", "INVITE sip:bot@h?X=y"), "400");
    refused(&invite.replace("INVITE sip:bot@192.0.2.1", "INVITE <sip:bot@h>"), "400");
    refused(&invite.replace("INVITE sip:bot@192.0.2.1", "INVITE sip:b t@h"), "400");
    refused(&invite.replace("Contact: <sip:", "Contact: <mailto:"), "400");
    refused(&invite.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), "400");
    refused(&invite.replace("SIP/2.0\nVia", "SIP/7.0\nVia"), "505");
    refused(&incoming_with("DANCE", "x", "", None), "501");
    let register = refused(&incoming_with("REGISTER", "x", "", None), "405");
    assert_eq!(header(&register, "Allow"), "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO");
    refused(&incoming_with("REFER", "x", "", None), "405");
    refused(&incoming_with("BYE", "x", "", None), "481");
    refused(&incoming_with("CANCEL", "x", "", None), "481");
    refused(&peer_request("BYE", 1, "nobody", "x", "", None), "481");
    refused(&peer_request("INVITE", 1, "nobody", "x", "", Some(ANSWER)), "481");
    let options =
        refused(&incoming_with("OPTIONS", "x", "Max-Forwards: 0\n", None).replacen("Max-Forwards: 70\n", "", 1), "200");
    assert_eq!(header(&options, "Accept"), "application/sdp");
}

#[test]
fn silence() {
    let mut agent = Agent::new();
    agent.receive("\n\n");
    assert_eq!(agent.endpoint.stats().dropped, 0);
    agent.receive(&peer_request("ACK", 1, "nobody", "x", "", None));
    agent.receive("SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>;tag=2\nCall-ID: c\nCSeq: 1 INVITE\n\n");
    assert_eq!(agent.endpoint.stats().strays, 2);
    agent.receive("GET / HTTP/1.1\n\n");
    agent.receive("\0\0\0");
    agent.receive(&incoming_with("ACK", "x", "", None).replace("CSeq: 1 ACK", "CSeq: x"));
    assert_eq!(agent.endpoint.stats().dropped, 3);
    agent.quiet();
    agent.assert_clean();
}

#[test]
fn the_same_request_by_another_way_is_a_loop() {
    let mut agent = Agent::new();
    agent.incoming(&incoming_invite(Some(ANSWER)));
    agent.receive(&incoming_with("INVITE", "other", "", Some(ANSWER)));
    agent.expect("SIP/2.0 482 ");
    assert_eq!(agent.events(), vec![]);
}

#[test]
fn no_room() {
    let mut agent = Agent::with_max_calls(1);
    agent.incoming(&incoming_invite(Some(ANSWER)));
    let second = incoming_with("INVITE", "other", "", Some(ANSWER)).replace("in-1", "in-2");
    agent.receive(&second);
    assert!(header(&agent.expect("SIP/2.0 503 "), "Retry-After").parse::<u32>().is_ok());
    assert_eq!(agent.endpoint.stats().refused, 1);
}

#[test]
fn a_flood_leaves_no_more_than_its_limit() {
    let mut agent = Agent::new();
    let mut limited = config(LOCAL, usize::MAX);
    limited.limits.max_transactions = 50;
    agent.endpoint = Endpoint::new(limited, 1);
    for n in 0..200 {
        let invite = incoming_with("INVITE", &format!("b{n}"), "", Some(ANSWER)).replace("in-1", &format!("in-{n}"));
        agent.receive(&invite);
    }
    assert_eq!(agent.endpoint.stats().transactions_live, 50);
    for event in agent.events() {
        if let Event::Incoming { call, .. } = event {
            agent.endpoint.reject(agent.now, call, 603, vec![]).unwrap();
        }
    }
    agent.assert_clean();
}
